"""What a decision is made from: scores and features of two sides, paired by scenario and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict import fvd
from pytest_wanlora.verdict.evidence import Floats
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.questions import Question
from pytest_wanlora.verdict.set_contrast import SetContrast, compare


@dataclass(frozen=True)
class PairedSets:
    """Video features of both sides.

    Attributes:
        videos: Products of all videos, by scenario; under `"all"` for the pooled set and for scenarios that
            have no reference of their own. Row numbers mean the same videos in each.
        candidate: Rows by scenario, (n,), in the order of the scores' pairs.
        baseline: Rows of the pairs.
        stored: Rows of all seeds that the baseline has, (N,), those of the pairs first; None: no others.
    """

    videos: Mapping[str, fvd.Videos]
    candidate: Mapping[str, NDArray[np.intp]]
    baseline: Mapping[str, NDArray[np.intp]]
    stored: Mapping[str, NDArray[np.intp]] | None = None
    # a later look asks for the contrasts of the earlier ones again
    _compared: dict[tuple[str, int], SetContrast] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def of(self, scenario: str, n: int) -> tuple[fvd.Videos, fvd.Rows, fvd.Rows]:
        """Products and the rows of the first n pairs, of one scenario or of all."""
        chosen = list(self.candidate) if scenario == ALL else [scenario]
        return (
            self.videos.get(scenario, self.videos[ALL]),
            np.stack([self.candidate[name][:n] for name in chosen]),
            np.stack([self.baseline[name][:n] for name in chosen]),
        )

    def compared(self, scenario: str, n: int) -> SetContrast:
        """The contrast of the first n pairs, of one scenario or of all; computed once.

        Args:
            scenario: Scenario id or `"all"`.
            n: Pairs of each scenario, 3 or more.
        """
        if (scenario, n) not in self._compared:
            known = None if self.stored is None else self._known(scenario, self.stored)
            self._compared[scenario, n] = compare(*self.of(scenario, n), known)
        return self._compared[scenario, n]

    def _known(self, scenario: str, stored: Mapping[str, NDArray[np.intp]]) -> fvd.Rows:
        """Rows of the seeds that the baseline has of a scenario, or of as many of each as of every other."""
        chosen = list(self.candidate) if scenario == ALL else [scenario]
        common = min(len(stored[name]) for name in chosen)
        return np.stack([stored[name][:common] for name in chosen])


@dataclass(frozen=True)
class PairedScores:
    """All finite scores of candidate and baseline, paired by scenario and seed.

    Attributes:
        metrics: Metrics of videos that have a tolerance, M of them.
        candidate: By scenario, (M, n) in the order of the seeds, n >= 1; n may differ between scenarios.
        baseline: Scores of the pairs.
        sets: Features; None: `fvd` is not judged.
        questions: What is asked besides, by scenario and metric.
        stored: All finite scores that the baseline has, (M, N) by scenario, whether or not they have a pair;
            None: those of the pairs.
    """

    metrics: tuple[Metric, ...]
    candidate: Mapping[str, Floats]
    baseline: Mapping[str, Floats]
    sets: PairedSets | None = None
    stored: Mapping[str, Floats] | None = None
    questions: Mapping[tuple[str, str], Question] = field(default_factory=dict)

    def first(self, pairs: Mapping[str, int]) -> PairedScores:
        """The same with so many pairs of each scenario."""
        return replace(
            self,
            candidate={name: scores[:, : pairs[name]] for name, scores in self.candidate.items()},
            baseline={name: scores[:, : pairs[name]] for name, scores in self.baseline.items()},
        )

    def pairs(self) -> dict[str, int]:
        """Pairs of each scenario."""
        return {name: scores.shape[1] for name, scores in self.candidate.items()}
