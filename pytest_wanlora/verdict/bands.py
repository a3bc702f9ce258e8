"""What a change is called: bands, evidence, suspicious rises, frozen videos. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict.judgement import (
    Evidence,
    ToleranceLike,
    Verdict,
)

# a change of exactly the band, such as 0.95 of a baseline at 5 %, is off by a rounding error
_ROUNDING = 1e-9
#: A video counts as frozen below this share of its pair's motion, if the pair moves at all: in percent of the
#: frame's diagonal a frame step, about what optical flow finds in noise.
_FROZEN_SHARE = 0.1
_MOVES = 0.05


def rule(
    metric: Metric,
    change: float,
    tolerance: ToleranceLike,
    evidence: Evidence | None = None,
    *,
    weak: Literal["warn", "fail"] = "warn",
    motion_change: float | None = None,
    motion_tolerance: ToleranceLike | None = None,
) -> tuple[Verdict, str]:
    """Turn a change into a verdict.

    Args:
        metric: Of what.
        change: Relative change to the worse.
        tolerance: Its band.
        evidence: How sure; None or untested: the band alone decides.
        weak: Verdict on a change beyond the band that is not significant.
        motion_change: How `motion` changed in the same scenario.
        motion_tolerance: Its band.

    Returns:
        The verdict, and words for what is beyond the numbers; empty when there is nothing to add.
    """
    tested = evidence is not None and evidence.tested
    if math.isnan(change):
        return Verdict.ERROR, "no relative change can be told"
    if change > tolerance.fail + _ROUNDING:
        if evidence is None or not tested or evidence.significant:
            return Verdict.FAIL, ""
        if evidence.seconded:
            return (
                Verdict.FAIL,
                "another item of the scenario has failed for certain, so no more were rendered",
            )
        return (Verdict.FAIL, "the suite fails weak evidence") if weak == "fail" else (Verdict.WARN, "")
    if change > 0.0 and change >= tolerance.warn - _ROUNDING:
        return Verdict.WARN, ""
    if metric.two_sided and -change > tolerance.fail + _ROUNDING:
        return Verdict.WARN, _suspicion(metric)
    if -change >= tolerance.better - _ROUNDING:
        stiller = (
            motion_change is not None
            and motion_tolerance is not None
            and motion_change >= motion_tolerance.warn
        )
        if metric.two_sided and stiller:
            return Verdict.WARN, f"motion fell by {motion_change:.1%} at the same time; {_suspicion(metric)}"
        if math.isinf(change):
            return Verdict.WARN, "from a baseline of 0 no relative change can be told"
        if evidence is not None and (evidence.high is None or evidence.high >= 0.0):
            return Verdict.PASS, "the improvement is not certain"
        return Verdict.BETTER, ""
    return Verdict.PASS, ""


def _suspicion(metric: Metric) -> str:
    return metric.hint or "so large a rise is suspicious: look at the video"


def frozen(candidate: Mapping[int, float], baseline: Mapping[int, float]) -> tuple[int, ...]:
    """Seeds whose video stands still although the baseline's moves.

    Args:
        candidate: `motion` by seed.
        baseline: The same for the baseline.

    Returns:
        Seeds, ascending, with less than a tenth of their pair's motion, where that is at least 0.05 % of the
        diagonal a frame step.
    """
    return tuple(
        seed
        for seed in sorted(candidate.keys() & baseline.keys())
        if baseline[seed] >= _MOVES and candidate[seed] < _FROZEN_SHARE * baseline[seed]
    )
