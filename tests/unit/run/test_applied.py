"""Of a checkpoint: whether its file is sound, its LoRA was applied, and it does something."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pytest_wanlora.checkpoint import Checkpoint, Problem, pair
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run.candidates import Candidate
from pytest_wanlora.run.session import Gate
from pytest_wanlora.studio.sums import together
from pytest_wanlora.verdict.judgement import Verdict
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, judged, made, own


def _read_as(gate: Gate, **changed: Any) -> None:  # noqa: ANN401 - any field
    """Let reading the only candidate's file have found something else."""
    read = gate.candidates[0].checkpoint
    assert read is not None
    gate.candidates = (Candidate("good", dataclasses.replace(read, **changed)),)


class TestCheckpoint:
    @pytest.mark.parametrize("code", ["nan", "inf", "zero_b", "zero_some"])
    def test_a_file_with_any_problem_fails_and_is_not_rendered(self, open_gate: OpenGate, code: str) -> None:
        gate = open_gate()
        _read_as(gate, problems=(Problem(code=code, words="something is wrong", targets=("blocks.0",)),))
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
        found = [gate.judge.files.changed(each.name) for each in gate.candidates]
        assert [each and (each.candidate, each.verdict, each.reason) for each in found] == [
            (f"good@{scale}", Verdict.ERROR, "good.safetensors: changed since it was read")
            for scale in ("0.5", "1")
        ]
        assert read == ["good"]

    @pytest.mark.parametrize("code", ["zero_some", "alpha_some", "alpha_header"])
    def test_a_warning_of_the_file_is_one_of_the_item(self, open_gate: OpenGate, code: str) -> None:
        gate = open_gate()
        words = "1 of 6 targets change nothing"
        _read_as(gate, warnings=(Problem(code=code, words=words, targets=("blocks.0",)),))
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
