"""Losses of a stated size, planted in the videos of a bank.

A metric of videos is multiplied, so that its mean over all videos of the bank is the wished share of the
base's. `overall` is computed anew from its parts; a loss of `overall` itself is one factor on all three.

A distance is raised by moving the whole set of features away from the reference. With d the distance of
the two means and R all the rest of the Fréchet distance (what the spreads differ by), moving the
candidate's mean to the distance d' = sqrt(target - R) along the line from the reference's mean through the
base's gives the target exactly, and leaves spread and scatter as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from benchmarks.evidence.bank import Side
from pytest_wanlora.metrics import METRICS, overall
from pytest_wanlora.verdict import fvd
from pytest_wanlora.verdict.evidence import Floats, change
from pytest_wanlora.verdict.fvd import ReferenceSet, Videos
from pytest_wanlora.verdict.judgement import ALL

__all__ = ["Loss", "above_floor", "neutral", "planted", "true_changes"]

_PARTS = ("temporal", "sharpness", "color")
References = Mapping[str, ReferenceSet]
"""By scenario, and of the pooled set under `"all"`."""


@dataclass(frozen=True)
class Loss:
    """How much worse than the base the candidate is to be.

    Attributes:
        scenario: Where; `"all"` for every scenario alike.
        sizes: Relative change to the worse by metric, 0.15 for 15 %.
    """

    scenario: str
    sizes: Mapping[str, float]

    def places(self, side: Side) -> tuple[str, ...]:
        """The scenarios concerned."""
        return side.scenarios if self.scenario == ALL else (self.scenario,)


def neutral(side: Side, base: Side, references: References, sharpness_reference: float) -> Side:
    """The videos of another model with all means moved onto the base's: a candidate that lost nothing.

    How its videos scatter, and go with the base's video of the same seed, stays as it was measured.
    """
    return planted(
        side,
        base,
        Loss(ALL, {metric.id: 0.0 for metric in side.metrics if metric.id != "overall"} | {"fvd": 0.0}),
        references,
        sharpness_reference,
    )


def planted(side: Side, base: Side, loss: Loss, references: References, sharpness_reference: float) -> Side:
    """Plant a loss.

    Args:
        side: The candidate's videos.
        base: The baseline's; the sizes are relative to their means.
        loss: What and where. Metrics that it does not name stay as they are, apart from `overall`.
        references: For `fvd`.
        sharpness_reference: The suite's, for `overall`.
    """
    scores = {name: values.copy() for name, values in side.scores.items()}
    features = dict(side.features)
    for name in loss.places(side):
        for metric, size in loss.sizes.items():
            if metric not in ("fvd", "overall"):
                row, towards = side.row(metric), 1.0 if METRICS[metric].higher_is_better else -1.0
                goal = (1.0 - towards * size) * base.scores[name][row].mean()
                scores[name][row] *= goal / scores[name][row].mean()
        if set(loss.sizes) & {*_PARTS, "overall"}:
            wished = None
            if "overall" in loss.sizes:
                wished = (1.0 - loss.sizes["overall"]) * float(base.of(name, "overall").mean())
            _set_overall(side, scores[name], sharpness_reference, wished)
        if "fvd" in loss.sizes:
            features[name] = _moved(
                side.features[name], base.features[name], references[name], loss.sizes["fvd"]
            )
    return replace(side, scores=scores, features=features)


def _set_overall(side: Side, scores: Floats, reference: float, wished: float | None) -> None:
    """Compute `overall` from its parts; first scale them by one factor if a mean is wished. In place."""
    if "overall" not in [metric.id for metric in side.metrics]:
        return
    parts = [side.row(name) for name in _PARTS]

    def formula(factor: float) -> Floats:
        temporal, sharpness, color = factor * scores[parts]
        percent = np.minimum(100.0, 100.0 * sharpness / reference)
        return np.asarray([overall(*each) for each in zip(temporal, percent, color, strict=True)])

    if wished is not None:
        factor = float(optimize.brentq(lambda f: formula(f).mean() - wished, 0.0, 2.0, xtol=1e-12))
        scores[parts] *= factor
    scores[side.row("overall")] = formula(1.0)


def above_floor(features: Floats, reference: ReferenceSet) -> float:
    """Fréchet distance of a large set, less what its n explains."""
    videos = Videos.of(features, reference)
    return float(np.subtract(*fvd.distance(videos, np.arange(len(features)))))


def _moved(features: Floats, base: Floats, reference: ReferenceSet, size: float) -> Floats:
    away = base.mean(axis=0) - reference.mean
    own = features.mean(axis=0) - reference.mean
    target = (1.0 + size) * above_floor(base, reference)
    rest = above_floor(features, reference) - float(own @ own)
    if target < rest:
        raise ValueError(f"a distance of {target:.4g} is wished; the spreads alone give {rest:.4g}")
    return np.asarray(features - own + np.sqrt(target - rest) * away / np.linalg.norm(away))


def true_changes(side: Side, base: Side, references: References) -> dict[tuple[str, str], float]:
    """Relative change to the worse of every item, over all videos of the bank."""
    found = {}
    for metric in side.metrics:
        means = [
            {name: float(each.of(name, metric.id).mean()) for name in side.scenarios} for each in (base, side)
        ]
        for each in means:
            each[ALL] = float(np.mean(list(each.values())))
        for name in means[0]:
            found[name, metric.id] = float(change(means[0][name], means[1][name], metric.higher_is_better))
    for name in (*side.scenarios, ALL):
        chosen = side.scenarios if name == ALL else (name,)
        before, after = (
            _pooled_above_floor([each.features[one] for one in chosen], references[name])
            for each in (base, side)
        )
        found[name, "fvd"] = float(change(before, after, higher_is_better=False))
    return found


def _pooled_above_floor(features: list[Floats], reference: ReferenceSet) -> float:
    n = len(features[0])
    videos = Videos.of(np.concatenate(features), reference)
    return float(np.subtract(*fvd.distance(videos, np.arange(n * len(features)).reshape(-1, n))))
