"""One row for every item: its contrast, its interval, and its test at the looks taken so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pytest_wanlora.metrics import BUILT_IN, Metric
from pytest_wanlora.verdict import evidence as statistics
from pytest_wanlora.verdict.evidence import Contrast, Plan
from pytest_wanlora.verdict.judgement import ALL, ToleranceLike
from pytest_wanlora.verdict.pairs import PairedScores, PairedSets
from pytest_wanlora.verdict.questions import Question
from pytest_wanlora.verdict.set_contrast import SetContrast

Item = tuple[str, str]
"""Scenario (or `"all"`) and metric id."""

FVD = BUILT_IN["fvd"]
# a jackknife of two videos leaves one, which has no spread
_FEWEST_FOR_A_SET = 3


@dataclass
class Row:
    """One item while it is being assessed: everything but what needs the other items.

    Attributes:
        item: Which.
        metric: Of what.
        contrast: From all pairs so far.
        pairs: Those, in all scenarios together.
        looks: Pairs of a scenario at the looks taken so far.
        change: Relative change to the worse.
        low: Lower bound of it.
        high: Upper bound.
        p_value: That it is no change to the worse, corrected for the looks.
        statistic: The change to the worse in standard errors, of what the test is on.
        fail: Fail band: the suite's, or what the n of a distance can tell if that is more.
        set_contrast: Of a distance.
        demanded: An improvement is demanded, which fails unless it is proven.
        proven: Whether it is proven to be one at all.
    """

    item: Item
    metric: Metric
    contrast: Contrast
    pairs: int
    looks: tuple[int, ...]
    change: float
    low: float
    high: float
    p_value: float
    statistic: float
    fail: float
    set_contrast: SetContrast | None = None
    demanded: bool = False
    proven: bool = True

    @property
    def method(self) -> str:
        """What the interval and the test are made with."""
        if self.set_contrast is not None:
            return "jackknife, label swap"
        return "jackknife, t" if self.metric.level == "question" else "paired-t"


def at_band(metric: Metric, fail: float) -> float:
    """Candidate / baseline at the fail band."""
    return 1.0 - fail if metric.higher_is_better else 1.0 + fail


def rows(
    scores: PairedScores, scenario: str, plan: Plan, tolerances: Mapping[str, ToleranceLike]
) -> list[Row]:
    """Take the rows of a scenario, or of all; items without two pairs have none.

    Args:
        scores: The pairs so far.
        scenario: Its id, or `"all"`.
        plan: Looks and levels.
        tolerances: By metric id.
    """
    by_name = scores.pairs()
    most = max(by_name.values()) if scenario == ALL else by_name[scenario]
    total = sum(by_name.values()) if scenario == ALL else most
    taken = [plan.looks[i] for i in plan.taken(most)]
    found = []
    if total >= 2 and min(by_name.values() if scenario == ALL else [most]) >= 2 and scores.metrics:
        found += _score_rows(scores, scenario, plan, taken, total, tolerances)
    common = min(by_name.values()) if scenario == ALL else most
    if scores.sets is not None and common >= _FEWEST_FOR_A_SET:
        scenarios = len(by_name) if scenario == ALL else 1
        found.append(_set_row(scores.sets, scenario, plan, common, scenarios, tolerances[FVD.id].fail))
    if common >= _FEWEST_FOR_A_SET:
        asked = {item: each for item, each in scores.questions.items() if item[0] == scenario}
        found += [_question_row(item, each, plan, common) for item, each in asked.items()]
    return found


def _score_rows(
    scores: PairedScores,
    scenario: str,
    plan: Plan,
    taken: list[int],
    total: int,
    tolerances: Mapping[str, ToleranceLike],
) -> list[Row]:
    higher = np.array([metric.higher_is_better for metric in scores.metrics])
    p_values = np.ones(len(scores.metrics))
    for look, share in plan.tested_looks:
        if look in taken:
            p_values = np.minimum(
                p_values, statistics.p_worse(_contrast(scores, scenario, look), higher) / share
            )
    contrast = _contrast(scores, scenario, max(scores.pairs().values()))
    statistic, _ = statistics.t_worse(contrast, higher)
    bounds = statistics.interval(contrast, plan.tail)
    worse = [statistics.change(1.0, bound, higher) for bound in bounds]
    low, high = np.minimum(*worse), np.maximum(*worse)
    changes = statistics.change(contrast.baseline, contrast.candidate, higher)
    return [
        Row(
            item=(scenario, metric.id),
            metric=metric,
            contrast=_one(contrast, i),
            pairs=total,
            looks=tuple(taken),
            change=float(changes[i]),
            low=float(low[i]),
            high=float(high[i]),
            p_value=float(p_values[i]),
            statistic=float(statistic[i]),
            fail=tolerances[metric.id].fail,
        )
        for i, metric in enumerate(scores.metrics)
    ]


def _contrast(scores: PairedScores, scenario: str, n: int) -> Contrast:
    chosen = list(scores.candidate) if scenario == ALL else [scenario]
    sides = [[side[name][:, :n] for name in chosen] for side in (scores.candidate, scores.baseline)]
    known = scores.baseline if scores.stored is None else scores.stored
    stored = [known[name] for name in chosen]
    if len(chosen) == 1:
        return statistics.paired(sides[0][0], sides[1][0], stored[0])
    return statistics.pooled(sides[0], sides[1], stored)


def _one(contrast: Contrast, index: int) -> Contrast:
    return Contrast(
        candidate=contrast.candidate[index],
        baseline=contrast.baseline[index],
        candidate_variance=contrast.candidate_variance[index],
        baseline_variance=contrast.baseline_variance[index],
        covariance=contrast.covariance[index],
        pairs=contrast.pairs,
        prior=None if contrast.prior is None else contrast.prior[index],
        prior_freedom=contrast.prior_freedom,
    )


def _question_row(item: Item, question: Question, plan: Plan, pairs: int) -> Row:
    taken, metric = tuple(plan.looks[i] for i in plan.taken(pairs)), question.metric
    higher, logarithmic = metric.higher_is_better, question.offset == 0.0
    p_values = [
        float(statistics.p_worse(question.contrast(look), higher, logarithmic=logarithmic)) / share
        for look, share in plan.tested_looks
        if look in taken
    ]
    contrast = question.contrast(pairs)
    bounds = statistics.interval(contrast, plan.tail, logarithmic=logarithmic)
    worse = [statistics.change(1.0, bound, higher) for bound in bounds]
    return Row(
        item=item,
        metric=metric,
        contrast=contrast,
        pairs=pairs,
        looks=taken,
        change=float(statistics.change(contrast.baseline, contrast.candidate, higher)),
        low=float(min(worse)),
        high=float(max(worse)),
        p_value=min(p_values, default=1.0),
        statistic=float(statistics.t_worse(contrast, higher, logarithmic=logarithmic)[0]),
        fail=question.band,
        demanded=question.demanded,
        proven=question.value(float(max(worse))) > 0.0,
    )


def _set_row(sets: PairedSets, scenario: str, plan: Plan, common: int, scenarios: int, fail: float) -> Row:
    taken = tuple(plan.looks[i] for i in plan.taken(common))
    tested = [each for each in plan.tested_looks if each[0] in taken and each[0] >= _FEWEST_FOR_A_SET]
    p_value = min((sets.compared(scenario, look).p_value / share for look, share in tested), default=1.0)
    compared = sets.compared(scenario, common)
    low, high = statistics.interval(compared.contrast, plan.tail, logarithmic=False)
    contrast = compared.contrast
    return Row(
        item=(scenario, FVD.id),
        metric=FVD,
        contrast=contrast,
        pairs=common * scenarios,
        looks=taken,
        change=float(statistics.change(contrast.baseline, contrast.candidate, higher_is_better=False)),
        low=float(low) - 1.0,
        high=float(high) - 1.0,
        p_value=p_value,
        statistic=compared.kvd_statistic,
        fail=max(fail, compared.least),
        set_contrast=compared,
    )
