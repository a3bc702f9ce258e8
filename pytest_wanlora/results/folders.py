"""The folders of runs: their records, the newest one, and the link to it."""

from __future__ import annotations

import contextlib
import logging
import secrets
from pathlib import Path
from typing import Final

from pytest_wanlora.files import DELETED

logger = logging.getLogger(__name__)

RECORD: Final = "results.json"
"""Name of a run's record in its folder."""
RUNS: Final = Path(".wanlora", "runs")
"""Where runs are kept, if nothing else is said."""
LATEST: Final = "latest"
"""Name of the link to the newest run's folder."""
REPLY: Final = "WANLORA_REPLY"
"""Environment variable that names the file for the answer of a started pytest (`hooks.reply`)."""


def records(output_dir: Path) -> tuple[Path, ...]:
    """The records of all runs, oldest first, each once although links such as `latest` lead to it as well."""
    found: dict[Path, Path] = {}
    # a folder's own name before the names of links to it
    for path in sorted(output_dir.glob(f"*/{RECORD}"), key=lambda path: path.parent.is_symlink()):
        if not path.parent.name.startswith(DELETED):
            found.setdefault(path.resolve(), path)
    return tuple(sorted(found.values(), key=lambda path: (_changed(path), path.parent.name)))


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        # `clean` may have deleted the folder
        return 0.0


def point_latest(run_folder: Path) -> None:
    """Let the symbolic link `latest`, in the same folder as the run's, point to the run's folder.

    The link is a convenience. Where none can be made (Windows without developer mode, some network file
    systems) or something that is not a link has the name, there is none, and the run's result stays the same.
    """
    link = run_folder.with_name(LATEST)
    temporary = run_folder.with_name(f".{LATEST}-{secrets.token_hex(8)}")
    try:
        if link.exists() and not link.is_symlink():
            logger.info("%s is not a link and stays as it is", link)
            return
        temporary.symlink_to(run_folder.name, target_is_directory=True)
        # renamed, so that no reader finds the link missing
        temporary.replace(link)
    except (OSError, NotImplementedError) as error:
        logger.info("%s was not made: %s", link, error)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
