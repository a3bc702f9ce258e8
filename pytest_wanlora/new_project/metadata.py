"""What a new suite takes from a LoRA's training metadata: shares of categories, and how its prompts begin."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_wanlora.errors import DataError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.training_data.rules import extended, packaged_rules
from pytest_wanlora.training_data.survey import Source, take

_USUAL: Final = 0.9
_MOST_WORDS: Final = 12
_SAMPLE: Final = 2000
_MARKS: Final = " ,.;:!?"
_ARTICLES: Final = frozenset({"a", "an", "the"})


@dataclass(frozen=True)
class Training:
    """What was found.

    Attributes:
        prompts: Prompts that an epoch takes: rows with a prompt, with their repeats.
        shares: Share of the prompts by category, 0 to 1; of categories that have words in the lists.
        opening: The words that most prompts begin with; None if they begin differently.
        opening_share: Share of the prompts that begin with them.
    """

    path: Path
    prompts: int
    shares: Mapping[str, float]
    opening: str | None
    opening_share: float

    def summary(self) -> str:
        """One line: the file, its prompts and the shares, the largest first."""
        ordered = sorted(self.shares.items(), key=lambda item: -item[1])
        shares = ", ".join(f"{name} {share:.1%}" for name, share in ordered)
        return f"training data {self.path.name}, {self.prompts:,} prompts: {shares}"


def read(path: Path, categories: Iterable[str] = ()) -> Training:
    """Walk through the metadata, as a gate with `--wanlora-training-data` does."""
    rules = extended(packaged_rules(), {}, names=categories)
    try:
        survey = take(Source(path, check_videos=False, near=False), rules)
        prompts = survey.taken(survey.present)
        if not prompts:
            raise DataError(f"{path}: none of its {number_of(len(survey), 'row')} has a prompt")
        counts = survey.counts(survey.present)
        rows = survey.present.nonzero()[0]
        opening, share = _opening([survey.prompts[row] for row in rows[:: -(-len(rows) // _SAMPLE)].tolist()])
    except DataError as error:
        raise DataError(
            f"--training-data: {error.message}",
            next_command=f"python -m pytest_wanlora data report {shlex.quote(str(path))}",
        ) from error
    shares = {name: count / prompts for name, count in counts.items() if name in rules.decidable}
    return Training(path, prompts, shares, opening, share)


def _opening(prompts: list[str]) -> tuple[str | None, float]:
    """The longest beginning, in words, that nine of ten prompts share; its end is no article and no mark."""
    words = [prompt.split()[:_MOST_WORDS] for prompt in prompts]
    found: list[str] = []
    share = 0.0
    while True:
        place = len(found)
        counted = Counter(_bare(each[place]) for each in words if len(each) > place)
        word, count = counted.most_common(1)[0] if counted else ("", 0)
        if count < _USUAL * len(prompts):
            break
        words = [each for each in words if len(each) > place and _bare(each[place]) == word]
        found.append(words[0][place])
        share = count / len(prompts)
    while found and _bare(found[-1]) in _ARTICLES:
        found.pop()
    text = " ".join(found).rstrip(_MARKS)
    # of one prompt everything would be shared
    return (text, share) if text and len(prompts) > 1 else (None, 0.0)


def _bare(word: str) -> str:
    return word.casefold().rstrip(_MARKS)
