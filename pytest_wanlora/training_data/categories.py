"""What a prompt is about: the category that its words decide, with the reason and the confidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.training_data.clip_similarity import TextSimilarity, nearest
from pytest_wanlora.training_data.film_terms import closing, opening
from pytest_wanlora.training_data.forms import Clips
from pytest_wanlora.training_data.metadata import Metadata
from pytest_wanlora.training_data.rules import OTHER, Rules, fold, packaged_rules
from pytest_wanlora.training_data.shared_text import SharedText
from pytest_wanlora.training_data.word_finder import WordFinder

UNDETERMINED = "und"
"""Language of a prompt without a letter of a language that is known here (the code of BCP 47)."""

LANGUAGES = ("en", "ko", "zh", "ja", UNDETERMINED)
"""All languages that are told apart. Of these `en`, `ko` and `zh` have word lists."""

# Latin (lower case, with the accented letters), Hangul, Han, kana
_RANGES = (
    ((0x61, 0x7A), (0xDF, 0xF6), (0xF8, 0x24F)),
    ((0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x3130, 0x318F)),
    ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF)),
    ((0x3040, 0x30FF),),
)
# A syllable or a character says about as much as this many Latin letters.
_LETTERS_A_SYLLABLE = 2.5
# Long captions open with what is filmed and end with its light, mood and surroundings.
# NFKC makes the full-width ! and ? of Chinese plain ones.
_FIRST_SENTENCE = re.compile(r"[.!?](?= )|(?<=[^ -~])[!?]|。")
_SHORTEST_SENTENCE = 20
_LATER = 0.2
_LONE = 0.5  # weight of an ambiguous word where no other word speaks for its category
_DOUBT = 0.5  # weight that is missing from a prompt with few words of the lists
# People run, and dogs; what people do fills the frame unless they only walk, stand or rest. What counts
# by who is named: words of `of_people` categories, those of them that decide alone, animals, other words of
# `of_places` categories. Words for people are those of `subjects.yaml`.
_PEOPLE, _ANIMALS = 1, 2
_PEOPLE_FIRST, _AT_WORK = 4, 5
_NOBODY: Final = (None, 0.0)
_FACTORS: Final = (
    (0.5, 1.0, 1.0, 1.0),  # nobody
    (2.5, 1.0, 1.0, 1.0),  # people who walk, stand or rest
    (0.2, 0.5, 1.0, 1.0),  # animals
    (0.2, 0.5, 1.0, 1.0),  # animals, then people
    (3.0, 1.0, 0.6, 0.7),  # people, then animals
    (2.5, 1.0, 1.0, 0.3),  # people
)
_STAYS = re.compile(
    r"\b(?:walk|stand|stroll|sit(?:s|ting)?\b|hik|trek|wander|gather|cross|wait|rest(?:s|ing)?\b)"
    r"|[走站坐躺]|徒步|걷|걸|서 ?있|앉|지나|기다[리린려렸]"
)
_DECIDES, _ANIMAL = 30.0, 20.0  # see the weights in categories.yaml
# How often a decision is right by its part of the weight and the doubt, on 223 public prompts that the lists
# had not seen (benchmarks/held_out.py), and where the decided category has no word but ambiguous ones.
_PARTS, _RIGHT = (0.0, 0.5, 0.65, 0.8, 0.87, 0.93, 1.0), (0.65, 0.73, 0.78, 0.83, 0.89, 0.92, 0.96)
_TIE_IS_RIGHT = 0.72
_AMBIGUOUS_IS_RIGHT = 0.45
_NOTHING_IS_OTHER = 0.85

COLUMNS: Final = ("category", "decided_by", "confidence", "language", "reason")
"""Columns that stand after `row`, the video and the prompt."""

_CHUNK = 256

# share that the weight of words counts with, their language, their indexes in the order of the text
_Hit = tuple[float, str, list[int]]


class Means(StrEnum):
    """How a prompt's category was decided."""

    WORDS = "words"
    TIE = "tie"
    SIMILARITY = "similarity"
    NOTHING = "nothing"


UNDECIDED = frozenset({Means.NOTHING, Means.TIE})
"""Means that leave a prompt to text similarity, where there is one."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A prompt's category and why.

    Attributes:
        category: One of the rules' `names`.
        means: `words` (one category's words weigh most), `tie` (several weigh the same: the order decided),
            `similarity`, or `nothing` (no word matched, so `other`).
        confidence: 0 to 1, how often such a decision is right: by the decided category's part of all matched
            weight, little where that is little; for similarity the softmax over the categories, which is not
            calibrated; 0 without a prompt.
        language: `en`, `ko`, `zh`, `ja` or `und`.
        reason: The words by category, the decided one first, as `urban: neon sign, street; nature: rain`; or
            the description that was nearest.
    """

    category: str
    means: Means
    confidence: float
    language: str
    reason: str


_NO_PROMPT: Final = Decision(OTHER, Means.NOTHING, 0.0, UNDETERMINED, "no prompt")


def languages_of(folded: Sequence[str]) -> NDArray[np.uint8]:
    """The languages that most of each text is written in, told by their scripts.

    Returns:
        Indexes into `LANGUAGES`, shape (texts,). `en` stands for any Latin script.
    """
    # each text is ended by a blank, so that no text is empty
    letters = np.frombuffer((" ".join(folded) + " ").encode("utf-32-le", "surrogatepass"), dtype="<u4")
    scripts = _scripts()[np.minimum(letters, 0xFFFF)]
    lengths = np.fromiter(map(len, folded), dtype=np.int64, count=len(folded)) + 1
    starts = np.cumsum(lengths) - lengths
    latin, hangul, han, kana = (
        np.add.reduceat((scripts == script).astype(np.int64), starts) for script in range(1, 5)
    )
    # a stray の is fashionable in Chinese, a tenth of a text is not
    japanese = kana > 0.1 * (kana + han)
    weights = np.stack(
        [
            latin,
            _LETTERS_A_SYLLABLE * hangul,
            np.where(japanese, 0, _LETTERS_A_SYLLABLE * han),
            np.where(japanese, _LETTERS_A_SYLLABLE * (han + kana), 0),
        ]
    )
    found: NDArray[np.uint8] = weights.argmax(axis=0).astype(np.uint8)
    found[weights.max(axis=0) == 0] = LANGUAGES.index(UNDETERMINED)
    return found


@cache
def _scripts() -> NDArray[np.uint8]:
    """Script of each character of the basic plane: 1 Latin, 2 Hangul, 3 Han, 4 kana, else 0."""
    table = np.zeros(0x10000, dtype=np.uint8)
    for script, ranges in enumerate(_RANGES, start=1):
        for first, last in ranges:
            table[first : last + 1] = script
    return table


class Categorizer:
    """Decides prompts by word lists."""

    def __init__(self, rules: Rules, shared: SharedText | None = None) -> None:
        self.rules = rules
        self._shared = shared or SharedText()
        self._words: dict[str, list[str]] = {}
        self._finder = WordFinder({language: _with_people(rules, language) for language in rules.words})
        self._entries: dict[str, tuple[list[int], list[list[float]]]] = {}
        self._named: dict[str, list[int]] = {}
        self._ambiguous: dict[str, set[int]] = {}
        places = {category: place for place, category in enumerate(rules.order)}
        people = packaged_rules("subjects").words
        for language in rules.words:
            table = _with_people(rules, language)
            self._words[language] = list(table)
            self._entries[language] = (
                [-1 if category is None else places[category] for category, _ in table.values()],
                _by_who_is_named(table, rules),
            )
            named = people[language] if rules.of_people else {}
            self._named[language] = [
                _PEOPLE if named.get(word, _NOBODY)[0] == "people" else _ANIMALS * (weight == _ANIMAL)
                for word, (_, weight) in table.items()
            ]
            unsure = rules.ambiguous.get(language, frozenset())
            self._ambiguous[language] = {place for place, word in enumerate(table) if word in unsure}
        self._public = [category if category in rules.names else OTHER for category in rules.order]

    def decide(self, prompt: str) -> Decision:
        """Decide one prompt."""
        return self.explain([prompt])[0]

    def explain(self, prompts: Sequence[str]) -> list[Decision]:
        """Decide many prompts, each as `decide` does, in a third of the time."""
        folded = [fold(prompt) for prompt in prompts]
        decided = []
        for (who, hits), language in zip(self._hits(folded), languages_of(folded).tolist(), strict=True):
            place, tie, part = self._weigh(who, hits)
            category, means, reason = OTHER, Means.NOTHING, "no word of the lists"
            confidence = _NOTHING_IS_OTHER
            if place >= 0:
                right = float(np.interp(part, _PARTS, _RIGHT)) if part else _AMBIGUOUS_IS_RIGHT
                confidence = min(right, _TIE_IS_RIGHT) if tie else right
                category, means = self._public[place], Means.TIE if tie else Means.WORDS
                reason = self._reason(hits, place)
            decided.append(Decision(category, means, confidence, LANGUAGES[language], reason))
        return decided

    def decide_many(self, folded: Sequence[str]) -> list[tuple[str, Means]]:
        """Category and means of many folded prompts, without what costs `explain` time."""
        decided = []
        for who, hits in self._hits(folded):
            place, tie, _ = self._weigh(who, hits)
            if place < 0:
                decided.append((OTHER, Means.NOTHING))
            else:
                decided.append((self.rules.order[place], Means.TIE if tie else Means.WORDS))
        return decided

    def _hits(self, folded: Sequence[str]) -> list[tuple[int, list[_Hit]]]:
        """Who is named in each text, by `_FACTORS`, and its words with the share that they count with."""
        hits: list[tuple[int, list[_Hit]]] = []
        for whole in folded:
            text = self._shared.without(whole)
            start = opening(text)
            end = _FIRST_SENTENCE.search(text, start + _SHORTEST_SENTENCE)
            split = len(text) if end is None else end.end()
            split = closing(text, start, split)
            # All languages, whatever the prompt's own: Korean prompts say "neon sign" too.
            first = self._finder.find(text[start:split])
            later = self._finder.find(f"{text[:start]}. {text[split:]}") if start or split < len(text) else {}
            own: list[_Hit] = []
            who: list[int] = []
            for language in self._words:
                if found := list(first.get(language, ())):
                    own.append((1.0, language, found))
                    who += filter(None, map(self._named[language].__getitem__, found))
                if new := [word for word in later.get(language, ()) if word not in found]:
                    own.append((_LATER, language, new))
            named = sum(set(who))
            if named == _PEOPLE and not _STAYS.search(text, start, split):
                named = _AT_WORK
            elif named == _PEOPLE + _ANIMALS and who[0] == _PEOPLE:
                named = _PEOPLE_FIRST
            hits.append((named, own))
        return hits

    def knows(self, word: str) -> bool:
        """Whether a folded word is in the lists of a category."""
        return any(
            self._entries[language][0][place] >= 0
            for language, places in self._finder.find(word).items()
            for place in places
        )

    def _weigh(self, who: int, hits: Sequence[_Hit]) -> tuple[int, bool, float]:
        scores = [0.0] * (len(self._public) + 1)
        unsure: list[tuple[int, float]] = []
        for share, language, words in hits:
            places, by_who = self._entries[language]
            weights = by_who[who]
            ambiguous = self._ambiguous[language]
            for word in words:
                if word in ambiguous:
                    unsure.append((places[word], share * weights[word]))
                else:
                    scores[places[word]] += share * weights[word]
        known = scores.copy()
        for place, weight in unsure:
            scores[place] += weight if known[place] else min(weight, _LONE)
        scores.pop()  # of the neutral words, whose place is -1
        best = max(scores)
        if best == 0:
            return -1, False, 0.0
        place = scores.index(best)
        return place, scores.count(best) > 1, best / (sum(scores) + _DOUBT) if known[place] else 0.0

    def _reason(self, hits: Iterable[_Hit], place: int) -> str:
        found: dict[int, list[str]] = {}
        for _, language, words in hits:
            for word in sorted(words):
                owner = self._entries[language][0][word]
                if owner >= 0:
                    found.setdefault(owner, []).append(self._words[language][word])
        order = sorted(found, key=lambda owner: (owner != place, owner))
        return "; ".join(f"{self.rules.order[owner]}: {', '.join(found[owner])}" for owner in order)


def _with_people(rules: Rules, language: str) -> dict[str, tuple[str | None, float]]:
    """The words of a language, and where who is named counts, words for people that say nothing else."""
    people = packaged_rules("subjects").words[language] if rules.of_people else {}
    return dict.fromkeys((word for word, (name, _) in people.items() if name == "people"), _NOBODY) | dict(
        rules.words[language]
    )


def _by_who_is_named(table: Mapping[str, tuple[str | None, float]], rules: Rules) -> list[list[float]]:
    """Weights of words for each row of `_FACTORS`."""
    weights = np.array([weight for _, weight in table.values()])
    kinds = [
        int(weight >= _DECIDES)
        if category in rules.of_people
        else (2 + (weight != _ANIMAL) if category in rules.of_places else 4)
        for category, weight in table.values()
    ]
    return [(weights * np.array([*row, 1.0])[kinds]).tolist() for row in _FACTORS]


def decisions(
    metadata: Metadata | Clips,
    rules: Rules,
    similarity: TextSimilarity | None = None,
    shared: SharedText | None = None,
) -> Iterator[dict[str, Any]]:
    """Decide every row.

    Returns:
        For each row its place in the file, video, prompt and `COLUMNS`. A row without a prompt is `other`,
        decided by `nothing`.
    """
    categorizer = Categorizer(rules, shared)
    rows = iter(metadata)
    while chunk := list(islice(rows, _CHUNK)):
        explained = categorizer.explain([row.prompt or "" for row in chunk])
        decided = [
            _NO_PROMPT if row.prompt is None else decision
            for row, decision in zip(chunk, explained, strict=True)
        ]
        if similarity is not None:
            _ask(similarity, rules, [row.prompt or "" for row in chunk], decided)
        for row, decision in zip(chunk, decided, strict=True):
            yield {
                metadata.unit: row.place,
                "video": row.video or "",
                "prompt": row.prompt or "",
                "category": decision.category,
                "decided_by": decision.means.value,
                "confidence": round(decision.confidence, 3),
                "language": decision.language,
                "reason": decision.reason,
            }


def _ask(similarity: TextSimilarity, rules: Rules, prompts: list[str], decided: list[Decision]) -> None:
    asked = [
        row
        for row, decision in enumerate(decided)
        if decision.means in UNDECIDED and prompts[row] and decision.language in similarity.languages
    ]
    answers = nearest(similarity, [prompts[row] for row in asked], rules)
    for row, (place, confidence, cosine) in zip(asked, answers, strict=True):
        name = rules.names[place]
        decided[row] = replace(
            decided[row],
            category=name,
            means=Means.SIMILARITY,
            confidence=confidence,
            reason=f"nearest to {rules.descriptions[name]!r} (cosine {cosine:.3f})",
        )
