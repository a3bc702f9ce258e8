"""Who renders what: every job once, by whichever process gets to it.

A process renders on one thread and, where the producer allows it, scores and stores on another meanwhile. A
job is done when its result lies in the cache, and not before; until then its claim is held.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from pytest_wanlora.errors import JobError, WanloraError

if TYPE_CHECKING:
    from pytest_wanlora.jobs.board import Board
    from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Job, JobResult, Produced

logger = logging.getLogger(__name__)

Begin: TypeAlias = Callable[[Sequence[Job]], Sequence[Callable[[], Produced]]]
"""Renders jobs of one batch and returns, for each, what scores it."""

_POLL_SECONDS = 0.2
# one batch is scored while the next is rendered; more would only fill memory when scoring is the slower one
_AHEAD = 1


@dataclass(frozen=True)
class _Flight:
    """A batch that was rendered and is being scored."""

    keys: frozenset[str]
    claims: ExitStack
    tasks: tuple[Future[None], ...]


class Scheduler:
    """Has jobs rendered once, sharing the work with the other processes of the run.

    Not for several threads: the one that makes it calls it.

    Args:
        begin: Renders a batch; a WanloraError of it, or of what it returns, is noted and the jobs not tried
            again.
        cache: Where results are kept; shared by processes and runs.
        board: The run's shared notes: attempts and failures.
        batch: Seeds that are rendered together.
        beside: Whether to score on another thread while the next batch is rendered.
        progress: Called after each change that this process sees.
    """

    def __init__(
        self,
        begin: Begin,
        cache: Cache,
        board: Board,
        *,
        batch: int = 1,
        beside: bool = False,
        progress: Callable[[], None] | None = None,
    ) -> None:
        self.begin = begin
        self.cache = cache
        self.board = board
        self.batch = batch
        self.progress = progress
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="wanlora-score") if beside else None
        self._flights: list[_Flight] = []
        self._blocks: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ensure(self, needed: Sequence[Job], *, pool: Sequence[Job] = ()) -> dict[str, JobResult]:
        """Have every needed job rendered, by whichever process gets to it.

        Takes the next needed job that nobody renders, with those of the same batch that are wanted too. When
        others render all that is left of them, or it is being scored, renders further jobs of `pool` instead
        of waiting idly.

        Args:
            needed: Jobs whose results are wanted.
            pool: Every job of the run.

        Returns:
            Results by key.

        Raises:
            JobError: A needed job failed, here or in another process of this run, or the process that
                rendered it died twice.
        """
        results: dict[str, JobResult] = {}
        missing = {job.key: job for job in needed}
        others = {job.key: job for job in pool if job.key not in missing}
        while True:
            self._land()
            for key, job in list(missing.items()):
                result = find(job, self.cache, self.board)
                if result is not None:
                    results[key] = result
                    del missing[key]
                else:
                    self.board.raise_failure(job)
            if not missing:
                return results
            busy = self._render_next(missing, others) or self._render_next(others, missing)
            if self.progress is not None:
                self.progress()
            if not busy:
                self._wait()

    def close(self) -> None:
        """Wait until everything that was rendered is stored; later calls of `ensure` score as they render."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._land()

    def _wait(self) -> None:
        if self._flights:
            wait([task for task in self._flights[0].tasks if not task.done()], return_when=FIRST_COMPLETED)
        else:
            time.sleep(_POLL_SECONDS)

    def _land(self) -> None:
        """Give back the claims of what is stored; raise what a bug in scoring raised."""
        landed = [flight for flight in self._flights if all(task.done() for task in flight.tasks)]
        self._flights = [flight for flight in self._flights if flight not in landed]
        for flight in landed:
            flight.claims.close()
        for flight in landed:
            for task in flight.tasks:
                task.result()

    def _render_next(self, jobs: Mapping[str, Job], others: Mapping[str, Job]) -> bool:
        """Render the first job that is neither done nor claimed nor failed; False if there is none."""
        flying = {key for flight in self._flights for key in flight.keys}
        for key, job in jobs.items():
            if key in flying or self._settled(job):
                continue
            block = self._block(job)
            with ExitStack() as claims:
                if not claims.enter_context(self.cache.claim(block)):
                    continue
                mates = {**jobs, **others} if self.batch > 1 else {key: job}
                # looked at again under the claim: its last holder may have finished meanwhile
                batch = [
                    mate for mate in mates.values() if self._block(mate) == block and not self._settled(mate)
                ]
                if not batch:
                    continue
                self._render(batch, claims)
                return True
        return False

    def _block(self, job: Job) -> str:
        if job.key not in self._blocks:
            self._blocks[job.key] = job.block(self.batch)
        return self._blocks[job.key]

    def _settled(self, job: Job) -> bool:
        return self.board.failed(job.key) or find(job, self.cache, self.board) is not None

    def _render(self, jobs: Sequence[Job], claims: ExitStack) -> None:
        started = []
        for job in jobs:
            try:
                self.board.start(job)
            except JobError as error:
                self._refuse(job, error)
            else:
                started.append(job)
        if not started:
            return
        try:
            scorings = self.begin(started)
        except WanloraError as error:
            for job in started:
                self._refuse(job, error)
            return
        except Exception as error:
            for job in started:
                self._note_failure(job, f"{type(error).__name__}: {error}", None)
            raise
        finishing = [partial(self._finish, *pair) for pair in zip(started, scorings, strict=True)]
        if self._pool is None:
            for finish in finishing:
                finish()
            return
        tasks = tuple(self._pool.submit(finish) for finish in finishing)
        self._flights.append(_Flight(frozenset(job.key for job in started), claims.pop_all(), tasks))
        while len(self._flights) > _AHEAD:
            wait(self._flights[0].tasks)
            self._land()

    def _finish(self, job: Job, score: Callable[[], Produced]) -> None:
        try:
            produced = score()
            self.cache.store(job, produced)
        except WanloraError as error:
            self._refuse(job, error)
        except Exception as error:
            self._note_failure(job, f"{type(error).__name__}: {error}", None)
            raise
        else:
            self.board.finish(job, produced.seconds)

    def _refuse(self, job: Job, error: WanloraError) -> None:
        logger.warning("%s: %s", job.label, error)
        self._note_failure(job, error.message, error.next_command)

    def _note_failure(self, job: Job, message: str, next_command: str | None) -> None:
        try:
            self.board.fail(job, message, next_command)
        except JobError:
            # the disk may be full: what the job failed of matters more than that it cannot be noted
            raise JobError(f"{job.label}: {message}", next_command=next_command) from None


def find(job: Job, cache: Cache, board: Board) -> JobResult | None:
    """Look a job's result up, as far as the run may reuse it; None if it must be rendered."""
    fresh = board.rendered(job.key)
    if not fresh and not board.reuse:
        return None
    # a result is stored a moment before the board says so, and only what was not there before is begun
    return cache.load(job, reused=not (fresh or board.started(job.key)))
