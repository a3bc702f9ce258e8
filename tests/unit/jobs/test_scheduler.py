"""A job is rendered once, whoever needs it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from pytest_wanlora.errors import JobError, StudioError
from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Job, JobResult, Produced
from pytest_wanlora.jobs.scheduler import find
from tests.unit.jobs.made import Counting, ensure, job, produced


class TestEnsure:
    def test_renders_each_job_once(self, cache: Cache, board: Board) -> None:
        render = Counting()
        wanted = [job(seed) for seed in range(4)]
        results = ensure(wanted, render, cache, board)
        assert render.calls == [0, 1, 2, 3]
        assert [results[each.key].seed for each in wanted] == [0, 1, 2, 3]
        assert not any(result.reused for result in results.values())
        assert ensure(wanted, render, cache, board).keys() == results.keys()
        assert len(render.calls) == 4

    def test_does_not_render_the_pool_when_nobody_has_to_be_waited_for(
        self, cache: Cache, board: Board
    ) -> None:
        render = Counting()
        ensure([job(0)], render, cache, board, pool=[job(0), job(1)])
        assert render.calls == [0]

    def test_a_second_run_reuses_and_says_so(self, cache: Cache, board: Board, tmp_path: Path) -> None:
        ensure([job()], produced, cache, board)
        later = Board(tmp_path / "later")
        later.prepare()
        render = Counting()
        assert ensure([job()], render, cache, later)[job().key].reused
        assert render.calls == []

    def test_what_was_just_stored_is_not_taken_for_an_earlier_runs(self, cache: Cache, board: Board) -> None:
        # between the two, any process of the run may look
        board.start(job())
        cache.store(job(), produced(job()))
        found = find(job(), cache, board)
        assert found is not None
        assert not found.reused

    def test_without_reuse_a_run_renders_its_own(self, cache: Cache, board: Board, tmp_path: Path) -> None:
        ensure([job()], produced, cache, board)
        later = Board(tmp_path / "later", reuse=False)
        later.prepare()
        render = Counting()
        assert not ensure([job()], render, cache, later)[job().key].reused
        ensure([job()], render, cache, later)
        assert render.calls == [0]

    def test_a_failure_is_told_to_everyone_and_not_tried_again(self, cache: Cache, board: Board) -> None:
        def refuse(job: Job) -> Produced:
            raise StudioError("no such layer", next_command="inspect it")

        render = Counting(refuse)
        for _ in range(2):
            with pytest.raises(JobError, match="x, cat, seed 0: no such layer") as caught:
                ensure([job()], render, cache, board)
            assert caught.value.next_command == "inspect it"
        assert render.calls == [0]

    def test_a_bug_is_raised_as_it_is_and_noted(self, cache: Cache, board: Board) -> None:
        def broken(job: Job) -> Produced:
            raise ZeroDivisionError("oops")

        with pytest.raises(ZeroDivisionError):
            ensure([job()], broken, cache, board)
        with pytest.raises(JobError, match="ZeroDivisionError: oops"):
            ensure([job()], produced, cache, board)

    def test_another_run_tries_a_failed_job_again(self, cache: Cache, board: Board, tmp_path: Path) -> None:
        def refuse(job: Job) -> Produced:
            raise StudioError("out of memory")

        with pytest.raises(JobError):
            ensure([job()], refuse, cache, board)
        later = Board(tmp_path / "later")
        later.prepare()
        assert ensure([job()], produced, cache, later)

    def test_a_failure_of_the_pool_is_left_to_those_who_need_it(self, cache: Cache, board: Board) -> None:
        def refuse_one(job: Job) -> Produced:
            if job.seed == 1:
                raise StudioError("no")
            return produced(job)

        ensure([job(0)], refuse_one, cache, board, pool=[job(1)])
        with pytest.raises(JobError):
            ensure([job(1)], refuse_one, cache, board)

    def test_progress(self, cache: Cache, board: Board) -> None:
        wanted = [job(seed) for seed in range(3)]
        seen = []
        board.announce([each.key for each in wanted], reused=0)
        board.announce(["other"], reused=1)

        def look() -> None:
            progress = board.progress()
            assert progress is not None
            seen.append((progress.rendered, progress.left, progress.remaining))

        ensure(wanted, lambda job: produced(job, seconds=2.0), cache, board, progress=look)
        assert [(rendered, left) for rendered, left, _ in seen] == [(1, 2), (2, 1), (3, 0)]
        # the two seconds of the next one have begun
        assert [seconds for *_, seconds in seen] == pytest.approx([4.0, 2.0, 0.0], abs=0.5)


def _work(folder: Path, number: int, seconds: float, kill_on: int | None) -> None:
    cache, board = Cache(folder / "cache"), Board(folder / "board", who=f"gw{number}")
    board.prepare()

    def render(job: Job) -> Produced:
        with (folder / "rendered.log").open("a", encoding="utf-8") as log:
            log.write(f"{job.seed} {number}\n")
        if kill_on == job.seed:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        return produced(job, seconds)

    pool = [job(seed) for seed in range(8)]
    order = pool[number:] + pool[:number]
    for first in range(0, len(order), 2):
        results = ensure(order[first : first + 2], render, cache, board, pool=pool)
        assert all(isinstance(result, JobResult) for result in results.values())


def _start(folder: Path, number: int, *, seconds: float = 0.05, kill_on: int | None = None) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_work, args=(folder, number, seconds, kill_on))
    process.start()
    _PROCESSES.append(process)


_PROCESSES: list[multiprocessing.process.BaseProcess] = []


def _join() -> list[int | None]:
    for process in _PROCESSES:
        process.join(60)
    codes = [process.exitcode for process in _PROCESSES]
    _PROCESSES.clear()
    return codes


def _rendered(folder: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in (folder / "rendered.log").read_text().splitlines())


class TestProcesses:
    def test_no_job_is_rendered_twice(self, tmp_path: Path) -> None:
        Cache(tmp_path / "cache").prepare()
        for number in range(3):
            _start(tmp_path, number)
        assert _join() == [0, 0, 0]
        assert _rendered(tmp_path) == Counter({str(seed): 1 for seed in range(8)})
        makers = {line.split()[1] for line in (tmp_path / "rendered.log").read_text().splitlines()}
        assert len(makers) > 1, "one process did all the work"

    def test_a_dead_process_costs_its_running_job_only(self, tmp_path: Path) -> None:
        Cache(tmp_path / "cache").prepare()
        _start(tmp_path, 0, kill_on=3)
        assert _join() == [-signal.SIGKILL]
        before = _rendered(tmp_path)
        _start(tmp_path, 1)
        assert _join() == [0]
        assert _rendered(tmp_path) == before + Counter(
            {str(seed): 1 for seed in range(8) if str(seed) not in before or seed == 3}
        )

    def test_a_job_that_kills_two_processes_is_not_tried_a_third_time(self, tmp_path: Path) -> None:
        Cache(tmp_path / "cache").prepare()
        for number in range(2):
            _start(tmp_path, number, kill_on=3)
            assert _join() == [-signal.SIGKILL]
        board = Board(tmp_path / "board")
        with pytest.raises(JobError, match="2 processes died while rendering it"):
            ensure([job(3)], produced, Cache(tmp_path / "cache"), board)
        assert _rendered(tmp_path)["3"] == 2

    def test_notes_are_json(self, cache: Cache, board: Board) -> None:
        ensure([job()], produced, cache, board)
        note = json.loads((board.folder / f"{job().key}.done").read_text())
        assert note["who"] == "main"
