from __future__ import annotations

import numpy as np
import pytest

from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.fvd import ReferenceSet, Videos
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.noise import NoiseFloor, floors, set_floor, too_tight


def stored(deviation: float, seeds: int = 16) -> dict[int, dict[str, float]]:
    drawn = np.random.default_rng(0).normal(1.0, deviation, seeds)
    return {seed: {"sharpness": 500.0 * float(value), "clip": 0.6} for seed, value in enumerate(drawn)}


def test_the_floor_is_what_chance_does_in_one_of_twenty_comparisons() -> None:
    (clip, sharpness) = floors("s1", stored(0.2), DEFAULT_TOLERANCES, most=16)
    assert (clip.metric, clip.floor, clip.resolved) == ("clip", 0.0, True)
    # two means of 16 differ by 0.2 * sqrt(2 / 16) = 7.1 % of deviation, 13.9 % in 1 of 20; sixteen draws tell
    # a deviation to 18 %, two of those
    assert sharpness.floor == pytest.approx(0.139, rel=0.36)
    assert sharpness.n == 16


def test_the_seeds_needed_bring_the_floor_to_the_band() -> None:
    (found,) = [each for each in floors("s1", stored(0.4), DEFAULT_TOLERANCES, most=16) if not each.resolved]
    assert found.floor * np.sqrt(16 / found.n_needed) <= found.fail
    assert found.floor * np.sqrt(16 / (found.n_needed - 1)) > found.fail


def test_a_tolerance_below_what_the_seeds_resolve_is_named() -> None:
    found = NoiseFloor(scenario="s1", metric="sharpness", floor=0.2, n=16, fail=0.15, n_needed=29)
    assert too_tight((found, found.model_copy(update={"floor": 0.15}))) == (
        "s1 sharpness: the fail band of 15.0% is below what 16 seeds resolve (20.0% by chance alone, in 1 of "
        "20 comparisons); 29 seeds would",
    )


def test_too_few_seeds_have_no_floor() -> None:
    assert floors("s1", stored(0.2, seeds=3), DEFAULT_TOLERANCES, most=16) == ()


def test_the_same_scores_have_the_same_floor() -> None:
    assert floors("s1", stored(0.3), DEFAULT_TOLERANCES, most=16) == floors(
        "s1", stored(0.3), DEFAULT_TOLERANCES, most=16
    )


def test_distances_have_a_floor_too() -> None:
    generator = np.random.default_rng(1)
    reference = ReferenceSet.of(generator.standard_normal((128, 16)))
    videos = Videos.of(0.4 * generator.standard_normal((32, 16)) + 0.7, reference)
    rows = np.arange(32).reshape(2, 16)
    found = set_floor(ALL, videos, rows, DEFAULT_TOLERANCES["fvd"], most=16)
    assert found is not None
    assert 0.0 < found.floor < 0.5
    assert set_floor(ALL, videos, rows[:, :5], DEFAULT_TOLERANCES["fvd"], most=16) is None
