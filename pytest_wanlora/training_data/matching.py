"""Finding the words of a list in a text, in a time that hardly depends on how many words there are.

English words are whole words: one regular expression, built as a trie. Korean and Chinese words may begin at
any syllable, where a trie tries hundreds of branches: there the first two syllables of all places are looked
up at once, and words are compared only where one may begin.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

MAX_WORD = 60
"""Longest word or phrase of a list, in characters."""

_MOST_REMEMBERED: Final = 1 << 16
_PLANE: Final = 1 << 16
_PAIRS: Final = 1 << 18
_LATIN = re.compile("[a-z0-9]")

# What may follow a Korean word of one syllable that still stands alone.
_PARTICLES = (
    *(
        "으로",
        "에서",
        "에는",
        "에도",
        "에서는",
        "까지",
        "부터",
        "처럼",
        "마다",
        "들이",
        "들을",
        "들은",
        "들의",
        "위에",
        "위로",
    ),
    "[이가을를은는의에도와과로만들]",
)
_ALONE = rf"(?<![가-힣].)(?=(?:{'|'.join(_PARTICLES)})?(?![가-힣]))"


def fold(text: str) -> str:
    """Fold a text for comparing: NFKC (macOS writes Hangul in pieces), lower case, single blanks.

    Args:
        text: Any text.

    Returns:
        The folded text, without blanks at its ends.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(text.lower().split())


class Matcher(Protocol):
    """The words of one language, compiled."""

    def find(self, folded: Sequence[str]) -> list[set[int]]:
        """Indexes of the words that each text contains: leftmost first, the longest at each place.

        Args:
            folded: Texts that `fold` returned.
        """


class WholeWords:
    """Words that stand between others, found by one expression.

    Args:
        pattern: Finds words, leftmost first and the longest at each place.
        forms: Index of the word by form.
        prefixes: Index of the word by the part before its `*`.
    """

    def __init__(
        self, pattern: re.Pattern[str], forms: Mapping[str, int], prefixes: Mapping[str, int]
    ) -> None:
        self._pattern = pattern
        self._known = dict(forms)
        self._prefixes = prefixes

    def find(self, folded: Sequence[str]) -> list[set[int]]:
        """As `Matcher.find`."""
        # most texts of other scripts have no Latin letter, which is sooner seen than that they have no word
        return [self._find(text) if _LATIN.search(text) else set() for text in folded]

    def _find(self, text: str) -> set[int]:
        matches = self._pattern.findall(text)
        try:
            return {self._known[match] for match in matches}
        except KeyError:
            return {self._resolve(match) for match in matches}

    def _resolve(self, match: str) -> int:
        """The word of a form, which may be new: with a hyphen for a blank, or any ending."""
        index = self._known.get(match)
        if index is None:
            blanks = match.replace("-", " ")
            index = self._known.get(blanks)
            if index is None:
                ends = range(len(blanks), 0, -1)
                index = next(self._prefixes[blanks[:end]] for end in ends if blanks[:end] in self._prefixes)
            if len(self._known) < _MOST_REMEMBERED:
                self._known[match] = index
        return index


_Entry = tuple[str, int, re.Pattern[str] | None]


class AnywhereWords:
    """Words that may begin at any character.

    Args:
        pairs: By two characters the words that may begin there, the longest first: text, index, what must
            hold after the word.
        single: The same by one character, for words of one.
    """

    def __init__(
        self, pairs: Mapping[str, tuple[_Entry, ...]], single: Mapping[str, tuple[_Entry, ...]]
    ) -> None:
        self._pairs = pairs
        self._single = single
        # nearly half of the letters of a mixed set are of texts in plain ASCII, which hold no such word
        self._foreign = not any(begin.isascii() for begin in (*pairs, *single))
        # which characters, and which hashes of two, a word begins with; what is beyond the basic plane
        # shares its last entry
        self._letters = np.zeros(_PLANE, dtype=np.bool_)
        self._letters[_codes("".join(single))] = True
        self._hashes = np.zeros(_PAIRS, dtype=np.bool_)
        begins = _codes("".join(pairs))
        self._hashes[_pair_hashes(begins)[::2]] = True

    def find(self, folded: Sequence[str]) -> list[set[int]]:
        """As `Matcher.find`."""
        found: list[set[int]] = [set() for _ in folded]
        read = [place for place, text in enumerate(folded) if not (self._foreign and text.isascii())]
        # a blank of a word also stands for a hyphen; no word goes beyond the line that each text is
        joined = "\n".join((*(folded[place] for place in read), "", "")).replace("-", " ")
        codes = _codes(joined)
        begins = self._letters[codes[:-1]] | self._hashes[_pair_hashes(codes)]
        places = np.flatnonzero(begins)
        ends = np.cumsum([len(folded[place]) + 1 for place in read])
        pairs, single, free = self._pairs, self._single, 0
        for at, number in zip(
            places.tolist(), np.searchsorted(ends, places, side="right").tolist(), strict=True
        ):
            if at < free:
                continue
            for word, index, after in pairs.get(joined[at : at + 2]) or single.get(joined[at], ()):
                end = at + len(word)
                if joined.startswith(word, at) and (after is None or after.match(joined, end)):
                    found[read[number]].add(index)
                    free = end
                    break
        return found


def _codes(text: str) -> NDArray[np.uint32]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lower: NDArray[np.uint32] = np.minimum(codes, np.uint32(_PLANE - 1))
    return lower


def _pair_hashes(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A number below `_PAIRS` of each two characters that follow one another."""
    hashes: NDArray[np.uint32] = (codes[:-1] * np.uint32(0x9E37) + codes[1:]) & np.uint32(_PAIRS - 1)
    return hashes


def compile_english(words: Iterable[str]) -> WholeWords:
    """Compile whole words and phrases; `*` at the end of one stands for any ending.

    Args:
        words: Folded words, their blanks for a blank or a hyphen. Their place in the sequence is their index.
    """
    forms: dict[str, int] = {}
    prefixes: dict[str, int] = {}
    listed = list(words)
    for index, word in enumerate(listed):
        if word.endswith("*"):
            prefixes[word[:-1]] = index
        else:
            forms[word] = index
    for word, index in list(forms.items()):
        # a plural that is listed by itself keeps its own index
        forms.setdefault(_plural(word), index)
    trie = _expression([*forms, *(prefix + "*" for prefix in prefixes)])
    return WholeWords(re.compile(rf"(?<![a-z0-9]){trie}(?![a-z0-9])"), forms, prefixes)


def compile_korean(words: Iterable[str]) -> AnywhereWords:
    """Compile words that may stand anywhere; with `^` before them only at the beginning of a word.

    A word of one syllable is found only where it stands alone but for a particle.

    Args:
        words: Folded words. Their place in the sequence is their index.
    """
    listed = list(words)
    forms = {word.removeprefix("^"): index for index, word in enumerate(listed)}
    ends = {word[1:]: rf"(?<![가-힣].{{{len(word) - 1}}})" for word in listed if word.startswith("^")}
    ends.update({word: _ALONE for word in forms if len(word) == 1 and "가" <= word <= "힣"})
    return _anywhere(forms, ends)


def compile_chinese(words: Iterable[str]) -> AnywhereWords:
    """Compile words that may stand anywhere.

    Args:
        words: Folded words. Their place in the sequence is their index.
    """
    return _anywhere({word: index for index, word in enumerate(words)}, {})


def _anywhere(forms: Mapping[str, int], ends: Mapping[str, str]) -> AnywhereWords:
    """Words by their beginnings; `ends` is what must hold after some of them."""
    rules = {end: re.compile(end) for end in set(ends.values())}
    single: dict[str, tuple[_Entry, ...]] = {}
    pairs: dict[str, tuple[_Entry, ...]] = {}
    for word in sorted(forms, key=len, reverse=True):
        entry = (word, forms[word], rules.get(ends.get(word, "")))
        if len(word) == 1:
            single[word] = (entry,)
        else:
            pairs[word[:2]] = (*pairs.get(word[:2], ()), entry)
    # where a longer word does not stand after all, the one of one letter still may
    pairs = {pair: (*entries, *single.get(pair[0], ())) for pair, entries in pairs.items()}
    return AnywhereWords(pairs, single)


def _plural(word: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


@dataclass
class _Node:
    """What may follow a beginning, and whether a word ends here."""

    below: dict[str, _Node] = field(default_factory=dict)
    ends: bool = False


def _expression(words: Iterable[str]) -> str:
    """One expression for many words, which share their beginnings, so that no place is tried word by word."""
    root = _Node()
    for word in words:
        node = root
        for letter in word:
            node = node.below.setdefault(letter, _Node())
        node.ends = True
    return _branch(root) if root.below else "(?!)"


def _branch(node: _Node) -> str:
    parts = [_letter(letter) + _branch(below) for letter, below in node.below.items() if letter != "*"]
    # the longest first: the exact words, then any ending, then the end
    if "*" in node.below:
        parts.append("[a-z]*")
    if node.ends:
        parts.append("")
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _letter(letter: str) -> str:
    return "[ -]" if letter == " " else re.escape(letter)
