"""What a prompt is about: the category that its words decide, with the reason and the confidence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.training_data.clip_similarity import TextSimilarity, nearest
from pytest_wanlora.training_data.film_terms import closing, opening
from pytest_wanlora.training_data.forms import Clips
from pytest_wanlora.training_data.metadata import Metadata
from pytest_wanlora.training_data.roles import Role, roles
from pytest_wanlora.training_data.rules import OTHER, Rules, fold, packaged_rules
from pytest_wanlora.training_data.shared_text import SharedText
from pytest_wanlora.training_data.weights import Kind, Who, packaged_weights
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
_STAYS = re.compile(
    r"\b(?:walk|stand|stroll|sit(?:s|ting)?\b|hik|trek|wander|gather|cross|wait|rest(?:s|ing)?\b)"
    r"|[走站坐躺]|徒步|걷|걸|서 ?있|앉|지나|기다[리린려렸]"
)
# say that animals are there and not which: nothing beside an own word, which does
_COUNTER = re.compile(r"^(?:herd|flock|pack of|swarm\*|litter of)|^\^?(?:[가-힣]+ )?마리[의가]?\^?$")
_NOBODY: Final = (None, 0.0)
_ANIMAL, _LEAST = 20.0, 2.0  # see the weights in categories.yaml; what weighs less is no subject

COLUMNS: Final = ("category", "decided_by", "confidence", "language", "reason")
"""Columns that stand after `row`, the video and the prompt."""

_CHUNK = 256


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


class Entry(NamedTuple):
    """A word of the lists: its category's place in the order (-1: none), what it is, and its weight."""

    place: int
    kind: Kind
    who: Who
    weight: float


class Hits(NamedTuple):
    """Who a prompt is about, and its words: their role, language and index."""

    who: Who
    words: list[tuple[Role, str, int]]


class Categorizer:
    """Decides prompts by word lists."""

    def __init__(self, rules: Rules, shared: SharedText | None = None) -> None:
        self.rules = rules
        self.entries: dict[str, list[Entry]] = {}
        self._shared = shared or SharedText()
        self._weights = packaged_weights()
        self._words: dict[str, list[str]] = {}
        self._values: dict[str, list[float]] = {}
        self._ambiguous: dict[str, set[int]] = {}
        for language in rules.words:
            table = _with_people(rules, language)
            self._words[language] = list(table)
            entries = [_entry(word, *found, rules, language) for word, found in table.items()]
            self.entries[language] = entries
            self._values[language] = [word.weight ** self._weights.powers[word.kind] for word in entries]
            unsure = rules.ambiguous.get(language, frozenset())
            self._ambiguous[language] = {place for place, word in enumerate(table) if word in unsure}
        own = {
            language: {place for place, word in enumerate(table) if word in rules.own.get(language, ())}
            for language, table in self._words.items()
        }
        self._counters = {
            language: {place for place, word in enumerate(table) if _COUNTER.search(word)} - own[language]
            for language, table in self._words.items()
        }
        self._named = {
            language: {place for place in places if self.entries[language][place].place >= 0}
            for language, places in own.items()
        }
        self._finder = WordFinder(self._words, own, self._is_other)
        self._public = [category if category in rules.names else OTHER for category in rules.order]

    def decide(self, prompt: str) -> Decision:
        """Decide one prompt."""
        return self.explain([prompt])[0]

    def explain(self, prompts: Sequence[str]) -> list[Decision]:
        """Decide many prompts, each as `decide` does, in a third of the time."""
        folded = [fold(prompt) for prompt in prompts]
        decided = []
        for hits, language in zip(self.hits(folded), languages_of(folded).tolist(), strict=True):
            place, tie, confidence = self._weigh(hits)
            category, means, reason = OTHER, Means.NOTHING, "no word of the lists"
            if place >= 0:
                category, means = self._public[place], Means.TIE if tie else Means.WORDS
                reason = self._reason(hits, place)
            decided.append(Decision(category, means, confidence, LANGUAGES[language], reason))
        return decided

    def decide_many(self, folded: Sequence[str]) -> list[tuple[str, Means]]:
        """Category and means of many folded prompts, without what costs `explain` time."""
        decided = []
        for hits in self.hits(folded):
            place, tie, _ = self._weigh(hits)
            if place < 0:
                decided.append((OTHER, Means.NOTHING))
            else:
                decided.append((self.rules.order[place], Means.TIE if tie else Means.WORDS))
        return decided

    def hits(self, folded: Iterable[str]) -> Iterator[Hits]:
        """Who each text is about, and its words with their roles."""
        for whole in folded:
            text = self._shared.without(whole)
            start = opening(text)
            end = _FIRST_SENTENCE.search(text, start + _SHORTEST_SENTENCE)
            split = len(text) if end is None else end.end()
            split = closing(text, start, split)
            sentence = text[start:split]
            # All languages, whatever the prompt's own: Korean prompts say "neon sign" too.
            first = self._finder.find(sentence)
            later = self._finder.find(f"{text[:start]}. {text[split:]}") if start or split < len(text) else {}
            words = [
                hit for language, spans in first.items() for hit in self._roles(language, spans, sentence)
            ]
            who = self._who(words, sentence)
            for language, spans in later.items():
                known = first.get(language, {})
                words += [(Role.LATER, language, word) for word in spans if word not in known]
            if any(word in self._named[language] for _, language, word in words):
                words = [hit for hit in words if hit[2] not in self._counters.get(hit[1], ())]
            yield Hits(who, self._unsure(words))

    def _is_other(self, language: str, own: int, around: int) -> bool:
        """Whether a longer word of the lists means something else than the own word in it, as a hot dog."""
        word, place = self._words[language][own], self.entries[language][around].place
        before = self.rules.own[language][word]
        # one Chinese character says little of the words that it is part of
        return place < 0 or (len(word) == 1 if before is None else self.rules.order[place] != before)

    def _roles(
        self, language: str, spans: Mapping[int, tuple[int, int]], sentence: str
    ) -> Iterable[tuple[Role, str, int]]:
        if language != "en":
            role = Role.KOREAN if language == "ko" else Role.CHINESE
            return [(role, language, word) for word in spans]
        entries = self.entries[language]
        nouns = [
            span
            for word, span in spans.items()
            if entries[word].kind != Kind.ACT or entries[word].who == Who.PEOPLE
        ]
        # what comes after the last of them changes none of their roles
        at = roles(sentence[: max(end for _, end in spans.values())], nouns)
        return [(at(end), language, word) for word, (_, end) in spans.items()]

    def _who(self, words: Iterable[tuple[Role, str, int]], sentence: str) -> Who:
        """Who or what a sentence is about: its subject, else who is named first."""
        named = [(self.entries[language][word].who, role) for role, language, word in words]
        alive = [who for who, _ in named if who in (Who.PEOPLE, Who.ANIMAL)]
        subject = next((who for who, role in named if who and role == Role.SUBJECT), None)
        if subject in (None, Who.ACT):
            subject = next(iter(alive), subject)
        who = subject or Who.NOTHING
        if who is Who.PEOPLE and Who.ANIMAL in alive:
            return Who.PEOPLE_AND_ANIMAL
        if who is Who.PEOPLE and _STAYS.search(sentence):
            return Who.PEOPLE_WHO_STAY
        return Who.ANIMAL_AND_PEOPLE if who is Who.ANIMAL and Who.PEOPLE in alive else who

    def _unsure(self, words: list[tuple[Role, str, int]]) -> list[tuple[Role, str, int]]:
        """The words, where an ambiguous one says so if no other speaks for its category."""
        unsure = [word in self._ambiguous[language] for _, language, word in words]
        if not any(unsure):
            return words
        places = [self.entries[language][word].place for _, language, word in words]
        sure = {place for place, doubt in zip(places, unsure, strict=True) if not doubt}
        return [
            (Role.AMBIGUOUS, *hit[1:]) if doubt and place not in sure else hit
            for hit, place, doubt in zip(words, places, unsure, strict=True)
        ]

    def knows(self, word: str) -> bool:
        """Whether a folded word is in the lists of a category."""
        return any(
            self.entries[language][place].place >= 0
            for language, places in self._finder.find(word).items()
            for place in places
        )

    def _weigh(self, hits: Hits) -> tuple[int, bool, float]:
        weights = self._weights
        factors = weights.subjects[hits.who] if self.rules.of_people else (1.0,) * len(Kind)
        scores = [0.0] * (len(self._public) + 1)
        for role, language, word in hits.words:
            place, kind, *_ = self.entries[language][word]
            column = Kind.SUBJECT if role == Role.SUBJECT and kind != Kind.ACT else kind
            scores[place] += weights.roles[role] * factors[column] * self._values[language][word]
        scores.pop()  # of the neutral words, whose place is -1
        best = max(scores)
        if best == 0:
            return -1, False, weights.nothing
        chances = [(weights.floor + score) ** weights.sharpness for score in scores]
        place = scores.index(best)
        return place, scores.count(best) > 1, chances[place] / sum(chances)

    def _reason(self, hits: Hits, place: int) -> str:
        found: dict[int, list[str]] = {}
        for _, language, word in sorted(hits.words, key=lambda hit: (hit[0] == Role.LATER, *hit[1:])):
            owner = self.entries[language][word].place
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


def _entry(word: str, category: str | None, weight: float, rules: Rules, language: str) -> Entry:
    """What a word is about, by its category, its weight and the words for people of `subjects.yaml`."""
    place = -1 if category is None else rules.order.index(category)
    kind, who, least = Kind.OTHER, Who.THING, 0.0
    if category in rules.of_people:
        kind, who, least = Kind.ACT, Who.ACT, _LEAST
    elif category in rules.of_places:
        kind, who, least = (
            (Kind.ANIMAL, Who.ANIMAL, 0.0) if weight == _ANIMAL else (Kind.PLACE, Who.PLACE, _LEAST)
        )
    if packaged_rules("subjects").words[language].get(word, _NOBODY)[0] == "people":
        who = Who.PEOPLE
    elif weight < least or place < 0:
        who = Who.NOTHING
    return Entry(place, kind, who, weight)


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
