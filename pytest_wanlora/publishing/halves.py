"""Which files a receipt is for, where they are not the ones that were given to `verify`: halves of pairs.

A receipt's digest of a pair is made of the digests of its halves. So whether files are its halves, and which
of them is which, is found out by making that digest of them again; earlier receipts tell no more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.checkpoint.experts import EXPERTS
from pytest_wanlora.checkpoint.pair_words import names_experts
from pytest_wanlora.checkpoint.partners import UNKNOWN, as_half, partner
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import file_sha256, json_sha256, listing, parse_json, read_regular
from pytest_wanlora.publishing.predicate import Checkpoint, Subject

_WHERE: Final = "the run's results.json beside the receipt would have said"


@dataclass(frozen=True)
class Given:
    """What is to be published.

    Attributes:
        argument: As it was typed.
        sha256: Of the file; of a pair as `Checkpoint.sha256` has it.
        files: Expert to its file and that file's SHA-256; under an empty expert a file given for none.
        pair: What `high=A,low=B` means; None for a file.
    """

    argument: Path
    sha256: str
    files: Mapping[str, tuple[Path, str]]
    pair: checkpoints.Checkpoint | None = None


@dataclass(frozen=True)
class Meant:
    """What the receipt is for instead.

    Attributes:
        problem: What is wrong with what was given.
        argument: What to give instead, as far as it is known; empty where nothing better is known.
    """

    problem: str
    argument: str = ""


@dataclass(frozen=True)
class _Half:
    """A file that the receipt is for; without a path where it was not found here."""

    name: str
    sha256: str
    path: Path | None = field(default=None, compare=False)


def given(argument: Path) -> Given:
    """Read what is to be published.

    Raises:
        CheckpointError: A file cannot be read, or several pairs are meant.
    """
    folder = argument.is_dir()
    if folder or names_experts(str(argument)):
        # as `--lora` takes it
        found = checkpoints.asked([str(argument)], by_name=folder)
        if len(found) > 1:
            first = checkpoints.argument_of(found[0].halves) or found[0].path
            what = "checkpoints" if folder else "pairs"
            raise CheckpointError(
                f"{argument}: {len(found)} {what}; allowed: one, such as {first}",
                next_command=listing(argument if folder else next(iter(found[0].halves.values()))),
            )
        if found[0].halves:
            pair = found[0].read("pair")
            files = {expert: (each.path, each.sha256) for expert, each in pair.experts.items()}
            return Given(argument, pair.sha256, files, pair)
        argument = found[0].path
    try:
        sha256 = file_sha256(argument)
    except OSError as error:
        raise CheckpointError(
            f"{argument}: cannot be read: {error.strerror}; allowed: the file that is to be published",
            next_command=listing(argument),
        ) from error
    return Given(argument, sha256, {"": (argument, sha256)})


def meant(files: Given, subject: Subject, known: Checkpoint, record: Path) -> Meant:
    """Say why other files than those of a receipt were given, as exactly as can be told.

    Args:
        files: Whose digest is not the receipt's.
        subject: Of the receipt.
        known: What the receipt says of the checkpoint.
        record: Where the run's record is if it lies beside the receipt; it has the digest of each half, which
            receipts of an earlier version have not.
    """
    own = [_Half(path.name, sha256, path) for path, sha256 in files.files.values()]
    beside = [] if (found := _made_of(own, subject)) else _beside(files, subject)
    if beside and (other := _made_of([*own, *beside], subject)) is not None:
        # who gives other files altogether wants to publish those
        found = other if any(each in own for each in other.values()) else None
    found = found or _told(_stated(known) or _recorded(record, subject), subject, [*own, *beside])
    if found is None:
        return _unknown(files, subject)
    problem = "; ".join(_wrong(files, found, subject))
    unknown = [each for each in found.values() if each.path is None]
    if not unknown or (len(files.files) < len(found) and len(unknown) < len(found)):
        return Meant(problem, _argument(files, found, known))
    # where the gate's files are nobody knows here: what was given can be gated
    return Meant(problem)


def _made_of(halves: Sequence[_Half], subject: Subject) -> dict[str, _Half] | None:
    """The files, by expert, whose digests give the receipt's; under an empty expert one file by itself."""
    for each in halves:
        if each.sha256 == subject.digest.sha256:
            return {"": each}
    for high, low in itertools.product((None, *halves), repeat=2):
        both = zip(EXPERTS, (high, low), strict=True)
        found = {expert: half for expert, half in both if half is not None}
        if found and _is_of(found, subject):
            return found
    return None


def _is_of(found: Mapping[str, _Half], subject: Subject) -> bool:
    return json_sha256({expert: half.sha256 for expert, half in found.items()}) == subject.digest.sha256


def _beside(files: Given, subject: Subject) -> list[_Half]:
    """Files that may be what is missing: those of the receipt's names, and partners by name."""
    places: dict[Path, None] = {}
    for path, _ in files.files.values():
        # of the receipt nothing but names: a path in it could lead anywhere
        names = [Path(name).name for name in subject.name.split(", ")]
        places |= dict.fromkeys(path.parent / name for name in names)
        if (other := partner(path)) is not None:
            places[other] = None
    known = [path for path, _ in files.files.values()]
    found = []
    for place in places:
        with suppress(OSError, ValueError):
            if place.is_file() and not any(place.samefile(path) for path in known):
                found.append(_Half(place.name, file_sha256(place), place))
    return found


def _stated(known: Checkpoint) -> dict[str, _Half]:
    """The halves by the receipt itself."""
    return {str(expert): _Half(half.name, half.digest.sha256) for expert, half in known.halves.items()}


def _recorded(record: Path, subject: Subject) -> dict[str, _Half]:
    """The halves by the run's record; empty where it does not tell."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        for card in parse_json(read_regular(record))["candidates"]:
            if card["sha256"] == subject.digest.sha256:
                experts = card["checkpoint"]["experts"]
                return {each: _Half(half["file"], half["sha256"]) for each, half in experts.items()}
    return {}


def _told(found: Mapping[str, _Half], subject: Subject, here: Sequence[_Half]) -> dict[str, _Half] | None:
    """Halves with their paths; they are believed if their digests give the receipt's."""
    if not found or not found.keys() <= set(EXPERTS) or not _is_of(found, subject):
        return None
    paths = {half.sha256: half.path for half in here}
    return {expert: _Half(half.name, half.sha256, paths.get(half.sha256)) for expert, half in found.items()}


def _wrong(files: Given, found: Mapping[str, _Half], subject: Subject) -> Iterable[str]:
    """What differs between the files that were given and those of the receipt."""
    own = {expert: sha256 for expert, (_, sha256) in files.files.items()}
    theirs = {expert: half.sha256 for expert, half in found.items()}
    of: dict[str, str] = {}
    for expert, half in found.items():
        also = f"{of[half.sha256]} and " if half.sha256 in of else ""
        of[half.sha256] = f"{also}the {expert}-noise half"
    if "" in found:
        yield (
            f"{files.argument}: the receipt is for the one file {found[''].name}, not for the LoRA of "
            f"{' and '.join(f'the {expert}-noise expert' for expert in own)}"
        )
        return
    if len(own) == len(theirs) == 2 and (own["high"], own["low"]) == (theirs["low"], theirs["high"]):
        yield (
            f"{files.argument}: the halves are swapped: {found['high'].name} is the high-noise half of the "
            f"receipt and {found['low'].name} the low-noise one"
        )
        return
    for expert, (path, sha256) in files.files.items():
        if theirs.get(expert) == sha256 and len(own) >= len(theirs):
            continue
        if sha256 in of:
            as_other = f", given as {expert or 'no half'}" if theirs.get(expert) != sha256 else ""
            yield f"{path}: it is {of[sha256]} of the receipt{as_other}"
        elif expert in found:
            yield (
                f"{path}: its SHA-256 is {sha256}, that of the receipt's {expert}-noise half "
                f"({found[expert].name}) is {theirs[expert]}: these are other bytes"
            )
        elif expert:
            yield (
                f"{path}: the receipt is for {' and '.join(of.values())} alone, without a LoRA of the "
                f"{expert}-noise expert"
            )
        else:
            yield (
                f"{path}: its SHA-256 is {sha256}, and the receipt is for a pair ({subject.name}) with "
                f"{' and '.join(theirs.values())}: these are other bytes"
            )
            return
    for expert, half in found.items():
        # a file of other bytes in its place was named above
        if half.sha256 not in own.values() and (expert not in own or own[expert] in of):
            here = "" if half.path is None or half.path.name == half.name else f" (here {half.path})"
            name = str(half.path) if half.path is not None and not here else half.name
            where = f", and was not found beside it ({UNKNOWN})" if half.path is None else ""
            yield (f"the {expert}-noise half, {name}{here} with SHA-256 {half.sha256}, was not given{where}")


def _unknown(files: Given, subject: Subject) -> Meant:
    """Where the receipt's digest cannot be made of any files that are here."""
    digest, of_pair = subject.digest.sha256, ", " in subject.name
    if not of_pair and "" in files.files:
        return Meant(
            f"{files.argument.name}: its SHA-256 is {files.sha256}, the receipt is for {digest} "
            f"({subject.name}): these are other bytes"
        )
    if len(files.files) == 2 or not of_pair:
        own = " and ".join(f"{sha256} ({path})" for path, sha256 in files.files.values())
        which = f"; which half is another file cannot be told: {_WHERE}" if of_pair else ""
        return Meant(
            f"{files.argument}: the receipt's digest of {subject.name}, {digest}, is not made of {own}: "
            f"these are other bytes{which}"
        )
    ((expert, (path, sha256)),) = files.files.items()
    return Meant(
        f"{path}: one file, SHA-256 {sha256}, and the receipt is for a pair, {subject.name}, with the digest "
        f"{digest}: the other half is missing ({UNKNOWN}); whether this is one cannot be told: {_WHERE}",
        as_half(path, expert),
    )


def _argument(files: Given, found: Mapping[str, _Half], known: Checkpoint) -> str:
    """What to give `verify` for the files of the receipt, at its strengths; else with their own."""
    typed: dict[Path | str, float] = {}
    if files.pair is not None:
        typed = {each.path: files.pair.strengths[name] for name, each in files.pair.experts.items()}
    paths = {expert: half.path or UNKNOWN for expert, half in found.items()}
    if "" in paths:
        return str(paths[""])
    own = {expert: typed[path] for expert, path in paths.items() if path in typed}
    return checkpoints.argument_of(
        paths, own | {str(expert): half.strength for expert, half in known.halves.items()}
    )
