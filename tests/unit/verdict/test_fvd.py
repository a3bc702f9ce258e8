from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.frechet import frechet_distance
from pytest_wanlora.verdict import fvd
from pytest_wanlora.verdict.evidence import Floats
from pytest_wanlora.verdict.fvd import ReferenceSet, SetDistance, Videos, distance, leaving_out

DIM = 48
SPECTRUM = 1.0 / np.arange(1, DIM + 1)
SPECTRUM *= DIM / SPECTRUM.sum()


def normal(n: int, *, seed: int, spread: float = 1.0, shift: float = 0.0) -> Floats:
    """Features with a spectrum that falls like those of real videos."""
    drawn = np.random.default_rng(seed).standard_normal((n, DIM))
    return np.asarray((drawn * np.sqrt(spread) + shift) * np.sqrt(SPECTRUM))


@pytest.fixture(scope="module")
def reference() -> ReferenceSet:
    return ReferenceSet.of(normal(512, seed=0))


def true_distance(spread: float, shift: float) -> float:
    """Frechet distance of the populations; both covariances are diagonal."""
    return float((shift**2 * SPECTRUM).sum() + ((np.sqrt(spread) - 1.0) ** 2 * SPECTRUM).sum())


def test_distances_are_those_of_the_scorer(reference: ReferenceSet) -> None:
    features = normal(12, seed=1, spread=0.5, shift=0.4)
    videos = Videos.of(features, reference)
    rows = np.array([[0, 3, 5, 7], [1, 2, 8, 11]])
    chosen = features[rows.ravel()]
    expected = frechet_distance(chosen, reference.features)
    assert distance(videos, rows)[0] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [4, 8, 16, 48])
@pytest.mark.parametrize(("spread", "shift"), [(0.1, 0.7), (0.3, 0.5), (1.0, 0.9)])
def test_above_its_floor_a_distance_is_near_the_one_of_the_population(
    reference: ReferenceSet, spread: float, shift: float, n: int
) -> None:
    sets = [normal(n, seed=seed, spread=spread, shift=shift) for seed in range(60)]
    raw, above = [], []
    for features in sets:
        fvd, floor = distance(Videos.of(features, reference), np.arange(n))
        raw.append(fvd)
        above.append(fvd - floor)
    truth = true_distance(spread, shift)
    # the mean of 60 draws scatters by 4.4 % at most (broad set, n = 4); two of those
    assert np.mean(above) == pytest.approx(truth, rel=0.09)
    if n <= 8:
        assert np.mean(raw) > 1.25 * truth


def test_the_floor_of_a_reference_is_the_same_every_time() -> None:
    features = normal(64, seed=0)
    assert np.array_equal(ReferenceSet.of(features).deficits, ReferenceSet.of(features).deficits)


def test_deficits_fall_with_n(reference: ReferenceSet) -> None:
    found = [reference.deficit(n) for n in (2, 3, 5, 8, 16, 48, 96, 200, 1000)]
    assert found == sorted(found, reverse=True)
    assert found[0] < reference.trace
    # beyond the largest size that was drawn as the root of n
    largest = int(reference.sizes[-1])
    assert reference.deficit(4 * largest) == pytest.approx(reference.deficit(largest) / 2.0)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.ones((3, 4)), r"the reference set have shape \(3, 4\); allowed: \(n, D\) with n >= 4"),
        (np.ones(4), r"shape \(4,\)"),
        (np.full((5, 4), np.nan), "not finite"),
    ],
)
def test_bad_reference_features_are_refused(features: Floats, words: str) -> None:
    with pytest.raises(ScoringError, match=words):
        ReferenceSet.of(features)


def test_bad_video_features_are_refused(reference: ReferenceSet) -> None:
    with pytest.raises(ScoringError, match="7 dimensions and a reference of 48"):
        Videos.of(np.ones((3, 7)), reference)
    with pytest.raises(ScoringError, match="not finite"):
        Videos.of(np.full((3, DIM), np.inf), reference)


def test_a_set_may_have_more_videos_of_one_scenario_than_of_another(reference: ReferenceSet) -> None:
    features = normal(14, seed=1, spread=0.5, shift=0.4)
    videos = Videos.of(features, reference)
    uneven = SetDistance.of(videos, [np.arange(4), np.arange(4, 14)], tail=0.05)
    assert uneven.distance == pytest.approx(frechet_distance(features, reference.features), rel=1e-10)
    assert uneven.low is not None
    assert uneven.high is not None
    assert uneven.low < uneven.above < uneven.high
    # even sets are those of a comparison, to the floor
    even = SetDistance.of(videos, [np.arange(7), np.arange(7, 14)], tail=0.05)
    assert (even.distance, even.floor) == pytest.approx(distance(videos, np.arange(14).reshape(2, 7)))


def test_the_interval_of_a_distance_holds_its_truth_about_as_often_as_it_says(
    reference: ReferenceSet,
) -> None:
    truth, held = true_distance(0.3, 0.5), 0
    for seed in range(60):
        videos = Videos.of(normal(8, seed=seed, spread=0.3, shift=0.5), reference)
        found = SetDistance.of(videos, [np.arange(8)], tail=0.05)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    # 54 of 60 are promised, and three standard errors are 7
    assert held >= 47


def test_the_interval_of_a_distance_is_students_with_the_error_of_the_jackknife(
    reference: ReferenceSet,
) -> None:
    features = normal(8, seed=5)
    found = SetDistance.of(Videos.of(features, reference), [np.arange(8)], tail=0.05)
    whole, *without = leaving_out(features, reference)
    reach = stats.t.ppf(0.95, 7) * np.sqrt(7.0 / 8.0 * np.sum((without - np.mean(without)) ** 2))
    assert (found.low, found.above, found.high) == pytest.approx((whole - reach, whole, whole + reach))


def test_two_videos_have_a_distance_and_no_interval(reference: ReferenceSet) -> None:
    videos = Videos.of(normal(2, seed=1), reference)
    found = SetDistance.of(videos, [np.arange(2)], tail=0.05)
    assert (found.low, found.high) == (None, None)


def test_a_distance_takes_no_kernels(reference: ReferenceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    features, rows = normal(14, seed=3), [np.arange(8), np.arange(8, 14)]
    whole = SetDistance.of(Videos.of(features, reference), rows, tail=0.05)
    monkeypatch.setattr(fvd, "pairwise_kernel", None)
    assert SetDistance.of(Videos.of(features, reference, contrasts=False), rows, tail=0.05) == whole
