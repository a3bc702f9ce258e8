"""Finding the words of a list in a text: one regular expression a language, built as a trie."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_WORD = 60
"""Longest word or phrase of a list, in characters."""

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


@dataclass(frozen=True)
class Matcher:
    """The words of one language, compiled.

    Attributes:
        pattern: Finds words, leftmost first and the longest at each place.
        forms: Index of the word by each form that `pattern` can find.
        prefixes: Index of the word by the part before its `*`.
    """

    pattern: re.Pattern[str]
    forms: Mapping[str, int]
    prefixes: Mapping[str, int]

    def find(self, folded: str) -> set[int]:
        """Indexes of the words that a folded text contains.

        Args:
            folded: A text that `fold` returned.
        """
        matches = self.pattern.findall(folded)
        found = set(map(self.forms.get, matches))
        if None in found:
            found = {self._resolve(match) for match in matches}
        return found  # type: ignore[return-value]  # None is not in it any more

    def _resolve(self, match: str) -> int:
        blanks = match.replace("-", " ")
        if blanks in self.forms:
            return self.forms[blanks]
        for end in range(len(blanks), 0, -1):
            if blanks[:end] in self.prefixes:
                return self.prefixes[blanks[:end]]
        raise KeyError(match)


def compile_english(words: Iterable[str]) -> Matcher:
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
    return Matcher(re.compile(rf"(?<![a-z0-9]){trie}(?![a-z0-9])"), forms, prefixes)


def compile_korean(words: Iterable[str]) -> Matcher:
    """Compile words that may stand anywhere; with `^` before them only at the beginning of a word.

    A word of one syllable is found only where it stands alone but for a particle.

    Args:
        words: Folded words. Their place in the sequence is their index.
    """
    listed = list(words)
    forms = {word.removeprefix("^"): index for index, word in enumerate(listed)}
    ends = {word[1:]: rf"(?<![가-힣].{{{len(word) - 1}}})" for word in listed if word.startswith("^")}
    ends.update({word: _ALONE for word in forms if len(word) == 1 and "가" <= word <= "힣"})
    return Matcher(re.compile(_expression(forms, ends)), forms, {})


def compile_chinese(words: Iterable[str]) -> Matcher:
    """Compile words that may stand anywhere.

    Args:
        words: Folded words. Their place in the sequence is their index.
    """
    forms = {word: index for index, word in enumerate(words)}
    return Matcher(re.compile(_expression(forms)), forms, {})


def _plural(word: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


@dataclass
class _Node:
    """What may follow a beginning; `end` is what must hold where a word ends here, None where none does."""

    below: dict[str, _Node] = field(default_factory=dict)
    end: str | None = None


def _expression(words: Iterable[str], ends: Mapping[str, str] | None = None) -> str:
    """One expression for many words, which share their beginnings, so that no place is tried word by word.

    `ends` is what must hold after some of the words. It comes after the word even where it looks behind: an
    expression whose branches all begin with a letter is searched by its set of first letters.
    """
    root = _Node()
    for word in words:
        node = root
        for letter in word:
            node = node.below.setdefault(letter, _Node())
        node.end = (ends or {}).get(word, "")
    return _branch(root) if root.below else "(?!)"


def _branch(node: _Node) -> str:
    parts = [_letter(letter) + _branch(below) for letter, below in node.below.items() if letter != "*"]
    # the longest first: the exact words, then any ending, then the end
    if "*" in node.below:
        parts.append("[a-z]*")
    if node.end is not None:
        parts.append(node.end)
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _letter(letter: str) -> str:
    return "[ -]" if letter == " " else re.escape(letter)
