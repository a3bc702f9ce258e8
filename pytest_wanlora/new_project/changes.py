"""Files that are written together: all of them or none, and never over a file that was not read before."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wanlora.errors import SettingsError
from pytest_wanlora.files import listing, write_whole


@dataclass(frozen=True)
class Change:
    """A file to write.

    Attributes:
        after: Its new bytes.
        before: Its bytes when it was read; None for a file that must not exist.
    """

    path: Path
    after: bytes
    before: bytes | None = None


def refuse_existing(changes: Sequence[Change]) -> None:
    """Refuse new files where something is already, naming all of them."""
    new = [each.path for each in changes if each.before is None]
    # a link to nothing is there too
    there = [str(path) for path in new if path.exists() or path.is_symlink()]
    if there:
        raise SettingsError(
            f"{', '.join(there)}: there already; init writes over nothing; allowed: another --name or "
            "--folder, and --ci none, which writes no CI file",
            next_command=f"ls -l {shlex.join(there)}",
        )


def write(changes: Sequence[Change]) -> None:
    """Write the files; new ones first. If one cannot be written, the new ones are removed again.

    Raises:
        SettingsError: A file cannot be written, or changed since it was read.
    """
    refuse_existing(changes)
    made: list[Path] = []
    done = False
    try:
        for each in sorted(changes, key=lambda change: change.before is not None):
            _write(each, made)
        done = True
    except OSError as error:
        raise SettingsError(
            f"{error.filename}: cannot be written: {error.strerror}; nothing was written; allowed: a folder "
            "that you may write to, named with --folder",
            next_command=listing(Path(error.filename)),
        ) from error
    finally:
        if not done:
            for path in made:
                with contextlib.suppress(OSError):
                    path.unlink()


def _write(change: Change, made: list[Path]) -> None:
    if change.before is None:
        change.path.parent.mkdir(parents=True, exist_ok=True)
        with change.path.open("xb") as file:
            made.append(change.path)
            file.write(change.after)
        return
    # a link stays a link, and the file behind it keeps its permissions
    path = change.path.resolve()
    if path.read_bytes() != change.before:
        raise SettingsError(
            f"{change.path} changed while init was running; nothing was written; allowed: init once more",
            next_command=listing(change.path),
        )
    mode = path.stat().st_mode
    write_whole(path, change.after)
    path.chmod(mode)
