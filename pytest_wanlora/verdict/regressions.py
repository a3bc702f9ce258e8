"""From scores to judgements against the baseline; what was not measured cannot pass."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from pytest_wanlora.metrics import METRICS, Metric
from pytest_wanlora.verdict import evidence as statistics
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.bands import frozen, rule
from pytest_wanlora.verdict.judgement import Details, Evidence, Judgement, ReasonCode, ToleranceLike, Verdict
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


def judge_regression(
    metric: Metric,
    *,
    candidate: str,
    scenario: str,
    scores: Scores,
    baseline: Scores,
    tolerance: ToleranceLike,
    evidence: Evidence | None = None,
    undecided: Literal["block", "warn"] = "block",
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
        undecided: What a change beyond its band that is not proven does.
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
    unfit = unfit_for(scores, degenerate) or _unpaired(scores, baseline)
    if unfit is not None:
        return settled(blank, *unfit)
    pairs = {name: {seed: baseline[name][seed] for seed in of} for name, of in scores.items()}
    value, base = mean_of(scores), mean_of(pairs)
    change = float(statistics.change(base, value, metric.higher_is_better))
    verdict, code = rule(
        metric,
        change,
        tolerance,
        evidence,
        undecided=undecided,
        motion_change=motion_change,
        motion_tolerance=motion_tolerance,
    )
    details: Details = {}
    if code is ReasonCode.RISE_WITH_LESS_MOTION and motion_change is not None:
        details = {"motion_loss": motion_change}
    if still := _still(metric, scores, pairs):
        verdict, code, details = Verdict.DEGENERATE, ReasonCode.FROZEN, {"videos": still}
    return settled(
        blank,
        verdict,
        code,
        details,
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
    undecided: Literal["block", "warn"] = "block",
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
        undecided: What a change beyond its band that is not proven does.
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
    unfit = unfit_set(value, degenerate)
    if unfit is not None or value is None:
        return settled(blank, *(unfit or (Verdict.ERROR, ReasonCode.NOT_MEASURED, {})))
    if baseline is None:
        return settled(blank, Verdict.MISSING_BASELINE, ReasonCode.BASELINE_LACKS_METRIC, {})
    if n != baseline_n:
        counts: Details = {"baseline_n": baseline_n}
        return settled(blank, Verdict.INCOMPARABLE, ReasonCode.UNEQUAL_SETS, counts)
    if not math.isfinite(baseline):
        broken: Details = {"videos": (str(baseline),)}
        return settled(blank, Verdict.DEGENERATE, ReasonCode.BASELINE_NOT_FINITE, broken)
    change = float(statistics.change(baseline, value, metric.higher_is_better))
    if evidence is not None:
        change = evidence.change
        blank = replace(blank, fail=evidence.fail_band(tolerance.fail))
    verdict, code = rule(metric, change, tolerance, evidence, undecided=undecided)
    return settled(
        blank,
        verdict,
        code,
        {},
        baseline=baseline,
        value=value,
        change=change,
        evidence=evidence,
    )


def without_call(judged: Judgement, undecided: Literal["block", "warn"]) -> Judgement:
    """The judgement of what has no evidence, whose pairs are too few or whose metric has no test.

    It may call no loss a failure.

    Args:
        judged: By the band alone.
        undecided: What a change beyond its band that is not proven does.
    """
    if judged.verdict is not Verdict.FAIL:
        return judged
    verdict = Verdict.WARN if undecided == "warn" else Verdict.UNDECIDED
    tested = METRICS[judged.metric].level == "video" or judged.metric == "fvd"
    code = ReasonCode.TOO_FEW_PAIRS if tested else ReasonCode.NO_TEST
    called = replace(judged, verdict=verdict, code=code)
    return replace(called, reason=reasons.reason(called))


def _unpaired(scores: Scores, baseline: Scores) -> Unfit | None:
    """Why the baseline cannot be paired with these scores, if it cannot."""
    pairs = [(name, seed) for name, of in sorted(scores.items()) for seed in sorted(of)]
    missing = tuple((name, seed, "") for name, seed in pairs if seed not in baseline.get(name, {}))
    if missing:
        return Verdict.MISSING_BASELINE, ReasonCode.BASELINE_LACKS_VIDEOS, {"videos": missing}
    values = ((name, seed, baseline[name][seed]) for name, seed in pairs)
    broken = tuple((name, seed, str(value)) for name, seed, value in values if not math.isfinite(value))
    return (Verdict.ERROR, ReasonCode.BASELINE_NOT_FINITE, {"videos": broken}) if broken else None


def _still(metric: Metric, scores: Scores, pairs: Scores) -> tuple[tuple[str, int, str], ...]:
    """The frozen videos, when the metric is motion."""
    if metric.id != "motion":
        return ()
    return tuple((name, seed, "") for name in sorted(scores) for seed in frozen(scores[name], pairs[name]))
