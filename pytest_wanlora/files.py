"""Atomic writes and deletions, shared JSON files and digests of files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pytest_wanlora.errors import JobError

DELETED: Final = ".old-"
"""Prefix of a folder's name while it is being deleted."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: to a temporary file in the same folder, which is then renamed.

    Args:
        path: The file; its folder is made if need be.
        data: The new content.

    Raises:
        OSError: The folder cannot be made or written, or the disk is full; the old file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            # without it a crash of the machine may leave the new name with none of the new bytes
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def delete_whole(folder: Path) -> None:
    """Delete a folder atomically: rename it, then delete it.

    Links in it are deleted, never what they point to.

    Args:
        folder: A folder, not a link to one.

    Raises:
        OSError: It cannot be renamed, and is untouched; or not all of it can be deleted, and the rest has a
            name that begins with `DELETED`.
    """
    doomed = folder
    if not folder.name.startswith(DELETED):
        doomed = folder.with_name(f"{DELETED}{secrets.token_hex(4)}-{folder.name}")
        folder.rename(doomed)
    shutil.rmtree(doomed)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hex.

    Raises:
        OSError: Not readable.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_note(path: Path) -> dict[str, Any] | None:
    """The object in a file; None if it is not there (yet)."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return note if isinstance(note, dict) else None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        OSError: It cannot be written.
    """
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    write_whole(path, text.encode())


def unwritable(folder: Path, error: OSError, purpose: str, kind: str) -> JobError:
    """The error for a folder that cannot be written, with its free space and the next command."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        free = f"{shutil.disk_usage(existing).free / 2**20:.0f} MiB are free there"
    except OSError:
        free = "its free space is unknown"
    return JobError(
        f"{folder}: cannot {purpose}: {error.strerror or error}\nA writable folder is needed; {free}.",
        next_command=f"make room or make it writable, or name another folder with --wanlora-{kind}-dir",
    )
