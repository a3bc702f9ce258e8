"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

DELETED: Final = ".old-"
"""What the name of a folder begins with while it is being deleted."""


def write_whole(path: Path, data: bytes) -> None:
    """Write to a temporary file in the same folder, then rename it over the old one.

    Args:
        path: The file; its folder is made if need be.
        data: What it will hold.

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
    """Rename a folder and delete it then, so that no other process sees a part of it.

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
