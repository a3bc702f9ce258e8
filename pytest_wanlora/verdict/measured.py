"""What was measured of an item, and whether it can be judged at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pytest_wanlora.errors import JobError, WanloraError
from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.judgement import (
    ALL,
    Details,
    Evidence,
    ItemId,
    Judgement,
    ReasonCode,
    Verdict,
    Worst,
)

Scores = Mapping[str, Mapping[int, float]]
"""Values of one metric by scenario and seed."""
Degenerate = Mapping[tuple[str, int], str]
"""Why a video cannot be scored, by scenario and seed."""

Unfit = tuple[Verdict, ReasonCode, Details]
"""Why scores cannot be judged."""

NONE_DEGENERATE: Degenerate = {}


def settled(
    blank: Judgement,
    verdict: Verdict,
    code: ReasonCode,
    details: Details,
    *,
    baseline: float | None = None,
    value: float | None = None,
    change: float | None = None,
    evidence: Evidence | None = None,
    worst: Worst | None = None,
) -> Judgement:
    """The judgement of an item whose `blank` form names it and its bounds."""
    finite = change is not None and math.isfinite(change)
    judged = replace(
        blank,
        verdict=verdict,
        code=code,
        details=details,
        baseline=baseline,
        value=value,
        change=change if finite else None,
        # from a baseline of 0 nothing relative can be said, nor how sure it is
        evidence=evidence if finite else None,
        worst=worst,
    )
    return replace(judged, reason=reasons.reason(judged))


def unfit_for(scores: Scores, degenerate: Degenerate) -> Unfit | None:
    """Why the candidate's scores cannot be judged, if they cannot."""
    if degenerate:
        return _degenerate(degenerate)
    empty = tuple(sorted(name for name, of in scores.items() if not of))
    if not scores or empty:
        return Verdict.ERROR, ReasonCode.NO_VIDEO, {"places": empty or (ALL,)}
    broken = tuple(
        (name, seed, str(value))
        for name, of in sorted(scores.items())
        for seed, value in sorted(of.items())
        if not math.isfinite(value)
    )
    return (Verdict.DEGENERATE, ReasonCode.NOT_FINITE, {"videos": broken}) if broken else None


def unfit_set(value: float | None, degenerate: Degenerate) -> Unfit | None:
    """Why the score of the candidate's set cannot be judged, if it cannot."""
    if degenerate:
        return _degenerate(degenerate)
    if value is None:
        return Verdict.ERROR, ReasonCode.NOT_MEASURED, {}
    if not math.isfinite(value):
        return Verdict.DEGENERATE, ReasonCode.NOT_FINITE, {"videos": (str(value),)}
    return None


def _degenerate(degenerate: Degenerate) -> Unfit:
    videos = tuple((name, seed, why) for (name, seed), why in sorted(degenerate.items()))
    return Verdict.DEGENERATE, ReasonCode.DEGENERATE, {"videos": videos}


def mean_of(scores: Scores) -> float:
    """Mean over scenarios of the means over seeds; NaN without any."""
    means = [math.fsum(of.values()) / len(of) for of in scores.values() if of]
    return math.fsum(means) / len(means) if means else math.nan


def worst_of(metric: Metric, scores: Scores, pairs: Scores | None = None) -> Worst:
    """The worst video: against its pair if there are pairs, else by its score."""
    sign = 1.0 if metric.higher_is_better else -1.0
    found = [
        (sign * (value - (0.0 if pairs is None else pairs[name][seed])), name, seed)
        for name, of in scores.items()
        for seed, value in of.items()
    ]
    _, name, seed = min(found)
    return Worst(name, seed, scores[name][seed], None if pairs is None else pairs[name][seed])


def said(
    item: ItemId,
    verdict: Verdict,
    code: ReasonCode,
    details: Details = MappingProxyType({}),
    *,
    value: float | None = None,
    next_command: str | None = None,
) -> Judgement:
    """A judgement that no score is behind."""
    blank = Judgement(item.kind, item.candidate, item.scenario, item.metric, verdict, "")
    return settled(replace(blank, next_command=next_command or ""), verdict, code, dict(details), value=value)


def failed(item: ItemId, verdict: Verdict, code: ReasonCode, error: WanloraError) -> Judgement:
    """The judgement on what could not be measured."""
    details: Details = {"message": error.message}
    if isinstance(error, JobError) and error.video:
        # apart from the reason: one cause of many videos is one reason
        details = {"message": error.cause, "video": error.video}
    return said(item, verdict, code, details, next_command=error.next_command)
