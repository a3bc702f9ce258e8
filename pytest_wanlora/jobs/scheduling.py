"""Who renders what: every job once, by whichever process gets to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_wanlora.errors import JobError, WanloraError

if TYPE_CHECKING:
    from pytest_wanlora.jobs.board import Board
    from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Job, JobResult, Produced

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.2


def ensure(
    needed: Sequence[Job],
    produce: Callable[[Job], Produced],
    cache: Cache,
    board: Board,
    *,
    pool: Sequence[Job] = (),
    progress: Callable[[], None] | None = None,
) -> dict[str, JobResult]:
    """Have every needed job rendered once, by whichever process gets to it.

    Takes the next needed job that nobody renders. When others are rendering all that is left of them,
    renders further jobs of `pool` instead of waiting idly.

    Args:
        needed: Jobs whose results are wanted.
        produce: Renders and scores one job; a WanloraError is noted and the job not tried again.
        cache: Where results are kept; shared by processes and runs.
        board: The run's shared notes: attempts and failures.
        pool: Every job of the run.
        progress: Called after each change that this process sees.

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
        for key, job in list(missing.items()):
            result = find(job, cache, board)
            if result is not None:
                results[key] = result
                del missing[key]
            else:
                board.raise_failure(job)
        if not missing:
            return results
        busy = _render_next(missing, produce, cache, board) or _render_next(others, produce, cache, board)
        if progress is not None:
            progress()
        if not busy:
            time.sleep(_POLL_SECONDS)


def find(job: Job, cache: Cache, board: Board) -> JobResult | None:
    """Look a job's result up, as far as the run may reuse it; None if it must be rendered."""
    fresh = board.rendered(job.key)
    return cache.load(job, reused=not fresh) if fresh or board.reuse else None


def _render_next(
    jobs: Mapping[str, Job], produce: Callable[[Job], Produced], cache: Cache, board: Board
) -> bool:
    """Render the first job that is neither done nor claimed nor failed; False if there is none."""
    for key, job in jobs.items():
        if board.failed(key):
            continue
        with cache.claim(key) as claimed:
            # looked at again under the claim: its last holder may have finished meanwhile
            if not claimed or board.failed(key) or find(job, cache, board) is not None:
                continue
            _render(job, produce, cache, board)
            return True
    return False


def _render(job: Job, produce: Callable[[Job], Produced], cache: Cache, board: Board) -> None:
    try:
        board.start(job)
        produced = produce(job)
        cache.store(job, produced)
    except WanloraError as error:
        logger.warning("%s: %s", job.label, error)
        _note_failure(job, board, error.message, error.next_command)
    except Exception as error:
        _note_failure(job, board, f"{type(error).__name__}: {error}", None)
        raise
    else:
        board.finish(job, produced.seconds)


def _note_failure(job: Job, board: Board, message: str, next_command: str | None) -> None:
    try:
        board.fail(job, message, next_command)
    except JobError:
        # the disk may be full: what the job failed of matters more than that it cannot be noted
        raise JobError(f"{job.label}: {message}", next_command=next_command) from None
