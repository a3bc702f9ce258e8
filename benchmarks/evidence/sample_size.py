"""Pairs that a loss of 1.5 fail bands would need, from how the videos of the bank really scatter."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.bank import Side
from benchmarks.evidence.fixtures import Ground
from benchmarks.evidence.losses import Loss, planted
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict import evidence as statistics
from pytest_wanlora.verdict import multiplicity
from pytest_wanlora.verdict.evidence import Contrast, Plan
from pytest_wanlora.verdict.fvd import Videos
from pytest_wanlora.verdict.items import at_band
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.set_contrast import compare

__all__ = ["needed_pairs"]

_SIZE = 1.5
# a jackknife of the whole bank takes minutes, and says the same
_PAIRS_FOR_A_DISTANCE = 64


def needed_pairs(ground: Ground) -> dict[str, dict[str, int | None]]:
    """Pairs for 80 % power, by model and scenario/metric.

    A failure takes two things: a difference from the baseline that is significant at the level which the
    other items leave to the first one at the last look, and a point estimate beyond the band. The larger
    number of the two is given; the loss is as large as it is, so the estimate lies half a band beyond.
    """
    plan, base = Plan.between(3, 16), ground.bank.base
    found: dict[str, dict[str, int | None]] = {}
    for model, side in ground.neutral.items():
        tails = _tails(ground, side, plan)
        found[model] = {}
        for place in base.scenarios:
            for metric in ground.metrics:
                fail = ground.suite.tolerances[metric].fail
                loss = Loss(place, {metric: _SIZE * fail})
                reference = ground.suite.scoring.sharpness_reference
                contrast, pairs = _contrast(
                    ground, planted(side, base, loss, ground.references, reference), place, metric
                )
                mean = float(contrast.baseline)
                none, edge = (
                    float(contrast.spread(ratio)[0]) for ratio in (1.0, at_band(METRICS[metric], fail))
                )
                found[model][f"{place}/{metric}"] = _larger(
                    multiplicity.needed(_SIZE * fail * mean, none, pairs, tails[place, metric]),
                    multiplicity.needed((_SIZE - 1.0) * fail * mean, edge, pairs, 0.5),
                )
    return found


def _tails(ground: Ground, side: Side, plan: Plan) -> dict[tuple[str, str], float]:
    """The level of each item at the last look, if no other item is beyond its band."""
    looks, shares = [look for look, _ in plan.tested_looks], [share for _, share in plan.tested_looks]
    items = [(place, metric) for place in (*ground.bank.base.scenarios, ALL) for metric in ground.metrics]
    sizes = np.stack(
        [
            multiplicity.beyond_by_chance(
                _contrast(ground, side, place, metric)[0],
                at_band(METRICS[metric], ground.suite.tolerances[metric].fail),
                looks,
            )
            for place, metric in items
        ]
    )
    levels = multiplicity.levels(sizes, shares, plan.alpha)
    return {item: float(level) * shares[-1] for item, level in zip(items, levels, strict=True)}


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _contrast(ground: Ground, side: Side, place: str, metric: str) -> tuple[Contrast, int]:
    """Contrast of one item, and the pairs of a scenario that it rests on."""
    base = ground.bank.base
    chosen = base.scenarios if place == ALL else (place,)
    if metric != "fvd":
        sides = [[each.of(name, metric) for name in chosen] for each in (side, base)]
        return statistics.pooled(*sides), base.size
    n = _PAIRS_FOR_A_DISTANCE
    both = [np.concatenate([each.features[name][:n] for name in chosen]) for each in (side, base)]
    rows = np.arange(n * len(chosen)).reshape(-1, n)
    videos = Videos.of(np.concatenate(both), ground.references[place])
    return compare(videos, rows, rows + rows.size).contrast, n
