"""From scores to judgements by absolute bounds; what was not measured cannot pass."""

from __future__ import annotations

import math
from typing import Protocol

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict.fvd import SetDistance
from pytest_wanlora.verdict.judgement import Details, Judgement, ReasonCode, Verdict, Worst
from pytest_wanlora.verdict.measured import (
    NONE_DEGENERATE,
    Degenerate,
    Scores,
    Unfit,
    mean_of,
    settled,
    unfit_for,
    unfit_set,
    worst_of,
)


class LimitLike(Protocol):
    """An absolute bound: `suite.Limit`."""

    @property
    def min(self) -> float | None:
        """Lowest value that passes."""

    @property
    def max(self) -> float | None:
        """Highest value that passes."""


def judge_limit(
    metric: Metric,
    *,
    candidate: str,
    scenario: str,
    limit: LimitLike,
    scores: Scores,
    degenerate: Degenerate = NONE_DEGENERATE,
) -> Judgement:
    """Judge the candidate's mean score by an absolute bound; the baseline has no say.

    Args:
        metric: A metric of videos.
        candidate: Name of the checkpoint.
        scenario: Scenario, or `"all"` for the mean of the scenarios' means.
        limit: The bound.
        scores: The candidate's, of this scenario or of all.
        degenerate: Videos of these scenarios that cannot be scored.
    """
    unfit = unfit_for(scores, degenerate)
    value = mean_of(scores)
    n = sum(map(len, scores.values()))
    worst = worst_of(metric, scores) if unfit is None else None
    return _limited(metric, candidate, scenario, limit, value, n, None, unfit, worst, {})


def judge_set_limit(
    metric: Metric,
    *,
    candidate: str,
    scenario: str,
    limit: LimitLike,
    value: float | None,
    n: int,
    reference_n: int | None,
    told: SetDistance | None = None,
    degenerate: Degenerate = NONE_DEGENERATE,
) -> Judgement:
    """Judge a set's score by an absolute bound.

    Much of a Fréchet distance of few videos is the floor that their number explains, so a bound is put on
    what lies above it: a limit then means the same at any number of videos.

    Args:
        metric: A metric of sets.
        candidate: Name of the checkpoint.
        scenario: Scenario, or `"all"`.
        limit: The bound.
        value: The score; None if it was not measured.
        n: Videos in the set.
        reference_n: Videos in the reference set.
        told: The floor and the interval of `value`, a Fréchet distance; None: another metric.
        degenerate: Videos of the set that cannot be scored.
    """
    unfit = unfit_set(value, degenerate)
    details: Details = {}
    if told is not None and value is not None and unfit is None:
        value, details = value - told.floor, {"raw": value, "floor": told.floor}
        if told.low is not None and told.high is not None:
            details = {**details, "low": told.low, "high": told.high}
    return _limited(metric, candidate, scenario, limit, value or 0.0, n, reference_n, unfit, None, details)


def _limited(
    metric: Metric,
    candidate: str,
    scenario: str,
    limit: LimitLike,
    value: float,
    n: int,
    reference_n: int | None,
    unfit: Unfit | None,
    worst: Worst | None,
    details: Details,
) -> Judgement:
    blank = Judgement(
        kind="limit",
        candidate=candidate,
        scenario=scenario,
        metric=metric.id,
        verdict=Verdict.ERROR,
        reason="",
        minimum=limit.min,
        maximum=limit.max,
        n=n,
        reference_n=reference_n,
    )
    if unfit is not None:
        return settled(blank, *unfit)
    low, high = -math.inf if limit.min is None else limit.min, math.inf if limit.max is None else limit.max
    kept = low <= value <= high
    if kept:
        return settled(blank, Verdict.PASS, ReasonCode.LIMIT_KEPT, details, value=value, worst=worst)
    return settled(blank, Verdict.FAIL, ReasonCode.LIMIT_BROKEN, details, value=value, worst=worst)
