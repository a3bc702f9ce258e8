"""What a node does: render, score, and speak of the files that the user knows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import environment as environments
from pytest_wanlora import suite as suites
from pytest_wanlora.checkpoint import Checkpoint, read
from pytest_wanlora.cluster import nodes
from pytest_wanlora.cluster.crew import Refusal, Sent
from pytest_wanlora.cluster.worker import Worker, differing, halves, survey
from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.suite import Sampling
from pytest_wanlora.testing import FakeProducer, write_lora, write_suite
from tests.unit.jobs.made import job, produced

SAMPLING = Sampling(height=32, width=32, frames=5, steps=2, cfg_scale=3.0, shift=3.0, dtype="float32")


class Reading:
    """Reads the checkpoint that it is given, as the studio does, and writes a preview."""

    identity = "reading-1"

    def __init__(self) -> None:
        self.seen: list[tuple[Path, bytes]] = []

    def produce(self, wanted: Job, checkpoint: Checkpoint | None) -> Produced:
        if checkpoint is not None:
            self.seen.append((checkpoint.path, checkpoint.path.read_bytes()))
            if wanted.seed == 7:
                command = f"python -m pytest_wanlora inspect {checkpoint.path}"
                raise StudioError(f"{checkpoint.path}: does not fit", next_command=command)
        if wanted.seed == 8:
            raise ZeroDivisionError("a bug")
        return produced(wanted)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return read(write_lora(tmp_path / "mine.safetensors"))


def answer(worker: Worker, wanted: Job, checkpoint: Checkpoint | None = None) -> Sent | Refusal:
    data = [] if checkpoint is None else [np.fromfile(each.path, np.uint8) for each in halves(checkpoint)]
    worker.render(1, [wanted], checkpoint, data)
    (found,) = worker.finish(1, 1)
    return found


def test_a_checkpoint_is_read_from_the_node_and_its_preview_comes_back(checkpoint: Checkpoint) -> None:
    reading = Reading()
    worker = Worker(lambda: reading, SAMPLING, "cpu")
    for _ in range(2):
        found = answer(worker, job(), checkpoint)
        assert isinstance(found, Sent)
        assert (found.preview, found.produced.write_preview) == (b"mp4", None)
    (first, bytes_), (second, _) = reading.seen
    assert bytes_ == checkpoint.path.read_bytes()
    assert first == second != checkpoint.path, "written once"
    other = replace(checkpoint, sha256="1" * 64)
    answer(worker, job(), other)
    assert len(list(reading.seen[-1][0].parent.iterdir())) == 1, "the last one is kept"


def test_both_halves_of_a_pair_are_read_from_the_node(tmp_path: Path) -> None:
    high, low = (
        read(write_lora(tmp_path / each / "x.safetensors", seed=len(each))) for each in ("high", "low")
    )
    both = replace(high, experts={"high": high, "low": low}, strengths={"high": 1.0, "low": 1.0})
    seen: list[Checkpoint] = []

    class Keeping(Reading):
        def produce(self, wanted: Job, checkpoint: Checkpoint | None) -> Produced:
            assert checkpoint is not None
            seen.append(checkpoint)
            return produced(wanted)

    assert isinstance(answer(Worker(Keeping, SAMPLING, "cpu"), job(), both), Sent)
    for name, half in both.experts.items():
        here = seen[0].experts[name].path
        assert here != half.path
        assert here.read_bytes() == half.path.read_bytes()


def test_a_refusal_names_the_users_file(checkpoint: Checkpoint) -> None:
    found = answer(Worker(Reading, SAMPLING, "cpu"), job(7), checkpoint)
    command = f"python -m pytest_wanlora inspect {checkpoint.path}"
    assert found == Refusal(f"{checkpoint.path}: does not fit", command)


def test_a_bug_ends_the_job_with_its_words_and_not_the_worker() -> None:
    worker = Worker(Reading, SAMPLING, "cpu")
    found = answer(worker, job(8))
    assert isinstance(found, Refusal)
    assert found.message.startswith("ZeroDivisionError: a bug (test_worker.py:")
    assert isinstance(answer(worker, job(1)), Sent)


@pytest.mark.parametrize("background", [False, True])
def test_a_batch_is_scored_in_the_order_of_its_jobs(tmp_path: Path, background: bool) -> None:
    suite = suites.load(str(write_suite(tmp_path)), baselines=tmp_path)

    def make() -> FakeProducer:
        return FakeProducer(suite, batch=4, score_in_background=background)

    worker = Worker(make, SAMPLING, "cpu")
    wanted = [job(seed) for seed in range(3)]
    worker.render(1, wanted, None, [])
    alone = [make().produce(each, None).frames_sha256 for each in wanted]
    assert [each.produced.frames_sha256 for each in worker.finish(1, 3) if isinstance(each, Sent)] == alone


def test_the_survey_of_a_node_without_gpus_is_its_cpu() -> None:
    (found,) = survey(SAMPLING, "cpu")
    assert found.environment == environments.detect("float32", "cpu")
    assert found.kind.startswith("cpu, torch ")


def test_what_differs_is_told_from_both_sides() -> None:
    here, there = {"torch": "2.10", "numpy": "2.0"}, {"torch": "2.11", "scipy": "1.15"}
    assert differing(here, there) == [
        "numpy not installed there, 2.0 here",
        "scipy 1.15 there, not installed here",
        "torch 2.11 there, 2.10 here",
    ]


def test_mixed_nodes_are_an_environment_of_their_own() -> None:
    one = environments.detect("float32", "cpu")
    assert nodes._merged([one, one]) == one
    both = nodes._merged([one, replace(one, device_name="NVIDIA B", torch="1.0")])
    assert both.device_name == "NVIDIA B + cpu"
    assert both.identity() != one.identity()


def test_the_code_of_a_node_is_compared_whatever_its_version(tmp_path: Path) -> None:
    read_versions: Callable[..., dict[str, str]] = nodes._read_versions()
    found = read_versions(["pytest-wanlora", "no-such-package"])
    assert len(found["code of pytest-wanlora"]) == 12
    assert "no-such-package" not in found


def test_what_a_killed_worker_has_left_is_removed_by_the_next(temporary: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    left = temporary / f"wanlora-node-{ended.pid}-abc"
    left.mkdir()
    alive = temporary / f"wanlora-node-{os.getppid()}-abc"
    alive.mkdir()
    Worker(Reading, SAMPLING, "cpu")
    assert not left.exists()
    assert alive.exists()
