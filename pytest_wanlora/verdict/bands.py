"""What a change is called: bands, evidence, suspicious rises, frozen videos. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict.judgement import Evidence, ReasonCode, ToleranceLike, Verdict

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
    undecided: Literal["block", "warn"] = "block",
    motion_change: float | None = None,
    motion_tolerance: ToleranceLike | None = None,
) -> tuple[Verdict, ReasonCode]:
    """Turn a change into a verdict.

    Args:
        metric: Of what.
        change: Relative change to the worse.
        tolerance: Its band.
        evidence: How sure; None: the band alone decides.
        undecided: What a change beyond the band that is not proven does: it blocks, or it warns.
        motion_change: How `motion` changed in the same scenario.
        motion_tolerance: Its band.

    Returns:
        The verdict, and why.
    """
    fail = tolerance.fail if evidence is None else evidence.fail_band(tolerance.fail)
    if math.isnan(change):
        return Verdict.ERROR, ReasonCode.CHANGE_UNDEFINED
    if change > fail + _ROUNDING:
        if evidence is None or evidence.significant:
            return Verdict.FAIL, ReasonCode.BEYOND_BAND
        if evidence.seconded:
            return Verdict.FAIL, ReasonCode.FAILED_WITH_SIBLING
        warns = undecided == "warn"
        weak = ReasonCode.BEYOND_BAND_WEAK if warns else ReasonCode.UNDECIDED
        verdict = Verdict.WARN if warns else Verdict.UNDECIDED
        return verdict, weak if evidence.tested else ReasonCode.TOO_FEW_PAIRS
    if change > 0.0 and change >= tolerance.warn - _ROUNDING:
        return Verdict.WARN, ReasonCode.WITHIN_WARN_BAND
    if metric.two_sided and -change > fail + _ROUNDING:
        return Verdict.WARN, ReasonCode.SUSPICIOUS_RISE
    if -change >= tolerance.better - _ROUNDING:
        stiller = (
            motion_change is not None
            and motion_tolerance is not None
            and motion_change >= motion_tolerance.warn
        )
        if metric.two_sided and stiller:
            return Verdict.WARN, ReasonCode.RISE_WITH_LESS_MOTION
        if math.isinf(change):
            return Verdict.WARN, ReasonCode.BASELINE_ZERO
        if evidence is not None and (evidence.high is None or evidence.high >= 0.0):
            return Verdict.PASS, ReasonCode.BETTER_UNCERTAIN
        return Verdict.BETTER, ReasonCode.BETTER
    return Verdict.PASS, ReasonCode.WITHIN_BAND


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
