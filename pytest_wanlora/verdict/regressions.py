"""From scores to judgements against the baseline; what was not measured cannot pass."""

from __future__ import annotations

import math
from typing import Literal

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict import evidence as statistics
from pytest_wanlora.verdict.bands import frozen, rule
from pytest_wanlora.verdict.judgement import Evidence, Judgement, ToleranceLike, Verdict
from pytest_wanlora.verdict.measured import (
    NONE_DEGENERATE,
    Degenerate,
    Scores,
    mean_of,
    settled,
    unfit_for,
    unfit_set,
    worst_of,
)
from pytest_wanlora.verdict.reasons import first, sureness, worded


def judge_regression(
    metric: Metric,
    *,
    candidate: str,
    scenario: str,
    scores: Scores,
    baseline: Scores,
    tolerance: ToleranceLike,
    evidence: Evidence | None = None,
    weak: Literal["warn", "fail"] = "warn",
    degenerate: Degenerate = NONE_DEGENERATE,
    motion_change: float | None = None,
    motion_tolerance: ToleranceLike | None = None,
) -> Judgement:
    """Judge the candidate's scores against the baseline's of the same scenarios and seeds.

    Args:
        metric: A metric of videos.
        candidate: Name of the checkpoint.
        scenario: Scenario, or `"all"` for the mean of the scenarios' means.
        scores: The candidate's, of this scenario or of all.
        baseline: The baseline's; further seeds are left aside.
        tolerance: The band.
        evidence: From `sequential.assess`; None: the band alone decides.
        weak: Verdict on weak evidence beyond the band.
        degenerate: Videos of the candidate that cannot be scored.
        motion_change: How `motion` changed in the same scenario.
        motion_tolerance: Its band.
    """
    blank = Judgement(
        kind="regression",
        candidate=candidate,
        scenario=scenario,
        metric=metric.id,
        verdict=Verdict.ERROR,
        reason="",
        warn=tolerance.warn,
        fail=tolerance.fail,
        n=sum(map(len, scores.values())),
    )
    unfit = unfit_for(metric, scores, degenerate) or _unpaired(metric, scores, baseline)
    if unfit is not None:
        return settled(blank, *unfit)
    pairs = {name: {seed: baseline[name][seed] for seed in of} for name, of in scores.items()}
    value, base = mean_of(scores), mean_of(pairs)
    change = float(statistics.change(base, value, metric.higher_is_better))
    verdict, words = rule(
        metric,
        change,
        tolerance,
        evidence,
        weak=weak,
        motion_change=motion_change,
        motion_tolerance=motion_tolerance,
    )
    still = _still(metric, scores, pairs)
    if still:
        verdict, words = Verdict.DEGENERATE, f"{still} while the baseline's moves"
    numbers = f"{metric.format(base)} -> {metric.format(value)}, {worded(metric, change, tolerance, verdict)}"
    return settled(
        blank,
        verdict,
        "; ".join(filter(None, (numbers, sureness(evidence, blank.n), words))),
        baseline=base,
        value=value,
        change=change,
        evidence=evidence,
        worst=worst_of(metric, scores, pairs),
    )


def judge_set(
    metric: Metric,
    *,
    candidate: str,
    scenario: str,
    value: float | None,
    baseline: float | None,
    n: int,
    baseline_n: int,
    reference_n: int,
    tolerance: ToleranceLike,
    evidence: Evidence | None = None,
    weak: Literal["warn", "fail"] = "warn",
    degenerate: Degenerate = NONE_DEGENERATE,
) -> Judgement:
    """Judge a distance of the candidate's videos against the baseline's distance at the same n.

    Args:
        metric: A metric of sets.
        candidate: Name of the checkpoint.
        scenario: Scenario, or `"all"`.
        value: The candidate's distance; None if it was not measured.
        baseline: The baseline's.
        n: Videos of the candidate.
        baseline_n: Videos of the baseline.
        reference_n: Videos in the reference set.
        tolerance: The band.
        evidence: From `sequential.assess`: then the change is that of the distances above their floors; None:
            the band alone decides on the distances as they are.
        weak: Verdict on weak evidence beyond the band.
        degenerate: Videos of the candidate that cannot be scored.
    """
    blank = Judgement(
        kind="regression",
        candidate=candidate,
        scenario=scenario,
        metric=metric.id,
        verdict=Verdict.ERROR,
        reason="",
        warn=tolerance.warn,
        fail=tolerance.fail,
        n=n,
        reference_n=reference_n,
    )
    unfit = unfit_set(metric, value, "the candidate", degenerate)
    if unfit is None and baseline is None:
        unfit = Verdict.MISSING_BASELINE, f"the baseline has no {metric.id} here"
    if unfit is None and n != baseline_n:
        unfit = Verdict.INCOMPARABLE, f"{metric.id} of {n} and of {baseline_n} videos; allowed: equal numbers"
    unfit = unfit or unfit_set(metric, baseline, "the baseline", NONE_DEGENERATE)
    if unfit is not None or value is None or baseline is None:
        return settled(blank, *(unfit or (Verdict.ERROR, "nothing was measured")))
    numbers = f"{metric.format(baseline)} -> {metric.format(value)} at n = {n} (reference {reference_n})"
    change = float(statistics.change(baseline, value, metric.higher_is_better))
    if evidence is not None:
        change = evidence.change
        floors = evidence.baseline_floor, evidence.value_floor
        if floors[0] is not None and floors[1] is not None:
            small = f"{metric.format(floors[0])} and {metric.format(floors[1])}"
            numbers = f"{numbers}, of which {small} are the floor at this n; above it"
    verdict, words = rule(metric, change, tolerance, evidence, weak=weak)
    reason = f"{numbers}, {worded(metric, change, tolerance, verdict)}"
    return settled(
        blank,
        verdict,
        "; ".join(filter(None, (reason, sureness(evidence, n), words))),
        baseline=baseline,
        value=value,
        change=change,
        evidence=evidence,
    )


def _unpaired(metric: Metric, scores: Scores, baseline: Scores) -> tuple[Verdict, str] | None:
    """Why the baseline is no match for these scores, if it is not."""
    missing = [
        f"{name} seed {seed}"
        for name, of in sorted(scores.items())
        for seed in sorted(of)
        if seed not in baseline.get(name, {})
    ]
    if missing:
        return Verdict.MISSING_BASELINE, f"the baseline has no {metric.id} of {first(missing)}"
    broken = [
        f"{name} seed {seed}"
        for name, of in sorted(scores.items())
        for seed in sorted(of)
        if not math.isfinite(baseline[name][seed])
    ]
    if broken:
        return Verdict.ERROR, f"the baseline's {metric.id} is not finite for {first(broken)}"
    return None


def _still(metric: Metric, scores: Scores, pairs: Scores) -> str:
    """The frozen videos in words, when the metric is motion and there are any."""
    if metric.id != "motion":
        return ""
    seeds = [f"{name} seed {seed}" for name in sorted(scores) for seed in frozen(scores[name], pairs[name])]
    return f"the video stands still in {first(seeds)}" if seeds else ""
