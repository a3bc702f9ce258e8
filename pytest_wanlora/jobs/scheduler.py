"""Render every job once, sharing the work between processes.

A process renders on one thread and, where the producer allows it, scores and stores on another thread. A job
is done when its result is in the cache; its claim is held until then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

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
class _PendingBatch:
    """A rendered batch that is being scored."""

    keys: frozenset[str]
    claims: ExitStack
    tasks: tuple[Future[None], ...]


class Scheduler:
    """Renders jobs once, sharing the work with the other processes of the run.

    Not thread-safe.

    Args:
        begin: Renders a batch. A WanloraError from it, or from what it returns, is recorded and the jobs are
            not tried again.
        cache: Where results are kept; shared by processes and runs.
        board: The run's shared files: attempts and failures.
        together: Batches of one candidate that `begin` is given at a time.
        score_in_background: Whether to score on another thread while the next batch is rendered.
        progress: Called after each change that this process sees.
    """

    def __init__(
        self,
        begin: Begin,
        cache: Cache,
        board: Board,
        *,
        batch: int = 1,
        together: int = 1,
        score_in_background: bool = False,
        progress: Callable[[], None] | None = None,
    ) -> None:
        self.begin = begin
        self.cache = cache
        self.board = board
        self.batch = batch
        self.together = together
        self.progress = progress
        self._pool = (
            ThreadPoolExecutor(1, thread_name_prefix="wanlora-score") if score_in_background else None
        )
        self._pending: list[_PendingBatch] = []
        self._blocks: dict[str, str] = {}

    def ensure(self, needed: Sequence[Job], *, pool: Sequence[Job] = ()) -> dict[str, JobResult]:
        """Wait until every needed job is rendered, by this process or another; returns their results by key.

        Renders the next needed job that no process has claimed, together with the wanted jobs of its batch.
        When all needed jobs are claimed or being scored, renders other jobs of `pool` instead of waiting.

        Raises:
            JobError: A needed job failed, here or in another process of this run, or the process that
                rendered it died twice.
        """
        results: dict[str, JobResult] = {}
        missing = {job.key: job for job in needed}
        others = {job.key: job for job in pool if job.key not in missing}
        while True:
            self._collect_finished()
            for key, job in list(missing.items()):
                result = find(job, self.cache, self.board)
                if result is not None:
                    results[key] = result
                    del missing[key]
                elif self.board.failed(job.key):
                    self._raise_first_failure(job, missing.values())
            if not missing:
                return results
            busy = self._render_next(missing, others) or self._render_next(others, missing)
            if self.progress is not None:
                self.progress()
            if not busy:
                self._wait()

    def close(self) -> None:
        """Wait until all rendered jobs are stored; later calls of `ensure` score in the same thread."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._collect_finished()

    def _wait(self) -> None:
        if self._pending:
            wait([task for task in self._pending[0].tasks if not task.done()], return_when=FIRST_COMPLETED)
        else:
            time.sleep(_POLL_SECONDS)

    def _collect_finished(self) -> None:
        """Release the claims of stored batches; re-raise unexpected errors of scoring."""
        finished = [batch for batch in self._pending if all(task.done() for task in batch.tasks)]
        self._pending = [batch for batch in self._pending if batch not in finished]
        for batch in finished:
            batch.claims.close()
        for batch in finished:
            for task in batch.tasks:
                task.result()

    def _raise_first_failure(self, seen: Job, missing: Iterable[Job]) -> None:
        """Raise what the first of the missing jobs failed of; an unexpected error of scoring as it is."""
        # the note is written before the task that fails has ended
        wait([task for batch in self._pending if seen.key in batch.keys for task in batch.tasks])
        self._collect_finished()
        # an earlier one may have failed since it was looked at: what is told must not depend on the threads
        for job in missing:
            self.board.raise_failure(job)

    def _render_next(self, jobs: Mapping[str, Job], others: Mapping[str, Job]) -> bool:
        """Render the first job that is neither done nor claimed nor failed; False if there is none.

        With it the next ones of its candidate, up to `together` batches.
        """
        pending = {key for batch in self._pending for key in batch.keys}
        found: dict[str, list[Job]] = {}
        with ExitStack() as claims:
            for key, job in jobs.items():
                first = next(iter(found.values()))[0] if found else job
                if key in pending or (job.identity, job.scale) != (first.identity, first.scale):
                    continue
                block = self._block(job)
                if block in found or self._settled(job):
                    continue
                if not claims.enter_context(self.cache.claim(block)):
                    continue
                mates = {**jobs, **others} if self.batch > 1 else {key: job}
                # checked again under the claim: its last holder may have finished in the meantime
                batch = [
                    mate for mate in mates.values() if self._block(mate) == block and not self._settled(mate)
                ]
                if batch:
                    found[block] = batch
                if len(found) == self.together:
                    break
            if found:
                self._render([job for batch in found.values() for job in batch], claims)
        return bool(found)

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
        self._pending.append(_PendingBatch(frozenset(job.key for job in started), claims.pop_all(), tasks))
        while len(self._pending) > _AHEAD:
            wait(self._pending[0].tasks)
            self._collect_finished()

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
            self.board.note_prompts(produced.notes)

    def _refuse(self, job: Job, error: WanloraError) -> None:
        logger.warning("%s: %s", job.label, error)
        self._note_failure(job, error.message, error.next_command)

    def _note_failure(self, job: Job, message: str, next_command: str | None) -> None:
        try:
            self.board.fail(job, message, next_command)
        except JobError:
            # the disk may be full: the error of the job matters more than that of recording it
            raise JobError(message, next_command=next_command, video=job.label) from None


def find(job: Job, cache: Cache, board: Board) -> JobResult | None:
    """Look a job's result up, as far as the run may reuse it; None if it must be rendered."""
    fresh = board.rendered(job.key)
    if not fresh and not board.reuse:
        return None
    # a result is stored shortly before the board says so, and only results that were missing are started
    return cache.load(job, reused=not (fresh or board.started(job.key)))
