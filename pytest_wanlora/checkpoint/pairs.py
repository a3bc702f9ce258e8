"""Which files the arguments of ``--lora`` pair: a high-noise and a low-noise LoRA are one candidate."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_wanlora.checkpoint.container import SUFFIX, Container, is_safetensors, open_container
from pytest_wanlora.checkpoint.experts import EXPERTS, named_in, pair, refuse_dropped, split
from pytest_wanlora.checkpoint.pair_names import common, common_name, half, telling
from pytest_wanlora.checkpoint.paths import argument as argument_for
from pytest_wanlora.checkpoint.paths import argument_of, expand, others, unique_names
from pytest_wanlora.checkpoint.reading import read
from pytest_wanlora.checkpoint.record import Checkpoint
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import expand_home, from_here, listing
from pytest_wanlora.phrases import strength_of

_ROLE: Final = re.compile(r"(?:^|,)\s*([A-Za-z][\w-]*)=")
_STRENGTH: Final = re.compile(r"(.+)@([+-]?(?:\d+\.?\d*|\.\d+))")
_STRENGTHS: Final = (
    "a number from -10 to 10 behind the file, as in {}=FILE@0.8; not 0, for which its file is left out"
)


@dataclass(frozen=True)
class Asked:
    """The files of one candidate.

    Attributes:
        path: Of a LoRA that is given without an expert; of a pair a path that may not exist, with the common
            part of both names, for `unique_names`.
        halves: Of a pair, the file of each expert.
        strengths: Of a pair, the factor on each expert's LoRA.
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

    @property
    def argument(self) -> str:
        """What to give `--lora` to get it."""
        return argument_for(self.path, self.halves, self.strengths)

    def read(self, name: str) -> Checkpoint:
        """Read the files; a single file that holds the LoRAs of two experts becomes a pair too.

        Raises:
            CheckpointError: One of them cannot be read, is of a refused kind, or contradicts itself.
        """
        if self.halves:
            return pair(name, {expert: self._half(expert) for expert in self.halves}, self.strengths)
        container = open_container(self.path)
        inside = split(container.entries)
        if not inside:
            return read(container)
        return pair(name, {each: read(container, expert=each) for each in inside}, dict.fromkeys(inside, 1.0))

    def _half(self, expert: str) -> Checkpoint:
        path = self.halves[expert]
        try:
            container = open_container(path)
        except CheckpointError as error:
            # another file in the place of one that is missing, and not of the pair
            if isinstance(near := error.options.get("--lora"), str):
                meant = argument_for(path, {**self.halves, expert: Path(near)}, self.strengths)
                raise CheckpointError(error.message, options={"--lora": meant}) from error
            raise
        return read_half(container, expert, self.halves)


def read_half(path: Path | Container, expert: str, halves: Mapping[str, Path]) -> Checkpoint:
    """Read the LoRA of one expert, all of it.

    Args:
        path: Its file.
        expert: The expert; empty for a model with one denoiser.
        halves: What is given for each expert.

    Raises:
        CheckpointError: It cannot be read, or another expert's LoRA in the file would be dropped.
    """
    container = path if isinstance(path, Container) else open_container(path)
    if expert:
        refuse_dropped(container.path, split(container.entries), halves)
    return read(container, expert=expert or None)


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
    found: list[Asked] = []
    plain: list[str] = []
    at_fault: Sequence[str] = ()
    try:
        for argument in arguments:
            at_fault = (argument,)
            if roles := _roles(argument):
                found += _given(argument, roles)
                continue
            _refuse_listed(argument)
            plain.append(argument)
        if plain or not found:
            at_fault = plain
            found += _by_name(plain) if by_name else [Asked(path) for path in expand(plain)]
    except CheckpointError as error:
        if "--lora" not in error.options:
            raise
        # what was given besides stays as it is
        meant = error.options["--lora"]
        besides = [_from_here(each) for each in arguments if each not in at_fault]
        changed = (
            *besides,
            *([meant] if isinstance(meant, str) else meant if isinstance(meant, tuple) else ()),
        )
        raise CheckpointError(error.message, options={**error.options, "--lora": changed}) from error
    once: dict[object, Asked] = {}
    for each in found:
        once.setdefault((each.files, tuple(sorted(each.strengths.items()))), each)
    return tuple(once.values())


def left_out(arguments: Sequence[str]) -> tuple[str, ...]:
    """What in folders and globs of ``--lora`` is not read for its format, in one sentence if there is any."""
    by_expert = [(each, _roles(each) or {"": each}) for each in arguments]
    texts = [
        _strength(text)[0] if expert else text
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
    # what is wrong with the experts is said where all arguments are known
    parts = _cut(argument, folder)
    if not parts:
        return str(folder / expand_home(argument))
    return ",".join(f"{expert}={folder / expand_home(text) if text else ''}" for expert, text in parts)


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


def pairs_by_name(arguments: Sequence[str]) -> bool:
    """Whether every file is half of a pair by its name; explicit ``high=`` and ``low=`` do not count."""
    try:
        plain = [argument for argument in arguments if not _roles(argument)]
        return bool(plain) and all(each.halves for each in _by_name(plain))
    except CheckpointError:
        return False


def _roles(argument: str) -> dict[str, str]:
    """The parts of ``high=A,low=B``; empty for a path."""
    found: dict[str, str] = {}
    parts = _cut(argument, Path())
    for expert, text in parts:
        if expert not in EXPERTS or expert in found or not text:
            problem = "is given twice" if expert in found else "has no file" if not text else "is no expert"
            meant = {_expert_meant(name): _from_here(known) for name, known in parts if known}
            if not meant.keys() <= set(EXPERTS) or len(meant) < len(parts):
                meant = {name: _from_here(known) for name, known in found.items()}
            kept = argument_of(meant)
            raise CheckpointError(
                f"--lora: {argument!r}: {expert} {problem}; allowed: high=FILE, low=FILE or both, once each",
                next_command=None if kept else listing(Path()),
                options={"--lora": kept} if kept else None,
            )
        found[expert] = text
    return found


def _expert_meant(name: str) -> str:
    """The expert that a name is short for or a slip of, such as `hi`; else the name."""
    return next(iter(difflib.get_close_matches(name.lower(), EXPERTS, n=1)), name)


def _cut(argument: str, folder: Path) -> list[tuple[str, str]]:
    """The parts of ``high=A,low=B`` as they are written; what looks like one may be part of a file's name.

    Empty for a path, also for one with such a name that exists.
    """
    if not _ROLE.match(argument) or os.path.lexists(folder / argument):
        return []
    places = list(_ROLE.finditer(argument))
    ends = [place.start() for place in places[1:]] + [len(argument)]
    whole = [(place[1], argument[place.end() : end].strip()) for place, end in zip(places, ends, strict=True)]
    first = places[0]
    ways = [[(first[1], argument[first.end() :].strip())]]
    ways += [
        [(first[1], argument[first.end() : each.start()].strip()), (each[1], argument[each.end() :].strip())]
        for each in places[1:]
        if {first[1], each[1]} == set(EXPERTS)
    ]
    meant = (way for way in ways if all(_is_there(folder, text) for _, text in way))
    return next(meant, whole)


def _is_there(folder: Path, text: str) -> bool:
    """Whether a text is a file, folder or glob that matches, with or without a strength behind it."""
    # what stands behind an @ may be no strength, and holds no further half
    behind = re.fullmatch(r"(.+)@[^@=]*", text)
    for each in (text, behind[1] if behind else ""):
        try:
            path = folder / expand_home(each)
        except ValueError:
            continue
        # an absolute pattern is nothing that Path.glob takes
        if each and (os.path.lexists(path) or glob.glob(str(path), recursive=True)):  # noqa: PTH207
            return True
    return False


def _from_here(argument: str) -> str:
    """An argument with its paths from the current folder."""
    roles = _roles(argument)
    if not roles:
        return from_here(Path(argument))
    return argument_of({expert: from_here(Path(text)) for expert, text in roles.items()})


def _refuse_listed(argument: str) -> None:
    """Refuse a strength behind a file without an expert, and files that are separated by commas."""
    where, strength = _strength(argument)
    if where != argument and os.path.lexists(where):
        raise CheckpointError(
            f"--lora: {argument!r}: no such file; allowed: --wanlora-scale {strength:g}, or a strength "
            "behind the file of an expert, as in high=FILE@0.8",
            options={"--lora": from_here(Path(where)), "--wanlora-scale": f"{strength:g}"},
        )
    parts = [each.strip() for each in argument.split(",")]
    if os.path.lexists(argument) or len(parts) < 2 or not all(map(os.path.lexists, parts)):
        return
    named = [half(Path(each)) for each in parts]
    halves = {said[0]: Path(part) for said, part in zip(named, parts, strict=True) if said is not None}
    pair_of = argument_for(Path(), {each: halves[each] for each in EXPERTS if each in halves}, {})
    raise CheckpointError(
        f"--lora: {argument!r}: no such file; it is a list of {len(parts)} that are there; allowed: "
        "high=FILE,low=FILE for the halves of a pair, or --lora once for each checkpoint",
        options={"--lora": pair_of if len(halves) == len(parts) else tuple(map(_from_here, parts))},
    )


def _given(argument: str, roles: Mapping[str, str]) -> list[Asked]:
    """The pairs of one argument that names its experts."""
    _refuse_strengths(argument, roles)
    files: dict[str, dict[str, Path]] = {}
    strengths: dict[str, float] = {}
    for expert, text in roles.items():
        where, strengths[expert] = _strength(text)
        try:
            files[expert] = _by_stem(argument, expert, expand([where]))
        except CheckpointError as error:
            if not isinstance(meant := error.options.get("--lora"), tuple):
                raise
            of = {name: from_here(Path(each)) for name, each in roles.items()} | {expert: meant[0]}
            raise CheckpointError(error.message, options={"--lora": argument_of(of)}) from error
    if len(files) == 1:
        ((expert, own),) = files.items()
        return [Asked(path, {expert: path}, strengths) for path in own.values()]
    high, low = (files[expert] for expert in EXPERTS)
    if len(high) == len(low) == 1:
        # whatever they are called: both were named
        ((one, first),), ((other, second),) = high.items(), low.items()
        return [Asked(common(first, second, one, other), {"high": first, "low": second}, strengths)]
    found = [
        Asked(common(high[stem], low[stem], stem, stem), {"high": high[stem], "low": low[stem]}, strengths)
        for stem in high
        if stem in low
    ]
    alone = [
        Asked(path, {expert: path}, strengths)
        for expert, own, others in (("high", high, low), ("low", low, high))
        for stem, path in own.items()
        if stem not in others
    ]
    _refuse_alone(alone, found, f"{argument!r}: ")
    return found


def _strength(text: str) -> tuple[str, float]:
    found = None if os.path.lexists(text) else _STRENGTH.fullmatch(text)
    return (text, 1.0) if found is None else (found[1], float(found[2]))


def _refuse_strengths(argument: str, roles: Mapping[str, str]) -> None:
    """Refuse what stands behind the file of an expert and is no strength that a LoRA may have."""
    wrong: dict[str, str] = {}
    meant = {}
    for expert, text in roles.items():
        path, at, said = text.rpartition("@")
        known, strength = _strength(text)
        number = known != text
        # a name that ends so is a name
        words = bool(at) and not number and not os.path.lexists(text) and _is_there(Path(), path)
        if words or (number and not 0 < abs(strength) <= 10):
            wrong[expert] = said
        meant[expert] = f"{path}@1" if expert in wrong else text
    for expert, said in wrong.items():
        raise CheckpointError(
            f"--lora: {argument!r}: the strength of {expert} is {said}; allowed: {_STRENGTHS.format(expert)}",
            options={"--lora": argument_of({name: from_here(Path(text)) for name, text in meant.items()})},
        )


def _by_stem(argument: str, expert: str, paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        stem = common_name(path)
        if stem in found:
            raise CheckpointError(
                f"--lora: {argument!r}: {found[stem]} and {path} are both the {expert}-noise half of "
                f"{telling(path.with_name(f'{stem}.safetensors')).stem!r}; allowed: one",
                options={"--lora": f"{expert}={from_here(found[stem])}"},
            )
        found[stem] = path
    return found


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
                options={"--lora": f"{expert}={from_here(path)}"},
            )
        place[expert] = path
    pairs = [
        Asked(telling(common), {expert: of[expert] for expert in EXPERTS}, dict.fromkeys(EXPERTS, 1.0))
        for common, of in halves.items()
        if len(of) > 1
    ]
    alone = [Asked(path, of) for of in halves.values() if len(of) == 1 for path in of.values()]
    _refuse_alone(alone, [*pairs, *single], "")
    return [*pairs, *single]


def _folders_of_experts(argument: str) -> list[str]:
    """A folder's folders for the experts, as DiffSynth leaves them, where it has no file of its own."""
    folder = Path(argument)
    if not folder.is_dir() or any(map(is_safetensors, folder.iterdir())):
        return [argument]
    below = [str(each) for each in sorted(folder.iterdir()) if each.is_dir() and named_in(each.name)]
    return [each for each in below if any(map(is_safetensors, Path(each).iterdir()))] or [argument]


def _refuse_alone(alone: Sequence[Asked], others: Sequence[Asked], where: str) -> None:
    """Refuse halves of a pair whose other half is not there."""
    if not alone:
        return
    paths = sorted(each.path for each in alone)
    listed = ", ".join(map(str, paths[:5])) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    raise CheckpointError(
        f"--lora: {where}no partner for {listed}; allowed: a high-noise and a low-noise file of the same "
        "name, or one of them on purpose",
        options={"--lora": tuple(each.argument for each in (*others, *alone))},
    )


def names_experts(argument: str) -> bool:
    """Whether an argument is ``high=A,low=B``, and no path of such a name.

    Raises:
        CheckpointError: It names an expert that there is not, one twice, or one without a file.
    """
    return bool(_roles(argument))
