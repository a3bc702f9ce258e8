"""Every batch goes to one worker at a time, and a lost one to another, twice at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.cluster.dispatch import HANDED_ON, Dispatcher
from pytest_wanlora.jobs.job import Job
from tests.unit.jobs.made import job


def everything(_: str, jobs: Sequence[Job]) -> Sequence[Job]:
    return jobs


def jobs(count: int, candidate: str = "x") -> list[Job]:
    return [job(seed, candidate=candidate, identity=candidate) for seed in range(count)]


def made(*workers: str, batch: int = 1, background: bool = False) -> Dispatcher:
    dispatcher = Dispatcher(batch=batch, background=background, accept=everything)
    for name in workers:
        dispatcher.join(name, 0.0)
    return dispatcher


def test_every_free_worker_gets_a_batch_and_no_job_is_given_twice() -> None:
    dispatcher = made("a", "b")
    dispatcher.offer(jobs(3))
    first = dispatcher.assign(0.0)
    assert [name for name, _ in first] == ["a", "b"]
    assert [each.seed for _, batch in first for each in batch.jobs] == [0, 1]
    dispatcher.offer(jobs(3))
    assert dispatcher.assign(0.0) == []
    assert dispatcher.scored("b", first[1][1].number, 1.0) == first[1][1]
    ((name, batch),) = dispatcher.assign(1.0)
    assert (name, [each.seed for each in batch.jobs]) == ("b", [2])
    assert (dispatcher.open, dispatcher.running) == (0, 2)


def test_one_candidate_is_finished_before_the_next_even_by_jobs_that_come_later() -> None:
    dispatcher = made("a")
    dispatcher.offer([*jobs(1, "first"), *jobs(2, "second")])
    given = dispatcher.assign(0.0)
    dispatcher.offer([*jobs(2, "second"), *jobs(3, "first")])
    order = []
    while given:
        ((_, batch),) = given
        order.append((batch.jobs[0].candidate, batch.jobs[0].seed))
        dispatcher.scored("a", batch.number, 0.0)
        given = dispatcher.assign(0.0)
    assert [name for name, _ in order] == ["first"] * 3 + ["second"] * 2


def test_seeds_of_one_block_are_rendered_together() -> None:
    dispatcher = made("a", "b", batch=4)
    dispatcher.offer(jobs(6))
    assert [[each.seed for each in batch.jobs] for _, batch in dispatcher.assign(0.0)] == [
        [0, 1, 2, 3],
        [4, 5],
    ]


def test_what_is_wanted_no_longer_is_not_begun() -> None:
    dispatcher = made("a")
    dispatcher.offer(jobs(2))
    dispatcher.assign(0.0)
    dispatcher.offer([])
    assert dispatcher.open == 0


def test_a_worker_scores_one_batch_while_it_renders_the_next() -> None:
    dispatcher = made("a", background=True)
    dispatcher.offer(jobs(4))
    ((_, first),) = dispatcher.assign(0.0)
    dispatcher.rendered("a", first.number, 1.0)
    ((_, second),) = dispatcher.assign(1.0)
    dispatcher.rendered("a", second.number, 2.0)
    assert dispatcher.assign(2.0) == [], "two are being scored: a third would only fill memory"
    dispatcher.scored("a", first.number, 3.0)
    assert len(dispatcher.assign(3.0)) == 1


def test_without_background_a_worker_waits_for_its_scores() -> None:
    dispatcher = made("a")
    dispatcher.offer(jobs(2))
    ((_, first),) = dispatcher.assign(0.0)
    dispatcher.rendered("a", first.number, 1.0)
    assert dispatcher.assign(1.0) == []


def test_a_lost_batch_is_handed_on_twice_and_then_given_up() -> None:
    dispatcher = made("a", "b", "c", "d")
    dispatcher.offer(jobs(1))
    lost = []
    for life in range(HANDED_ON + 1):
        ((name, _),) = dispatcher.assign(0.0)
        lost.append(name)
        given_up = dispatcher.lose(name)
        assert bool(given_up) == (life == HANDED_ON)
    assert given_up[0].lost_with == tuple(lost)
    assert dispatcher.assign(0.0) == []


def test_what_a_lost_worker_sends_later_is_not_used() -> None:
    dispatcher = made("a", "b")
    dispatcher.offer(jobs(1))
    ((name, batch),) = dispatcher.assign(0.0)
    dispatcher.lose(name)
    dispatcher.rendered(name, batch.number, 1.0)
    assert dispatcher.scored(name, batch.number, 1.0) is None


def test_a_block_that_another_process_has_is_asked_for_again() -> None:
    held = [True]
    dispatcher = Dispatcher(accept=lambda _, wanted: None if held[0] else wanted)
    dispatcher.join("a", 0.0)
    dispatcher.offer(jobs(1))
    assert dispatcher.assign(0.0) == []
    held[0] = False
    assert dispatcher.assign(0.0) == [], "not before retry"
    dispatcher.retry()
    assert len(dispatcher.assign(0.0)) == 1


def test_jobs_that_turn_out_to_be_done_cost_nobody_anything() -> None:
    dispatcher = Dispatcher(accept=lambda _, wanted: [each for each in wanted if each.seed > 1])
    dispatcher.join("a", 0.0)
    dispatcher.offer(jobs(3))
    ((_, batch),) = dispatcher.assign(0.0)
    assert [each.seed for each in batch.jobs] == [2]


def test_overdue_is_who_has_had_the_same_work_for_too_long() -> None:
    dispatcher = made("busy", "idle")
    dispatcher.offer(jobs(1))
    dispatcher.assign(5.0)
    assert dispatcher.overdue(5.0) == []
    assert dispatcher.overdue(5.1) == ["busy"]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 25),
    batch=st.integers(1, 4),
    background=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from(["rendered", "scored", "lose", "join"]), st.integers(0, 9))),
)
def test_whatever_happens_each_job_ends_once(
    count: int, batch: int, background: bool, steps: list[tuple[str, int]]
) -> None:
    """Workers come and go at random; at the end one that lives does the rest."""
    dispatcher = made("w0", "w1", batch=batch, background=background)
    wanted = jobs(count)
    dispatcher.offer(wanted)
    names, ended, deaths = 2, Counter[int](), 0
    dispatcher.assign(0.0)

    def act(step: str, which: int) -> None:
        nonlocal names, deaths
        workers = list(dispatcher.workers)
        if step == "join":
            dispatcher.join(f"w{names}", 0.0)
            names += 1
        elif workers:
            name = workers[which % len(workers)]
            for each in dispatcher.workers[name].batches[:1]:
                if step == "scored":
                    done = dispatcher.scored(name, each.number, 0.0)
                    assert done is not None
                    ended.update(one.seed for one in done.jobs)
                elif step == "rendered":
                    dispatcher.rendered(name, each.number, 0.0)
            if step == "lose":
                deaths += 1
                for each in dispatcher.lose(name):
                    ended.update(one.seed for one in each.jobs)
        given = [one.key for worker in dispatcher.workers.values() for b in worker.batches for one in b.jobs]
        assert len(given) == len(set(given)), "a job at two workers"
        dispatcher.assign(0.0)
        idle = [name for name, worker in dispatcher.workers.items() if not worker.batches]
        assert not (idle and dispatcher.open), "a worker waits while a batch is open"

    for step, which in steps:
        act(step, which)
    act("join", 0)
    for _ in range(4 * count):
        for which in range(len(dispatcher.workers)):
            act("scored", which)
    assert ended == Counter(range(count))


@pytest.mark.parametrize("name", ["unknown", "a"])
def test_events_of_nobody_change_nothing(name: str) -> None:
    dispatcher = made("a")
    dispatcher.rendered(name, 7, 0.0)
    assert dispatcher.scored(name, 7, 0.0) is None
    assert dispatcher.lose("unknown") == []
