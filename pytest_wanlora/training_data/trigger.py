"""How captions spell a trigger: as a word of its own, nearly, fused with another word, or not at all."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pytest_wanlora.text_table import cut
from pytest_wanlora.training_data.survey import EXAMPLES, Survey

PLACES: Final = ("first word", "first third", "later")
"""Where a caption has the trigger first, in characters."""

_LONG: Final = 5  # letters; shorter words are one edit from too many ordinary ones
_LETTERS_AN_EDIT: Final = 4
_MOST_EDITS: Final = 2
_BETWEEN: Final = r"[\s_-]"
_NO_BLANKS: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_HANGUL: Final = re.compile("[가-힣]")
# what Korean attaches to a noun: plural, case, topic
_PARTICLE: Final = (
    "(?:들)?(?:께서|에게서?|한테서?|에서|으?로(?:서|써|부터)?|이?랑|하고|처럼|보다|마다|까지|부터|밖에|조차|마저|이?라[는고]"
    "|이다|입니다|이며|이고|인|[와과이가을를의에])?[은는도만의]?"
)


@dataclass(frozen=True)
class Spelling:
    """A word that was perhaps meant to be the trigger, the captions that have it, and one of them."""

    text: str
    captions: int
    example: str


@dataclass(frozen=True)
class TriggerUse:
    """How captions use a trigger, each counted as often as an epoch takes it.

    Attributes:
        held: Captions that have it as a word of its own.
        places: Of those, by where it stands first: `trigger.PLACES`.
        without: All other captions.
        near: Spellings that nearly are the trigger, the most frequent first.
        fused: Words that hold it among other letters.
        search: A command that shows the captions to correct, where there is one.
    """

    trigger: str
    held: int
    places: Mapping[str, int]
    without: int
    without_examples: tuple[str, ...]
    near: tuple[Spelling, ...]
    fused: tuple[Spelling, ...]
    search: str | None


@dataclass
class Found:
    """Which captions spell a trigger how; all values are places of captions.

    Attributes:
        held: As a word of its own, by `PLACES`.
        without: Not as a word of its own; with `held` every caption, each once.
        near: By spelling: other case, other or no blanks and hyphens, one or two edits.
        fused: By the word that holds it among other letters.
    """

    held: dict[str, list[int]] = field(default_factory=lambda: {place: [] for place in PLACES})
    without: list[int] = field(default_factory=list)
    near: dict[str, list[int]] = field(default_factory=dict)
    fused: dict[str, list[int]] = field(default_factory=dict)


def find(captions: Sequence[str], trigger: str) -> Found:
    """Look for a trigger in captions, letter by letter: models read upper and lower case apart.

    A Korean particle may follow it; Chinese and Japanese triggers may stand in a text without blanks.
    Misspellings (1 edit from 5 letters on, 2 from 8; of Korean, in jamo) are looked for where it is missing.
    """
    texts = [unicodedata.normalize("NFKC", caption) for caption in captions]
    wanted = _plain(trigger)
    parts = [part for part in re.split(f"{_BETWEEN}+", wanted) if part] or [wanted]
    before, after = _edges(wanted, r"\w")
    own = re.compile(before + r"\s+".join(map(re.escape, wanted.split())) + after)
    # a short word falls apart into ordinary ones ("as an")
    loose = f"{_BETWEEN}?" if len("".join(parts)) >= _LONG else "[_-]?"
    varied = f"{_BETWEEN}*".join(loose.join(map(re.escape, part)) for part in parts)
    bounded = re.compile(before + varied + after, re.IGNORECASE)
    # of a text without blanks one character beside it is enough
    beside = rf"(?:{_NO_BLANKS.pattern}|(?:(?!{_NO_BLANKS.pattern})\w)*)"
    inside = re.compile(beside + re.escape(wanted) + beside, re.IGNORECASE)
    found, letters = Found(), _squeezed(wanted)
    for place, text in enumerate(texts):
        spelt = _squeezed(text).count(letters)
        match = own.search(text) if spelt else None
        if match:
            started = re.search(r"\w", text[: match.start()]) is not None
            third = match.start() * 3 < len(text)
            found.held[PLACES[0 if not started else 1 if third else 2]].append(place)
        else:
            found.without.append(place)
        if spelt > bool(match):
            bound = [_plain(each.group()) for each in bounded.finditer(text)]
            _add(found.near, place, {*bound} - {wanted})
            if spelt > len(bound) and not _NO_BLANKS.search(wanted):
                words = {each.group() for each in inside.finditer(text) if not bounded.search(each.group())}
                _add(found.fused, place, (word for word in words if _is_fused(word, wanted)))
    if misspelt := _misspelt([texts[place] for place in found.without], parts):
        for place in found.without:
            words = {_plain(each.group()) for each in misspelt.finditer(texts[place])}
            _add(found.near, place, (word for word in words if _squeezed(word) != letters))
    return found


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _squeezed(text: str) -> str:
    """The letters without case, blanks and hyphens: a quick look before the exact one."""
    return "".join(text.casefold().split()).replace("-", "").replace("_", "")


def _add(table: dict[str, list[int]], place: int, spellings: Iterable[str]) -> None:
    for spelling in sorted(spellings):
        table.setdefault(spelling, []).append(place)


def _edges(wanted: str, letter: str) -> tuple[str, str]:
    """What must stand before and after it so that it is a word of its own."""
    first, last = (
        bool(re.match(r"\w", each)) and not _NO_BLANKS.match(each) for each in (wanted[0], wanted[-1])
    )
    return f"(?<!{letter})" if first else "", f"(?={_PARTICLE}(?!{letter}))" if last else ""


def _is_fused(word: str, wanted: str) -> bool:
    """Whether it was written with the trigger in mind: "masks" was not written with "sks"."""
    start = word.lower().find(wanted.lower())
    return len(wanted) >= _LONG or not start or not re.match("[a-z]", word[start - 1], re.IGNORECASE)


def _misspelt(texts: Sequence[str], parts: Sequence[str]) -> re.Pattern[str] | None:
    """What finds the misspelt triggers of these texts, whose different words are compared once."""
    words = {word for text in texts for word in re.findall(r"[^\W_]+", text.lower())}
    nearly = [_nearly(words, part.lower()) for part in parts]
    joined = _nearly(words, "".join(parts).lower()) if len(parts) > 1 else []
    if not any(nearly) and not joined:
        return None
    choices = [[part, *near] for part, near in zip(parts, nearly, strict=True)]
    if len(parts) == 1:
        choices = nearly
    spelt = f"{_BETWEEN}*".join(_any_of(each) for each in choices)
    before, after = _edges("".join(parts), r"[^\W_]")
    return re.compile(f"{before}(?:{'|'.join([spelt, *map(re.escape, joined)])}){after}", re.IGNORECASE)


def _any_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})"


def _nearly(words: Iterable[str], wanted: str) -> list[str]:
    """Those of the words that are few edits from the wanted one and do not hold it whole."""
    goal = unicodedata.normalize("NFD", wanted)
    most = min(len(goal) // _LETTERS_AN_EDIT, _MOST_EDITS) if len(goal) >= _LONG else 0
    near: dict[str, None] = {}
    for word in words if most else ():
        if wanted in word:
            continue
        edits = {
            each: _edits(unicodedata.normalize("NFD", each), goal, most) for each in _nouns(word, wanted)
        }
        best = min(edits, key=lambda each: edits[each], default=word)
        if edits.get(best, most + 1) <= most:
            near[best] = None
    return sorted(near)


def _nouns(word: str, wanted: str) -> Iterator[str]:
    """The word, if Korean without its particle too; of Chinese, all parts as long as the wanted."""
    if _NO_BLANKS.search(wanted):
        yield from (word[start : start + len(wanted)] for start in range(len(word) - len(wanted) + 1))
        return
    yield word
    if _HANGUL.match(word[-1]):
        yield from (
            word[:-cut] for cut in range(1, min(len(word), 4)) if re.fullmatch(_PARTICLE, word[-cut:])
        )


def _edits(one: str, other: str, most: int) -> int:
    """Letters to add, drop, replace or swap (optimal string alignment); at least `most` + 1 if more."""
    if abs(len(one) - len(other)) > most or len(set(one) ^ set(other)) > 2 * most:
        return most + 1
    older: list[int] = []
    row = list(range(len(other) + 1))
    for down, letter in enumerate(one, start=1):
        older, last, row = row, older, [down]
        for along, against in enumerate(other, start=1):
            cost = min(older[along] + 1, row[-1] + 1, older[along - 1] + (letter != against))
            if down > 1 and along > 1 and (letter, against) == (other[along - 2], one[down - 2]):
                cost = min(cost, last[along - 2] + 1)
            row.append(cost)
    return row[-1]


def trigger_uses(survey: Survey, triggers: Sequence[str]) -> tuple[TriggerUse, ...]:
    """How the captions of a survey use triggers."""
    return tuple(_trigger_use(survey, trigger) for trigger in dict.fromkeys(triggers) if trigger.strip())


def _trigger_use(survey: Survey, trigger: str) -> TriggerUse:
    rows = np.flatnonzero(survey.present)
    found = find([survey.prompts[row] for row in rows.tolist()], trigger)
    spellings = [sorted(each.items(), key=lambda item: -len(item[1])) for each in (found.near, found.fused)]
    shown = found.without[:EXAMPLES] + [places[0] for each in spellings for _, places in each[:EXAMPLES]]
    records = survey.records(rows[shown].tolist())

    def taken(places: Sequence[int]) -> int:
        return int(survey.repeats[rows[list(places)]].sum())

    def example(place: int) -> str:
        row = int(rows[place])
        at = f"{survey.unit} {records[row].place}: " if row in records else ""
        return at + cut(survey.prompts[row])

    near, fused = (
        tuple(Spelling(text, taken(places), example(places[0])) for text, places in each)
        for each in spellings
    )
    wrong = [each.text for each in (*near[:EXAMPLES], *fused[:EXAMPLES])]
    words = " ".join(f"-e {shlex.quote(word)}" for word in wrong)
    searched = wrong and survey.kind in ("csv", "tsv", "folder")
    return TriggerUse(
        trigger=trigger,
        held=sum(map(taken, found.held.values())),
        places={name: taken(places) for name, places in found.held.items()},
        without=taken(found.without),
        without_examples=tuple(map(example, found.without[:EXAMPLES])),
        near=near,
        fused=fused,
        search=f"grep -rnIF {words} {shlex.quote(str(survey.source.path))}" if searched else None,
    )
