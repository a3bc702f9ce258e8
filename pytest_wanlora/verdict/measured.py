"""What was measured of an item, and whether it can be judged at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict.judgement import Evidence, Judgement, Verdict, Worst
from pytest_wanlora.verdict.reasons import degenerate_words, first

Scores = Mapping[str, Mapping[int, float]]
"""Values of one metric by scenario and seed."""
Degenerate = Mapping[tuple[str, int], str]
"""Why a video cannot be scored, by scenario and seed."""

NONE_DEGENERATE: Degenerate = {}


def settled(
    blank: Judgement,
    verdict: Verdict,
    reason: str,
    *,
    baseline: float | None = None,
    value: float | None = None,
    change: float | None = None,
    evidence: Evidence | None = None,
    worst: Worst | None = None,
) -> Judgement:
    """The judgement of an item whose `blank` form names it and its bounds."""
    finite = change is not None and math.isfinite(change)
    return replace(
        blank,
        verdict=verdict,
        reason=reason,
        baseline=baseline,
        value=value,
        change=change if finite else None,
        # from a baseline of 0 nothing relative can be said, nor how sure it is
        evidence=evidence if finite else None,
        worst=worst,
    )


def unfit_for(metric: Metric, scores: Scores, degenerate: Degenerate) -> tuple[Verdict, str] | None:
    """Why the candidate's scores cannot be judged, if they cannot."""
    if degenerate:
        return Verdict.DEGENERATE, degenerate_words(degenerate)
    empty = sorted(name for name, of in scores.items() if not of)
    if not scores or empty:
        where = f" of {', '.join(empty)}" if empty else ""
        return Verdict.ERROR, f"no video{where} was measured"
    broken = [
        f"{name} seed {seed} is {value}"
        for name, of in sorted(scores.items())
        for seed, value in sorted(of.items())
        if not math.isfinite(value)
    ]
    if broken:
        return Verdict.DEGENERATE, f"{metric.id} of {first(broken)}"
    return None


def unfit_set(
    metric: Metric, value: float | None, whose: str, degenerate: Degenerate
) -> tuple[Verdict, str] | None:
    """Why a set's score cannot be judged, if it cannot."""
    if degenerate:
        return Verdict.DEGENERATE, degenerate_words(degenerate)
    if value is None:
        return Verdict.ERROR, f"{metric.id} of {whose} was not measured"
    if not math.isfinite(value):
        return Verdict.DEGENERATE, f"{metric.id} of {whose} is {value}"
    return None


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
