"""The scheduler of a cluster alone, with 1 to 1,024 workers: efficiency, queue, load of the controller.

    python -m benchmarks.ray_scheduler

The dispatcher is the real one, in simulated time. How long workers take is recorded: a batch of two videos,
what a worker needs until it is ready and a LoRA's change are those of `docs/performance.md` (two H200, sixth
session, `benchmarks/gpu/measured`). What the controller needs for a video is measured here, first, with the
real scheduler, cache and board, and workers that answer at once. Ray's own network is not in it.
"""

from __future__ import annotations

import heapq
import json
import queue
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.markdown import table
from pytest_wanlora.cluster.crew import PROOF, About, Event, Sent
from pytest_wanlora.cluster.dispatch import Dispatcher
from pytest_wanlora.cluster.scheduler import ClusterScheduler
from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Job, Produced

_MEASURED: Final = Path(__file__).parent / "gpu" / "measured" / "2026-11-28-sixth.json"
_BATCH: Final = 2
#: Bytes of a preview of 9 frames of 480x832.
_PREVIEW: Final = 300_000
#: Seconds a LoRA of 300 MB takes to a node, once, on a network of 10 Gbit/s.
_TRANSFER: Final = 0.25
#: Seconds from asking Ray for an actor to its first line of Python, measured with local nodes.
_ACTOR: Final = 3.0


@dataclass(frozen=True)
class Durations:
    """Seconds: a batch, until a worker is ready, a change of LoRA, scoring a batch."""

    batch: float
    ready: float
    lora: float
    scoring: float

    @classmethod
    def recorded(cls) -> Durations:
        """Those of the sixth session."""
        found = json.loads(_MEASURED.read_text(encoding="utf-8"))
        warm = found["gate"]["warm"]
        video = warm["rendering"]["busy"] / warm["rendering"]["jobs"]
        return cls(
            batch=_BATCH * video,
            ready=_ACTOR + sum(warm["ready_seconds"][0].values()),
            lora=found["lora"]["fused"]["best"],
            scoring=_BATCH * found["scoring"]["score_seconds"][-1],
        )


def main() -> None:
    """Print the tables."""
    seconds = Durations.recorded()
    cost = _controller_seconds(600)
    print(f"a batch of {_BATCH} takes {seconds.batch:.2f} s, a worker is ready after {seconds.ready:.1f} s;")
    most = seconds.batch / _BATCH / cost
    print(f"the controller needs {1000 * cost:.1f} ms a video: it keeps up with {most:.0f} workers\n")
    for title, videos in (("480 videos", None), ("48 videos a worker", 48)):
        rows = [_simulate(2**power, videos, seconds, cost) for power in range(11)]
        print(f"{title}:\n\n{table(_HEADER, rows)}\n")


_HEADER: Final = (
    "workers",
    "videos",
    "minutes",
    "rendering",
    "controller",
    "waits for work",
    "longest queue",
)


def _simulate(workers: int, each: int | None, seconds: Durations, cost: float) -> Sequence[str]:
    """One run in simulated time.

    Args:
        workers: How many.
        each: Videos a worker; None for 480 videos in all.
        seconds: Of the workers.
        cost: Seconds of the controller a video.
    """
    chance = random.Random(workers)  # noqa: S311 - no secret
    jobs = _jobs(480 if each is None else each * workers)
    dispatcher = Dispatcher(batch=_BATCH, background=True, accept=lambda _, wanted: wanted)
    dispatcher.offer(jobs)
    order = count()
    # time, tie, what, worker, number, jobs
    events: list[tuple[float, int, str, str, int, int]] = []
    for number in range(workers):
        ready = seconds.ready * chance.uniform(0.9, 1.5) + seconds.batch / _BATCH
        heapq.heappush(events, (ready, next(order), "ready", f"w{number}", -1, 0))
    free_at = busy = rendering = waited = end = 0.0
    idle_since: dict[str, float] = {}
    lora: dict[str, str] = {}
    pending: list[float] = []
    longest = 0
    while events:
        now, _, what, name, number, size = heapq.heappop(events)
        # the controller takes events in, one after another
        begin = max(now, free_at)
        free_at = begin + (cost * size if what == "scored" else cost * 0.1)
        busy += free_at - begin
        pending = [each_end for each_end in pending if each_end > now] + [free_at]
        longest = max(longest, len(pending))
        if what == "ready":
            dispatcher.join(name, begin)
            idle_since[name] = now
        elif what == "rendered":
            dispatcher.rendered(name, number, begin)
            idle_since[name] = now
            heapq.heappush(events, (now + seconds.scoring, next(order), "scored", name, number, size))
        else:
            dispatcher.scored(name, number, begin)
            end = free_at
        for worker, batch in dispatcher.assign(begin):
            waited += begin - idle_since[worker]
            candidate = batch.jobs[0].candidate
            taken = seconds.batch * len(batch.jobs) / _BATCH * chance.uniform(0.98, 1.05)
            if lora.get(worker) != candidate:
                lora[worker] = candidate
                taken += seconds.lora + _TRANSFER
            rendering += taken
            done = begin + taken
            heapq.heappush(events, (done, next(order), "rendered", worker, batch.number, len(batch.jobs)))
    given = len(jobs) / _BATCH
    return (
        f"{workers:,}",
        f"{len(jobs):,}",
        f"{end / 60:.1f}",
        f"{100 * rendering / (workers * end):.0f} %",
        f"{100 * busy / end:.1f} %",
        f"{1000 * waited / given:.0f} ms",
        str(longest),
    )


def _jobs(number: int) -> list[Job]:
    """Videos of ten checkpoints, three scenarios, and as many seeds as it takes."""
    seeds = -(-number // 30)
    found = [
        Job(
            candidate=f"epoch-{epoch}",
            candidate_sha256=None,
            identity=f"{epoch:064x}",
            scale=1.0,
            scenario=f"test{scenario}",
            category="city",
            prompt=f"a city {scenario}",
            caption="a city",
            seed=seed,
            input_image=None,
            shared="{}",
        )
        for epoch in range(10)
        for scenario in range(3)
        for seed in range(seeds)
    ]
    return found[:number]


class _Instant:
    """A crew whose workers answer at once."""

    slots = 8
    starting = 0

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        features = np.zeros((9, 512), np.float32), np.zeros(400, np.float32)
        self.sent = Sent(
            Produced(
                scores=dict.fromkeys(("clip", "temporal", "sharpness", "color", "motion", "drift"), 0.5),
                degenerate=None,
                features={"clip_frames": features[0], "video": features[1]},
                frames_sha256="0" * 64,
                seconds=1.0,
            ),
            b"0" * _PREVIEW,
        )

    def start(self, count: int) -> None:
        for number in range(count):
            self.events.put(Event(f"w{number}", "ready", about=About(f"w{number}", "GPU", "GPU")))

    def poll(self, timeout: float) -> Sequence[Event]:
        found = [self.events.get(timeout=timeout)]
        while not self.events.empty():
            found.append(self.events.get())
        return found

    def begin(self, worker: str, number: int, jobs: Sequence[Job], checkpoint: object) -> None:
        del checkpoint
        if number != PROOF:
            self.events.put(Event(worker, "rendered", number))
        self.events.put(Event(worker, "scored", number, answers=(self.sent,) * len(jobs)))

    def dismiss(self, worker: str, *, instead: bool) -> None:
        raise AssertionError(worker, instead)

    def describe(self) -> str:
        return ""

    def close(self) -> None:
        pass


def _controller_seconds(videos: int) -> float:
    """Seconds that the process that judges needs for a video: give it away, store it, read it again."""
    with tempfile.TemporaryDirectory() as folder:
        cache, board = Cache(Path(folder) / "cache"), Board(Path(folder) / "board")
        cache.prepare()
        board.prepare()
        wanted = _jobs(videos)
        scheduler = ClusterScheduler(
            _Instant(),
            cache,
            board,
            checkpoint_of=lambda _: None,
            proof=replace(wanted[0], candidate="base", identity=None),
            batch=_BATCH,
            score_in_background=True,
            wait=60,
            limit=600,
        )
        started = time.perf_counter()
        scheduler.ensure(wanted)
        took = time.perf_counter() - started
        scheduler.close()
        cache.close()
    return took / videos


if __name__ == "__main__":
    main()
