"""What of a run reaches the functions that decide: seeds, strength, limits, looks, and what was broken."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from pytest_wanlora.checkpoint import Checkpoint, Problem, pair
from pytest_wanlora.errors import CheckpointError, StudioError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run.candidates import Candidate
from pytest_wanlora.studio.sums import together
from pytest_wanlora.suite import Limit
from pytest_wanlora.verdict.judgement import ALL, ItemId, Verdict
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, NATURE, SCALE, SEEDS, Sketches, judged, made, own, scored


class TestCheckpoint:
    @pytest.mark.parametrize("code", ["nan", "inf", "zero_b", "zero_some"])
    def test_a_file_with_any_problem_fails_and_is_not_rendered(self, open_gate: OpenGate, code: str) -> None:
        gate = open_gate()
        ill = dataclasses.replace(
            gate.candidates[0].checkpoint,  # type: ignore[type-var]  # there is one
            problems=(Problem(code=code, words="something is wrong", targets=("blocks.0",)),),
        )
        gate.candidates = (Candidate("good", ill),)
        found = judged(gate, "checkpoint")
        assert (found.verdict, found.reason) == (Verdict.FAIL, "something is wrong")
        assert made(gate) == []

    def test_a_file_is_read_again_once_for_all_its_strengths(
        self, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = []

        def require_unchanged(checkpoint: Checkpoint) -> None:
            read.append(checkpoint.name)
            raise CheckpointError("good.safetensors: changed since it was read")

        monkeypatch.setattr("pytest_wanlora.checkpoint.require_unchanged", require_unchanged)
        gate = open_gate(scales=(0.5, 1.0))
        found = [gate.judge.changed(each.name) for each in gate.candidates]
        assert [each and (each.candidate, each.verdict, each.reason) for each in found] == [
            (f"good@{scale}", Verdict.ERROR, "good.safetensors: changed since it was read")
            for scale in ("0.5", "1")
        ]
        assert read == ["good"]

    @pytest.mark.parametrize("code", ["zero_some", "alpha_some", "alpha_header"])
    def test_a_warning_of_the_file_is_one_of_the_item(self, open_gate: OpenGate, code: str) -> None:
        gate = open_gate()
        warned = dataclasses.replace(
            gate.candidates[0].checkpoint,  # type: ignore[type-var]  # there is one
            warnings=(Problem(code=code, words="1 of 6 targets change nothing", targets=("blocks.0",)),),
        )
        gate.candidates = (Candidate("good", warned),)
        found = judged(gate, "checkpoint")
        assert found.verdict is Verdict.WARN
        assert found.reason.endswith("in the file: 1 of 6 targets change nothing")
        assert made(gate) != []

    @pytest.mark.parametrize(
        ("strength", "cosine", "verdict"),
        [
            (1.0, 1.0, Verdict.PASS),
            (0.91, 0.91, Verdict.PASS),
            (1.09, 1.0, Verdict.PASS),
            (1.0, 0.5, Verdict.WARN),
            (0.5, 1.0, Verdict.WARN),
            (1.5, 1.0, Verdict.WARN),
            (1.0, -1.0, Verdict.WARN),
        ],
    )
    def test_a_lora_that_rounding_took_away_is_warned_of(
        self, open_gate: OpenGate, strength: float, cosine: float, verdict: Verdict
    ) -> None:
        def rounded(job: Job, made: Produced) -> Produced:
            if made.applied is None:
                return made
            applied = dataclasses.replace(made.applied, strength=strength, cosine=cosine)
            return dataclasses.replace(made, applied=applied)

        found = judged(open_gate(rounded), "checkpoint")
        assert (found.verdict, found.value) == (verdict, strength)
        assert ("unfused (sampling.lora_mode)" in found.reason) is (verdict is Verdict.WARN)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"patched": 3}, "3 of 6 targets patched"),
            ({"changed": 0}, "6 of 6 targets patched, 0 of them changed a weight"),
        ],
    )
    def test_a_lora_that_was_not_wholly_applied_fails(
        self, open_gate: OpenGate, change: dict[str, Any], words: str
    ) -> None:
        def half(_: Job, made: Produced) -> Produced:
            applied = made.applied and dataclasses.replace(made.applied, **change)
            return dataclasses.replace(made, applied=applied)

        found = judged(open_gate(half), "checkpoint")
        assert found.verdict is Verdict.FAIL
        assert found.reason.startswith(words)

    def test_a_lora_that_changes_no_video_fails(self, open_gate: OpenGate) -> None:
        found = judged(
            open_gate(lambda _, made: dataclasses.replace(made, frames_sha256="0" * 64)), "checkpoint"
        )
        words = "6 of 6 targets patched, but test1_city, seed 5 is the base model's video, bit for bit"
        assert (found.verdict, found.reason) == (Verdict.FAIL, words)

    @pytest.mark.parametrize(
        ("share", "verdict"), [(0.0, Verdict.FAIL), (1e-4, Verdict.FAIL), (0.05, Verdict.PASS)]
    )
    @pytest.mark.parametrize("name", ["video", "clip_frames", "clip"])
    def test_a_change_within_what_rendering_again_may_change_is_none(
        self, open_gate: OpenGate, share: float, verdict: Verdict, name: str
    ) -> None:
        def alike(job: Job, made: Produced) -> Produced:
            """The base model's own figures, one of them off by a share."""
            rng = np.random.default_rng(0)
            arrays = {"video": rng.normal(size=8), "clip_frames": rng.normal(size=(5, 4))}
            features = {key: array.astype(np.float32) for key, array in arrays.items()}
            scores = dict.fromkeys(made.scores, 0.5)
            if own(job) and name in features:
                features[name] = features[name] * np.float32(1.0 + share)
            elif own(job):
                scores["clip"] *= 1.0 + share
            return dataclasses.replace(made, scores=scores, features=features)

        found = judged(open_gate(alike), "checkpoint")
        assert found.verdict is verdict
        assert ("by no more than the same video rendered again may" in found.reason) is (share < 1e-3)

    def test_one_video_of_each_side_is_compared(self, open_gate: OpenGate) -> None:
        gate = open_gate()
        assert judged(gate, "checkpoint").verdict is Verdict.PASS
        assert made(gate) == [("base", CITY, 5), ("good", CITY, 5)]

    @pytest.mark.parametrize(
        ("figures", "shows", "verdict"),
        [
            ({}, False, Verdict.PASS),
            ({"cosine": 0.5}, False, Verdict.FAIL),
            ({"cosine": 0.5}, True, Verdict.WARN),
            ({"strength": 0.5}, False, Verdict.FAIL),
            # as unfused LoRAs are, however small
            ({"relative_size": 1e-8}, False, Verdict.FAIL),
            ({"relative_size": 1e-8}, True, Verdict.PASS),
        ],
    )
    def test_half_of_a_pair_that_changes_no_video_fails(
        self, open_gate: OpenGate, figures: dict[str, Any], shows: bool, verdict: Verdict
    ) -> None:
        def of_both(job: Job, made: Produced) -> Produced:
            if made.applied is None:
                return made
            halves = {"high": made.applied, "low": dataclasses.replace(made.applied, **figures)}
            features = dict(made.features)
            if job.candidate == "good without its low-noise LoRA" and shows:
                features["clip_frames"] = features["clip_frames"] * np.float32(1.1)
            return dataclasses.replace(made, applied=together(halves), features=features)

        gate = open_gate(of_both)
        one = gate.candidates[0].checkpoint
        assert one is not None
        both = pair("good", {"high": one, "low": one}, {"high": 1.0, "low": 0.5})
        gate.candidates = (Candidate("good", both, 0.8),)
        found = judged(gate, "checkpoint")
        assert found.verdict is verdict
        doubtful = [("good without its low-noise LoRA", CITY, 5)] * bool(figures)
        assert made(gate) == [("base", CITY, 5), ("good", CITY, 5), *doubtful]
        assert found.reason.startswith("the low-noise LoRA does nothing: test1_city, seed 5") is (
            verdict is Verdict.FAIL
        )
        assert ("these figures are of the low-noise LoRA" in found.reason) is (
            bool(figures) and verdict is not Verdict.FAIL
        )

    def test_what_does_not_say_whether_it_was_applied_is_an_error(self, open_gate: OpenGate) -> None:
        gate = open_gate(lambda _, made: dataclasses.replace(made, applied=None))
        assert judged(gate, "checkpoint").verdict is Verdict.ERROR


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
