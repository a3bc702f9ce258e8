"""Questions about a LoRA, each a ratio with a scatter: they are judged beside the scores, by the same rules.

Distances between two seeds of one prompt are the unit: what the base model itself changes from video to
video. Their mean is a U-statistic; its scatter is the jackknife over seeds (Efron and Stein 1981, "The
jackknife estimate of variance"), and so is its covariance with what the pairs share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.evidence import Contrast, Floats
from pytest_wanlora.verdict.judgement import Evidence, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.measured import settled


@dataclass(frozen=True)
class Question:
    """One question about one scenario.

    Attributes:
        metric: What is asked.
        warn: Value up to which nothing is wrong; the test is against it.
        fail: Beyond it the item fails, if the value is proven to be beyond `warn`.
        of_first: Contrast of the first n pairs, n >= 3: its ratio candidate / baseline is the value divided
            by `warn`.
    """

    metric: Metric
    warn: float
    fail: float
    of_first: Callable[[int], Contrast]
    _contrasts: dict[int, Contrast] = field(default_factory=dict, init=False, repr=False, compare=False)

    def contrast(self, n: int) -> Contrast:
        """The contrast of the first n pairs; computed once."""
        if n not in self._contrasts:
            self._contrasts[n] = self.of_first(n)
        return self._contrasts[n]

    @property
    def band(self) -> float:
        """The fail band as a change to the worse, relative to `warn`."""
        return abs(self.fail / self.warn - 1.0)

    def value(self, change: float) -> float:
        """The value that a change to the worse, relative to `warn`, stands for."""
        return self.warn * (1.0 - change if self.metric.higher_is_better else 1.0 + change)

    def told(self, evidence: Evidence) -> Evidence:
        """Evidence in the question's own unit."""
        ends = [None if end is None else self.value(end) for end in (evidence.low, evidence.high)]
        low, high = reversed(ends) if self.metric.higher_is_better else ends
        return replace(evidence, change=self.value(evidence.change), low=low, high=high)


def bleed(candidate: NDArray[Any], stored: NDArray[Any], warn: float) -> Contrast:
    """How far a LoRA moves videos, in units of what another seed changes.

    The value is the mean distance of the candidate's features to the base's of the same seed, divided by the
    mean distance between two seeds of the base. 0: the same videos; 1: as far as another seed.

    Args:
        candidate: (n, D), n >= 3.
        stored: (N, D), N >= n: all seeds of the base, the first n those of the pairs.
        warn: Value that the ratio of the contrast is relative to.
    """
    n = len(candidate)
    moved = np.linalg.norm(np.asarray(candidate, np.float64) - stored[:n], axis=1)
    unit, scatter = spread(stored)
    return _ratio(float(moved.mean()), moved - moved.mean(), warn * unit, warn * scatter)


def spread(features: NDArray[Any]) -> tuple[float, Floats]:
    """Mean distance between two of n videos, and the jackknife influence of each on it, (n,), mean 0.

    Args:
        features: (n, D), n >= 3.

    Raises:
        ValueError: Fewer than three videos.
    """
    rows = np.asarray(features, dtype=np.float64)
    n = len(rows)
    if n < 3:
        raise ValueError(f"the spread of {n} videos has no jackknife; allowed: 3 or more")
    own = np.array([np.linalg.norm(rows - row, axis=1).sum() for row in rows])
    total = own.sum()
    without = (total - 2.0 * own) / ((n - 1.0) * (n - 2.0))
    return float(total / (n * (n - 1.0))), np.asarray((n - 1.0) * (without.mean() - without))


def _ratio(value: float, scatter: Floats, unit: float, unit_scatter: Floats) -> Contrast:
    """Contrast of two estimates by the influence of each seed; the unit's first seeds are the value's."""
    n, stored = len(scatter), len(unit_scatter)
    return Contrast(
        candidate=np.asarray(value),
        baseline=np.asarray(unit),
        candidate_variance=np.array([scatter @ scatter / (n * (n - 1.0))]),
        baseline_variance=np.array([unit_scatter @ unit_scatter / (stored * (stored - 1.0))]),
        covariance=np.array([scatter @ unit_scatter[:n] / (stored * (n - 1.0))]),
        pairs=(n,),
    )


_CODES = {
    "bleed": (
        ReasonCode.KEEPS_THE_REST,
        ReasonCode.BLEEDS_SLIGHTLY,
        ReasonCode.BLEEDS,
        ReasonCode.BLEED_UNPROVEN,
    ),
}


def judge_question(
    blank: Judgement, question: Question, evidence: Evidence, *, undecided: Literal["block", "warn"]
) -> Judgement:
    """Judge a value against its bands.

    Args:
        blank: Names the item.
        question: What was asked.
        evidence: From `sequential.assess`.
        undecided: What a value beyond its band that is not proven does.
    """
    found = question.told(evidence)
    if not math.isfinite(found.change):
        return settled(blank, Verdict.ERROR, ReasonCode.NO_SPREAD, {})
    kept, slight, fails, unproven = _CODES[question.metric.id]
    worse = 1.0 if question.metric.higher_is_better else -1.0
    if worse * found.change < worse * question.fail:
        proven = evidence.significant or evidence.seconded
        open_verdict = Verdict.WARN if undecided == "warn" else Verdict.UNDECIDED
        verdict, code = (Verdict.FAIL, fails) if proven else (open_verdict, unproven)
    elif worse * found.change <= worse * question.warn:
        verdict, code = Verdict.WARN, slight
    else:
        verdict, code = Verdict.PASS, kept
    judged = replace(
        blank,
        verdict=verdict,
        code=code,
        value=found.change,
        warn=question.warn,
        fail=question.fail,
        evidence=found,
    )
    return replace(judged, reason=reasons.reason(judged))
