"""A worker judges what the process that started the run has read, or nothing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint, testing
from pytest_wanlora.errors import JobError
from pytest_wanlora.run.candidates import Candidate
from pytest_wanlora.run.handover import packed, unpacked
from pytest_wanlora.run.session import Gate
from pytest_wanlora.verdict.judgement import Verdict
from tests.unit.conftest import OpenGate


def test_what_is_known_of_a_checkpoint_arrives_whole(open_gate: OpenGate, tmp_path: Path) -> None:
    gate = open_gate()
    known = gate.candidates[0].checkpoint
    assert known is not None
    ill = dataclasses.replace(
        known, norms={**known.norms, known.targets[0].name: math.nan}, metadata={"a": "b"}
    )
    gate.candidates = (Candidate("good", ill, 0.6), Candidate("base", None))
    found = unpacked(packed(gate))
    assert found.scales == {"good": 0.6, "base": 0.0}
    assert found.checkpoints["base"] is None
    assert found.suite == gate.suite.path
    arrived = found.checkpoints["good"]
    assert arrived is not None
    assert math.isnan(arrived.norms[known.targets[0].name])
    assert dataclasses.replace(arrived, norms={}) == dataclasses.replace(ill, norms={})
    assert dict(arrived.norms).keys() == dict(ill.norms).keys()
    assert found.differing(gate.digests) == ""


@pytest.mark.parametrize("changed", ["the suite", "a file of the suite", "the baseline"])
def test_a_worker_that_reads_something_else_judges_nothing(open_gate: OpenGate, changed: str) -> None:
    gate = open_gate()
    handed = unpacked(packed(gate))
    assert set(handed.digests) == {"the suite", "a file of the suite", "the baseline"}
    other = dataclasses.replace(handed, digests={**handed.digests, changed: "0" * 64})
    worker: Gate = open_gate()
    worker.require_same(handed)
    assert not worker.blocked
    worker.require_same(other)
    found = worker.judge.judgement(worker.items[0])
    assert found.verdict is Verdict.ERROR
    assert f"changed after the run began: {changed} is {gate.digests[changed][:12]} here" in found.reason
    with pytest.raises(JobError, match="nothing is rendered"):
        worker.results(worker.probes(worker.candidates[0]))


def test_a_baseline_that_is_not_there_is_the_same_for_all(open_gate: OpenGate, tmp_path: Path) -> None:
    handed = unpacked(packed(open_gate(baselines_dir=tmp_path)))
    assert handed.differing(open_gate(baselines_dir=tmp_path).digests) == ""
    assert "the baseline is" in handed.differing(open_gate().digests)


def test_the_identity_of_a_judgement_is_that_of_all_it_rests_on(open_gate: OpenGate, tmp_path: Path) -> None:
    gate, same = open_gate(), open_gate()
    assert gate.identity("good") == same.identity("good") != gate.identity("base")
    other = checkpoint.read(testing.write_lora(tmp_path / "good.safetensors", seed=3))
    own = gate.candidates[0].checkpoint
    same.candidates = (Candidate("good", own, 0.6),)
    assert gate.identity("good") != same.identity("good")
    same.candidates = (Candidate("good", other, gate.candidates[0].scale),)
    assert gate.identity("good") != same.identity("good")
    assert gate.identity("good") != open_gate(baselines_dir=tmp_path).identity("good")
