"""What the steps of a benchmark run have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.record import Record

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.jobs.job import Job
    from pytest_wanlora.suite import Suite

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """Where things are, and how much time is left.

    Attributes:
        record: Where figures go.
        model: Folder of the hollow model.
        work: For caches and runs.
        smoke: The small model, to try the benchmark itself.
        deadline: `time.time()` at which no further part is begun.
        videos: Videos that are timed for a lever; one more of the stock call and of the suite as it is.
        seeds: Seeds a scenario where one GPU is compared with several, one comparison each.
    """

    record: Record
    model: Path
    work: Path
    smoke: bool
    deadline: float
    videos: int
    seeds: tuple[int, ...]

    @cached_property
    def suite(self) -> Suite:
        """The hollow suite that names files as the packaged one does."""
        from pytest_wanlora.suite import load

        return load(self.suite_file, baselines=self.work / "baselines")

    @property
    def suite_file(self) -> Path:
        """Its file."""
        from tools.hollow_wan.assemble import HUB_SUITE_FILE

        return self.model / HUB_SUITE_FILE

    @cached_property
    def environment(self) -> Environment:
        """On what is rendered."""
        from pytest_wanlora.environment import detect

        return detect(self.suite.sampling.dtype)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def checkpoint(self, name: str) -> Checkpoint:
        """A LoRA of the hollow model."""
        from pytest_wanlora import checkpoint as checkpoints

        return checkpoints.read(self.lora(name))

    def lora(self, name: str) -> Path:
        """The file of a LoRA of the hollow model."""
        return self.model / "loras" / f"{name}.safetensors"

    def with_sampling(self, changes: Mapping[str, Any]) -> Suite:
        """The suite with other values of `sampling`."""
        sampling = self.suite.sampling.model_copy(update=dict(changes))
        return self.suite.model_copy(update={"sampling": sampling})

    def blocks(self, suite: Suite, count: int, checkpoint: Checkpoint | None = None) -> Iterable[list[Job]]:
        """The first batches of the first scenario, as lists of jobs."""
        from pytest_wanlora.jobs.job import plan

        batch = suite.sampling.batch
        jobs = plan(
            suite,
            checkpoint,
            scale=1.0,
            seeds=range(count * batch),
            environment=self.environment,
            producer="benchmark",
            scenarios=suite.scenarios[:1],
        )
        return [list(jobs[start : start + batch]) for start in range(0, len(jobs), batch)]
