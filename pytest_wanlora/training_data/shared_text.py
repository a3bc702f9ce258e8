"""Text that nearly every prompt of a set shares, a trigger or a style: it says nothing of one prompt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

NEARLY_EVERY: Final = 0.9
"""Share of the different prompts from which on a beginning, an end or a word is shared."""

_FEW: Final = 20  # different prompts below which only whole clauses that all of them begin with count
_SAMPLE: Final = 4000
_LEFT_EMPTY: Final = 0.05
_SHORTEST: Final = 4  # letters; "a" or "the" in front is no header

_WORD: Final = re.compile(r"[a-z0-9_]+(?:'[a-z]+)?|[가-힣]+|[^\W\d_a-z가-힣]")
_MARK: Final = re.compile(r"\s*[,.;:|!?。、，；：\-]")  # noqa: RUF001  Chinese marks  # fmt: skip
_LETTER: Final = re.compile(r"[^\W\d_]")
_EDGE: Final = re.compile(r"^[\W_]+|[\W_]+$")


@dataclass(frozen=True)
class SharedText:
    """What is left out of prompts before they are read.

    Attributes:
        beginning: Words that nearly every prompt begins with, folded.
        end: Words that nearly every prompt ends with, folded.
        words: Other words that nearly every prompt has, and triggers that the user named, folded.
        shares: What is left out, as told to the user, with the share of the prompts that have it.
    """

    beginning: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each of `shares`."""
        return tuple(f"ignored in {share:.0%} of rows: {text!r}" for text, share in self.shares.items())

    def without(self, folded: str) -> str:
        """A prompt without the shared text; the prompt itself if no letter is left."""
        if not self.shares:
            return folded
        text = folded
        for word in self.words:
            if word in text:
                text = re.sub(rf"(?<![a-z0-9_]){re.escape(word)}(?![a-z0-9_])", " ", text)
        spans = [match.span() for match in _WORD.finditer(text)]
        words = tuple(text[start:end] for start, end in spans)
        first, last = 0, len(text)
        if self.beginning and words[: len(self.beginning)] == self.beginning:
            first = spans[len(self.beginning) - 1][1]
        if self.end and words[-len(self.end) :] == self.end and spans[-len(self.end)][0] >= first:
            last = spans[-len(self.end)][0]
        left = _EDGE.sub("", text[first:last]) if (first, last) != (0, len(text)) else text
        return left if _LETTER.search(left) else folded


def find(
    folded: Sequence[str], *, says_something: Callable[[str], bool], triggers: Sequence[str] = ()
) -> SharedText:
    """Find what nearly every prompt shares.

    Args:
        folded: Prompts that `rules.fold` returned; empty ones do not count.
        says_something: Whether a word is in the lists; no other word is left out on its own.
        triggers: Texts that the user wants left out, folded.
    """
    unique = [text for text in dict.fromkeys(folded) if text]
    named = [text for text in triggers if text]
    told = {text: sum(text in each for each in unique) / max(len(unique), 1) for text in named}
    sample = [_without(text, named) for text in unique[:: -(-len(unique) // _SAMPLE) or 1]]
    words = [[match.group() for match in _WORD.finditer(text)] for text in sample]
    beginning = _common(words, sample, last=False)
    end = _common(words, sample, last=True) if len(sample) >= _FEW else ()
    if beginning:
        told[" ".join(beginning)] = _share(words, lambda each: tuple(each[: len(beginning)]) == beginning)
    if end:
        told[" ".join(end)] = _share(words, lambda each: tuple(each[-len(end) :]) == end)
    common: list[str] = []
    if len(sample) >= _FEW:
        counted = Counter(word for each in words for word in set(each[len(beginning) : len(each) - len(end)]))
        least = NEARLY_EVERY * len(sample)
        common = [word for word, count in counted.items() if count >= least and says_something(word)]
        told |= {word: counted[word] / len(sample) for word in common}
    return SharedText(beginning, end, (*named, *common), told)


def _common(words: Sequence[list[str]], texts: Sequence[str], *, last: bool) -> tuple[str, ...]:
    """The longest beginning, or end, that nearly all have and that leaves something of nearly all."""
    lines = [each[::-1] if last else each for each in words]
    least = len(lines) if len(lines) < _FEW else NEARLY_EVERY * len(lines)
    path: list[str] = []
    sharing = [lines]
    while len(lines) > 1:
        counted = Counter(line[len(path)] for line in sharing[-1] if len(line) > len(path))
        word, count = counted.most_common(1)[0] if counted else ("", 0)
        if count < least:
            break
        sharing.append([line for line in sharing[-1] if len(line) > len(path) and line[len(path)] == word])
        path.append(word)
    while path:
        whole = sum(len(line) == len(path) for line in sharing[len(path)])
        if whole <= _LEFT_EMPTY * len(lines) and (len(lines) >= _FEW or _ends_a_clause(path, texts)):
            break
        path.pop()
    found = tuple(path[::-1] if last else path)
    return found if len("".join(found)) >= _SHORTEST or any(not word.isascii() for word in found) else ()


def _ends_a_clause(path: Sequence[str], texts: Sequence[str]) -> bool:
    for text in texts:
        matches = list(_WORD.finditer(text))
        if not _MARK.match(text, matches[len(path) - 1].end()):
            return False
    return True


def _without(text: str, triggers: Sequence[str]) -> str:
    for trigger in triggers:
        text = text.replace(trigger, " ")
    return " ".join(_EDGE.sub("", text).split())


def _share(words: Sequence[list[str]], has: Callable[[list[str]], bool]) -> float:
    return sum(map(has, words)) / len(words)
