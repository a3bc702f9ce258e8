"""The other half of a pair, where one file was given: what to write for it in a command."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from pytest_wanlora.checkpoint.experts import EXPERTS, named_in, says_noise
from pytest_wanlora.checkpoint.pair_names import half
from pytest_wanlora.checkpoint.paths import argument_of

#: In a command in the place of a file whose path is not known.
UNKNOWN: Final = "FILE"


def partner(path: Path) -> Path | None:
    """The other half of a file's pair, by the names of both, where it lies beside the file."""
    found = half(path)
    if found is None:
        return None
    folder, (expert, common) = path.parent, found
    places: list[Path] = []
    with suppress(OSError):
        places += sorted(each for each in folder.iterdir() if each.suffix.lower() == path.suffix.lower())
    with suppress(OSError):
        # folders of the experts, with files of equal names
        places += sorted(each / path.name for each in folder.parent.iterdir() if named_in(each.name))
    (other,) = set(EXPERTS) - {expert}
    return next((each for each in places if half(each) == (other, common) and each.is_file()), None)


def expert_of(path: Path) -> str:
    """The expert whose half of a pair a file is; empty where its name and what lies beside it do not tell.

    A word such as `low` alone may mean anything else, unless the other half is there.
    """
    found = half(path)
    if found is None or not (says_noise(path.stem) or says_noise(path.parent.name) or partner(path)):
        return ""
    return found[0]


def with_partner(expert: str, path: Path) -> dict[str, Path]:
    """A file that is given for an expert, and its partner where that lies beside it."""
    other = partner(path) if (half(path) or ("",))[0] == expert else None
    files = {each: path if each == expert else other for each in EXPERTS}
    return {each: file for each, file in files.items() if file is not None}


def as_half(path: Path, expert: str = "", *, alone: bool = False) -> str:
    """What to give `--lora` for a file as half of a pair, with its partner.

    Args:
        path: The file.
        expert: Which half it is; by default by its name, and the high-noise one where that says nothing.
        alone: Whether a partner that is unknown is left out; otherwise it is `FILE`.
    """
    files = with_partner(expert or (half(path) or ("high", path))[0], path)
    return argument_of({each: files.get(each, UNKNOWN) for each in EXPERTS if each in files or not alone})
