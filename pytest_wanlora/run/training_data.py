"""What the candidates were trained on, put beside what became of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_wanlora.errors import DataError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.results.training_data import (
    CorrelationCard,
    ScenarioShare,
    SuspicionCard,
    TrainingDataCard,
)
from pytest_wanlora.training_data.attribution import is_rare, suspect
from pytest_wanlora.training_data.categories import LANGUAGES, Means
from pytest_wanlora.training_data.rules import of_suite
from pytest_wanlora.training_data.survey import MEANS, Source, take

if TYPE_CHECKING:
    from pytest_wanlora.suite import Scenario, Suite
    from pytest_wanlora.verdict.judgement import Judgement


@dataclass(frozen=True)
class TrainingData:
    """What one walk through the metadata found.

    Attributes:
        path: The metadata.
        sha256: Of the file.
        rows: Its rows.
        counts: Prompts by category, of the categories that a prompt can be found to belong to.
        languages: Prompts by language.
        undecided: Prompts that no word decides.
        ties: Prompts that words of several categories decide alike.
        folded: Prompts by category that no scenario has; they count as `other`.
        ignored: Text that nearly all prompts share, left out, with the share of those that have it.
    """

    path: Path
    sha256: str
    rows: int
    counts: Mapping[str, int]
    languages: Mapping[str, int]
    undecided: int
    ties: int
    folded: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, float] = field(default_factory=dict)

    @property
    def prompts(self) -> int:
        """Prompts that an epoch takes: rows with a prompt, with their repeats."""
        return sum(self.languages.values())

    @property
    def shares(self) -> dict[str, float]:
        """Share of the prompts by category, 0 to 1, with the sum 1."""
        return {name: count / self.prompts for name, count in self.counts.items()}


def read(path: Path, suite: Suite) -> TrainingData:
    """Walk through the metadata and count what its prompts are about, by the suite's word lists.

    The videos are not looked at, nor is their column needed.

    Args:
        path: The training data, in any form that `forms` reads.
        suite: Whose categories are counted.

    Raises:
        DataError: The metadata cannot be read, or has no prompt in it.
    """
    rules = of_suite(suite)
    try:
        survey = take(Source(path, check_videos=False, near=False), rules)
        present = survey.present
        if not present.any():
            raise DataError(f"{path}: none of its {number_of(len(survey), 'row')} has a prompt")
        weights = survey.repeats[present]
        counted = np.bincount(survey.languages[present], weights, minlength=len(LANGUAGES))
        means = np.bincount(survey.means[present], weights, minlength=len(MEANS))
        found = TrainingData(
            path=path,
            sha256=survey.sha256(),
            rows=len(survey),
            counts={name: n for name, n in survey.counts(present).items() if name in rules.decidable},
            languages={name: round(n) for name, n in zip(LANGUAGES, counted, strict=True) if n},
            undecided=round(means[MEANS.index(Means.NOTHING)]),
            ties=round(means[MEANS.index(Means.TIE)]),
            folded=survey.folded,
            ignored=survey.shared.shares,
        )
    except DataError as error:
        raise DataError(
            f"--wanlora-training-data (ini: wanlora_training_data): {error.message}",
            next_command=f"python -m pytest_wanlora data report {shlex.quote(str(path))}",
        ) from error
    return found


def card(
    data: TrainingData,
    scenarios: Iterable[Scenario],
    candidates: Iterable[str],
    judgements: Iterable[Judgement],
) -> TrainingDataCard:
    """Put the training data beside the judgements of a run.

    Args:
        data: What `read` found.
        scenarios: Those of the suite.
        candidates: Names of the checkpoints, in their order.
        judgements: All of the run.
    """
    shares = data.shares
    undecided = data.undecided / data.prompts
    categories = {scenario.id: scenario.category for scenario in scenarios}
    # where no list has a word for a category, nothing is known of how common it is
    known = {name: category for name, category in categories.items() if category in shares}
    judged = list(judgements)
    suspicions: list[SuspicionCard] = []
    correlations: list[CorrelationCard] = []
    for candidate in candidates:
        own = [each for each in judged if each.candidate == candidate]
        found, correlation = suspect(candidate, shares, own, known, undecided=undecided)
        suspicions += found
        if correlation is not None:
            correlations.append(correlation)
    return TrainingDataCard(
        file=data.path.name,
        sha256=data.sha256,
        rows=data.rows,
        prompts=data.prompts,
        counts=dict(data.counts),
        shares=shares,
        languages=dict(data.languages),
        undecided=data.undecided,
        ties=data.ties,
        folded=dict(data.folded),
        ignored=dict(data.ignored),
        scenarios={
            name: ScenarioShare(
                category=category,
                prompts=data.counts.get(category),
                share=shares.get(category),
                rare=name in known and is_rare(category, shares, undecided=undecided),
            )
            for name, category in categories.items()
        },
        suspicions=tuple(suspicions),
        correlations=tuple(correlations),
    )
