"""Which files the arguments of ``--lora`` pair: a high-noise and a low-noise LoRA are one candidate."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_wanlora.checkpoint.container import SUFFIX, Container, alike, is_safetensors, open_container
from pytest_wanlora.checkpoint.experts import EXPERTS, named_in, pair, refuse_dropped, split
from pytest_wanlora.checkpoint.pair_names import common, common_name, half, telling
from pytest_wanlora.checkpoint.pair_words import (
    from_this_folder,
    names_experts,
    parts_of,
    refuse_strengths,
    roles_in,
    split_strength,
)
from pytest_wanlora.checkpoint.partners import as_half, partner, with_partner
from pytest_wanlora.checkpoint.paths import argument as argument_for
from pytest_wanlora.checkpoint.paths import argument_of, expand, numbered, others, unique_names
from pytest_wanlora.checkpoint.reading import read
from pytest_wanlora.checkpoint.record import Checkpoint
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import expand_home, from_here, listing
from pytest_wanlora.phrases import digits, strength_of


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
            return read_half(path, expert, self.halves)
        except CheckpointError as error:
            if os.path.lexists(path):
                if "--lora" not in error.options or len(self.halves) == 1:
                    raise
                # what it says of this file would leave out the other one
                files = dict.fromkeys(map(from_here, self.halves.values()))
                command = shlex.join(["python", "-m", "pytest_wanlora", "inspect", *files])
                raise CheckpointError(error.message, next_command=command) from error
            meant = {each: self._meant(each) for each in self.halves}
            known = {each: file for each, file in meant.items() if file is not None}
            if len(known) < len(meant):
                raise CheckpointError(error.message, next_command=listing(path)) from error
            instead = argument_for(path, known, self.strengths)
            raise CheckpointError(error.message, options={"--lora": instead}) from error

    def _meant(self, expert: str) -> Path | None:
        """The file of one expert; where it is missing the partner of the other, or one of a similar name."""
        path = self.halves[expert]
        if os.path.lexists(path):
            return path
        others = {os.path.realpath(each): each for other, each in self.halves.items() if other != expert}
        near, partners = alike(path), [*filter(None, map(partner, others.values()))]
        # a likeness may be by chance; a name without its suffix is none
        same = [each for each in near if each.stem in (path.stem, path.name)]
        near = [*same, *partners, *near]
        # not the other half once more
        fitting = (
            each
            for each in near
            if os.path.realpath(each) not in others and (half(each) or (expert,))[0] == expert
        )
        return next(fitting, None)


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
            if roles := roles_in(argument):
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
        besides = [from_this_folder(each) for each in arguments if each not in at_fault]
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
    by_expert = [(each, roles_in(each) or {"": each}) for each in arguments]
    texts = [
        split_strength(text)[0] if expert else text
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
    parts = parts_of(argument, folder)
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
    # a file may be called as a pair at a strength is
    return numbered(
        [
            names[each.files]
            if len(files[each.files]) == 1
            else f"{names[each.files]}@{strength_of(1.0, each.strengths).replace(' ', '')}"
            for each in candidates
        ]
    )


def pairs_by_name(arguments: Sequence[str]) -> bool:
    """Whether every file is half of a pair by its name; explicit ``high=`` and ``low=`` do not count."""
    try:
        plain = [argument for argument in arguments if not roles_in(argument)]
        return bool(plain) and all(each.halves for each in _by_name(plain))
    except CheckpointError:
        return False


def _refuse_listed(argument: str) -> None:
    """Refuse a strength behind a file without an expert, and files that are separated by commas."""
    where, strength = split_strength(argument)
    if where != argument and os.path.lexists(where):
        raise CheckpointError(
            f"--lora: {argument!r}: no such file; allowed: --wanlora-scale {digits(strength)}, or a strength "
            "behind the file of an expert, as in high=FILE@0.8",
            options={"--lora": from_here(Path(where)), "--wanlora-scale": digits(strength)},
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
        options={"--lora": pair_of if len(halves) == len(parts) else tuple(map(from_this_folder, parts))},
    )


def _given(argument: str, roles: Mapping[str, str]) -> list[Asked]:
    """The pairs of one argument that names its experts."""
    refuse_strengths(argument, roles)
    files: dict[str, dict[str, Path]] = {}
    strengths: dict[str, float] = {}
    for expert, text in roles.items():
        where, strengths[expert] = split_strength(text)
        try:
            paths = expand([where])
        except CheckpointError as error:
            if not isinstance(meant := error.options.get("--lora"), tuple):
                raise
            of = {name: from_here(Path(each)) for name, each in roles.items()} | {expert: meant[0]}
            raise CheckpointError(error.message, options={"--lora": argument_of(of)}) from error
        files[expert] = _by_stem(argument, expert, paths, roles)
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


def _by_stem(argument: str, expert: str, paths: Iterable[Path], roles: Mapping[str, str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        stem = common_name(path)
        if stem in found:
            by_name = _paired(roles)
            raise CheckpointError(
                f"--lora: {argument!r}: {found[stem]} and {path} are both the {expert}-noise half of "
                f"{telling(path.with_name(f'{stem}.safetensors')).stem!r}; allowed: one",
                next_command=None if by_name else listing(path),
                options={"--lora": by_name} if by_name else None,
            )
        found[stem] = path
    return found


def _paired(roles: Mapping[str, str]) -> tuple[str, ...]:
    """The pairs of all files that are given for the experts, by their names; empty if they make none."""
    where = {expert: split_strength(text) for expert, text in roles.items()}
    strengths = {expert: strength for expert, (_, strength) in where.items()}
    with suppress(CheckpointError):
        found = _by_name([text for text, _ in where.values()])
        if all(each.halves for each in found):
            return tuple(argument_for(each.path, each.halves, strengths) for each in found)
    return ()


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
                next_command=listing(path.parent),
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
    whole = [_whole(each) for each in alone]
    left = [each for each in whole if len(each.halves) == 1] or whole
    paths = sorted(each.path for each in left)
    listed = ", ".join(map(str, paths[:5])) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    words = f"no partner for {listed}; allowed: a high-noise and a low-noise file of the same name"
    if len(left[0].halves) > 1:
        words = f"half of a pair alone, {listed}, and its other half lies beside it; allowed: both"
    # two halves that were typed are not gated each with the base model, nor are they a pair by their names
    unclear = len({expert for each in left for expert in each.halves}) > 1 and left is not whole
    raise CheckpointError(
        f"--lora: {where}{words}, or one of them on purpose",
        next_command=listing(paths[0].parent) if unclear else None,
        options=None if unclear else {"--lora": tuple(each.argument for each in (*others, *whole))},
    )


def _whole(alone: Asked) -> Asked:
    """Half of a pair with its partner, where that lies beside it."""
    ((expert, path),) = alone.halves.items()
    return replace(alone, halves=with_partner(expert, path))


def for_experts(argument: Path) -> str:
    """What to give `--lora` on a suite with two experts: as it is where it, or the file, names them."""
    with suppress(CheckpointError):
        if names_experts(str(argument)) or split(open_container(argument).entries):
            return str(argument)
    return as_half(argument)
