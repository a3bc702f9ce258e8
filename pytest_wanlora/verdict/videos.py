"""Broken videos: single videos far outside what the baseline's own seeds show.

A test of means cannot find them: k outliers of n give a t of about the root of k, whatever their size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict.judgement import Judgement, ReasonCode, ToleranceLike, Verdict, Worst
from pytest_wanlora.verdict.measured import NONE_DEGENERATE, Degenerate, Scores, Unfit, settled, unfit_for

#: A loss from the baseline's median that counts as broken, in fail bands, and in lower tails of the
#: baseline's own seeds: their largest loss from the median. Chosen on seeds 0 to 383 (docs/evidence.md).
BANDS = 8.0
TAILS = 2.0
#: Eight bands may be more than all there is to lose; this share of the median is enough then.
NEARLY_ALL = 0.9
#: Of a metric whose rise is suspicious too: so many times the median is no improvement (noise is 44 to 400
#: times as sharp as a video).
RISE = 9.0


@dataclass(frozen=True)
class Bounds:
    """Where a video's score is broken.

    Attributes:
        median: Of the baseline's seeds.
        worst: Scores beyond it, to the worse, are broken.
        rise: Scores beyond it, to the better, are broken too; None where a rise is no fault.
    """

    median: float
    worst: float
    rise: float | None

    @classmethod
    def of(cls, metric: Metric, stored: Sequence[float], fail: float) -> Bounds:
        """The bounds of a metric.

        Args:
            metric: Of videos.
            stored: The baseline's scores of a scenario, one or more, finite.
            fail: Fail band.
        """
        values = np.asarray(stored, dtype=np.float64)
        median = float(np.median(values))
        losses = (median - values) if metric.higher_is_better else (values - median)
        enough = BANDS * fail
        if metric.higher_is_better:
            enough = min(enough, NEARLY_ALL)
        loss = max(enough * abs(median), TAILS * float(losses.max()))
        gain = max((RISE - 1.0) * abs(median), TAILS * float(-losses.min()))
        towards = 1.0 if metric.higher_is_better else -1.0
        return cls(median, median - towards * loss, median + towards * gain if metric.two_sided else None)

    def beyond(self, metric: Metric, value: float) -> float | None:
        """The bound that a score is beyond, if it is beyond one."""
        towards = 1.0 if metric.higher_is_better else -1.0
        if towards * value < towards * self.worst:
            return self.worst
        if self.rise is not None and towards * value > towards * self.rise:
            return self.rise
        return None


def judge_videos(
    candidate: str,
    scenario: str,
    scores: Mapping[Metric, Mapping[int, float]],
    stored: Mapping[Metric, Sequence[float]],
    tolerances: Mapping[str, ToleranceLike],
    degenerate: Degenerate = NONE_DEGENERATE,
) -> Judgement:
    """Judge every video of a scenario on its own: one that is broken fails.

    Args:
        candidate: Name of the checkpoint.
        scenario: Its id.
        scores: The candidate's by metric and seed: all that were rendered.
        stored: The baseline's by metric: every seed that it has.
        tolerances: By metric id.
        degenerate: Videos that cannot be scored.
    """
    n = max((len(of) for of in scores.values()), default=0)
    blank = Judgement("videos", candidate, scenario, "", Verdict.ERROR, "", n=n)
    unfit = _unfit(scenario, scores, stored, degenerate)
    if unfit is not None:
        return settled(blank, *unfit)
    found: dict[int, list[str]] = {}
    worst: Worst | None = None
    for metric, of in scores.items():
        bounds = Bounds.of(metric, stored[metric], tolerances[metric.id].fail)
        for seed, value in of.items():
            bound = bounds.beyond(metric, value)
            if bound is not None:
                said, limit, usual = (metric.format(each) for each in (value, bound, bounds.median))
                sign = "<" if value < bound else ">"
                found.setdefault(seed, []).append(f"{metric.id} {said} {sign} {limit} (base {usual})")
                worst = worst or Worst(scenario, seed, value, bounds.median)
    if not found:
        return settled(blank, Verdict.PASS, ReasonCode.VIDEOS_SOUND, {})
    listed = tuple((scenario, seed, ", ".join(found[seed])) for seed in sorted(found))
    return settled(
        blank, Verdict.FAIL, ReasonCode.VIDEOS_BROKEN, {"broken": listed, "count": len(listed)}, worst=worst
    )


def _unfit(
    scenario: str,
    scores: Mapping[Metric, Mapping[int, float]],
    stored: Mapping[Metric, Sequence[float]],
    degenerate: Degenerate,
) -> Unfit | None:
    """Why the videos cannot be judged, if they cannot."""
    for metric, of in scores.items():
        by_scenario: Scores = {scenario: of}
        unfit = unfit_for(by_scenario, degenerate)
        if unfit is not None:
            return unfit
        if not len(stored.get(metric, ())):
            return Verdict.MISSING_BASELINE, ReasonCode.BASELINE_LACKS_METRIC, {"metric": metric.id}
        if not np.isfinite(stored[metric]).all():
            return Verdict.ERROR, ReasonCode.BASELINE_NOT_FINITE, {"videos": (scenario,), "metric": metric.id}
    return None
