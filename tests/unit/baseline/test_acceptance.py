from __future__ import annotations

import pytest

from pytest_wanlora.baseline.acceptance import changes, refusals
from pytest_wanlora.baseline.contents import Baseline
from pytest_wanlora.verdict.judgement import ItemId, Judgement, Verdict

from .test_store import measured

LIMIT = ItemId("limit", "epoch-2", "s1", "clip")
FILE = ItemId("checkpoint", "epoch-2", "", "")
SEEDS = {"s1": range(12), "s2": range(12)}


def judged(item: ItemId, verdict: Verdict = Verdict.PASS, reason: str = "well") -> Judgement:
    return Judgement(item.kind, item.candidate, item.scenario, item.metric, verdict, reason)


def test_a_whole_measurement_is_accepted() -> None:
    assert refusals(measured(), [judged(LIMIT), judged(FILE)], [LIMIT, FILE], seeds=SEEDS) == ()
    assert refusals(measured(), [], [], seeds=SEEDS) == ()


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict.fails])
def test_whatever_fails_is_not_accepted(verdict: Verdict) -> None:
    found = refusals(measured(), [judged(LIMIT, verdict, "why"), judged(FILE)], [LIMIT, FILE], seeds=SEEDS)
    assert found == (f"test_limit[epoch-2-s1-clip]: {verdict}: why",)


def test_what_was_not_judged_is_not_accepted() -> None:
    assert refusals(measured(), [judged(LIMIT)], [LIMIT, FILE], seeds=SEEDS) == (
        "test_checkpoint[epoch-2]: not measured",
    )


def test_an_item_judged_twice_is_not_accepted() -> None:
    found = refusals(measured(), [judged(LIMIT), judged(LIMIT)], [LIMIT], seeds=SEEDS)
    assert found == ("an item was judged more than once",)


def test_missing_videos_are_named() -> None:
    wanted = {"s1": range(14), "s2": range(13), "s3": [0]}
    assert refusals(measured(), [], [], seeds=wanted) == (
        "s1: no video for seeds 12, 13",
        "s2: no video for seed 12",
        "s3: no video for seed 0",
    )


def changed(old: Baseline, factor: float) -> Baseline:
    scores = {
        name: {seed: {metric: factor * value for metric, value in of.items()} for seed, of in by_seed.items()}
        for name, by_seed in old.scores.items()
    }
    return old.model_copy(update={"scores": scores})


def test_an_update_tells_old_and_new() -> None:
    old = measured()
    lines = changes(old, changed(old, 0.9))
    assert len(lines) == 4
    assert lines[0].startswith("s1  clip  0.")
    assert all(line.endswith("10.0% worse") for line in lines)
    assert all(line.endswith("unchanged") for line in changes(old, old))
    assert all("none -> " in line for line in changes(None, old))
