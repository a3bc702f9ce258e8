"""What the names of files say of pairs: which half one is, and what a pair is called."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Final

from pytest_wanlora.checkpoint.experts import named_in

# what is left of `high_noise_model` without the word for the expert tells nobody which LoRA it is
_SAYS_NOTHING: Final = re.compile(r"(?i:[\W_]|models?|loras?|weights|adapters?)*")


def common_name(path: Path) -> str:
    """What the name of a file has in common with that of the pair's other file."""
    return (named_in(path.stem) or ("", path.stem))[1]


def half(path: Path) -> tuple[str, Path] | None:
    """The expert that a file's name, or that of its folder, says, and the path that stands for the pair.

    None where neither says one. `telling` makes the pair's name of that path.
    """
    own, above = named_in(path.stem), named_in(path.parent.name)
    if own is None and above is None:
        return None
    expert, stem = own or (above[0] if above else "", path.stem)
    return expert, _plain_folder(path) / f"{stem}.safetensors"


def telling(common: Path) -> Path:
    """The path that names a pair: where the common part of its files' names says nothing, by a folder.

    Example:
        >>> telling(Path("/out/seoul/.safetensors")).stem, telling(Path("/out/seoul/model.safetensors")).stem
        ('seoul', 'seoul-model')
    """
    stem = common.name.removesuffix(".safetensors")
    if not _SAYS_NOTHING.fullmatch(stem):
        return common
    # of `..` and `.` there is no name
    for folder in Path(os.path.abspath(common)).parents:  # noqa: PTH100
        said = (named_in(folder.name) or ("", folder.name))[1]
        if not _SAYS_NOTHING.fullmatch(said):
            return folder.parent / f"{'-'.join(filter(None, (said, stem)))}.safetensors"
    return common.with_name(f"{stem or 'pair'}.safetensors")


def common(first: Path, second: Path, one: str, other: str) -> Path:
    """A path for the name of a pair: the common part of the names, in the common folder."""
    letters = zip(one, other, strict=False)
    alike = "".join(first for first, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], letters))
    shared = one if one == other else alike.rstrip(" ._-")
    stem = shared or "-".join(filter(None, (one, other)))
    folders = [_plain_folder(path) for path in (first, second)]
    folder = folders[0] if folders[0] == folders[1] else first.parent
    return telling(folder / f"{stem}.safetensors")


def _plain_folder(path: Path) -> Path:
    """A file's folder, without the word for an expert where the folder has it and not the file."""
    said = None if named_in(path.stem) else named_in(path.parent.name)
    if said is None:
        return path.parent
    # of a folder called by the word alone, the one above
    return path.parent.with_name(said[1]) if said[1] else path.parent.parent
