"""The tie-break's rule: who gets videos, when it ends, and how often a bad one wins."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_wanlora.verdict.evidence import Floats
from pytest_wanlora.verdict.race import Rules
from pytest_wanlora.verdict.tie_break import TieBreak
from tests.unit.verdict.test_race import LOOKS, leaving_out

RULES = Rules(LOOKS)


def played(per_seed: dict[str, Floats], *, first: int = 3) -> tuple[str | None, dict[str, int]]:
    """The winner, and the seeds that each has had."""
    tied = TieBreak({name: leaving_out(of[:first]) for name, of in per_seed.items()}, RULES)
    while (step := tied.next_look()) is not None:
        name, n = step
        tied.look(name, leaving_out(per_seed[name][:n]))
    return tied.winner, {name: len(of) - 1 for name, of in tied.worst.items()}


def test_one_that_is_well_within_its_band_wins_when_it_has_all_seeds_and_others_get_none() -> None:
    scatter = np.random.default_rng(0).normal(size=(2, 16)) * 0.01
    assert played({"a": 0.5 + scatter[0], "b": 0.2 + scatter[1]}) == ("b", {"a": 3, "b": 16})


def test_of_equals_the_first_wins_and_one_that_is_left_alone_takes_no_look() -> None:
    level = np.full(16, 0.2)
    assert played({"a": level, "b": level}) == ("a", {"a": 16, "b": 3})
    wide = 0.9 + np.random.default_rng(0).normal(size=16)
    assert played({"a": wide}) == ("a", {"a": 3})


def test_who_looks_best_by_chance_gets_videos_until_it_does_not() -> None:
    swing = np.resize([0.5, -0.5], 16)
    lucky = np.concatenate([np.full(3, 0.3), np.full(13, 1.8)]) + swing
    winner, seeds = played({"lucky": lucky, "steady": 0.6 + swing / 5})
    assert winner == "steady"
    assert 3 < seeds["lucky"] < 16


def test_while_the_best_may_be_beyond_its_band_those_that_may_be_better_get_videos_too() -> None:
    swing = np.resize([0.4, -0.4], 16)
    # looks worse than it is at three seeds, within a standard error
    unlucky = np.concatenate([np.full(3, 1.05), np.full(13, 0.3)]) + swing
    assert played({"near": 0.97 + swing, "unlucky": unlucky, "far": 4.0 + swing}) == (
        "unlucky",
        {"near": 16, "unlucky": 16, "far": 3},
    )
    # nobody asks where the best is well within
    assert played({"good": 0.3 + swing, "unlucky": unlucky})[1] == {"good": 16, "unlucky": 3}


def test_who_fails_is_out_and_if_all_do_nobody_wins() -> None:
    wide = np.random.default_rng(0).normal(size=(2, 16))
    tied = TieBreak({name: leaving_out(of[:3]) for name, of in zip("ab", wide, strict=True)}, RULES)
    step = tied.next_look()
    assert step is not None
    tied.look(step[0], None)
    assert [*tied.worst] == ["b" if step[0] == "a" else "a"]
    # alone: it is gated as it is
    assert tied.next_look() is None
    tied.look(next(iter(tied.worst)), None)
    assert (tied.winner, tied.next_look()) == (None, None)


@pytest.mark.parametrize("spread", [0.3, 0.6])
def test_one_beyond_its_band_seldom_wins_where_there_is_a_better_one(spread: float) -> None:
    rng, wrong, videos, races = np.random.default_rng(3), 0, 0, 300
    for _ in range(races):
        shared = rng.normal(size=16) * 0.3
        truth = {"good": 0.3, **{f"bad{i}": 1.2 for i in range(6)}}
        per_seed = {name: loss + shared + spread * rng.normal(size=16) for name, loss in truth.items()}
        winner, seeds = played(per_seed)
        wrong += winner != "good"
        videos += sum(seeds.values())
    # binomial: 1 % of 300 are 3, and 9 or more have a chance of 0.4 %
    assert wrong <= 8
    assert videos < races * 7 * 16 / 2
