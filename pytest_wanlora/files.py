"""Files: read only if they are regular, written and deleted atomically; JSON, home folders, digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Mapping
from io import BufferedReader, BufferedWriter
from itertools import count
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from pytest_wanlora.errors import JobError

DELETED: Final = ".old-"
"""Prefix of a folder's name while it is being deleted."""


LARGEST: Final = 256 * 2**20
"""Bytes of the largest file that is read as a whole without being a checkpoint, weights or features."""
# what a name may have besides, and stay below the 255 bytes that file systems allow
_NAME_BYTES: Final = 200
_PIECE: Final = 2**20
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file for reading; a pipe or device would block, or never end.

    Raises:
        OSError: Not readable, or no regular file.
    """
    # without waiting for the other end of a pipe
    descriptor = os.open(path, _READ)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file (a pipe or a device)", str(path))


def read_regular(path: str | Path, *, largest: int = LARGEST) -> bytes:
    """Read a regular file.

    Raises:
        OSError: Not readable, no regular file, or larger.
    """
    with open_regular(path) as file:
        # a buffer of what is allowed would be allocated whole, whatever the file has
        data = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
        while len(data) <= largest and (more := file.read(_PIECE)):
            data += more
    if len(data) > largest:
        raise OSError(errno.EFBIG, f"larger than {largest // 2**20} MiB, which is allowed", str(path))
    return data


def parse_json(data: bytes | str) -> Any:  # noqa: ANN401 - JSON is anything
    """Parse JSON that somebody else may have written.

    Raises:
        ValueError: Not JSON in UTF-8, with a number that is not finite, or nested deeper than 200 levels.
    """
    return from_json(data, allow_inf_nan=False)


def expand_home(text: str | Path) -> Path:
    """Replace `~` and `~user` at the beginning of a path.

    Raises:
        ValueError: There is no such user, or no such path can be.
    """
    if "\0" in str(text):
        raise ValueError("a path has no NUL character")
    # unlike Path.expanduser it leaves ./~name alone
    expanded = os.path.expanduser(text)  # noqa: PTH111
    if str(expanded).startswith("~"):
        user = Path(text).parts[0]
        raise ValueError(f"{user} is no user's home folder; a file of that name is ./{user}")
    return Path(expanded)


def create_beside(path: Path) -> tuple[BufferedWriter, Path]:
    """Create and open a temporary file beside another, under a name that nobody can have taken.

    Raises:
        OSError: It cannot be created.
    """
    name = path.name.encode(errors="surrogateescape")[:_NAME_BYTES].decode(errors="ignore")
    temporary = path.with_name(f".{name}-{secrets.token_hex(8)}")
    # never through a link: what another user has put there is not written to
    return os.fdopen(os.open(temporary, _CREATE, 0o666), "wb"), temporary


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: to a new temporary file in the same folder, which is then renamed.

    A link at `path` is replaced; what it points to stays as it is.

    Raises:
        OSError: The folder cannot be made or written, or the disk is full; the old file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened, temporary = create_beside(path)
    try:
        with opened as file:
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

    Raises:
        OSError: It cannot be renamed, and is untouched; or not all of it can be deleted, and the rest has a
            name that begins with `DELETED`.
    """
    doomed = folder
    if not folder.name.startswith(DELETED):
        doomed = folder.with_name(f"{DELETED}{secrets.token_hex(4)}-{folder.name}")
        folder.rename(doomed)
    shutil.rmtree(doomed)


def listing(path: Path) -> str:
    """The command that lists what is there of a path: the file or folder, or the nearest folder above it."""
    return f"ls -l {shlex.quote(undashed(str(_existing(path))))}"


def dangling(path: Path) -> str | None:
    """Why a path is not there, where it or a folder above it is a link to nothing; None otherwise."""
    place = _existing(path)
    if not place.is_symlink() or place.exists():
        return None
    what = "is" if place == path else f"{place} is"
    return f"{what} a link to `{place.readlink()}`, which is not there"


def url_of(path: Path) -> str | None:
    """The URL that a path was made of, which lost one of its two slashes then; None for a path."""
    match = None if path.exists() else _URL.match(str(path))
    return None if match is None else f"{match[0]}/{str(path)[match.end() :]}"


def fetching(url: str) -> str | None:
    """The command that fetches a URL into the current folder; None where that is not known."""
    return f"curl -LO {shlex.quote(url)}" if url.startswith(("http://", "https://")) else None


def from_here(path: Path) -> str:
    """A path from the current folder, with forward slashes; a path on another drive as it is."""
    try:
        return undashed(Path(os.path.relpath(path)).as_posix())
    except ValueError:
        return str(path)


def undashed(path: str) -> str:
    """A path that no command takes for an option."""
    return f"./{path}" if path.startswith("-") else path


def unused(path: Path) -> Path:
    """The path, or where something is there already, another beside it."""
    numbers = count(2)
    free = path
    while os.path.lexists(free):
        free = path.with_stem(f"{path.stem}-{next(numbers)}")
    return free


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: object) -> str:
    """JSON in the one form that equal values share."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def json_sha256(value: object) -> str:
    """SHA-256 of the canonical JSON of a value (sorted keys, no blanks, no NaN), as hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def read_note(path: Path) -> dict[str, Any] | None:
    """The object in a file of this run; None if it is not there (yet)."""
    try:
        note = parse_json(read_regular(path))
    except FileNotFoundError:
        return None
    return note if isinstance(note, dict) else None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    write_whole(path, text.encode())


def unwritable(folder: Path, error: OSError, purpose: str, kind: str) -> JobError:
    """The error for a folder that cannot be written: what is in its place, or its free space."""
    existing = _existing(folder)
    if not existing.is_dir():
        found = dangling(existing) or ("is a file" if existing.is_file() else "is no folder")
        return JobError(
            f"{folder}: cannot {purpose}: {existing} {found}; allowed: a folder, named with "
            f"--wanlora-{kind}-dir",
            next_command=listing(existing),
        )
    try:
        free = f"{shutil.disk_usage(existing).free / 2**20:.0f} MiB are free there"
    except OSError:
        free = "its free space is unknown"
    return JobError(
        f"{folder}: cannot {purpose}: {error.strerror or error}\nA writable folder with room is needed, "
        f"which --wanlora-{kind}-dir names; {free}.",
        next_command=f"ls -ld {shlex.quote(str(existing))}",
    )


def require_folder(folder: Path, purpose: str, kind: str) -> Path:
    """Return a folder, or the nearest one above it that exists.

    Raises:
        JobError: Something else is in its place.
    """
    existing = _existing(folder)
    if not existing.is_dir():
        raise unwritable(folder, NotADirectoryError(), purpose, kind)
    return existing


def require_writable(folder: Path, purpose: str, kind: str) -> None:
    """Find out whether a folder can be made and written; nothing is left there.

    Raises:
        JobError: It cannot.
    """
    place = require_folder(folder, purpose, kind)
    try:
        # rights do not tell: nobody can make a folder in /proc, and root may write anywhere else
        Path(tempfile.mkdtemp(prefix=".probe-", dir=place)).rmdir()
    except OSError as error:
        raise unwritable(folder, error, purpose, kind) from error


def _existing(path: Path) -> Path:
    return next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
