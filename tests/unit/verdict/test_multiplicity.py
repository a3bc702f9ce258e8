from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_wanlora.verdict.evidence import p_worse, paired
from pytest_wanlora.verdict.multiplicity import beyond_by_chance, holm, levels, needed


def reference_holm(p_values: list[float], alpha: float) -> set[int]:
    """Holm's procedure as published: reject from the smallest on, stop at the first that does not reach."""
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - step) > alpha:
            break
        rejected.add(index)
    return rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_is_holm(p_values: list[float], alpha: float) -> None:
    adjusted = holm(np.array(p_values))
    assert {i for i, p in enumerate(adjusted) if p <= alpha} == reference_holm(p_values, alpha)


@given(st.permutations([0.001, 0.02, 0.02, 0.4, 1.0]))
def test_holm_does_not_mind_the_order(p_values: list[float]) -> None:
    adjusted = dict(zip(p_values, holm(np.array(p_values)), strict=True))
    assert adjusted == pytest.approx({0.001: 0.005, 0.02: 0.08, 0.4: 0.8, 1.0: 1.0})


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_an_item_counts_for_what_it_can_take(items: list[tuple[float, float]]) -> None:
    p_values, sizes = np.array(items).T
    adjusted = holm(p_values, sizes[:, None])
    assert (adjusted <= holm(p_values) + 1e-12).all()
    assert (adjusted >= p_values - 1e-12).all()
    assert holm(p_values, np.ones((len(items), 2)), (0.25, 0.75)) == pytest.approx(holm(p_values))
    assert holm(p_values, np.zeros((len(items), 1))) == pytest.approx(p_values)


def test_what_items_can_take_is_counted_by_the_look() -> None:
    # the first item: its own 0.01, of the second at most 0.002 at the first look and a share of 0.75 at the
    # second; the third, which can take nothing, is free
    sizes = np.array([[1.0, 1.0], [0.002, 1.0], [0.0, 0.0]])
    adjusted = holm(np.array([0.01, 0.5, 0.9]), sizes, (0.25, 0.75))
    assert adjusted == pytest.approx([0.01 + 0.002 + 0.0075, 0.5, 0.9])


def test_chance_claims_no_more_than_its_share() -> None:
    # thirty quiet items, whose band no chance reaches, and three noisy ones: a claim takes an estimate beyond
    # the band and an adjusted p of at most 5 %. 600 families of a true 5 % scatter by 0.9 %; three of those
    generator = np.random.default_rng(3)
    band, pairs, deviations = 0.1, 16, np.array([0.02] * 30 + [0.4] * 3)
    false = 0
    for _ in range(600):
        base = 1.0 + 0.1 * generator.standard_normal((33, pairs))
        contrast = paired(base + deviations[:, None] * generator.standard_normal((33, pairs)), base)
        beyond = contrast.candidate < (1.0 - band) * contrast.baseline
        claims = np.where(beyond, p_worse(contrast, True), 1.0)
        sizes = beyond_by_chance(contrast, 1.0 - band, (pairs,))
        false += bool((holm(claims, sizes) <= 0.05).any())
    assert false / 600 <= 0.05 + 0.027


def test_the_chance_of_lying_beyond_a_band_is_the_normal_one() -> None:
    # differences of -0.4 and 0.4: a standard error of the mean of 16 of 0.4 / sqrt(15), twice that of 4 times
    # fewer; of candidate - 0.75 * baseline, with a baseline that does not scatter, it is the same
    contrast = paired(np.tile([0.6, 1.4], 8), np.ones(16))
    error = 0.4 / np.sqrt(15)
    at = [stats.norm.sf(0.25 / (error * np.sqrt(16 / look))) for look in (4, 16)]
    assert beyond_by_chance(contrast, 0.75, (4, 16)) == pytest.approx([sum(at), at[1]])
    assert beyond_by_chance(contrast, 1.25, (16,)) == pytest.approx([at[1]])
    # half of that variance is of seeds that the baseline has besides: more pairs leave it as it is
    strata = replace(
        contrast,
        candidate_variance=np.repeat(contrast.candidate_variance / 2.0, 2),
        baseline_variance=np.zeros(2),
        covariance=np.zeros(2),
        pairs=(16, 16),
    )
    early = stats.norm.sf(0.25 / (error * np.sqrt(0.5 * 16 / 4 + 0.5)))
    assert beyond_by_chance(strata, 0.75, (4, 16)) == pytest.approx([early + at[1], at[1]])


@pytest.mark.parametrize(("gap", "enough"), [(1.0, 8), (0.5, 27), (4.0, 3)])
def test_pairs_that_would_be_enough_find_such_a_loss_in_four_of_five_gates(gap: float, enough: int) -> None:
    """The pairs of one-sided t tests at 5 % with a power of 80 %, in units of a pair's deviation."""
    assert needed(gap, 0.5, 4, 0.05) == enough
    for pairs, reached in ((enough - 1, False), (enough, True)):
        quantiles = stats.t.ppf(0.95, pairs - 1) + stats.t.ppf(0.8, pairs - 1)
        assert (quantiles <= gap * np.sqrt(pairs)) == reached


def test_items_without_scatter_take_nothing_and_without_a_baseline_all() -> None:
    same = np.array([1.0, 1.0, 1.0, 1.0])
    assert beyond_by_chance(paired(same, same), 0.9, (8,)).tolist() == [0.0]
    assert beyond_by_chance(paired(same, np.zeros(4)), 0.9, (8,)).tolist() == [1.0]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12),
    st.sampled_from([(0.25, 0.75), (1.0, 0.0), (0.1, 0.9)]),
)
def test_a_level_is_where_an_item_just_holds_alone(
    sizes: list[tuple[float, float]], shares: tuple[float, float]
) -> None:
    found = levels(np.array(sizes), shares, 0.05)
    assert (found >= 0.05 / len(sizes) - 1e-9).all()
    for item, level in enumerate(found):
        # the others are no claims, so this one is the first
        p_values = np.ones(len(sizes))
        p_values[item] = level
        assert holm(p_values, np.array(sizes), shares)[item] <= 0.05 + 1e-12
        p_values[item] = level + 1e-6
        assert holm(p_values, np.array(sizes), shares)[item] > 0.05


def test_levels_of_no_items_are_none() -> None:
    assert levels(np.empty((0, 2)), (0.5, 0.5), 0.05).shape == (0,)
