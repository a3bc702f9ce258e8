from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_wanlora.verdict.evidence import Contrast, Floats, p_worse, paired, t_worse
from pytest_wanlora.verdict.multiplicity import chance_beyond, chance_significant

SIZES = [(4, 16), (8, 16), (4, 32)]


def candidates(pairs: int, most: int, loss: float) -> Iterator[tuple[Contrast, Floats]]:
    """400 candidates that have lost about `loss` by their first pairs: those, and all of them.

    With a flat prior the true means are spread evenly; what the first pairs show to have lost about `loss` is
    then a fair sample of what is predicted from them. The baseline is 1 in every pair.
    """
    generator = np.random.default_rng((pairs, most, int(100 * loss)))
    found = 0
    while found < 400:
        truth = 1.0 - generator.uniform(loss - 0.5, loss + 0.5)
        every = truth + 0.2 * generator.standard_normal(most)
        early = paired(every[:pairs], np.ones(pairs))
        if abs(float(early.candidate) - (1.0 - loss)) <= 0.03:
            found += 1
            yield early, every


@pytest.mark.parametrize(("pairs", "most"), SIZES)
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.1])
def test_the_chance_to_lie_beyond_is_how_often_that_happens(pairs: int, most: int, loss: float) -> None:
    predicted, happened = zip(
        *(
            (chance_beyond(early, 0.95, most=most, higher_is_better=True), every.mean() < 0.95)
            for early, every in candidates(pairs, most, loss)
        ),
        strict=True,
    )
    # a share of 400 scatters by at most 2.5 %; three of those
    assert np.mean(predicted) == pytest.approx(np.mean(happened), abs=0.075)


@pytest.mark.parametrize(("pairs", "most"), SIZES)
@pytest.mark.parametrize("loss", [0.05, 0.15])
def test_the_chance_of_significance_is_how_often_that_happens(pairs: int, most: int, loss: float) -> None:
    predicted: list[float] = []
    happened: list[bool] = []
    for early, every in candidates(pairs, most, loss):
        statistic = float(t_worse(early, True)[0])
        predicted.append(chance_significant(statistic, pairs=pairs, most=most, level=0.01))
        happened.append(float(p_worse(paired(every, np.ones(most)), True)) <= 0.01)
    # the scatter itself is only estimated, from 4 pairs to a third: the prediction is allowed 5 % for that
    assert np.mean(predicted) == pytest.approx(np.mean(happened), abs=0.125)


@given(
    values=st.lists(st.floats(0.5, 1.5), min_size=4, max_size=8),
    less=st.floats(0, 0.3),
    higher=st.booleans(),
)
def test_a_worse_candidate_is_likelier_to_fail(values: list[float], less: float, higher: bool) -> None:
    base = np.ones(len(values))
    towards, ratio = (-1.0, 0.9) if higher else (1.0, 1.1)
    one, other = (
        chance_beyond(paired(np.array(values) + shift, base), ratio, most=16, higher_is_better=higher)
        for shift in (0.0, towards * less)
    )
    assert 0.0 <= one <= other <= 1.0


def test_the_prediction_is_students() -> None:
    candidate = np.array([0.9, 1.0, 1.1, 1.2])
    error = candidate.std(ddof=1) / 2
    expected = stats.t.sf((1.05 - 0.95) / (error * np.sqrt(1 - 4 / 16)), 3)
    found = chance_beyond(paired(candidate, np.ones(4)), 0.95, most=16, higher_is_better=True)
    assert found == pytest.approx(expected)
    expected = stats.t.sf((stats.t.ppf(0.99, 15) - 2.0 * np.sqrt(4)) / np.sqrt(3), 3)
    assert chance_significant(2.0, pairs=4, most=16, level=0.01) == pytest.approx(expected)


def test_what_does_not_scatter_is_certain() -> None:
    flat = np.ones(4)
    assert chance_beyond(paired(0.8 * flat, flat), 0.9, most=16, higher_is_better=True) == 1.0
    assert chance_beyond(paired(flat, flat), 0.9, most=16, higher_is_better=True) == 0.0
    assert chance_significant(np.inf, pairs=4, most=16, level=0.01) == 1.0
    assert chance_significant(-np.inf, pairs=4, most=16, level=0.01) == 0.0
