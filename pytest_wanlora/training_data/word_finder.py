"""Finding the words of all lists in a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Final, NamedTuple, TypeAlias

_ANYTHING = re.compile("")
# a name such as qqvv_dancer is one word
_LATIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_ANY_ENDING = re.compile(r"[a-z]*(?![a-z0-9_])")
_HANGUL: Final = frozenset([*map(chr, range(ord("가"), ord("힣") + 1)), *"0123456789"])
_NONE: Final = frozenset[str]()
# particles that may follow a Korean word of one syllable
_PARTICLE = re.compile(
    "(?=(?:으로|에서|에는|에도|에서는|까지|부터|처럼|마다|들이|들을|들은|들의|위에|위로"
    "|[이가을를은는의에도와과로만들])?(?![가-힣]))"
)


class _Form(NamedTuple):
    """One way to write a word: what must not stand beside it, and what `after` adds to it."""

    text: str
    language: str
    word: int
    not_before: frozenset[str] = _NONE
    not_after: frozenset[str] = _NONE
    after: re.Pattern[str] = _ANYTHING


#: Start, length below zero, place among the forms of one text, end, form.
_Match: TypeAlias = tuple[int, int, int, int, _Form]


class WordFinder:
    """Finds the words of all lists in one pass over a text, by an Aho-Corasick automaton.

    English words are whole words; the regular plural is found too, and `*` at the end stands for any ending.
    Korean words are found anywhere, with `^` before them only at the beginning of a word, with `^` behind
    them only at its end but for a particle; those of one syllable only alone or before a particle. Chinese
    words are found anywhere. A blank of a word also matches a hyphen or an underscore, but what stands beside
    an underscore is no word of its own.

    Args:
        words: Folded words by language. Their place in the sequence is their index.
        own: Indexes by language of words that win against all others that they overlap.
        keeps: But not against those around them for which this is true, of language, own word and the other.
    """

    def __init__(
        self,
        words: Mapping[str, Iterable[str]],
        own: Mapping[str, Set[int]] | None = None,
        keeps: Callable[[str, int, int], bool] = lambda *_: False,
    ) -> None:
        self._own = {language: places for language, places in (own or {}).items() if places}
        self._keeps = keeps
        forms: dict[str, list[_Form]] = {}
        for language, listed in words.items():
            for form in _FORMS[language](language, list(listed), self._own.get(language, frozenset())):
                forms.setdefault(form.text, []).append(form)
        # `verify` runs without it
        import ahocorasick

        self._automaton = ahocorasick.Automaton()
        for text, entries in forms.items():
            self._automaton.add_word(text, (len(text), entries))
        self._automaton.make_automaton()

    def find(self, folded: str) -> dict[str, dict[int, tuple[int, int]]]:
        """Indexes of the words in a text by language, in the text's order; the longest at each place.

        Returns:
            By language and index where the word first stands: its first letter, and the one after its last.
        """
        if not self._automaton:
            return {}
        text = folded.replace("-", " ")
        matches: list[_Match] = []
        for last, (length, forms) in self._automaton.iter(text.replace("_", " ")):
            start = last + 1 - length
            for rank, form in enumerate(forms):
                if text[last + 1 : last + 2] in form.not_after or (
                    start and text[start - 1] in form.not_before
                ):
                    continue
                # most words may have anything after them: no call for those
                after = None if form.after is _ANYTHING else form.after.match(text, last + 1)
                if after is not None or form.after is _ANYTHING:
                    matches.append((start, -length, rank, after.end() if after else last + 1, form))
        if self._own:
            matches = self._without_cut(matches)
        matches.sort()
        found: dict[str, dict[int, tuple[int, int]]] = {}
        free: dict[str, int] = {}
        for start, _, _, end, form in matches:
            if start >= free.get(form.language, 0):
                found.setdefault(form.language, {}).setdefault(form.word, (start, end))
                free[form.language] = end
        return found

    def _without_cut(self, matches: list[_Match]) -> list[_Match]:
        """The matches but for those that an own word wins against, and own words within what keeps."""
        mine: list[_Match] = []
        others: list[_Match] = []
        for match in sorted(matches):
            (mine if match[4].word in self._own.get(match[4].language, ()) else others).append(match)

        def kept(own: _Match, other: _Match) -> bool:
            around = other[0] <= own[0] and own[3] <= other[3] and (own[0], own[3]) != (other[0], other[3])
            return around and self._keeps(own[4].language, own[4].word, other[4].word)

        def meet(own: _Match, other: _Match) -> bool:
            return own[4].language == other[4].language and own[0] < other[3] and other[0] < own[3]

        mine = [own for own in mine if not any(kept(own, other) for other in others)]
        return mine + [other for other in others if not any(meet(own, other) for own in mine)]


def _english(language: str, words: list[str], own: Set[int]) -> Iterator[_Form]:
    exact = {word: index for index, word in enumerate(words) if not word.endswith("*")}
    for word, index in list(exact.items()):
        # a plural that is listed itself keeps its own index
        if exact.setdefault(_plural(word), index) not in own and index in own:
            exact[_plural(word)] = index
    for word, index in exact.items():
        yield _Form(word, language, index, _LATIN, _LATIN)
    for index, word in enumerate(words):
        if word.endswith("*"):
            yield _Form(word[:-1], language, index, _LATIN, _NONE, _ANY_ENDING)


def _korean(language: str, words: list[str], own: Set[int]) -> Iterator[_Form]:
    for index, word in enumerate(words):
        plain = word.strip("^")
        syllable = len(plain) == 1 and "가" <= plain <= "힣"
        before = _HANGUL if syllable or word.startswith("^") else _NONE
        after = _PARTICLE if syllable or word.endswith("^") else _ANYTHING
        yield _Form(plain, language, index, before, _NONE, after)


def _chinese(language: str, words: list[str], own: Set[int]) -> Iterator[_Form]:
    yield from (_Form(word, language, index) for index, word in enumerate(words))


_FORMS: Final = {"en": _english, "ko": _korean, "zh": _chinese}


def _plural(word: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"
