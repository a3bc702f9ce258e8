"""Whose ini file a run goes by: never that of the folder in which a checkpoint happens to lie.

Before pytest knows an option it takes every word that names a file for the path of a test, and looks for its
ini file from there. So `--lora /data/training/epoch-2.safetensors` makes it read the settings of
`/data/training` and pass over those of the folder that the user stands in, baseline and suite among them. A
plugin comes too late to mend that, and in time to refuse it. In one word, `--lora=...`, it does not happen.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from pytest_wanlora.errors import SettingsError

__all__ = ["refuse_foreign"]

#: In the order in which pytest looks for them in a folder, with what makes them pytest's.
_SECTIONS: Final = {
    "pytest.toml": "",
    ".pytest.toml": "",
    "pytest.ini": "",
    ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
_OURS: Final = "wanlora"


def refuse_foreign(arguments: Sequence[str], taken: Path | None, here: Path) -> None:
    """Refuse a run whose settings come from the checkpoint's folder, or miss those of the user's.

    Args:
        arguments: Of the command line, without an ini file or paths of tests of the user's choice.
        taken: The ini file that pytest took.
        here: Where the user stands.

    Raises:
        SettingsError: The settings of another folder hold, or this folder's settings of the gate do not.
    """
    paths = [after for word, after in pairwise(arguments) if word == "--lora"]
    own = _own(here)
    used = taken if taken is not None and _is_pytests(taken) else None
    if not paths or used == own:
        return
    if used is not None:
        what = f"{used}: pytest reads its settings there"
    elif own is not None and _OURS in _text(own):
        what = f"{own}: pytest passes over these settings"
    else:
        return
    raise SettingsError(
        f"{what}, for it takes the path after --lora for that of a test; "
        "allowed: the settings of the folder that you stand in",
        next_command=f"write it in one word, --lora={shlex.quote(paths[0])}, or name an ini file with -c",
    )


def _own(here: Path) -> Path | None:
    """The file that pytest would read for a run without paths."""
    folders = (here, *here.parents)
    return next(
        (path for folder in folders for name in _SECTIONS if _is_pytests(path := folder / name)), None
    )


def _is_pytests(path: Path) -> bool:
    return path.is_file() and _SECTIONS.get(path.name, "") in _text(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
