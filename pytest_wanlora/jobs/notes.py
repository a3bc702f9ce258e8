"""Small JSON files that processes share, and what is said when a folder cannot be written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wanlora.errors import JobError
from pytest_wanlora.files import write_whole

if TYPE_CHECKING:
    pass


def read_note(path: Path) -> dict[str, Any] | None:
    """The object in a file; None if it is not there (yet)."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return note if isinstance(note, dict) else None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file that other processes see whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    write_whole(path, text.encode())


def unwritable(folder: Path, error: OSError, purpose: str, kind: str) -> JobError:
    """The error for a folder that cannot be written, with what there is room for and what to do."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        free = f"{shutil.disk_usage(existing).free / 2**20:.0f} MiB are free there"
    except OSError:
        free = "its free space is unknown"
    return JobError(
        f"{folder}: cannot {purpose}: {error.strerror or error}\nA writable folder is needed; {free}.",
        next_command=f"make room or make it writable, or name another folder with --wanlora-{kind}-dir",
    )
