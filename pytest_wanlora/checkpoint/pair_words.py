"""How the halves of a pair are written in one argument: ``high=A,low=B``, each with ``@0.8`` behind it."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pytest_wanlora.checkpoint.experts import EXPERTS, named_in
from pytest_wanlora.checkpoint.pair_names import half
from pytest_wanlora.checkpoint.partners import with_partner
from pytest_wanlora.checkpoint.paths import argument as argument_for
from pytest_wanlora.checkpoint.paths import argument_of
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import expand_home, from_here, listing

_ROLE: Final = re.compile(r"(?:^|,)\s*([A-Za-z][\w-]*)=")
# one of both halves, a separator that is none, the other half
_SEPARATED: Final = re.compile(r"(.*?[^\s;+&|])\s*([;+&|]|\s)\s*(high|low)=(.+)")
_STRENGTH: Final = re.compile(r"(.+)@([+-]?(?:\d+\.?\d*|\.\d+))")
_STRENGTHS: Final = (
    "a number from -10 to 10 behind the file, as in {}=FILE@0.8; not 0, for which its file is left out"
)


def names_experts(argument: str) -> bool:
    """Whether an argument is ``high=A,low=B``, and no path of such a name.

    Raises:
        CheckpointError: It names an expert that there is not, one twice, or one without a file.
    """
    return bool(roles_in(argument))


def roles_in(argument: str) -> dict[str, str]:
    """The parts of ``high=A,low=B``; empty for a path."""
    found: dict[str, str] = {}
    parts = parts_of(argument, Path())
    for expert, text in parts:
        problem = ""
        if expert not in EXPERTS or expert in found or not text:
            problem = "is given twice" if expert in found else "has no file" if not text else "is no expert"
        elif (more := _SEPARATED.fullmatch(text)) and not is_there(Path(), text):
            problem = f"and {more[3]} are separated by {more[2]!r}, and not by a comma"
            parts = [(expert, more[1]), (more[3], more[4])]
        if problem:
            # every half that was typed, or none: one alone would be gated as it was not meant
            kept = _as_meant(parts)
            raise CheckpointError(
                f"--lora: {argument!r}: {expert} {problem}; allowed: high=FILE,low=FILE, or one of "
                "both, once each",
                next_command=None if kept else listing(Path(next((each for _, each in parts if each), ""))),
                options={"--lora": kept} if kept else None,
            )
        found[expert] = text
    return found


def as_pair(words: Sequence[str]) -> str:
    """What to give for the halves of a pair that were given one by one; empty where they are no two files."""
    parts = [part for word in words for part in parts_of(word, Path()) or [("", word)]]
    return _as_meant(parts) if len(parts) == len(EXPERTS) else ""


def _as_meant(parts: Sequence[tuple[str, str]]) -> str:
    """What to give for parts of which one is wrong, with every file that is in them; empty if unclear."""
    given = [(_expert_like(expert), text) for expert, text in parts if text]
    if len(given) == 1 and len(parts) == 2:
        ((expert, typed),) = given
        file, factor = split_strength(typed)
        whole = with_partner(expert, Path(file))
        return argument_for(Path(file), whole, {expert: factor}) if len(whole) > 1 else ""
    ways = ([each for each, _ in given], [(half(Path(text)) or ("",))[0] for _, text in given])
    experts = next((way for way in ways if set(way) <= set(EXPERTS) and len(set(way)) == len(way)), [])
    if not experts and len(given) == len(EXPERTS):
        known = given[0][0] or next((each for each in EXPERTS if each != given[1][0]), "")
        experts = [known, *(each for each in EXPERTS if each != known)]
    files = {each: Path(from_here(Path(text))) for each, (_, text) in zip(experts, given, strict=False)}
    return argument_of({each: files[each] for each in EXPERTS if each in files})


def _expert_like(word: str) -> str:
    """The expert that a word for one means, `high_noise` or `lwo`; empty if none."""
    near = difflib.get_close_matches(word.lower(), EXPERTS, n=1)
    return (named_in(word) or ("".join(near),))[0]


def parts_of(argument: str, folder: Path) -> list[tuple[str, str]]:
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
    meant = (way for way in ways if all(is_there(folder, text) for _, text in way))
    return next(meant, whole)


def is_there(folder: Path, text: str) -> bool:
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


def from_this_folder(argument: str) -> str:
    """An argument with its paths from the current folder."""
    roles = roles_in(argument)
    if not roles:
        return from_here(Path(argument))
    return argument_of({expert: from_here(Path(text)) for expert, text in roles.items()})


def split_strength(text: str) -> tuple[str, float]:
    """A file and the factor behind it, ``A@0.8``; 1 for a file without one."""
    found = None if os.path.lexists(text) else _STRENGTH.fullmatch(text)
    return (text, 1.0) if found is None else (found[1], float(found[2]))


def refuse_strengths(argument: str, roles: Mapping[str, str]) -> None:
    """Refuse what stands behind the file of an expert and is no strength that a LoRA may have."""
    wrong: dict[str, str] = {}
    meant = {}
    for expert, text in roles.items():
        path, at, said = text.rpartition("@")
        known, strength = split_strength(text)
        number = known != text
        # a name that ends so is a name
        words = bool(at) and not number and not os.path.lexists(text) and is_there(Path(), path)
        if words or (number and not 0 < abs(strength) <= 10):
            wrong[expert] = said
        meant[expert] = f"{path}@1" if expert in wrong else text
    for expert, said in wrong.items():
        raise CheckpointError(
            f"--lora: {argument!r}: the strength of {expert} is {said}; allowed: {_STRENGTHS.format(expert)}",
            options={"--lora": argument_of({name: from_here(Path(text)) for name, text in meant.items()})},
        )
