from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

# pytest finds hooks by their names in a conftest.py
from benchmarks.gpu.speed_records import (  # noqa: F401
    pytest_benchmark_compare_machine_info,
    pytest_benchmark_update_machine_info,
)
from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.checkpoint import Checkpoint
from pytest_wanlora.environment import Environment, detect
from pytest_wanlora.jobs.job import Job, plan
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.suite import Suite, load
from tools.hollow_wan.assemble import HUB_SUITE_FILE, Recipe, assemble

# WANLORA_HOLLOW_MODEL names a folder to write the model to, or to find it in; 34 GB.
# WANLORA_HOLLOW_SIZE=smoke takes the small model, which needs no GPU: to try the tests themselves.
FOLDER = os.environ.get("WANLORA_HOLLOW_MODEL")
SMALL = os.environ.get("WANLORA_HOLLOW_SIZE") == "smoke"


@dataclass(frozen=True)
class Hollow:
    """The hollow model: the package's 5B suite with random weights."""

    folder: Path
    environment: Environment
    cache: Path

    @property
    def suite_file(self) -> Path:
        return self.folder / HUB_SUITE_FILE

    def suite(self, **sampling: Any) -> Suite:  # noqa: ANN401 - as the suite's fields
        """The suite with other values of `sampling`."""
        suite = load(self.suite_file)
        return suite.model_copy(update={"sampling": suite.sampling.model_copy(update=sampling)})

    def studio(self, suite: Suite) -> Studio:
        return Studio(suite, self.environment, cache_dir=self.cache)

    def lora(self, name: str) -> Path:
        return self.folder / "loras" / f"{name}.safetensors"

    def checkpoint(self, name: str) -> Checkpoint:
        return checkpoints.read(self.lora(name))

    def jobs(
        self, suite: Suite, name: str | None = None, *, seeds: Sequence[int] = (0,), scenario: int = 0
    ) -> tuple[Job, ...]:
        return plan(
            suite,
            None if name is None else self.checkpoint(name),
            scale=1.0,
            seeds=seeds,
            environment=self.environment,
            producer="gpu tests",
            scenarios=suite.scenarios[scenario : scenario + 1],
        )


@pytest.fixture(scope="session")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hollow]:
    size: Literal["full", "smoke"] = "smoke" if SMALL else "full"
    given = Path(FOLDER) if FOLDER else tmp_path_factory.mktemp("hollow") / "model"
    folder = assemble(given, Recipe(size), device="cpu" if SMALL else "cuda:0")
    suite = load(folder / HUB_SUITE_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFSYNTH_MODEL_BASE_PATH", str(folder))
        patch.setenv("DIFFSYNTH_SKIP_DOWNLOAD", "True")
        yield Hollow(folder, detect(suite.sampling.dtype), tmp_path_factory.mktemp("cache"))
