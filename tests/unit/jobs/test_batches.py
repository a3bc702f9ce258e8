"""Videos that are rendered together and scored on another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest

from pytest_wanlora.errors import JobError, StudioError
from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.jobs.scheduler import Scheduler
from tests.unit.jobs.made import job, produced

SECONDS = 5.0  # a lost signal must not hang the tests


class Studio:
    """Notes which seeds are rendered together; a seed's scoring may wait for a signal, or be broken."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.signals: dict[int, threading.Event] = {}
        self.scoring: dict[int, Callable[[Job], Produced]] = {}

    def __call__(self, jobs: Sequence[Job]) -> list[Callable[[], Produced]]:
        self.batches.append([job.seed for job in jobs])
        return [lambda job=job: self._score(job) for job in jobs]  # type: ignore[misc]  # bound to the loop's job

    def _score(self, job: Job) -> Produced:
        if job.seed in self.signals:
            assert self.signals[job.seed].wait(SECONDS)
        return self.scoring.get(job.seed, produced)(job)


@pytest.fixture
def studio() -> Studio:
    return Studio()


def claimed(cache: Cache, job: Job, batch: int = 1) -> bool:
    """Whether somebody holds a job's claim."""
    with cache.claim(job.block(batch)) as free:
        return not free


def test_seeds_of_one_block_are_rendered_together_and_others_apart(
    studio: Studio, cache: Cache, board: Board
) -> None:
    # seed 5 lies in the middle of the block 4 to 7
    wanted = [job(seed) for seed in range(5, 10)]
    with closing(Scheduler(studio, cache, board, batch=4)) as scheduler:
        found = scheduler.ensure(wanted)
    assert studio.batches == [[5, 6, 7], [8, 9]]
    assert [found[each.key].seed for each in wanted] == [5, 6, 7, 8, 9]


def test_a_batch_leaves_out_what_is_there_already(studio: Studio, cache: Cache, board: Board) -> None:
    with closing(Scheduler(studio, cache, board, batch=2)) as scheduler:
        scheduler.ensure([job(0)])
        scheduler.ensure([job(1)], pool=[job(0), job(1)])
    assert studio.batches == [[0], [1]]


def test_a_claim_is_held_until_every_video_of_the_batch_is_stored(
    studio: Studio, cache: Cache, board: Board
) -> None:
    held = []
    studio.signals[1] = threading.Event()

    def look() -> None:
        if cache.load(job(0), reused=False) is not None:
            held.append(claimed(cache, job(0), 2))
            studio.signals[1].set()

    with closing(
        Scheduler(studio, cache, board, batch=2, score_in_background=True, progress=look)
    ) as scheduler:
        scheduler.ensure([job(0), job(1)])
    assert studio.batches == [[0, 1]]
    assert held[0], "seed 1 was not stored yet"
    assert not claimed(cache, job(0), 2)


def test_a_claim_is_held_while_the_next_batch_is_rendered(studio: Studio, cache: Cache, board: Board) -> None:
    studio.signals[0] = threading.Event()
    held = []

    def begin(jobs: Sequence[Job]) -> list[Callable[[], Produced]]:
        if jobs[0].seed == 1:
            held.append(claimed(cache, job(0)))
            studio.signals[0].set()
        return studio(jobs)

    with closing(Scheduler(begin, cache, board, score_in_background=True)) as scheduler:
        scheduler.ensure([job(0), job(1)])
    assert held == [True]


def test_closing_waits_until_all_is_stored(studio: Studio, cache: Cache, board: Board) -> None:
    def slowly(job: Job) -> Produced:
        time.sleep(0.05)
        return produced(job)

    studio.scoring = {0: slowly, 1: slowly}
    scheduler = Scheduler(studio, cache, board, score_in_background=True)
    # while seed 0 is scored, seed 1 is rendered instead of waiting
    scheduler.ensure([job(0)], pool=[job(0), job(1)])
    assert studio.batches == [[0], [1]]
    scheduler.close()
    assert cache.load(job(1), reused=False) is not None
    assert not claimed(cache, job(1))


def test_a_bug_on_the_other_thread_is_raised_as_it_is(studio: Studio, cache: Cache, board: Board) -> None:
    def broken(job: Job) -> Produced:
        raise ZeroDivisionError(job.seed)

    studio.scoring[0] = broken
    scheduler = Scheduler(studio, cache, board, score_in_background=True)
    with pytest.raises(ZeroDivisionError):
        scheduler.ensure([job(0)])
    scheduler.close()
    assert not claimed(cache, job(0))


def test_a_bug_whose_note_is_seen_before_its_task_ends_is_raised_as_it_is(
    studio: Studio, cache: Cache, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: Job) -> Produced:
        raise ZeroDivisionError(job.seed)

    noted, looked = threading.Event(), threading.Event()
    fail, failed = board.fail, board.failed

    def note(job: Job, message: str, next_command: str | None) -> None:
        fail(job, message, next_command)
        noted.set()
        looked.wait(10)

    def look(key: str) -> bool:
        if answer := failed(key):
            looked.set()
        return answer

    monkeypatch.setattr(board, "fail", note)
    monkeypatch.setattr(board, "failed", look)
    studio.scoring[0] = broken

    def after_rendering() -> None:
        noted.wait(10)

    made = Scheduler(studio, cache, board, score_in_background=True, progress=after_rendering)
    with pytest.raises(ZeroDivisionError), closing(made) as scheduler:
        scheduler.ensure([job(0)])
    assert looked.is_set()


def test_what_failed_while_waiting_is_not_tried_again(studio: Studio, cache: Cache, board: Board) -> None:
    studio.signals[0] = threading.Event()
    looks = []

    def begin(jobs: Sequence[Job]) -> list[Callable[[], Produced]]:
        scorings = studio(jobs)
        if jobs[0].seed == 1:
            raise StudioError("out of memory")
        return scorings

    def look() -> None:
        looks.append(board.failed(job(1).key))
        if looks.count(True) == 2:
            studio.signals[0].set()

    with closing(Scheduler(begin, cache, board, score_in_background=True, progress=look)) as scheduler:
        scheduler.ensure([job(0)], pool=[job(0), job(1)])
    assert studio.batches == [[0], [1]]


def test_of_two_that_failed_the_first_is_told_however_the_threads_run(
    studio: Studio, cache: Cache, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(job: Job) -> Produced:
        raise StudioError("out of memory")

    looked, failed = threading.Event(), board.failed
    studio.scoring = {0: refuse, 1: refuse}
    studio.signals[0] = looked

    def look(key: str) -> bool:
        answer = failed(key)
        if not answer and studio.batches == [[0, 1]] and key == job(0).key:
            # both fail between the look at seed 0 and the look at seed 1
            looked.set()
            while not failed(job(1).key):
                time.sleep(0.001)
        return answer

    monkeypatch.setattr(board, "failed", look)
    made = Scheduler(studio, cache, board, batch=2, score_in_background=True)
    with pytest.raises(JobError, match="seed 0: out of memory"), closing(made) as scheduler:
        scheduler.ensure([job(0), job(1)])
    assert looked.is_set()
