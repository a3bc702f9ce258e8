"""Noise floors: what chance alone does to a comparison, from a baseline set against itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pytest_wanlora.metrics import METRICS, Metric
from pytest_wanlora.verdict import fvd
from pytest_wanlora.verdict.evidence import Floats, change
from pytest_wanlora.verdict.judgement import ToleranceLike

_SPLITS = 200
_QUANTILE = 0.95
_FEWEST = 4


class NoiseFloor(BaseModel):
    """What chance does to one metric of one scenario.

    Attributes:
        scenario: Scenario id.
        metric: Metric id.
        floor: Relative change that two sets of `n` videos of the same model with different noise differ by
            in 1 of 20 comparisons. Candidates share the baseline's noise, so it is the most that chance does
            to them.
        n: Videos a side: those of the last look.
        fail: The fail band at the time.
        n_needed: Videos a side at which the floor would be at the fail band.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: str
    metric: str
    floor: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    n: int
    fail: float
    n_needed: int

    @property
    def resolved(self) -> bool:
        """Whether the seeds of the last look can resolve the fail band."""
        return self.floor <= self.fail


def floors(
    scenario: str,
    scores: Mapping[int, Mapping[str, float]],
    tolerances: Mapping[str, ToleranceLike],
    *,
    most: int,
) -> tuple[NoiseFloor, ...]:
    """Noise floors of the metrics of videos, from random halves of the baseline's own seeds.

    Args:
        scenario: Its id.
        scores: By seed and metric; below four seeds nothing can be told, and the answer is empty.
        tolerances: By metric.
        most: Videos at the last look.
    """
    found = []
    halves = _halves(len(scores))
    for metric in METRICS.values():
        if metric.id not in tolerances or metric.level != "video" or not halves.size:
            continue
        values = np.array([scores[seed].get(metric.id, math.nan) for seed in sorted(scores)])
        means = values[halves].mean(axis=-1)
        found.append(_floor(scenario, metric, means, halves.shape[-1], tolerances[metric.id].fail, most))
    return tuple(floor for floor in found if floor is not None)


def set_floor(
    scenario: str,
    videos: fvd.Videos,
    rows: NDArray[np.intp],
    tolerance: ToleranceLike,
    *,
    most: int,
) -> NoiseFloor | None:
    """Noise floor of `fvd`: of the distances above their floors, as it is judged.

    Args:
        scenario: Its id, or `"all"`.
        videos: Products of the baseline's videos.
        rows: (scenarios, n); below six seeds nothing can be told.
        tolerance: Of `fvd`.
        most: Videos of a scenario at the last look.
    """
    halves = _halves(rows.shape[1])
    if halves.shape[-1] < 3:
        return None
    left = [[np.subtract(*fvd.distance(videos, rows[:, half])) for half in pair] for pair in halves]
    return _floor(scenario, METRICS["fvd"], np.asarray(left), halves.shape[-1], tolerance.fail, most)


def _halves(n: int) -> NDArray[np.intp]:
    """Random disjoint halves of n seeds, (splits, 2, n // 2); none below four."""
    if n < _FEWEST:
        return np.empty((0, 2, 0), dtype=np.intp)
    # a fixed seed: the same scores always give the same floor
    generator = np.random.default_rng(0)
    half = n // 2
    drawn = [generator.permutation(n)[: 2 * half].reshape(2, half) for _ in range(_SPLITS)]
    return np.stack(drawn)


def _floor(
    scenario: str, metric: Metric, means: Floats, half: int, fail: float, most: int
) -> NoiseFloor | None:
    sizes = np.abs(change(means[:, 0], means[:, 1], metric.higher_is_better))
    if not np.isfinite(sizes).all():
        return None
    seen = float(np.quantile(sizes, _QUANTILE))
    return NoiseFloor(
        scenario=scenario,
        metric=metric.id,
        floor=seen * math.sqrt(half / most),
        n=most,
        fail=fail,
        n_needed=max(2, math.ceil(half * (seen / fail) ** 2)),
    )


def too_tight(found: tuple[NoiseFloor, ...]) -> tuple[str, ...]:
    """A line for every tolerance that the seeds cannot resolve, with the number that could."""
    return tuple(
        f"{floor.scenario} {floor.metric}: the fail band of {floor.fail:.1%} is below what {floor.n} seeds "
        f"resolve ({floor.floor:.1%} by chance alone, in 1 of 20 comparisons); {floor.n_needed} seeds would"
        for floor in found
        if not floor.resolved
    )
