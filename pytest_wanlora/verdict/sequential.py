"""The sequential decision: which items are settled, and which scenarios need more videos.

`assess` looks at all pairs that were rendered so far and is the same function of them whenever and by
whomever it is called, so no state travels between looks or workers. `run_gate` plays a whole gate from a bank
of scores.

An item is settled when the interval of its change lies wholly on one side of its fail band; on the far side
it must also be significantly worse (Holm over all items of the run), unless another item of its scenario
already is (then it fails beside it). Passing takes no correction for the number of items: all must pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pytest_wanlora.scoring.metric import METRICS, Metric
from pytest_wanlora.verdict import evidence as statistics
from pytest_wanlora.verdict.bands import band, frozen, rule
from pytest_wanlora.verdict.evidence import Contrast, Plan
from pytest_wanlora.verdict.fvd_evidence import SetContrast, distance
from pytest_wanlora.verdict.judgement import ALL, Evidence, ToleranceLike, Verdict
from pytest_wanlora.verdict.pairs import PairedScores, PairedSets

__all__ = ["Assessment", "GateResult", "PairedScores", "PairedSets", "assess", "run_gate"]

Item = tuple[str, str]
"""Scenario (or `"all"`) and metric id."""

_FVD = METRICS["fvd"]
# a jackknife of two videos leaves one, which has no spread
_FEWEST_FOR_A_SET = 3


@dataclass(frozen=True)
class Assessment:
    """What the pairs so far tell.

    Attributes:
        evidence: By item. Items without two pairs are left out: there the band alone decides.
        unsettled: Scenarios that need more pairs, and for which the plan has another look.
        open_items: Items that are not settled, by scenario, of those scenarios.
    """

    evidence: Mapping[Item, Evidence]
    unsettled: tuple[str, ...]
    open_items: Mapping[str, tuple[str, ...]]


@dataclass
class _Row:
    """One item while it is being assessed: everything but what needs the other items."""

    item: Item
    metric: Metric
    contrast: Contrast
    pairs: int
    looks: tuple[int, ...]
    change: float
    low: float
    high: float
    p_value: float
    set_contrast: SetContrast | None = None


def assess(
    scores: PairedScores, tolerances: Mapping[str, ToleranceLike], plan: Plan, *, powers: bool = True
) -> Assessment:
    """Assess all items of one candidate from the pairs rendered so far.

    Args:
        scores: The pairs.
        tolerances: By metric id, for every metric of `scores` and for `fvd` if there are features.
        plan: Looks and levels.
        powers: Whether to compute the pairs that would have been enough.

    Raises:
        KeyError: A metric has no tolerance.
    """
    rows = [row for scenario in (*scores.candidate, ALL) for row in _rows(scores, scenario, plan)]
    fails = [tolerances[row.metric.id].fail for row in rows]
    corrected = statistics.holm(np.array([row.p_value for row in rows]))
    evidence = {
        row.item: _evidence(row, float(adjusted), fail, plan, len(rows), powers)
        for row, fail, adjusted in zip(rows, fails, corrected, strict=True)
    }
    failed = _failed(evidence, tolerances)
    evidence |= _seconded(evidence, tolerances, failed)
    judged = [metric.id for metric in scores.metrics] + ([_FVD.id] if scores.sets is not None else [])
    open_items = {}
    for scenario, pairs in scores.pairs().items():
        if plan.following(pairs) is not None:
            mine = {metric: evidence.get((scenario, metric)) for metric in judged}
            still_open = _open(mine, tolerances, failed=scenario in failed and plan.stop_at_failure)
            if still_open or pairs < plan.looks[0]:
                open_items[scenario] = still_open
    return Assessment(evidence, tuple(open_items), open_items)


def _rows(scores: PairedScores, scenario: str, plan: Plan) -> list[_Row]:
    by_name = scores.pairs()
    most = max(by_name.values()) if scenario == ALL else by_name[scenario]
    total = sum(by_name.values()) if scenario == ALL else most
    taken = [plan.looks[i] for i in plan.taken(most)]
    rows = []
    if total >= 2 and min(by_name.values() if scenario == ALL else [most]) >= 2 and scores.metrics:
        rows += _score_rows(scores, scenario, plan, taken, total)
    common = min(by_name.values()) if scenario == ALL else most
    if scores.sets is not None and common >= _FEWEST_FOR_A_SET:
        rows.append(_set_row(scores.sets, scenario, plan, common, len(by_name) if scenario == ALL else 1))
    return rows


def _score_rows(scores: PairedScores, scenario: str, plan: Plan, taken: list[int], total: int) -> list[_Row]:
    higher = np.array([metric.higher_is_better for metric in scores.metrics])
    p_values = np.ones(len(scores.metrics))
    for share, look in zip(plan.shares(), plan.looks, strict=True):
        if share > 0.0 and look in taken:
            p_values = np.minimum(
                p_values, statistics.p_worse(_contrast(scores, scenario, look), higher) / share
            )
    contrast = _contrast(scores, scenario, max(scores.pairs().values()))
    bounds = statistics.interval(contrast, plan.tail)
    worse = [statistics.change(1.0, bound, higher) for bound in bounds]
    low, high = np.minimum(*worse), np.maximum(*worse)
    changes = statistics.change(contrast.baseline, contrast.candidate, higher)
    return [
        _Row(
            item=(scenario, metric.id),
            metric=metric,
            contrast=_one(contrast, i),
            pairs=total,
            looks=tuple(taken),
            change=float(changes[i]),
            low=float(low[i]),
            high=float(high[i]),
            p_value=float(p_values[i]),
        )
        for i, metric in enumerate(scores.metrics)
    ]


def _contrast(scores: PairedScores, scenario: str, n: int) -> Contrast:
    chosen = scores.candidate if scenario == ALL else {scenario: scores.candidate[scenario]}
    parts = [
        statistics.paired(scores.candidate[name][:, :n], scores.baseline[name][:, :n]) for name in chosen
    ]
    return parts[0] if len(parts) == 1 else statistics.pooled(parts)


def _at(metric: Metric, fail: float) -> float:
    """Candidate / baseline at the fail band."""
    return 1.0 - fail if metric.higher_is_better else 1.0 + fail


def _one(contrast: Contrast, index: int) -> Contrast:
    return Contrast(
        candidate=contrast.candidate[index],
        baseline=contrast.baseline[index],
        candidate_variance=contrast.candidate_variance[index],
        baseline_variance=contrast.baseline_variance[index],
        covariance=contrast.covariance[index],
        pairs=contrast.pairs,
    )


def _set_row(sets: PairedSets, scenario: str, plan: Plan, common: int, scenarios: int) -> _Row:
    taken = tuple(plan.looks[i] for i in plan.taken(common))
    p_value = min(
        (
            sets.compared(scenario, look).p_value / share
            for share, look in zip(plan.shares(), plan.looks, strict=True)
            if share > 0.0 and look in taken
        ),
        default=1.0,
    )
    compared = sets.compared(scenario, common)
    low, high = statistics.interval(compared.contrast, plan.tail, logarithmic=False)
    contrast = compared.contrast
    return _Row(
        item=(scenario, _FVD.id),
        metric=_FVD,
        contrast=contrast,
        pairs=common * scenarios,
        looks=taken,
        change=float(statistics.change(contrast.baseline, contrast.candidate, higher_is_better=False)),
        low=float(low) - 1.0,
        high=float(high) - 1.0,
        p_value=p_value,
        set_contrast=compared,
    )


def _evidence(row: _Row, adjusted: float, fail: float, plan: Plan, items: int, powers: bool) -> Evidence:
    inside, outside = row.high < fail, row.low > fail
    beyond = row.change > fail
    significant = plan.tests and adjusted <= plan.alpha
    weak = not ((beyond and significant) or inside or (outside and not plan.tests))
    known = bool(np.isfinite(row.low) and np.isfinite(row.high))
    compared = row.set_contrast
    return Evidence(
        n=row.pairs,
        looks=row.looks,
        change=row.change,
        low=row.low if known else None,
        high=row.high if known else None,
        level=plan.level,
        decisive=inside or outside,
        p_value=min(row.p_value, 1.0) if plan.tests else None,
        p_adjusted=adjusted if plan.tests else None,
        tested=plan.tests,
        significant=significant,
        seconded=False,
        weak=weak,
        n_enough=_enough(row, fail, beyond, plan, items) if weak and powers else None,
        method="paired-t" if compared is None else "jackknife, label swap",
        baseline_floor=None if compared is None else compared.baseline_floor,
        value_floor=None if compared is None else compared.candidate_floor,
        kvd_difference=None if compared is None else compared.kvd_difference,
    )


def _enough(row: _Row, fail: float, beyond: bool, plan: Plan, items: int) -> int | None:
    """Pairs to tell the change from none (beyond the band), or from the band (within it)."""
    base = float(row.contrast.baseline)
    if not base > 0.0:
        return None
    ratio = float(row.contrast.candidate) / base
    against = 1.0 if beyond else _at(row.metric, fail)
    error = float(row.contrast.spread(against)[0]) / base
    tail = plan.alpha * plan.shares()[-1] / items if beyond and plan.tests else plan.tail
    return statistics.needed(abs(ratio - against), error, row.pairs, tail)


def _failed(evidence: Mapping[Item, Evidence], tolerances: Mapping[str, ToleranceLike]) -> frozenset[str]:
    """Scenarios of which an item has failed for certain."""
    return frozenset(
        scenario
        for (scenario, metric), found in evidence.items()
        if found.change > tolerances[metric].fail and found.decisive and found.significant
    )


def _seconded(
    evidence: Mapping[Item, Evidence], tolerances: Mapping[str, ToleranceLike], failed: frozenset[str]
) -> dict[Item, Evidence]:
    """Items that fail beside one that has failed for certain: no more is rendered to prove them too."""
    return {
        (scenario, metric): replace(found, seconded=True, weak=False, n_enough=None)
        for (scenario, metric), found in evidence.items()
        if (scenario in failed or (scenario == ALL and failed))
        and found.change > tolerances[metric].fail
        and found.decisive
        and not found.significant
    }


def _open(
    mine: Mapping[str, Evidence | None], tolerances: Mapping[str, ToleranceLike], *, failed: bool
) -> tuple[str, ...]:
    """Metrics of a scenario that further pairs could still settle; those without evidence among them."""
    if failed:
        return ()
    return tuple(
        metric
        for metric, found in mine.items()
        if found is None or not found.decisive or (found.weak and found.change > tolerances[metric].fail)
    )


@dataclass(frozen=True)
class GateResult:
    """A gate that was played from a bank of scores.

    Attributes:
        verdicts: By item.
        pairs: Rendered in each scenario.
        fails: Whether any item fails.
        assessment: What the pairs told at the end.
    """

    verdicts: Mapping[Item, Verdict]
    pairs: Mapping[str, int]
    fails: bool
    assessment: Assessment


def run_gate(
    scores: PairedScores,
    tolerances: Mapping[str, ToleranceLike],
    plan: Plan,
    *,
    weak: Literal["warn", "fail"] = "warn",
) -> GateResult:
    """Play one whole gate: look, render more of what is not settled, look again, judge.

    Args:
        scores: As many pairs in each scenario as the last look takes, in the order they would be rendered.
        tolerances: By metric id.
        plan: Looks and levels.
        weak: Verdict on weak evidence beyond the band.

    Raises:
        ValueError: A scenario has fewer pairs than the last look.
    """
    available = scores.pairs()
    if min(available.values()) < plan.looks[-1]:
        raise ValueError(f"pairs: {available}; allowed: at least {plan.looks[-1]} in each scenario")
    pairs = dict.fromkeys(available, plan.looks[0])
    while True:
        seen = scores.first(pairs)
        assessment = assess(seen, tolerances, plan, powers=False)
        if not assessment.unsettled:
            break
        for scenario in assessment.unsettled:
            pairs[scenario] = plan.following(pairs[scenario]) or pairs[scenario]
    verdicts = {}
    for item, found in assessment.evidence.items():
        moved = assessment.evidence.get((item[0], "motion"))
        verdicts[item] = rule(
            METRICS[item[1]],
            found.change,
            tolerances[item[1]],
            found,
            weak=weak,
            motion_change=None if moved is None else moved.change,
            motion_tolerance=tolerances.get("motion"),
        )[0]
    verdicts |= _by_band(seen, tolerances, settled=verdicts)
    verdicts |= dict.fromkeys(_still(seen), Verdict.DEGENERATE)
    return GateResult(verdicts, pairs, any(verdict.fails for verdict in verdicts.values()), assessment)


def _by_band(
    scores: PairedScores, tolerances: Mapping[str, ToleranceLike], *, settled: Collection[Item]
) -> dict[Item, Verdict]:
    """The items that have no evidence, by their band alone."""
    pairs = scores.pairs()
    verdicts = {}
    for scenario in (*pairs, ALL):
        chosen = list(pairs) if scenario == ALL else [scenario]
        for row, metric in enumerate(scores.metrics):
            if (scenario, metric.id) not in settled:
                base, value = (
                    float(np.mean([side[name][row].mean() for name in chosen]))
                    for side in (scores.baseline, scores.candidate)
                )
                verdicts[scenario, metric.id] = band(metric, base, value, tolerances[metric.id])[1]
        if scores.sets is not None and (scenario, _FVD.id) not in settled:
            videos, candidate, baseline = scores.sets.of(scenario, min(pairs[name] for name in chosen))
            # one video has no spread, so no distance: not measured, which does not pass
            verdicts[scenario, _FVD.id] = Verdict.ERROR
            if candidate.size >= 2:
                base, value = (distance(videos, rows.ravel())[0] for rows in (baseline, candidate))
                verdicts[scenario, _FVD.id] = band(_FVD, base, value, tolerances[_FVD.id])[1]
    return verdicts


def _still(scores: PairedScores) -> list[Item]:
    """The motion of every scenario with a frozen video, and that of all."""
    ids = [metric.id for metric in scores.metrics]
    if "motion" not in ids:
        return []
    sides = scores.candidate, scores.baseline
    still = [
        name
        for name in scores.candidate
        if frozen(*(dict(enumerate(side[name][ids.index("motion")].tolist())) for side in sides))
    ]
    return [(name, "motion") for name in ([*still, ALL] if still else [])]
