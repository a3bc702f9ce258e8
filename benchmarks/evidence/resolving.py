"""Pairs that a loss of 1.5 fail bands would need, from how the videos of the bank really scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.evidence.losses import Loss, planted
from pytest_wanlora.verdict import evidence as statistics
from pytest_wanlora.verdict.evidence import Contrast, Plan
from pytest_wanlora.verdict.fvd_evidence import Videos, compare

if TYPE_CHECKING:
    from benchmarks.evidence.bank import Side
    from benchmarks.evidence.study import Ground

__all__ = ["needed_pairs"]

_SIZE = 1.5
# a jackknife of the whole bank takes minutes, and says the same
_PAIRS_FOR_A_DISTANCE = 64


def needed_pairs(ground: Ground) -> dict[str, dict[str, int | None]]:
    """Pairs for 80 % power, by model and scenario/metric.

    A failure takes two things: a difference from the baseline that is significant at the level which Holm
    leaves the first of all items at the last look, and a point estimate beyond the band. The larger number of
    the two is given; the loss is as large as it is, so the estimate lies half a band beyond.
    """
    plan = Plan.doubling(4, 16)
    items = len(ground.metrics) * (len(ground.bank.base.scenarios) + 1)
    tail = plan.alpha * plan.shares()[-1] / items
    found: dict[str, dict[str, int | None]] = {}
    for model, side in ground.neutral.items():
        found[model] = {}
        for place in ground.bank.base.scenarios:
            for metric in ground.metrics:
                fail = ground.suite.tolerances[metric].fail
                loss = Loss(place, {metric: _SIZE * fail})
                lost = planted(
                    side, ground.bank.base, loss, ground.references, ground.suite.scoring.sharpness_reference
                )
                contrast, pairs = _contrast(ground, lost, place, metric)
                base = float(np.ravel(contrast.baseline)[0])
                up = -1.0 if metric != "fvd" else 1.0
                against = 1.0 + up * fail
                none, edge = (float(np.ravel(contrast.spread(ratio)[0])[0]) for ratio in (1.0, against))
                found[model][f"{place}/{metric}"] = _larger(
                    statistics.needed(_SIZE * fail * base, none, pairs, tail),
                    statistics.needed((_SIZE - 1.0) * fail * base, edge, pairs, 0.5),
                )
    return found


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _contrast(ground: Ground, side: Side, place: str, metric: str) -> tuple[Contrast, int]:
    base = ground.bank.base
    if metric != "fvd":
        return statistics.paired(side.of(place, metric), base.of(place, metric)), base.size
    n = _PAIRS_FOR_A_DISTANCE
    both = np.concatenate([side.features[place][:n], base.features[place][:n]])
    rows = np.arange(n)
    return compare(Videos.of(both, ground.references[place]), rows, rows + n).contrast, n
