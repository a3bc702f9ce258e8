"""The verdict of a change by its band alone, without any evidence."""

from __future__ import annotations

import math

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict import evidence as statistics
from pytest_wanlora.verdict.bands import rule
from pytest_wanlora.verdict.judgement import ToleranceLike, Verdict


def band(metric: Metric, baseline: float, value: float, tolerance: ToleranceLike) -> tuple[float, Verdict]:
    """Mark a value by its band alone.

    Args:
        metric: Tells which direction is worse, and whether a large rise is suspicious.
        baseline: The baseline's value.
        value: The candidate's.
        tolerance: The band.

    Returns:
        The relative change to the worse, and the mark. A value that is not finite is `degenerate`, a
        baseline that is not finite an `error`; the change is NaN then.
    """
    if not math.isfinite(value):
        return math.nan, Verdict.DEGENERATE
    if not math.isfinite(baseline):
        return math.nan, Verdict.ERROR
    change = float(statistics.change(baseline, value, metric.higher_is_better))
    return change, rule(metric, change, tolerance)[0]
