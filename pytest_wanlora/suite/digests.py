"""SHA-256 of files; of large ones kept from run to run, since hashing 22 GB takes longer than a video."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from pytest_wanlora.files import file_sha256, parse_json, read_regular, write_whole

#: Smaller files are hashed anew by every process.
LARGE: Final = 64 * 2**20


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's visible files and their names, as hex.

    A digest is remembered by path, size, inode and both times of the file: for the life of the process, and
    for large files in `memory_folder`. The time of the last change of the inode cannot be set by hand, so a
    file that was replaced or written to is hashed again.

    Raises:
        OSError: Not readable.
    """
    if path.is_dir():
        total = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path)
            if file.is_file() and not any(part.startswith(".") for part in name.parts):
                total.update(f"{name.as_posix()}\0{digest(file)}\n".encode())
        return total.hexdigest()
    status = path.stat()
    state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return _file_digest(str(path.resolve()), state)


def memory_folder() -> Path:
    """Where digests of large files are remembered: `pytest-wanlora/digests` in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(root) / "pytest-wanlora" / "digests"


@lru_cache(maxsize=1024)
def _file_digest(path: str, state: tuple[int, ...]) -> str:
    if state[0] < LARGE:
        return file_sha256(path)
    note = memory_folder() / f"{hashlib.sha256(path.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = parse_json(read_regular(note))
        if known["path"] == path and known["state"] == list(state):
            return str(known["sha256"])
    found = file_sha256(path)
    # a read-only home costs time alone
    with contextlib.suppress(OSError):
        write_whole(note, json.dumps({"path": path, "state": state, "sha256": found}, indent=1).encode())
    return found
