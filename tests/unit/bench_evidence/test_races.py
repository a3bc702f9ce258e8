"""Races drawn from a bank: what is true of its candidates, and what a race is counted for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.evidence import bank, races
from benchmarks.evidence.fixtures import reference_sets
from benchmarks.evidence.races import Field, play, summary
from pytest_wanlora.suite import load


@pytest.fixture(scope="module")
def field() -> Field:
    """A mild and a strong LoRA of the design bank, whole and in part, on 40 seeds."""
    suite = load("tiny")
    sides = bank.read(bank.BANKS["design"], suite).sides
    short = {
        name: replace(
            side,
            scores={place: of[:, :40] for place, of in side.scores.items()},
            features={place: of[:40] for place, of in side.features.items()},
        )
        for name, side in sides.items()
        if name in ("base", "epoch-2@1", "epoch-0@0.5", "epoch-0@1", "epoch-0@1.5")
    }
    base = short.pop("base")
    return Field("epoch", suite, reference_sets(suite), base, short)


def test_the_truth_is_in_the_order_of_the_strengths(field: Field) -> None:
    strong = [field.truth[f"epoch-0@{strength}"] for strength in ("0.5", "1", "1.5")]
    assert strong == sorted(strong)
    assert all(field.worst[name] >= loss for name, loss in field.truth.items())


def test_a_race_finds_who_is_far_ahead_and_costs_less_than_all(field: Field) -> None:
    played = [play(number, field) for number in range(3)]
    assert played[0] == play(0, field)
    best = min(field.truth, key=field.truth.__getitem__)
    assert all(each.regret <= races.CLOSE for each in played)
    assert all(each.best_among for each in played)
    told = summary(field, played)
    assert told["close"] == told["races"] == 3
    assert 3 / 16 <= told["race_cost"] <= told["cost"] < 1.0
    assert told["truth"][best] == min(told["truth"].values())
    halved = (4 * 3 + 2 * 3 + 1 * 6 + 1 * 4) * 3
    assert {each.halving_videos for each in played} == {halved}


def test_several_banks_are_put_end_to_end(field: Field) -> None:
    side = field.base
    joined = races._joined([side, side])
    assert joined.size == 2 * side.size
    name = side.scenarios[0]
    np.testing.assert_array_equal(joined.features[name][side.size :], side.features[name])
