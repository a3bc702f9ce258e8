"""Which worker of a cluster renders which batch; without a clock, threads, files or a network of its own."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeAlias

from pytest_wanlora.jobs.job import Job

#: How often a batch is given to another worker after one that was lost with it.
HANDED_ON: Final = 2

Accept: TypeAlias = Callable[[str, Sequence[Job]], Sequence[Job] | None]
"""Takes a block for rendering: the jobs of it that are still to be rendered; None: another process has it."""


@dataclass(frozen=True)
class Batch:
    """Jobs that one worker renders together.

    Attributes:
        number: Unique within a run; a batch that is handed on gets a new one.
        block: What its jobs have in common, see `Job.block`.
        lost_with: Workers that were lost while they had it.
    """

    number: int
    block: str
    jobs: tuple[Job, ...]
    lost_with: tuple[str, ...] = ()


@dataclass
class _Worker:
    """A worker that can render."""

    rendering: Batch | None = None
    #: Rendered and not scored yet, the oldest first.
    scoring: list[Batch] = field(default_factory=list)
    #: When it last began or finished something.
    since: float = 0.0

    @property
    def batches(self) -> list[Batch]:
        return [*self.scoring, *([] if self.rendering is None else [self.rendering])]


class Dispatcher:
    """Gives every open job to one worker at a time, in the order of the candidates.

    No worker waits while a job is open. Work on one candidate comes before work on the next, so that its
    verdicts come early and a worker seldom changes its LoRA.

    Args:
        background: Whether a worker scores a batch while it renders the next.
        accept: Called before a block is given away for the first time.
    """

    def __init__(self, *, batch: int = 1, background: bool = False, accept: Accept) -> None:
        self.batch = batch
        self.workers: dict[str, _Worker] = {}
        self._most_scoring = 1 if background else 0
        self._accept = accept
        self._numbers = count()
        self._free: dict[str, None] = {}
        self._ranks: dict[str, int] = {}
        #: Rank of the candidate to its open blocks, in the order in which they were wanted.
        self._open: dict[int, dict[str, list[Job]]] = {}
        self._again: deque[Batch] = deque()
        self._elsewhere: set[str] = set()
        self._blocks: dict[str, str] = {}
        self._given: Counter[str] = Counter()

    def offer(self, jobs: Iterable[Job]) -> None:
        """Say which jobs are wanted now, instead of those that were; what workers have is not taken away."""
        self._open = {}
        for job in jobs:
            if self._given[job.key]:
                continue
            rank = self._ranks.setdefault(job.candidate, len(self._ranks))
            if job.key not in self._blocks:
                self._blocks[job.key] = job.block(self.batch)
            blocks = self._open.setdefault(rank, {})
            blocks.setdefault(self._blocks[job.key], []).append(job)

    @property
    def open(self) -> int:
        """Batches that no worker has."""
        return len(self._again) + sum(map(len, self._open.values()))

    @property
    def running(self) -> int:
        """Batches that a worker has."""
        return sum(len(worker.batches) for worker in self.workers.values())

    def join(self, name: str, now: float) -> None:
        """A worker is ready."""
        self.workers[name] = _Worker(since=now)
        self._free[name] = None

    def retry(self) -> None:
        """Ask again for the blocks that another process had."""
        self._elsewhere.clear()

    def assign(self, now: float) -> list[tuple[str, Batch]]:
        """Give work to every free worker."""
        given = []
        while self._free:
            batch = self._next()
            if batch is None:
                break
            name = next(iter(self._free))
            del self._free[name]
            worker = self.workers[name]
            worker.rendering, worker.since = batch, now
            given.append((name, batch))
        return given

    def rendered(self, name: str, number: int, now: float) -> None:
        """A worker has rendered a batch, and scores it."""
        worker = self.workers.get(name)
        if worker is None or worker.rendering is None or worker.rendering.number != number:
            return
        worker.scoring.append(worker.rendering)
        worker.rendering, worker.since = None, now
        self._set_free(name)

    def scored(self, name: str, number: int, now: float) -> Batch | None:
        """A worker has scored a batch.

        Returns:
            The batch; None if the worker does not have it any more, and then its results are not used.
        """
        self.rendered(name, number, now)
        worker = self.workers.get(name)
        found = next((each for each in worker.scoring if each.number == number), None) if worker else None
        if worker is None or found is None:
            return None
        worker.scoring.remove(found)
        worker.since = now
        self._forget(found)
        self._set_free(name)
        return found

    def lose(self, name: str) -> list[Batch]:
        """A worker is lost, and others get what it had.

        Returns:
            Batches that were lost too often to be tried again.
        """
        worker = self.workers.pop(name, None)
        self._free.pop(name, None)
        given_up = []
        for batch in [] if worker is None else worker.batches:
            again = Batch(next(self._numbers), batch.block, batch.jobs, (*batch.lost_with, name))
            if len(again.lost_with) > HANDED_ON:
                self._forget(again)
                given_up.append(again)
            else:
                self._again.append(again)
        return given_up

    def overdue(self, before: float) -> list[str]:
        """Workers that have had the same work since before a time."""
        return [name for name, each in self.workers.items() if each.batches and each.since < before]

    def _set_free(self, name: str) -> None:
        worker = self.workers[name]
        if worker.rendering is None and len(worker.scoring) <= self._most_scoring:
            self._free[name] = None

    def _next(self) -> Batch | None:
        if self._again:
            return self._again.popleft()
        for rank in sorted(self._open):
            blocks = self._open[rank]
            while (block := next((each for each in blocks if each not in self._elsewhere), None)) is not None:
                jobs = self._accept(block, blocks[block])
                if jobs is None:
                    self._elsewhere.add(block)
                    continue
                del blocks[block]
                if jobs:
                    self._given.update(job.key for job in jobs)
                    return Batch(next(self._numbers), block, tuple(jobs))
            if not blocks:
                del self._open[rank]
        return None

    def _forget(self, batch: Batch) -> None:
        self._given.subtract(job.key for job in batch.jobs)
