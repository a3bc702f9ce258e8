"""What a suite asks of a LoRA, in a gate whose pictures are made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import testing
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run.session import Gate
from pytest_wanlora.run.update_baseline import store
from pytest_wanlora.verdict.judgement import ItemId, Judgement, ReasonCode, Verdict
from tests import unusual
from tests.unusual import CITY, NATURE, Change

Open = Callable[[Change | None], Gate]


def gates(folder: Path, **changes: object) -> Iterator[Open]:
    """Gates of `good` on the unusual suite with other keys, beside a baseline that is measured once."""
    unusual.write_unusual_suite(folder, limits=[], **changes)
    lora = testing.write_lora(folder / "good.safetensors")
    gate = unusual.gate_of(unusual.settings_of(folder, update_baselines=True))
    store(gate, gate.judge, gate.base)
    gate.finish()
    opened: list[Gate] = []

    def open_(change: Change | None = None) -> Gate:
        fresh = {"cache_dir": folder / f"cache{len(opened)}", "output_dir": folder / f"runs{len(opened)}"}
        opened.append(unusual.gate_of(unusual.settings_of(folder, (lora,), **fresh), change))
        return opened[-1]

    yield open_
    for each in opened:
        each.finish()


def judged(gate: Gate, metric: str, scenario: str = NATURE) -> Judgement:
    return gate.judge.judgement(ItemId("question", "good", scenario, metric))


def own(job: Job) -> bool:
    return job.candidate == "good"


def moved(size: float) -> Change:
    """The candidate's features, moved by so much of what another seed changes."""

    def change(job: Job, made: Produced) -> Produced:
        if not own(job):
            return made
        way = np.full(testing.FEATURES, size * np.sqrt(2.0), np.float32)
        return dataclasses.replace(made, features={**made.features, "video": made.features["video"] + way})

    return change


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    yield from gates(tmp_path_factory.mktemp("bleed"), bleed={"about": ["city"]})


class TestBleed:
    def test_only_other_scenarios_are_asked(self, opened: Open) -> None:
        asked = [item for item in opened(None).items if item.kind == "question"]
        assert list(map(str, asked)) == ["test_question[good-test2_nature-bleed]"]

    def test_a_suite_that_does_not_ask_has_no_such_item(self, open_gate: Callable[[], Gate]) -> None:
        assert not [item for item in open_gate().items if item.kind == "question"]

    @pytest.mark.parametrize(
        ("size", "code"),
        [(0.1, ReasonCode.KEEPS_THE_REST), (2.0, ReasonCode.BLEEDS)],
    )
    def test_the_answer_comes_from_the_features(self, opened: Open, size: float, code: ReasonCode) -> None:
        found = judged(opened(moved(size)), "bleed")
        assert found.code is code
        assert found.value == pytest.approx(size, rel=0.5)
        assert found.n >= unusual.FIRST

    def test_a_video_that_cannot_be_scored_is_no_answer(self, opened: Open) -> None:
        def black(job: Job, made: Produced) -> Produced:
            broken = own(job) and job.seed == unusual.START
            return (
                dataclasses.replace(made, degenerate="all black", scores={}, features={}) if broken else made
            )

        found = judged(opened(black), "bleed")
        assert (found.verdict, found.code) == (Verdict.DEGENERATE, ReasonCode.DEGENERATE)

    def test_two_videos_prove_nothing(self, opened: Open) -> None:
        gate = opened(moved(2.0))
        seeds = gate.suite.seeds.model_copy(update={"first": 2, "most": 2})
        gate.suite = gate.suite.model_copy(update={"seeds": seeds})
        found = judged(gate, "bleed")
        assert (found.verdict, found.code) == (Verdict.UNDECIDED, ReasonCode.TOO_FEW_TO_ASK)
        assert "that takes 3 or more videos of a scenario, here are 2" in found.reason

    def test_the_place_it_is_about_may_change(self, opened: Open) -> None:
        gate = opened(moved(2.0))
        assert ItemId("question", "good", CITY, "bleed") not in gate.items
