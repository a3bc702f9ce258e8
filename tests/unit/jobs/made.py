"""Jobs and what is made of them, for the tests of this folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Applied, Job, JobResult, Produced
from pytest_wanlora.jobs.scheduler import Scheduler


def job(seed: int = 0, **changes: Any) -> Job:  # noqa: ANN401 - any field
    made = Job(
        candidate="x",
        candidate_sha256="0" * 64,
        identity="0" * 64,
        scale=1.0,
        scenario="cat",
        category="animal",
        prompt="a cat",
        caption="a cat",
        seed=seed,
        input_image=None,
        shared='{"suite":"s"}',
    )
    return dataclasses.replace(made, **changes)


def produced(job: Job, seconds: float = 0.0) -> Produced:
    rng = np.random.default_rng(job.seed)
    return Produced(
        scores={"clip": 0.6 + job.seed / 100, "sharpness": 100.0},
        degenerate=None,
        features={
            "clip_frames": rng.normal(size=(3, 4)).astype(np.float32),
            "video": rng.normal(size=5).astype(np.float32),
        },
        frames_sha256=f"{job.seed:064x}",
        seconds=seconds,
        applied=Applied(2, 2, 2, 1.0, 1.0, 0.1, "fused"),
        write_preview=_write_preview,
    )


def _write_preview(path: Path) -> None:
    path.write_bytes(b"mp4")


class Counting:
    """Counts what it renders."""

    def __init__(self, produce: Callable[[Job], Produced] = produced) -> None:
        self.calls: list[int] = []
        self.produce = produce

    def __call__(self, job: Job) -> Produced:
        self.calls.append(job.seed)
        return self.produce(job)


def ensure(
    needed: Sequence[Job],
    produce: Callable[[Job], Produced],
    cache: Cache,
    board: Board,
    *,
    pool: Sequence[Job] = (),
    progress: Callable[[], None] | None = None,
) -> dict[str, JobResult]:
    def begin(jobs: Sequence[Job]) -> list[Callable[[], Produced]]:
        return [partial(produce, job) for job in jobs]

    with closing(Scheduler(begin, cache, board, progress=progress)) as scheduler:
        return scheduler.ensure(needed, pool=pool)
