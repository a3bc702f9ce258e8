from __future__ import annotations

import numpy as np
import pytest

from benchmarks.evidence.fixtures import Ground
from benchmarks.evidence.gates import DESIGNS, draw
from benchmarks.evidence.losses import Loss, planted, true_changes


def test_a_planted_loss_has_the_stated_size(ground: Ground) -> None:
    base, side = ground.bank.base, ground.neutral["epoch-2@1"]
    sizes = {"sharpness": 0.45, "color": 0.33, "fvd": 2.5}
    lost = planted(side, base, Loss("test2_nature", sizes), ground.references, 1000.0)
    changes = true_changes(lost, base, ground.references)
    for metric, size in sizes.items():
        assert changes["test2_nature", metric] == pytest.approx(size, rel=1e-6)
    assert changes["test1_korean_city", "sharpness"] == pytest.approx(0.0, abs=1e-9)
    assert changes["test3_action", "fvd"] == pytest.approx(0.0, abs=1e-6)


def test_a_neutral_candidate_lost_nothing(ground: Ground) -> None:
    changes = true_changes(ground.neutral["epoch-0@1"], ground.bank.base, ground.references)
    moved = {item: size for item, size in changes.items() if item[1] != "overall" and item != ("all", "fvd")}
    assert max(abs(size) for size in moved.values()) < 1e-6


def test_a_loss_of_overall_alone_is_exact(ground: Ground) -> None:
    base, side = ground.bank.base, ground.neutral["epoch-2@1"]
    lost = planted(side, base, Loss("test3_action", {"overall": 0.15}), ground.references, 1000.0)
    assert true_changes(lost, base, ground.references)["test3_action", "overall"] == pytest.approx(0.15)


def test_the_same_number_draws_the_same_gate() -> None:
    one, again, other = draw(7, 256, "unpaired"), draw(7, 256, "unpaired"), draw(8, 256, "unpaired")
    np.testing.assert_array_equal(one.candidate, again.candidate)
    assert not np.array_equal(one.candidate, other.candidate)
    assert not set(one.candidate) & set(one.baseline)
    # the longest design takes so many; shorter ones take the first of them
    assert len(set(one.candidate)) == max(design.plan.looks[-1] for design in DESIGNS.values())
    np.testing.assert_array_equal(draw(7, 256, "paired", pairs=16).candidate, one.candidate[:16])


def test_no_design_seed_is_held_out(ground: Ground, design: Ground) -> None:
    assert design.bank.base.size == 384
    for name, scores in ground.bank.base.scores.items():
        held_out = {column.tobytes() for column in scores.T}
        assert len(held_out) == 256
        assert not held_out & {column.tobytes() for column in design.bank.base.scores[name].T}
