from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_wanlora.verdict.evidence import (
    Contrast,
    Floats,
    Plan,
    change,
    interval,
    p_worse,
    paired,
    pooled,
    sign_flip,
)
from pytest_wanlora.verdict.multiplicity import needed

REPEATS = 4000


def draw(shape: str, deviation: float, size: tuple[int, ...], correlation: float, seed: int) -> list[Floats]:
    """Candidate and baseline scores of one distribution, correlated within pairs."""
    generator = np.random.default_rng(seed)
    shared, *own = generator.standard_normal((3, *size))
    normals = [np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * each for each in own]
    if shape == "normal":
        return [1.0 + deviation * z for z in normals]
    if shape == "skewed":
        return [np.exp(deviation * z) for z in normals]
    two_kinds = [np.where(z < -0.5, 1 - 2 * deviation, 1 + deviation) for z in normals]
    return [kinds + 0.05 * deviation * generator.standard_normal(size) for kinds in two_kinds]


@pytest.mark.parametrize("pairs", [4, 8, 16])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize(("shape", "deviation"), [("normal", 0.1), ("skewed", 0.4), ("two kinds", 0.2)])
def test_intervals_hold_what_they_promise(
    shape: str, deviation: float, correlation: float, pairs: int
) -> None:
    candidate, baseline = draw(shape, deviation, (REPEATS, pairs), correlation, seed=pairs)
    for truth in (1.0, 0.7):
        low, high = interval(paired(truth * candidate, baseline), 0.025)
        outside = np.mean(low > truth), np.mean(high < truth)
        # each tail promises 2.5 %; 4000 draws of such a share scatter by sqrt(.025 * .975 / 4000) = 0.25 %,
        # and three of those, with half a percent for a t quantile on skewed scores, make 1.25 %
        assert max(outside) <= 0.025 + 0.0125


@pytest.mark.parametrize(("shape", "deviation"), [("normal", 0.1), ("skewed", 0.6), ("two kinds", 0.2)])
def test_false_alarms_of_one_test_are_as_many_as_promised(shape: str, deviation: float) -> None:
    candidate, baseline = draw(shape, deviation, (REPEATS, 16), 0.0, seed=1)
    # 5 % of 4000 scatter by 0.34 %; three of those
    assert np.mean(p_worse(paired(candidate, baseline), True) <= 0.05) <= 0.05 + 0.0103


def test_without_skewness_p_is_that_of_the_paired_t_test() -> None:
    candidate, baseline = draw("skewed", 0.4, (8,), 0.5, seed=3)
    expected = stats.ttest_rel(candidate, baseline, alternative="less").pvalue
    plain = replace(paired(candidate, baseline), skewness=None)
    assert float(p_worse(plain, True)) == pytest.approx(expected, rel=1e-12)
    assert float(p_worse(plain, False)) == pytest.approx(1 - expected, rel=1e-12)


def test_most_a_little_worse_and_few_much_better_is_no_proof() -> None:
    # a mean loss of 1 whose single gain has a long tail, by hand: deviations 0.5 seven times and -3.5 once
    loss = np.array([1.5] * 7 + [-2.5])
    base = np.full(8, 10.0)
    contrast = paired(base - loss, base)
    t = 1.0 / np.sqrt(14.0 / (8 * 7))
    k = ((7 * 0.125 - 42.875) / 8) / 1.75**1.5 / np.sqrt(8)
    straight = t + k * t**2 / 3 + k**2 * t**3 / 27 + k / 6
    assert straight < t
    assert float(p_worse(contrast, True)) == pytest.approx(stats.t.sf(straight, 7), rel=1e-9)
    # to the other side skewness makes t too small: it is left as it is, and so is the direction
    mirrored = paired(base - (2.0 - loss), base)
    assert float(p_worse(mirrored, True)) == pytest.approx(stats.t.sf(t, 7), rel=1e-9)
    assert float(p_worse(contrast, False)) == pytest.approx(stats.t.sf(-t, 7), rel=1e-9)


def test_the_baselines_own_scatter_keeps_pairs_that_agree_by_luck_from_seeming_certain() -> None:
    base = np.array([10.0, 10.2, 9.8, 10.0])
    stored = np.array([9.0, 11.0, 9.0, 11.0, 10.0])  # a variance of 1
    contrast = paired(base - 1.0, base, stored)
    error, degrees = contrast.spread(1.0)
    # 3 degrees of no scatter and 4 of the baseline's: 4 / 7 for a pair
    assert float(error) == pytest.approx(np.sqrt(4 / 7 / 4))
    assert float(degrees) == pytest.approx(7.0)
    assert float(p_worse(contrast, True)) == pytest.approx(stats.t.sf(1.0 / np.sqrt(4 / 7 / 4), 7), rel=1e-9)
    # three stored seeds count for two degrees, one for none
    assert float(paired(base - 1.0, base, stored[:3]).spread(1.0)[1]) == 5.0
    assert float(p_worse(paired(base - 1.0, base, stored[:1]), True)) == 0.0


def test_more_pairs_narrow_the_stratum_of_the_pairs_alone() -> None:
    contrast = paired(np.array([1.0, 3.0, 2.0, 2.0]), np.full(4, 2.0))
    further = replace(
        contrast,
        candidate_variance=np.append(contrast.candidate_variance, 0.09),
        baseline_variance=np.zeros(2),
        covariance=np.zeros(2),
        pairs=(4, 4),
    )
    of_pairs = 2.0 / 3.0 / 4.0
    errors, degrees = further.spread(1.0, (4, 16))
    assert errors == pytest.approx(np.sqrt([of_pairs + 0.09, of_pairs / 4.0 + 0.09]))
    assert errors[0] == pytest.approx(further.spread(1.0)[0])
    assert degrees[0] == pytest.approx((of_pairs + 0.09) ** 2 / ((of_pairs**2 + 0.09**2) / 3.0))


def test_pooling_takes_the_scenarios_of_a_seed_together() -> None:
    generator = np.random.default_rng(4)
    base = [5.0 + generator.standard_normal(8) for _ in range(3)]
    shared = generator.standard_normal(8)
    losses = [0.3 + shared + 0.1 * generator.standard_normal(8) for _ in range(3)]
    both = pooled([b - loss for b, loss in zip(base, losses, strict=True)], base)
    # the same as one scenario whose score is the mean of the three
    alone = paired(np.mean(base, axis=0) - np.mean(losses, axis=0), np.mean(base, axis=0))
    for ratio in (1.0, 0.9):
        together, one = both.spread(ratio), alone.spread(ratio)
        assert float(together[0]) == pytest.approx(float(one[0]), rel=1e-12)
        assert float(together[1]) == pytest.approx(7.0)
    assert both.skewness is not None
    assert alone.skewness is not None
    assert float(both.skewness) == pytest.approx(float(alone.skewness))
    assert both.pairs == (8,)


def test_scenarios_of_unequal_numbers_weigh_the_same() -> None:
    first, second = np.array([1.0, 3.0]), np.array([4.0, 4.0, 6.0, 6.0])
    both = pooled([first, second], [np.ones(2), np.ones(4)])
    assert float(both.candidate) == 3.5
    # half of (-1, 1) / sqrt(2) and half of (-1, -1, 1, 1) / sqrt(12), summed by seed
    brought = 0.5 * (np.array([-1, 1, 0, 0]) / np.sqrt(2) + np.array([-1, -1, 1, 1]) / np.sqrt(12))
    assert float(both.spread(1.0)[0]) == pytest.approx(np.sqrt(brought @ brought))
    assert both.pairs == (2,)


@given(
    values=st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=3, max_size=10),
    scale=st.floats(0.01, 100),
)
def test_an_interval_scales_with_the_candidate_and_holds_its_estimate(
    values: list[tuple[float, float]], scale: float
) -> None:
    candidate, baseline = np.array(values).T
    low, high = interval(paired(candidate, baseline), 0.05)
    ratio = candidate.mean() / baseline.mean()
    assert low <= ratio * (1 + 1e-12)
    assert high >= ratio * (1 - 1e-12)
    scaled = interval(paired(scale * candidate, baseline), 0.05)
    assert scaled[0] == pytest.approx(scale * low, rel=1e-6, abs=1e-12)
    assert scaled[1] == pytest.approx(scale * high, rel=1e-6, abs=1e-12)


@given(
    values=st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=3, max_size=10),
    loss=st.floats(0, 5),
)
def test_a_worse_candidate_is_never_less_significant(values: list[tuple[float, float]], loss: float) -> None:
    candidate, baseline = np.array(values).T
    before = float(p_worse(paired(candidate, baseline), True))
    assert float(p_worse(paired(candidate - loss, baseline), True)) <= before + 1e-9


def test_equal_videos_are_decided_and_not_worse() -> None:
    same = np.array([1.0, 2.0, 3.0, 5.0])
    contrast = paired(same, same)
    assert [float(bound) for bound in interval(contrast, 0.01)] == [1.0, 1.0]
    assert float(p_worse(contrast, True)) == 1.0


def test_a_constant_loss_is_certain() -> None:
    base = np.array([1.0, 2.0, 3.0, 5.0])
    assert float(p_worse(paired(base - 0.5, base), True)) == 0.0
    low, high = interval(paired(0.5 * base, base), 0.01)
    assert (float(low), float(high)) == pytest.approx((0.5, 0.5))


def test_a_baseline_of_zero_gives_no_interval() -> None:
    low, high = interval(paired(np.ones(4), np.zeros(4)), 0.05)
    assert np.isneginf(low)
    assert np.isposinf(high)


def test_videos_that_score_zero_are_no_trouble() -> None:
    low, high = interval(paired(np.array([0.0, 0.2, 0.1, 0.0]), np.array([0.5, 0.4, 0.0, 0.6])), 0.05)
    assert 0.0 < low < 0.2 < high
    low, high = interval(paired(np.zeros(4), np.array([0.5, 0.4, 0.3, 0.6])), 0.05)
    assert (float(low), float(high)) == (0.0, 0.0)


def test_pairs_must_pair() -> None:
    with pytest.raises(ValueError, match=r"pairs of shapes \(3,\) and \(4,\)"):
        paired(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="allowed: equal, 2 or more"):
        paired(np.ones(1), np.ones(1))


@pytest.mark.parametrize(
    ("baseline", "value", "higher", "expected"),
    [(2.0, 1.0, True, 0.5), (2.0, 1.0, False, -0.5), (0.0, 0.0, True, 0.0), (0.0, 1.0, False, np.inf)],
)
def test_change_is_relative_and_to_the_worse(
    baseline: float, value: float, higher: bool, expected: float
) -> None:
    assert float(change(baseline, value, higher)) == expected


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=9))
def test_sign_flips_are_counted_exactly(differences: list[int]) -> None:
    patterns = itertools.product([1, -1], repeat=len(differences))
    seen = sum(differences)
    reached = [sum(s * d for s, d in zip(signs, differences, strict=True)) >= seen for signs in patterns]
    assert sign_flip(np.array(differences, dtype=float)) == np.mean(reached)


def test_sign_flips_of_many_pairs_agree_with_the_exact_count() -> None:
    # 2^20 patterns can still be counted here; the grid's half steps, 1/4096 of the largest difference, move
    # p by well under 2 % of itself on numbers this size
    for seed in range(5):
        differences = np.random.default_rng(seed).standard_normal(20) + 0.4
        sums = np.zeros(1)
        for size in np.abs(differences):
            sums = np.concatenate((sums + size, sums - size))
        exact = float(np.mean(sums >= differences.sum() - 1e-9))
        assert sign_flip(differences) == pytest.approx(exact, rel=0.02)
        assert sign_flip(differences) >= exact * (1 - 1e-3)


def test_sign_flips_are_uniform_when_nothing_differs() -> None:
    generator = np.random.default_rng(7)
    for pairs in (8, 24):
        p_values = np.array([sign_flip(generator.standard_normal(pairs)) for _ in range(1000)])
        # shares of 1000 draws scatter by at most sqrt(.05 * .95 / 1000) = 0.7 %; three of those
        for level in (0.01, 0.05):
            assert np.mean(p_values <= level) <= level + 0.021


def test_no_difference_is_no_evidence() -> None:
    assert sign_flip(np.zeros(6)) == 1.0


@pytest.mark.parametrize(
    ("first", "most", "looks"),
    [
        (4, 16, (4, 6, 8, 12, 16)),
        (1, 1, (1,)),
        (4, 4, (4,)),
        (5, 13, (5, 6, 8, 12, 13)),
        (3, 16, (3, 4, 6, 8, 12, 16)),
        (2, 40, (2, 3, 4, 6, 8, 12, 16, 24, 32, 40)),
    ],
)
def test_looks_climb_to_the_most(first: int, most: int, looks: tuple[int, ...]) -> None:
    assert Plan.between(first, most).looks == looks


def test_what_each_look_may_spend() -> None:
    # (n / 16)^2, and what was spent before is taken off
    assert Plan.between(2, 16).shares() == pytest.approx(
        (0.0, 9 / 256, 7 / 256, 20 / 256, 28 / 256, 80 / 256, 112 / 256)
    )
    assert [look for look, _ in Plan.between(2, 16).tested_looks] == [3, 4, 6, 8, 12, 16]
    assert not Plan.between(1, 2).tests
    assert Plan.between(1, 3).tests


def test_impossible_looks_are_refused() -> None:
    with pytest.raises(ValueError, match="first is 5 and most is 4"):
        Plan.between(5, 4)


@given(st.integers(1, 20), st.integers(1, 64))
def test_looks_never_spend_more_than_there_is(first: int, most: int) -> None:
    plan = Plan.between(min(first, most), most)
    shares = plan.shares()
    assert sum(shares) == pytest.approx(1.0 if plan.tests else 0.0)
    assert all(share == 0.0 for share, n in zip(shares, plan.looks, strict=True) if n < 3)
    # the same interval whatever the number of looks
    assert plan.level == pytest.approx(0.9)
    assert plan.following(plan.looks[-1]) is None


@given(gap=st.floats(0.01, 1), error=st.floats(0.001, 0.3))
@settings(max_examples=50)
def test_so_many_pairs_would_have_been_enough(gap: float, error: float) -> None:
    found = needed(gap, error, 16, 0.01)
    if found is None:
        return
    # by the definition of power, with the normal deviation at that n
    reach = stats.t.ppf(0.99, found - 1) + stats.t.ppf(0.8, found - 1)
    assert reach * error * np.sqrt(16 / found) <= gap * (1 + 1e-9)
    assert found == 2 or (
        (stats.t.ppf(0.99, found - 2) + stats.t.ppf(0.8, found - 2)) * error * np.sqrt(16 / (found - 1)) > gap
    )


@pytest.mark.parametrize("gap", [0.0, -1.0, float("nan"), 1e-9])
def test_no_number_of_pairs_tells_a_difference_of_nothing(gap: float) -> None:
    assert needed(gap, 0.1, 16, 0.01) is None


def test_many_items_go_through_at_once() -> None:
    candidate, baseline = draw("normal", 0.1, (5, 8), 0.3, seed=9)
    together = paired(candidate, baseline)
    for i in range(5):
        alone = paired(candidate[i], baseline[i])
        assert isinstance(alone, Contrast)
        assert float(interval(together, 0.02)[0][i]) == float(interval(alone, 0.02)[0])
        assert float(p_worse(together, True)[i]) == float(p_worse(alone, True))
