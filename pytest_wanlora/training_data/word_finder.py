"""Finding the words of all lists in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

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


class WordFinder:
    """Finds the words of all lists in one pass over a text, by an Aho-Corasick automaton.

    English words are whole words; the regular plural is found too, and `*` at the end stands for any ending.
    Korean words are found anywhere, with `^` before them only at the beginning of a word, with `^` behind
    them only at its end but for a particle; those of one syllable only alone or before a particle. Chinese
    words are found anywhere. A blank of a word also matches a hyphen or an underscore, but what stands beside
    an underscore is no word of its own.

    Args:
        words: Folded words by language. Their place in the sequence is their index.
    """

    def __init__(self, words: Mapping[str, Iterable[str]]) -> None:
        forms: dict[str, list[_Form]] = {}
        for language, listed in words.items():
            for form in _FORMS[language](language, list(listed)):
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
        matches = []
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
        matches.sort()
        found: dict[str, dict[int, tuple[int, int]]] = {}
        free: dict[str, int] = {}
        for start, _, _, end, form in matches:
            if start >= free.get(form.language, 0):
                found.setdefault(form.language, {}).setdefault(form.word, (start, end))
                free[form.language] = end
        return found


def _english(language: str, words: list[str]) -> Iterator[_Form]:
    exact = {word: index for index, word in enumerate(words) if not word.endswith("*")}
    for word, index in list(exact.items()):
        # a plural that is listed itself keeps its own index
        exact.setdefault(_plural(word), index)
    for word, index in exact.items():
        yield _Form(word, language, index, _LATIN, _LATIN)
    for index, word in enumerate(words):
        if word.endswith("*"):
            yield _Form(word[:-1], language, index, _LATIN, _NONE, _ANY_ENDING)


def _korean(language: str, words: list[str]) -> Iterator[_Form]:
    for index, word in enumerate(words):
        plain = word.strip("^")
        syllable = len(plain) == 1 and "가" <= plain <= "힣"
        before = _HANGUL if syllable or word.startswith("^") else _NONE
        after = _PARTICLE if syllable or word.endswith("^") else _ANYTHING
        yield _Form(plain, language, index, before, _NONE, after)


def _chinese(language: str, words: list[str]) -> Iterator[_Form]:
    yield from (_Form(word, language, index) for index, word in enumerate(words))


_FORMS: Final = {"en": _english, "ko": _korean, "zh": _chinese}


def _plural(word: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"
