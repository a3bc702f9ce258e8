"""What of a run reaches the functions that decide: seeds, strength, limits, looks, and what was broken."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.suite import Limit
from pytest_wanlora.verdict.judgement import ALL, ItemId, Verdict
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, NATURE, SCALE, SEEDS, Sketches, judged, made, own, scored


class TestLimits:
    def test_the_first_look_is_rendered_at_the_strength_that_was_asked_for(self, open_gate: OpenGate) -> None:
        gate = open_gate()
        gate.select([ItemId("limit", "good", NATURE, "clip")])
        assert judged(gate, "limit", NATURE, "clip").n == 3
        assert made(gate) == [("good", NATURE, seed) for seed in SEEDS]
        assert isinstance(gate.producer, Sketches)
        assert {job.scale for job in gate.producer.made} == {SCALE}
        # blocks of four seeds begin at 4 and 8
        assert [[job.seed for job in batch] for batch in gate.producer.batches] == [[5, 6, 7]]

    @pytest.mark.parametrize("turned", [False, True])
    def test_the_worst_of_several_limits_counts(self, open_gate: OpenGate, turned: bool) -> None:
        gate = open_gate(lambda _, made: scored(made, clip=0.95))
        if turned:
            gate.suite = gate.suite.model_copy(update={"limits": gate.suite.limits[::-1]})
        failed = judged(gate, "limit", NATURE, "clip")
        assert (failed.verdict, failed.minimum) == (Verdict.FAIL, 0.59)
        # a limit that names another scenario does not hold here
        kept = judged(gate, "limit", CITY, "clip")
        assert (kept.verdict, kept.minimum) == (Verdict.PASS, 0.3)
        pooled = judged(gate, "limit", ALL, "clip")
        assert (pooled.verdict, pooled.minimum, pooled.maximum, pooled.n) == (Verdict.PASS, 0.1, 2.0, 9)

    def test_a_limit_of_one_scenario_alone_is_judged_there(self, open_gate: OpenGate) -> None:
        gate = open_gate()
        limit = Limit(metric="motion", min=0.5, scenario=NATURE)
        gate.suite = gate.suite.model_copy(update={"limits": (limit,)})
        assert [item for item in gate.items if item.kind == "limit"] == [
            ItemId("limit", "good", NATURE, "motion")
        ]
        assert judged(gate, "limit", NATURE, "motion").verdict is Verdict.FAIL

    def test_a_set_is_measured_against_its_own_categories(self, open_gate: OpenGate) -> None:
        gate = open_gate()
        one, both = (judged(gate, "limit", place, "fvd") for place in (CITY, ALL))
        assert (one.n, one.reference_n, one.maximum) == (3, 40, 5000.0)
        assert (both.n, both.reference_n, both.maximum) == (6, 88, 4000.0)
        vectors = [
            result.features["video"]
            for result in gate.results(gate.jobs(gate.candidates[0], gate.scenarios[:1], SEEDS))
        ]
        raw = gate.judge.standard.set_scores(np.stack(vectors), [CITY])["fvd"]
        assert one.details["raw"] == raw
        assert one.value == raw - cast("float", one.details["floor"])


class TestBroken:
    @staticmethod
    def _break(job: Job, made: Produced) -> Produced:
        if own(job) and (job.scenario, job.seed) == (NATURE, 6):
            raise StudioError("out of memory", next_command="use a larger GPU")
        return made

    def test_a_video_that_cannot_be_rendered_fails_every_item_that_needs_it(
        self, open_gate: OpenGate
    ) -> None:
        gate = open_gate(self._break)
        verdicts = {item: gate.judge.judgement(item) for item in gate.items if item.kind != "checkpoint"}
        errors = {item for item, found in verdicts.items() if found.verdict is Verdict.ERROR}
        assert errors == {item for item in verdicts if item.scenario in (NATURE, ALL)}
        assert {verdicts[item].verdict for item in verdicts if item not in errors} == {Verdict.PASS}
        for item in errors:
            assert (verdicts[item].reason, verdicts[item].video) == (
                "out of memory",
                "good, test2_nature, seed 6",
            )
            assert verdicts[item].next_command == "use a larger GPU"

    def test_one_degenerate_video_makes_its_scenario_degenerate_and_no_other(
        self, open_gate: OpenGate
    ) -> None:
        def black(job: Job, made: Produced) -> Produced:
            if own(job) and (job.scenario, job.seed) == (NATURE, 6):
                return dataclasses.replace(made, scores={}, degenerate="it is black")
            return made

        gate = open_gate(black)
        verdicts = {item: gate.judge.judgement(item) for item in gate.items if item.kind != "checkpoint"}
        degenerate = {item for item, found in verdicts.items() if found.verdict is Verdict.DEGENERATE}
        assert degenerate == {item for item in verdicts if item.scenario in (NATURE, ALL)}
        assert {verdicts[item].verdict for item in verdicts if item not in degenerate} == {Verdict.PASS}

    @pytest.mark.parametrize("kind", ["limit", "regression"])
    def test_without_a_reference_set_nothing_is_rendered_for_a_distance(
        self, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
    ) -> None:
        gate = open_gate()
        scoring = gate.suite.scoring.model_copy(update={"reference": str(tmp_path / "gone.safetensors")})
        gate.suite = gate.suite.model_copy(update={"scoring": scoring})
        assert judged(gate, kind, ALL, "fvd").verdict.fails
        assert made(gate) == []
