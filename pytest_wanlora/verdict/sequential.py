"""The sequential decision: which items are settled, and which scenarios need more videos.

`assess` looks at all pairs that were rendered so far and is the same function of them whenever and by
whomever it is called, so no state travels between looks or workers.

An item has failed for certain when the interval of its change lies wholly beyond its fail band and it is
significantly worse (Holm over all items of the run), or another item of its scenario is (then it fails beside
it). An item whose scatter is far below its band cannot fail by chance, so it counts for next to nothing
there. Any other item gets more videos only while they could still make it fail: not once its interval lies
within the band, nor once the last look would hardly fail it. Passing takes no correction for the number of
items: all must pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from pytest_wanlora.verdict import multiplicity
from pytest_wanlora.verdict.evidence import Floats, Plan
from pytest_wanlora.verdict.items import FVD, Item, Row, at_band, rows
from pytest_wanlora.verdict.judgement import ALL, Evidence, ToleranceLike
from pytest_wanlora.verdict.pairs import PairedScores

#: A scenario that will fail with a greater chance is rendered before all others.
_LIKELY = 0.5


@dataclass(frozen=True)
class Assessment:
    """What the pairs so far tell.

    Attributes:
        evidence: By item. Items without two pairs are left out: there the band alone decides.
        unsettled: Scenarios that get more pairs now: all that need some and have another look, or the one
            that will probably fail, which would end the rendering of all.
        failed: Scenarios, or `"all"`, of which an item has failed for certain.
        most: Pairs of a scenario at the last look.
    """

    evidence: Mapping[Item, Evidence]
    unsettled: tuple[str, ...]
    failed: frozenset[str] = frozenset()
    most: int = 0


def assess(
    scores: PairedScores,
    tolerances: Mapping[str, ToleranceLike],
    plan: Plan,
) -> Assessment:
    """Assess all items of one candidate from the pairs rendered so far.

    Args:
        scores: The pairs.
        tolerances: By metric id, for every metric of `scores` and for `fvd` if there are features.
        plan: Looks and levels.

    Raises:
        KeyError: A metric has no tolerance.
    """
    found = [row for scenario in (*scores.candidate, ALL) for row in rows(scores, scenario, plan, tolerances)]
    adjusted, levels = _corrected(found, plan)
    evidence = {}
    for row, p_value, level in zip(found, adjusted.tolist(), levels.tolist(), strict=True):
        told = _evidence(row, p_value, plan, _chance(row, plan, level))
        if row.set_contrast is not None and row.fail > tolerances[row.metric.id].fail:
            told = replace(told, band=row.fail)
        if told.weak:
            told = replace(told, n_enough=_enough(row, plan, level))
        evidence[row.item] = told
    beyond = {row.item for row in found if row.change > row.fail}
    failed = _failed(evidence, beyond)
    evidence |= _seconded(evidence, beyond, failed)
    over = bool(failed) and plan.stop_at_failure
    judged = [metric.id for metric in scores.metrics] + ([FVD.id] if scores.sets is not None else [])
    open_items = {}
    for scenario, pairs in scores.pairs().items():
        if plan.following(pairs) is not None:
            asked = [metric for place, metric in scores.questions if place == scenario]
            mine = {metric: evidence.get((scenario, metric)) for metric in (*judged, *asked)}
            past = frozenset(metric for place, metric in beyond if place == scenario)
            still_open = () if over else _open(mine, past, plan)
            if still_open or pairs < plan.looks[0]:
                open_items[scenario] = still_open
    if not open_items and not over:
        open_items = _for_pooled(scores.pairs(), evidence, beyond, plan)
    return Assessment(evidence, _next(open_items, evidence, plan), failed, plan.looks[-1])


def _for_pooled(
    pairs: Mapping[str, int], evidence: Mapping[Item, Evidence], beyond: AbstractSet[Item], plan: Plan
) -> dict[str, tuple[str, ...]]:
    """Pooled items that are beyond their band and not proven, under the scenarios that hold them back."""
    weak = tuple(sorted(metric for place, metric in beyond if place == ALL and evidence[ALL, metric].weak))
    fewest = min(pairs.values())
    more = weak and plan.following(fewest) is not None
    return {name: weak for name, n in pairs.items() if n == fewest} if more else {}


def _next(
    open_items: Mapping[str, Sequence[str]], evidence: Mapping[Item, Evidence], plan: Plan
) -> tuple[str, ...]:
    """The scenarios to go on with."""
    chances = {
        scenario: max((_chance_of(evidence.get((scenario, metric))) for metric in metrics), default=0.0)
        for scenario, metrics in open_items.items()
    }
    likely = max(chances, key=lambda scenario: chances[scenario], default="")
    first = plan.stop_at_failure and chances.get(likely, 0.0) > _LIKELY
    return (likely,) if first else tuple(open_items)


def _chance_of(found: Evidence | None) -> float:
    return 0.0 if found is None or found.chance_to_fail is None else found.chance_to_fail


def _corrected(found: list[Row], plan: Plan) -> tuple[Floats, Floats]:
    """Adjusted p-values, and the level at which each item would hold alone, at all looks together."""
    # the claim that may be false is that of a failure, which takes both: significant, and beyond the band
    claims = [row.p_value if row.change > row.fail else 1.0 for row in found]
    looks, shares = [look for look, _ in plan.tested_looks], [share for _, share in plan.tested_looks]
    # the most that an item can add to the run's chance of a false failure, by the look that proves it
    sizes = [
        multiplicity.beyond_by_chance(row.contrast, at_band(row.metric, row.fail), looks) for row in found
    ]
    taken = np.reshape(sizes, (len(found), len(looks)))
    return multiplicity.holm(np.array(claims), taken, shares), multiplicity.levels(taken, shares, plan.alpha)


def _evidence(row: Row, adjusted: float, plan: Plan, chance: float | None) -> Evidence:
    inside, outside, beyond = row.high < row.fail, row.low > row.fail, row.change > row.fail
    spared = not beyond and chance is not None and chance <= plan.futility
    significant = plan.tests and adjusted <= plan.alpha
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
        weak=not ((beyond and significant) or inside or spared),
        n_enough=None,
        method=row.method,
        chance_to_fail=chance,
        baseline_floor=None if compared is None else compared.baseline_floor,
        value_floor=None if compared is None else compared.candidate_floor,
        baseline_estimate=None if compared is None else float(compared.contrast.baseline),
        value_estimate=None if compared is None else float(compared.contrast.candidate),
        kvd_difference=None if compared is None else compared.kvd_difference,
    )


def _chance(row: Row, plan: Plan, level: float) -> float | None:
    """Chance that the last look would fail the item; None if this was it, or if it cannot be told."""
    most = plan.looks[-1]
    if row.item[0] == ALL or row.pairs >= most or not float(row.contrast.baseline) > 0.0:
        return None
    if row.demanded and not row.proven:
        return None  # an improvement that is not proven fails
    higher = row.metric.higher_is_better
    beyond = multiplicity.chance_beyond(
        row.contrast, at_band(row.metric, row.fail), most=most, higher_is_better=higher
    )
    if not plan.tests or row.demanded:
        return beyond
    last = level * plan.shares()[-1]
    if row.set_contrast is not None and last < 0.5**most:
        return 0.0  # no swap of so few labels is so unlikely
    significant = multiplicity.chance_significant(row.statistic, pairs=row.pairs, most=most, level=last)
    return min(beyond, significant)


def _enough(row: Row, plan: Plan, level: float) -> int | None:
    """Pairs to tell the change from none (beyond the band), or from the band (within it)."""
    base, beyond = float(row.contrast.baseline), row.change > row.fail
    if not base > 0.0:
        return None
    ratio = float(row.contrast.candidate) / base
    against = 1.0 if beyond else at_band(row.metric, row.fail)
    error = float(row.contrast.spread(against)[0]) / base
    tail = level * plan.shares()[-1] if beyond and plan.tests else plan.tail
    enough = multiplicity.needed(abs(ratio - against), error, row.pairs, tail)
    if enough is None or row.set_contrast is None or not beyond or not plan.tests:
        return enough
    # a swap of fewer labels is never so unlikely
    return max(enough, math.ceil(-math.log2(tail)))


def _failed(evidence: Mapping[Item, Evidence], beyond: AbstractSet[Item]) -> frozenset[str]:
    """Scenarios of which an item has failed for certain."""
    return frozenset(
        item[0] for item, found in evidence.items() if item in beyond and found.decisive and found.significant
    )


def _seconded(
    evidence: Mapping[Item, Evidence], beyond: AbstractSet[Item], failed: frozenset[str]
) -> dict[Item, Evidence]:
    """Items that fail beside one that has failed for certain: no more is rendered to prove them too."""
    return {
        (scenario, metric): replace(found, seconded=True, weak=False, n_enough=None)
        for (scenario, metric), found in evidence.items()
        if (scenario in failed or (scenario == ALL and failed))
        and (scenario, metric) in beyond
        and found.decisive
        and not found.significant
    }


def _open(mine: Mapping[str, Evidence | None], beyond: AbstractSet[str], plan: Plan) -> tuple[str, ...]:
    """Metrics of a scenario that further pairs could still settle; those without evidence among them.

    An item beyond its band is open until it is proven: as it is, it would be undecided.
    """
    return tuple(
        metric
        for metric, found in mine.items()
        if found is None
        or (metric in beyond and found.weak)
        or (
            metric not in beyond
            and not found.decisive
            and (found.chance_to_fail is None or found.chance_to_fail > plan.futility)
        )
    )
