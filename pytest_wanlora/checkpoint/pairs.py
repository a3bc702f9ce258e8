"""Which files the arguments of ``--lora`` pair: a high-noise and a low-noise LoRA are one candidate."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_wanlora.checkpoint.container import SUFFIX, is_safetensors, open_container
from pytest_wanlora.checkpoint.experts import EXPERTS, named_in, pair, split
from pytest_wanlora.checkpoint.paths import expand, others, unique_names
from pytest_wanlora.checkpoint.reading import read
from pytest_wanlora.checkpoint.record import Checkpoint
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import expand_home, from_here, listing
from pytest_wanlora.phrases import strength_of

_ROLE: Final = re.compile(r"(?:^|,)\s*([A-Za-z][\w-]*)=")
# what is left of `high_noise_model` without the word for the expert tells nobody which LoRA it is
_SAYS_NOTHING: Final = re.compile(r"(?i:[\W_]|models?|loras?|weights|adapters?)*")
_STRENGTH: Final = re.compile(r"(.+)@([+-]?(?:\d+\.?\d*|\.\d+))")


def _alone(expert: str, path: Path | str) -> str:
    """The command that gates one file as one expert's LoRA."""
    return f"pytest --lora {shlex.quote(f'{expert}={path}')}"


@dataclass(frozen=True)
class Asked:
    """The files of one candidate.

    Attributes:
        path: Of a LoRA that is given without an expert; of a pair a path that may not exist, with the common
            part of both names, for `unique_names`.
        halves: Of a pair, the file of each expert.
    """

    path: Path
    halves: Mapping[str, Path] = field(default_factory=dict)
    strengths: Mapping[str, float] = field(default_factory=dict)

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Expert and real path of each file; of a LoRA that is given without an expert, an empty one."""
        return tuple((expert, os.path.realpath(path)) for expert, path in self._halves.items())

    @property
    def _halves(self) -> Mapping[str, Path]:
        return self.halves or {"": self.path}

    def read(self, name: str) -> Checkpoint:
        """Read the files; a single file that holds the LoRAs of two experts becomes a pair too.

        Raises:
            CheckpointError: One of them cannot be read, is of a refused kind, or contradicts itself.
        """
        if self.halves:
            parts = {expert: read(path, expert=expert) for expert, path in self.halves.items()}
            return pair(name, parts, self.strengths)
        container = open_container(self.path)
        inside = split(container.entries)
        if not inside:
            return read(container)
        return pair(name, {each: read(container, expert=each) for each in inside}, dict.fromkeys(inside, 1.0))


def asked(arguments: Sequence[str], *, by_name: bool) -> tuple[Asked, ...]:
    """Turn the arguments of ``--lora`` into candidates.

    Args:
        arguments: Files, folders, globs, or ``high=A,low=B`` with such on the right; ``@0.8`` after one is
            the factor on that expert's LoRA.
        by_name: Whether files and folders without ``high=`` and ``low=`` are paired by their names: for a
            model with two experts.

    Returns:
        Sorted like `expand`, each once: the same files at the same strengths are one candidate.

    Raises:
        CheckpointError: An argument means no file, or halves have no partner; names them.
    """
    given = [(argument, _roles(argument)) for argument in arguments]
    found = [each for argument, roles in given if roles for each in _given(argument, roles)]
    plain = [argument for argument, roles in given if not roles]
    if plain or not found:
        found += _by_name(plain) if by_name else [Asked(path) for path in expand(plain)]
    once: dict[object, Asked] = {}
    for each in found:
        once.setdefault((each.files, tuple(sorted(each.strengths.items()))), each)
    return tuple(once.values())


def left_out(arguments: Sequence[str]) -> tuple[str, ...]:
    """What in folders and globs of ``--lora`` is not read for its format, in one sentence if there is any."""
    by_expert = [(each, _roles(each) or {"": each}) for each in arguments]
    texts = [
        _strength(argument, expert, text)[0] if expert else text
        for argument, roles in by_expert
        for expert, text in roles.items()
    ]
    found = [
        from_here(path) for path in others([below for each in texts for below in _folders_of_experts(each)])
    ]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (f"left out: {', '.join(found[:3])}{more}; only {SUFFIX} files are read",) if found else ()


def absolute(argument: str, folder: Path) -> str:
    """Make the paths in an argument of ``--lora`` absolute.

    Raises:
        ValueError: A folder of a user who does not exist.
    """
    roles = {} if os.path.lexists(folder / argument) else _roles(argument)
    if not roles:
        return str(folder / expand_home(argument))
    return ",".join(f"{expert}={folder / expand_home(text)}" for expert, text in roles.items())


def argument_of(files: Mapping[str, str], strengths: Mapping[str, float]) -> str:
    """What `--lora` and `verify` take for a pair.

    Args:
        files: The file of each expert.
        strengths: Factor on each expert's LoRA.

    Example:
        >>> argument_of({"high": "a.safetensors", "low": "b.safetensors"}, {"high": 0.8, "low": 1.0})
        'high=a.safetensors@0.8,low=b.safetensors'
    """
    return ",".join(
        f"{expert}={file}" + ("" if strengths[expert] == 1.0 else f"@{strengths[expert]:g}")
        for expert, file in files.items()
    )


def names_of(candidates: Sequence[Asked]) -> tuple[str, ...]:
    """Short names of candidates, no two alike; a pair has the common part of its files' names.

    The same pair at several strengths has these in its names: ``seoul@high0.5,low1``.
    """
    files: dict[object, list[Asked]] = {}
    for each in candidates:
        files.setdefault(each.files, []).append(each)
    names = dict(zip(files, unique_names([of[0].path for of in files.values()]), strict=True))
    return tuple(
        names[each.files]
        if len(files[each.files]) == 1
        else f"{names[each.files]}@{strength_of(1.0, each.strengths).replace(' ', '')}"
        for each in candidates
    )


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


def pairs_by_name(arguments: Sequence[str]) -> bool:
    """Whether every file is half of a pair by its name; explicit ``high=`` and ``low=`` do not count."""
    try:
        plain = [argument for argument in arguments if not _roles(argument)]
        return bool(plain) and all(each.halves for each in _by_name(plain))
    except CheckpointError:
        return False


def _roles(argument: str) -> dict[str, str]:
    """The parts of ``high=A,low=B``; empty for a path, also for one with such a name that exists."""
    if not _ROLE.match(argument) or os.path.lexists(argument):
        return {}
    places = list(_ROLE.finditer(argument))
    ends = [place.start() for place in places[1:]] + [len(argument)]
    found: dict[str, str] = {}
    for place, end in zip(places, ends, strict=True):
        expert, text = place[1], argument[place.end() : end].strip()
        if expert not in EXPERTS or expert in found or not text:
            problem = "is given twice" if expert in found else "has no file" if not text else "is no expert"
            raise CheckpointError(
                f"--lora: {argument!r}: {expert} {problem}; allowed: high=FILE, low=FILE or both, once each",
                next_command=_alone(*next(iter(found.items()))) if found else listing(Path()),
            )
        found[expert] = text
    return found


def _given(argument: str, roles: Mapping[str, str]) -> list[Asked]:
    """The pairs of one argument that names its experts."""
    files: dict[str, dict[str, Path]] = {}
    strengths: dict[str, float] = {}
    for expert, text in roles.items():
        where, strengths[expert] = _strength(argument, expert, text)
        files[expert] = _by_stem(argument, expert, expand([where]))
    if len(files) == 1:
        ((expert, own),) = files.items()
        return [Asked(path, {expert: path}, strengths) for path in own.values()]
    high, low = (files[expert] for expert in EXPERTS)
    if len(high) == len(low) == 1:
        # whatever they are called: both were named
        ((one, first),), ((other, second),) = high.items(), low.items()
        return [Asked(_common(first, second, one, other), {"high": first, "low": second}, strengths)]
    _refuse_alone(
        [high[stem] for stem in high.keys() - low.keys()] + [low[stem] for stem in low.keys() - high.keys()],
        argument,
    )
    return [
        Asked(_common(high[stem], low[stem], stem, stem), {"high": high[stem], "low": low[stem]}, strengths)
        for stem in high
    ]


def _strength(argument: str, expert: str, text: str) -> tuple[str, float]:
    found = None if os.path.lexists(text) else _STRENGTH.fullmatch(text)
    if found is None:
        return text, 1.0
    if float(found[2]) == 0.0 or abs(float(found[2])) > 10:
        raise CheckpointError(
            f"--lora: {argument!r}: the strength of {expert} is {found[2]}; "
            "allowed: a number from -10 to 10, not 0, or no file for it",
            next_command=f"pytest --lora {shlex.quote(argument.replace(text, f'{found[1]}@1'))}",
        )
    return found[1], float(found[2])


def _by_stem(argument: str, expert: str, paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        stem = common_name(path)
        if stem in found:
            raise CheckpointError(
                f"--lora: {argument!r}: {found[stem]} and {path} are both the {expert}-noise half of "
                f"{telling(path.with_name(f'{stem}.safetensors')).stem!r}; allowed: one",
                next_command=_alone(expert, found[stem]),
            )
        found[stem] = path
    return found


def _common(first: Path, second: Path, one: str, other: str) -> Path:
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


def _by_name(arguments: Sequence[str]) -> list[Asked]:
    """Pair files by the word for the expert in their name, or in that of their folder."""
    halves: dict[Path, dict[str, Path]] = {}
    single: list[Asked] = []
    for path in expand([below for each in arguments for below in _folders_of_experts(each)]):
        found = half(path)
        if found is None:
            single.append(Asked(path))
            continue
        expert, common = found
        place = halves.setdefault(common, {})
        if expert in place:
            raise CheckpointError(
                f"--lora: {place[expert]} and {path} are both the {expert}-noise half of "
                f"{telling(common).stem!r}; "
                "allowed: one",
                next_command=_alone(expert, path),
            )
        place[expert] = path
    _refuse_alone([each for of in halves.values() if len(of) == 1 for each in of.values()], "")
    pairs = [
        Asked(telling(common), {expert: of[expert] for expert in EXPERTS}, dict.fromkeys(EXPERTS, 1.0))
        for common, of in halves.items()
    ]
    return [*pairs, *single]


def _folders_of_experts(argument: str) -> list[str]:
    """A folder's folders for the experts, as DiffSynth leaves them, where it has no file of its own."""
    folder = Path(argument)
    if not folder.is_dir() or any(map(is_safetensors, folder.iterdir())):
        return [argument]
    below = [str(each) for each in sorted(folder.iterdir()) if each.is_dir() and named_in(each.name)]
    return [each for each in below if any(map(is_safetensors, Path(each).iterdir()))] or [argument]


def _refuse_alone(paths: Iterable[Path], argument: str) -> None:
    """Refuse halves of a pair whose other half is not there."""
    alone = sorted(paths)
    if not alone:
        return
    where = f"{argument!r}: " if argument else ""
    listed = ", ".join(map(str, alone[:5])) + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
    expert = (named_in(alone[0].stem) or named_in(alone[0].parent.name) or ("high", ""))[0]
    raise CheckpointError(
        f"--lora: {where}no partner for {listed}; allowed: a high-noise and a low-noise file of the same "
        "name, or one of them on purpose",
        next_command=_alone(expert, alone[0]),
    )


def names_experts(argument: str) -> bool:
    """Whether an argument is ``high=A,low=B``, and no path of such a name.

    Raises:
        CheckpointError: It names an expert that there is not, one twice, or one without a file.
    """
    return bool(_roles(argument))
