"""What the jobs of a candidate hold, in a project where no value is the default."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.environment import Environment
from pytest_wanlora.jobs.job import Job, plan
from pytest_wanlora.suite import Suite
from pytest_wanlora.suite.fingerprint import fingerprint
from tests import loras
from tests.unusual import CAPTIONS, CPU, IMAGES, PROMPTS, write_unusual_suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suites.load(write_unusual_suite(tmp_path))


@pytest.fixture
def checkpoint(tmp_path: Path) -> checkpoints.Checkpoint:
    """Its strength lies in a second file, so that its identity is not its file's digest."""
    return checkpoints.read(loras.write_as(tmp_path, loras.random_lora(rank=4), "peft", alpha=2.0))


def planned(
    suite: Suite,
    checkpoint: checkpoints.Checkpoint | None,
    environment: Environment = CPU,
    **others: Any,  # noqa: ANN401 - any other argument
) -> tuple[Job, ...]:
    known = {"scale": 0.8, "seeds": (5, 6, 7), "producer": "p-1", **others}
    return plan(suite, checkpoint, environment=environment, **known)


def test_a_job_is_told_all_that_its_scenario_says(
    suite: Suite, checkpoint: checkpoints.Checkpoint, tmp_path: Path
) -> None:
    jobs = planned(suite, checkpoint)
    assert [(job.scenario, job.seed) for job in jobs] == [(name, s) for name in PROMPTS for s in (5, 6, 7)]
    assert checkpoint.identity != checkpoint.sha256
    for job in jobs:
        assert (job.prompt, job.caption) == (PROMPTS[job.scenario], CAPTIONS[job.scenario])
        assert job.prompt != job.caption
        assert job.input_image == tmp_path / IMAGES[job.scenario]
        assert (job.candidate, job.scale) == (checkpoint.name, 0.8)
        assert (job.identity, job.candidate_sha256) == (checkpoint.identity, checkpoint.sha256)
        assert job.category == job.scenario.partition("_")[2]


def test_the_model_without_lora_has_no_strength(suite: Suite) -> None:
    """Its videos are the same whatever the strength that candidates are gated at."""
    found = {(job.candidate, job.identity, job.candidate_sha256, job.scale) for job in planned(suite, None)}
    assert found == {("base", None, None, 0.0)}
    assert [job.key for job in planned(suite, None)] == [job.key for job in planned(suite, None, scale=0.3)]


def test_scenarios_keep_their_images_whichever_are_chosen(suite: Suite, tmp_path: Path) -> None:
    (job,) = planned(suite, None, scenarios=suite.scenarios[1:], seeds=(5,))
    assert job.input_image == tmp_path / IMAGES[job.scenario]


@pytest.mark.parametrize("field", ["device", "device_name", "dtype", "attention", "torch", "diffsynth"])
def test_another_environment_is_another_job(suite: Suite, field: str) -> None:
    (job,) = planned(suite, None, seeds=(5,), scenarios=suite.scenarios[:1])
    change: dict[str, Any] = {field: "other"}
    elsewhere = dataclasses.replace(CPU, **change)
    (other,) = planned(suite, None, elsewhere, seeds=(5,), scenarios=suite.scenarios[:1])
    assert other.key != job.key


def _steps(suite: Suite) -> Suite:
    return suite.model_copy(update={"sampling": suite.sampling.model_copy(update={"steps": 9})})


def _sharpness(suite: Suite) -> Suite:
    return suite.model_copy(update={"scoring": suite.scoring.model_copy(update={"sharpness_reference": 9.0})})


@pytest.mark.parametrize("change", [_steps, _sharpness])
def test_another_way_to_render_or_score_is_another_job(
    suite: Suite, change: Callable[[Suite], Suite]
) -> None:
    assert planned(change(suite), None)[0].key != planned(suite, None)[0].key


def test_another_producer_is_another_job(suite: Suite) -> None:
    assert planned(suite, None, producer="p-2")[0].key != planned(suite, None)[0].key


def test_the_versions_of_the_metrics_are_part_of_a_job_and_the_reference_set_is_not(suite: Suite) -> None:
    before = planned(suite, None)[0]
    scoring = json.loads(before.shared)["suite"]["scoring"]
    assert scoring["metrics"] == fingerprint(suite)["scoring"]["metrics"]
    assert "reference" not in scoring
    Path(suite.scoring.reference).unlink()
    assert planned(suite, None)[0].key == before.key
