"""Two sets of videos compared with one reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.scoring.frechet import kernel_distance
from pytest_wanlora.verdict.evidence import interval
from pytest_wanlora.verdict.fvd import ReferenceSet, Videos, distance, leaving_out
from pytest_wanlora.verdict.set_contrast import compare, pair_differences
from tests.unit.verdict.test_fvd import normal


@pytest.fixture(scope="module")
def reference() -> ReferenceSet:
    return ReferenceSet.of(normal(512, seed=0))


def test_the_difference_of_kernel_distances_is_a_sum_over_pairs(reference: ReferenceSet) -> None:
    candidate, baseline = normal(7, seed=2, shift=0.5), normal(7, seed=3)
    videos = Videos.of(np.concatenate([candidate, baseline]), reference)
    differences = pair_differences(videos, np.arange(7), np.arange(7, 14))
    expected = kernel_distance(candidate, reference.features) - kernel_distance(baseline, reference.features)
    assert float(differences.mean()) == pytest.approx(expected, rel=1e-9)


def test_swapping_labels_flips_the_sign_of_one_difference_each(reference: ReferenceSet) -> None:
    candidate, baseline = normal(5, seed=4, shift=0.2), normal(5, seed=5)
    videos = Videos.of(np.concatenate([candidate, baseline]), reference)
    differences = pair_differences(videos, np.arange(5), np.arange(5, 10))
    seen = kernel_distance(candidate, reference.features) - kernel_distance(baseline, reference.features)
    reached = []
    for swap in itertools.product([False, True], repeat=5):
        left = np.where(np.array(swap)[:, None], baseline, candidate)
        right = np.where(np.array(swap)[:, None], candidate, baseline)
        permuted = kernel_distance(left, reference.features) - kernel_distance(right, reference.features)
        flipped = np.where(swap, -differences, differences).mean()
        assert flipped == pytest.approx(permuted, rel=1e-9, abs=1e-12)
        reached.append(permuted >= seen - 1e-12)
    assert compare(videos, np.arange(5), np.arange(5, 10)).p_value == np.mean(reached)


def test_a_set_that_collapses_is_not_mistaken_for_a_better_one(reference: ReferenceSet) -> None:
    # at n = 8 the plain distance falls when all videos become alike, since a narrow set has less bias
    wide: list[tuple[float, float]] = []
    narrow: list[tuple[float, float]] = []
    for seed in range(40):
        for spread, found in ((0.4, wide), (0.05, narrow)):
            videos = Videos.of(normal(8, seed=seed, spread=spread, shift=0.5), reference)
            found.append(distance(videos, np.arange(8)))
    plain = [np.mean([fvd for fvd, _ in found]) for found in (wide, narrow)]
    above = [np.mean([fvd - floor for fvd, floor in found]) for found in (wide, narrow)]
    assert plain[1] < 1.1 * plain[0]
    assert above[1] > 1.3 * above[0]


def test_intervals_of_the_change_hold_what_they_promise(reference: ReferenceSet) -> None:
    outside = 0
    for seed in range(300):
        candidate = normal(8, seed=2 * seed, spread=0.2, shift=0.6)
        baseline = normal(8, seed=2 * seed + 1, spread=0.2, shift=0.6)
        videos = Videos.of(np.concatenate([candidate, baseline]), reference)
        low, high = interval(
            compare(videos, np.arange(8), np.arange(8, 16)).contrast, 0.025, logarithmic=False
        )
        outside += not low <= 1.0 <= high
    # 5 % of 300 scatter by 1.3 %; three of those, and 1 % for the skewness of a distance
    assert outside / 300 <= 0.05 + 0.048


def test_a_shift_is_found_and_nothing_is_not(reference: ReferenceSet) -> None:
    found = {}
    for shift in (0.6, 1.2):
        p_values = []
        for seed in range(40):
            candidate = normal(12, seed=2 * seed, spread=0.2, shift=shift)
            baseline = normal(12, seed=2 * seed + 1, spread=0.2, shift=0.6)
            videos = Videos.of(np.concatenate([candidate, baseline]), reference)
            p_values.append(compare(videos, np.arange(12), np.arange(12, 24)).p_value)
        found[shift] = np.array(p_values)
    # 5 % of 40 is 2; more than 7 has a chance of 3e-3
    assert np.sum(found[0.6] <= 0.05) <= 7
    assert np.all(found[1.2] <= 0.01)


def test_a_baseline_like_the_reference_gives_no_wild_changes(reference: ReferenceSet) -> None:
    same = normal(8, seed=11)
    videos = Videos.of(np.concatenate([same + 0.02, same]), reference)
    compared = compare(videos, np.arange(8), np.arange(8, 16))
    error = float(np.sqrt(compared.contrast.baseline_variance.sum()))
    assert float(compared.contrast.baseline) == pytest.approx(2.0 * error)
    (c_fvd, c_floor), (b_fvd, b_floor) = (distance(videos, np.arange(8) + at) for at in (0, 8))
    assert b_fvd - b_floor < 2.0 * error
    assert float(compared.contrast.candidate - compared.contrast.baseline) == pytest.approx(
        (c_fvd - c_floor) - (b_fvd - b_floor)
    )
    assert (compared.candidate_floor, compared.baseline_floor) == (c_floor, b_floor)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_pairs_does_not_matter(seed: int) -> None:
    small = ReferenceSet.of(normal(64, seed=0))
    videos = Videos.of(normal(12, seed=seed, spread=0.5), small)
    order = np.random.default_rng(seed).permutation(6)
    one = compare(videos, np.arange(6), np.arange(6, 12))
    other = compare(videos, order, order + 6)
    assert other.candidate == pytest.approx(one.candidate, rel=1e-9)
    assert other.p_value == one.p_value
    assert float(other.contrast.covariance[0]) == pytest.approx(float(one.contrast.covariance[0]), rel=1e-6)


def test_equal_sets_are_equal(reference: ReferenceSet) -> None:
    videos = Videos.of(normal(6, seed=1, spread=0.3, shift=0.5), reference)
    more = Videos.of(normal(9, seed=1, spread=0.3, shift=0.5), reference)
    further = compare(more, np.arange(6), np.arange(6), np.arange(9)[None]).contrast
    assert (
        further.candidate == further.baseline != compare(more, np.arange(6), np.arange(6)).contrast.baseline
    )
    compared = compare(videos, np.arange(6), np.arange(6))
    assert compared.kvd_difference == pytest.approx(0.0, abs=1e-12)
    low, high = interval(compared.contrast, 0.05, logarithmic=False)
    assert (float(low), float(high)) == pytest.approx((1.0, 1.0))


def test_sets_must_pair(reference: ReferenceSet) -> None:
    videos = Videos.of(normal(8, seed=1), reference)
    with pytest.raises(ValueError, match="allowed: equal, 3 or more"):
        compare(videos, np.arange(2), np.arange(2, 4))
    with pytest.raises(ValueError, match="allowed: equal, 3 or more"):
        compare(videos, np.arange(4), np.arange(4, 7))


def test_the_scatter_of_a_distance_is_the_jackknifes(reference: ReferenceSet) -> None:
    candidate, baseline = normal(6, seed=21, shift=0.3), normal(6, seed=22)
    videos = Videos.of(np.concatenate([candidate, baseline]), reference)
    found = compare(videos, np.arange(6), np.arange(6, 12)).contrast
    without = leaving_out(candidate, reference)[1:]
    expected = 5.0 / 6.0 * ((without - without.mean()) ** 2).sum()
    assert found.candidate_variance[0] == pytest.approx(expected)


def test_further_seeds_of_the_baseline_make_a_control_variate(reference: ReferenceSet) -> None:
    noise = normal(10, seed=31, spread=0.4)
    candidate, stored = noise[:4] + 0.1 * normal(4, seed=32), noise + 0.3
    videos = Videos.of(np.concatenate([candidate, stored]), reference)
    plain = compare(videos, np.arange(4), np.arange(4, 8))
    found = compare(videos, np.arange(4), np.arange(4, 8), np.arange(4, 14)[None])
    c, b = (
        3.0 * (w.mean() - w) for w in (leaving_out(each, reference)[1:] for each in (candidate, stored[:4]))
    )
    # three degrees of freedom of the pairs' slope, four of 1
    beta = (3.0 * (c @ b) / (b @ b) + 4.0) / 7.0
    assert 0.5 < beta < 1.0
    subsets = [stored[list(chosen)] for chosen in itertools.combinations(range(10), 4)]
    distances = [np.subtract(*distance(Videos.of(each, reference), np.arange(4))) for each in subsets]
    known = float(found.contrast.baseline)
    # 32 sets for all 210: the mean of 32 scatters by less than a sixth of what one does
    assert abs(known - np.mean(distances)) < 3.0 * np.std(distances) / np.sqrt(32)
    before = float(plain.contrast.candidate), float(plain.contrast.baseline)
    assert float(found.contrast.candidate) == pytest.approx(before[0] - beta * (before[1] - known))
    # at the ratio 1: c - (beta 0.6 + 0.4) b of four pairs, and (1 - beta) times the mean of six further seeds
    of_pairs, of_base = c - (0.6 * beta + 0.4) * b, b @ b / 3.0
    expected = of_pairs @ of_pairs / 12.0 + (1.0 - beta) ** 2 * 0.6**2 * of_base / 6.0
    assert float(found.contrast.spread(1.0)[0]) == pytest.approx(np.sqrt(expected))
    # the baseline's own error is that of ten seeds
    assert float(found.contrast.baseline_variance.sum()) == pytest.approx(of_base / 10.0)
    # the test is on the pairs alone, and the floor is that of their number
    assert (found.p_value, found.kvd_difference) == (plain.p_value, plain.kvd_difference)
    assert (found.candidate, found.baseline) == (plain.candidate, plain.baseline)
    assert (found.candidate_floor, found.baseline_floor) == (plain.candidate_floor, plain.baseline_floor)


def test_a_baseline_of_the_pairs_alone_changes_nothing(reference: ReferenceSet) -> None:
    videos = Videos.of(normal(12, seed=33, spread=0.4, shift=0.4), reference)
    one, other = (compare(videos, np.arange(6), np.arange(6, 12), k) for k in (None, np.arange(6, 12)[None]))
    assert (one.candidate_floor, one.baseline_floor) == (other.candidate_floor, other.baseline_floor)
    assert one.contrast.candidate_variance == other.contrast.candidate_variance


def test_further_seeds_narrow_the_scatter_and_the_interval_holds() -> None:
    small = ReferenceSet.of(normal(64, seed=0))
    changes, outside = [], 0
    for seed in range(80):
        stored = normal(20, seed=2 * seed, spread=0.2, shift=0.6)
        candidate = normal(4, seed=2 * seed + 1, spread=0.2, shift=0.6)
        videos = Videos.of(np.concatenate([candidate, stored]), small)
        both = [compare(videos, np.arange(4), np.arange(4, 8), k) for k in (None, np.arange(4, 24)[None])]
        changes.append([float(each.contrast.candidate / each.contrast.baseline) for each in both])
        low, high = interval(both[1].contrast, 0.025, logarithmic=False)
        outside += not low <= 1.0 <= high
    alone, with_more = np.std(changes, axis=0)
    # independent sides of 4 and of 20 seeds: the root of (1 / 4 + 1 / 20) / (2 / 4) is 0.77
    assert with_more < 0.9 * alone
    # 5 % of 80 scatter by 2.4 %; three of those
    assert outside / 80 <= 0.05 + 0.073
