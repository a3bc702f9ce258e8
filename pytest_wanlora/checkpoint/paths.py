"""Which files the arguments of ``--lora`` mean."""

from __future__ import annotations

import glob
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pytest_wanlora.checkpoint.container import PICKLE_SUFFIXES, SUFFIX, is_safetensors, left_out
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import expand_home, from_here, listing
from pytest_wanlora.phrases import digits, number_of

_MAGIC = re.compile(r"[*?[]")
_PLAIN: Final[Mapping[str, float]] = MappingProxyType({})


def expand(arguments: Sequence[str]) -> tuple[Path, ...]:
    """Turn files, folders and globs into checkpoint paths.

    A folder means the ``.safetensors`` files directly in it, in letters of either case; a glob (``**``
    included) those among what it matches, and in folders that it matches. A name that exists is never taken
    for a glob. A named file is passed on whatever its suffix is: refusing it is for ``read``, which knows
    why.

    Returns:
        Unique by what they point to, as typed, sorted by folder and name with numbers as numbers:
        ``epoch-2`` comes before ``epoch-10``.

    Raises:
        CheckpointError: An argument is empty or means no file, or a file's name is no text.

    Example:
        ``expand(["runs/a", "best.safetensors", "runs/b/epoch-*"])``
    """
    if not arguments:
        raise CheckpointError(
            "--lora: no checkpoint given, allowed are files, folders and globs",
            next_command=listing(Path()),
        )
    found: dict[str, Path] = {}
    for argument in arguments:
        try:
            for path in sorted(_expand_one(argument), key=_natural):
                _require_a_name(path)
                found.setdefault(os.path.realpath(path), path)
        except CheckpointError as error:
            if not isinstance(meant := error.options.get("--lora"), str):
                raise
            changed = tuple(meant if each == argument else from_here(Path(each)) for each in arguments)
            raise CheckpointError(error.message, options={"--lora": changed}) from error
    return tuple(sorted(found.values(), key=_natural))


def others(arguments: Sequence[str]) -> tuple[Path, ...]:
    """What `expand` leaves out of folders and globs although it looks like a checkpoint: pickles and GGUF."""
    found = [path for each in arguments for path in _inside(_matches(expand_home(each))) if left_out(path)]
    return tuple(sorted(dict.fromkeys(found), key=_natural))


def unique_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Short names for several checkpoints, no two alike.

    Returns:
        In the same order: the stem; where several have it (``checkpoint-500/adapter_model``,
        ``checkpoint-1000/adapter_model``) with as many folders before it as tell most of them apart,
        joined by ``-``; what is alike even then has ``-2``, ``-3`` behind.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in paths:
        by_stem.setdefault(path.stem, []).append(path.absolute())
    return numbered([_with_folders(path.absolute(), _depth(by_stem[path.stem])) for path in paths])


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the same order, no two alike: what is alike has `-2`, `-3` behind."""
    taken: dict[str, None] = {}
    for name in names:
        ways = chain([name], (f"{name}-{number}" for number in count(2)))
        taken[next(way for way in ways if way not in taken)] = None
    return tuple(taken)


def argument_of(files: Mapping[str, Path | str], strengths: Mapping[str, float] = _PLAIN) -> str:
    """What `--lora` and `verify` take for a pair.

    Args:
        files: The file of each expert.
        strengths: Factor on each expert's LoRA; 1 where none is given.

    Example:
        >>> argument_of({"high": "a.safetensors", "low": "b.safetensors"}, {"high": 0.8, "low": 1.0})
        'high=a.safetensors@0.8,low=b.safetensors'
    """
    return ",".join(
        f"{expert}={file}" + ("" if strengths.get(expert, 1.0) == 1.0 else f"@{digits(strengths[expert])}")
        for expert, file in files.items()
    )


def argument(path: Path, halves: Mapping[str, Path], strengths: Mapping[str, float]) -> str:
    """What to give ``--lora`` to get a file, or the halves of a pair, from the current folder."""
    if not halves:
        return from_here(path)
    return argument_of({expert: from_here(each) for expert, each in halves.items()}, strengths)


def _with_folders(path: Path, depth: int) -> str:
    folders = path.parent.parts[1:]
    return "-".join((*folders[len(folders) - min(depth, len(folders)) :], path.stem))


def _depth(paths: Sequence[Path]) -> int:
    depths = range(max(len(path.parts) for path in paths))
    return max(depths, key=lambda depth: (len({_with_folders(path, depth) for path in paths}), -depth))


def _require_a_name(path: Path) -> None:
    """Refuse names that no record, log line or test id can hold, before hours of rendering."""
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in path.name):
        raise CheckpointError(
            f"--lora: {path.name!a}: its name has line breaks, control characters or bytes that are no "
            "Unicode; allowed: any other",
            # with what cannot be printed spelt out
            next_command=f"ls -lb {shlex.quote(str(path.parent))}",
        )


def _expand_one(argument: str) -> Iterable[Path]:
    if not argument.strip() or "\0" in argument:
        raise CheckpointError(
            f"--lora: {argument!r} is no path, allowed are files, folders and globs",
            next_command=listing(Path()),
        )
    try:
        path = expand_home(argument)
    except ValueError as error:
        raise CheckpointError(
            f"--lora: {argument!r}: {error}", options={"--lora": f"./{argument}"}
        ) from error
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.exists() or not _MAGIC.search(argument):
            return (path,)  # if it is missing, read names its neighbours
        matches = _matches(path)
        files = [file for file in _inside(matches) if is_safetensors(file)]
    except OSError as error:
        raise CheckpointError(
            f"--lora: {argument!r}: {error.strerror}",
            next_command=listing(Path(_fixed_folder(path))),
        ) from error
    if not files:
        seen = (
            f"it matches {number_of(len(matches), 'other')} such as {matches[0]}"
            if matches
            else "it matches nothing"
        )
        raise CheckpointError(
            f"--lora: {argument!r} matches no {SUFFIX} file; {seen}",
            next_command=f"ls -l {shlex.quote(_fixed_folder(path))}",
        )
    return files


def _in_folder(folder: Path) -> list[Path]:
    files = [file for file in _inside([folder]) if is_safetensors(file)]
    if files:
        return files
    below = next(iter(sorted(filter(is_safetensors, folder.glob("*/*")), key=_natural)), None)
    if below is not None:
        raise CheckpointError(
            f"--lora: {folder}: no {SUFFIX} file in this folder, but one in a folder below: {below}",
            options={"--lora": f"{from_here(folder)}/*"},
        )
    pickles = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in PICKLE_SUFFIXES)
    also = f"; there are pickles such as {pickles[0]}, which are never opened" if pickles else ""
    raise CheckpointError(
        f"--lora: {folder}: no {SUFFIX} file in this folder{also}",
        next_command=listing(folder),
    )


def _matches(path: Path) -> list[Path]:
    """A folder, or what a glob matches; nothing for a file that is named."""
    if path.exists() or not _MAGIC.search(str(path)):
        return [path] if path.is_dir() else []
    # an absolute pattern is nothing that Path.glob takes
    return [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207


def _inside(matches: Sequence[Path]) -> Iterable[Path]:
    """Files among matches, and those directly in folders among them."""
    for match in matches:
        if match.is_dir():
            yield from (entry for entry in match.iterdir() if not entry.is_dir())
        else:
            yield match


def _fixed_folder(path: Path) -> str:
    fixed = path
    while _MAGIC.search(str(fixed)):
        fixed = fixed.parent
    return str(fixed)


def _natural(path: Path) -> tuple[tuple[tuple[str | int, ...], ...], str]:
    absolute = path.absolute()
    return tuple(_numbers(part) for part in (*absolute.parent.parts, absolute.stem)), str(path)


def _numbers(text: str) -> tuple[str | int, ...]:
    # split by a group: texts at even places, digits at odd ones, so that equal types are compared
    pieces = re.split(r"([0-9]+)", text.casefold())
    return tuple(int(piece) if place % 2 else piece for place, piece in enumerate(pieces))
