"""The table that the rule is accepted by: its gates are what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.evidence.acceptance import PACKAGED, Row, played, rows
from benchmarks.evidence.replay import run_gate
from benchmarks.evidence.worlds import TOLERANCES, WORLDS, gate
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.judgement import Verdict


@pytest.mark.parametrize("world", WORLDS)
def test_no_world_has_a_loss(world: str) -> None:
    changes = np.concatenate(
        [
            (found.baseline["test1"][0] - found.candidate["test1"][0]) / TOLERANCES["clip"].fail
            for found in (gate(world, number, noise=1.0) for number in range(300))
        ]
    )
    # 4,800 changes with a deviation of 1, of which neighbours may depend on each other
    assert abs(changes.mean()) < 0.1


def test_most_a_little_worse_and_few_much_better_fails_at_most_one_gate_in_twenty() -> None:
    failed = 0
    for number in range(100):
        found = gate("few much better", number, noise=2.0)
        verdicts = run_gate(found, TOLERANCES, Plan.between(4, 16)).verdicts
        failed += any(v is Verdict.FAIL for (_, metric), v in verdicts.items() if metric != "videos")
    assert failed <= 5


def test_every_kind_is_played_with_the_looks_of_both_packaged_suites() -> None:
    found = list(rows())
    names = {looks: {row.name for row in found if row.looks == looks} for looks in PACKAGED}
    assert names[PACKAGED[0]] == names[PACKAGED[1]]
    assert len(found) == len({(row.name, row.design) for row in found})


def test_a_kind_that_the_bank_lacks_is_named() -> None:
    cells = played(Row("1 in 8", (4, 16), "epoch-2@1", neutral=True, ruined="no such kind"), "design", 1)
    assert "the bank has no such videos" in cells
