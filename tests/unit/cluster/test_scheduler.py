"""The cluster's scheduler with workers that are threads: results, losses, refusals, hangs, a full disk."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_wanlora.cluster.crew import PROOF, About, Answer, Event, Refusal, Sent
from pytest_wanlora.cluster.scheduler import ClusterScheduler
from pytest_wanlora.errors import IncomparableError, JobError
from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Job
from tests.unit.jobs.made import job, produced

PROOF_JOB = job(100, candidate="base", identity=None)


class Died(Exception):
    """A worker dies."""


def sent(wanted: Job, frames: str = "") -> Sent:
    made = replace(produced(wanted), write_preview=None)
    return Sent(replace(made, frames_sha256=frames or made.frames_sha256), b"mp4")


class Threads:
    """A crew whose workers are threads of this process.

    Args:
        render: Called by a worker with its name and a job.
        slots: How many there are.
        replaced: How many are started instead of lost ones.
    """

    def __init__(
        self, render: Callable[[str, Job], Answer], *, slots: int = 2, replaced: int = 9, kind: str = "GPU"
    ) -> None:
        self.render = render
        self.slots = slots
        self.replaced = replaced
        self.kind = kind
        self.rendered: list[tuple[str, int]] = []
        self.started = 0
        self.starting = 0
        self.closed = False
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def start(self, count: int) -> None:
        for _ in range(count):
            name = f"w{self.started}"
            self.started += 1
            self.starting += 1
            self.events.put(Event(name, "ready", about=About(f"node-{name}", "GPU 0", self.kind)))

    def poll(self, timeout: float) -> Sequence[Event]:
        try:
            event = self.events.get(timeout=min(timeout, 0.02))
            self.starting -= event.kind == "ready"
            return [event]
        except queue.Empty:
            return []

    def begin(self, worker: str, number: int, jobs: Sequence[Job], checkpoint: object) -> None:
        def work() -> None:
            try:
                answers = tuple(self.render(worker, each) for each in jobs)
            except Died as error:
                self.events.put(Event(worker, "lost", why=str(error)))
                return
            if number != PROOF:
                self.rendered += [(each.candidate, each.seed) for each in jobs]
            self.events.put(Event(worker, "rendered", number))
            self.events.put(Event(worker, "scored", number, answers=answers))

        threading.Thread(target=work, daemon=True).start()

    def dismiss(self, worker: str, *, instead: bool) -> None:
        if instead and self.replaced:
            self.replaced -= 1
            self.start(1)

    def describe(self) -> str:
        return "asked for: 2 x 1 GPU; there: 1 node, 2 GPU (0 free)"

    def close(self) -> None:
        self.closed = True


def plain(_: str, wanted: Job) -> Answer:
    return sent(wanted)


@pytest.fixture
def scheduler(cache: Cache, board: Board) -> Callable[..., ClusterScheduler]:
    def make(crew: Threads, **options: object) -> ClusterScheduler:
        known = {"checkpoint_of": lambda _: None, "proof": PROOF_JOB, "wait": 5.0, "limit": 60.0, **options}
        return ClusterScheduler(crew, cache, board, **known)  # type: ignore[arg-type]  # checked as they are used

    return make


Make = Callable[..., ClusterScheduler]


def test_each_job_is_rendered_once_and_stored_here_with_its_place(scheduler: Make, cache: Cache) -> None:
    crew = Threads(plain)
    wanted = [job(seed) for seed in range(6)]
    made = scheduler(crew)
    results = made.ensure(wanted[:2], pool=wanted)
    assert [results[each.key].seed for each in wanted[:2]] == [0, 1]
    results = made.ensure(wanted)
    made.close()
    assert sorted(crew.rendered) == [("x", seed) for seed in range(6)]
    assert crew.closed
    first = results[wanted[0].key]
    assert str(first.notes["node"]).startswith("node-w")
    assert (first.notes["gpu"], first.reused) == ("GPU 0", False)
    assert first.preview is not None
    assert first.preview.read_bytes() == b"mp4"


def test_no_worker_is_started_for_what_is_in_the_cache(scheduler: Make, cache: Cache) -> None:
    cache.store(job(), produced(job()))
    crew = Threads(plain)
    assert scheduler(crew).ensure([job()])[job().key].reused
    assert crew.started == 0


def test_the_proof_is_a_result_too_and_rendered_by_every_worker(scheduler: Make) -> None:
    seen: list[tuple[str, int]] = []

    def render(worker: str, wanted: Job) -> Answer:
        seen.append((worker, wanted.seed))
        return sent(wanted)

    crew = Threads(render, slots=3)
    made = scheduler(crew)
    made.ensure([PROOF_JOB, *(job(seed) for seed in range(3))])
    made.close()
    assert sorted(worker for worker, seed in seen if seed == PROOF_JOB.seed) == ["w0", "w1", "w2"]
    assert (PROOF_JOB.candidate, PROOF_JOB.seed) not in crew.rendered


def test_a_lost_worker_costs_its_batch_and_is_replaced(scheduler: Make) -> None:
    notes: list[str] = []

    def render(worker: str, wanted: Job) -> Answer:
        if worker == "w0" and wanted.candidate == "x":
            raise Died("the node was switched off")
        return sent(wanted)

    crew = Threads(render)
    made = scheduler(crew, note=notes.append)
    wanted = [job(seed) for seed in range(5)]
    assert len(made.ensure(wanted)) == 5
    made.close()
    assert sorted(crew.rendered) == [("x", seed) for seed in range(5)]
    assert notes == ["worker on node-w0, GPU 0 was lost: the node was switched off"]


def test_a_job_that_ends_every_worker_is_given_up_with_the_nodes(scheduler: Make) -> None:
    def render(worker: str, wanted: Job) -> Answer:
        if wanted.seed == 1:
            raise Died("out of memory")
        return sent(wanted)

    crew = Threads(render)
    made = scheduler(crew)
    with pytest.raises(JobError, match=r"x, cat, seed 1: 3 workers were lost while they rendered it \(node"):
        made.ensure([job(1)])
    assert len(made.ensure([job(0), job(2)])) == 2
    with pytest.raises(JobError, match="3 workers were lost"):
        made.ensure([job(1)])
    made.close()
    assert ("x", 1) not in crew.rendered


def test_a_worker_that_hangs_is_ended_by_the_limit(scheduler: Make) -> None:
    def render(worker: str, wanted: Job) -> Answer:
        if worker == "w0" and wanted.candidate == "x":
            time.sleep(30)
        return sent(wanted)

    notes: list[str] = []
    made = scheduler(Threads(render), limit=0.3, note=notes.append)
    assert len(made.ensure([job(seed) for seed in range(4)])) == 4
    made.close()
    assert notes == [
        "worker on node-w0, GPU 0 was lost: it took longer than 0 s, the limit of --wanlora-ray-limit"
    ]


def test_a_cluster_that_shrinks_to_nothing_is_an_error_not_a_wait(scheduler: Make) -> None:
    def render(worker: str, wanted: Job) -> Answer:
        if wanted.candidate == "x":
            raise Died("the node was switched off")
        return sent(wanted)

    made = scheduler(Threads(render, replaced=0))
    words = r"no worker for this run any more: asked for: 2 x 1 GPU; there: (.|\n)*switched off"
    with pytest.raises(JobError, match=words) as caught:
        made.ensure([job(seed) for seed in range(4)])
    assert "allowed: --wanlora-ray-wait with more seconds" in caught.value.message
    assert caught.value.next_command == "ray status"
    with pytest.raises(JobError, match="no worker for this run"):
        made.ensure([job(9)])
    made.close()


def test_a_cluster_without_a_free_gpu_is_waited_for_and_then_an_error(scheduler: Make) -> None:
    crew = Threads(plain)
    crew.starting = 2
    made = scheduler(crew, wait=0.2)
    crew.start = lambda count: None  # type: ignore[method-assign]  # none gets free
    with pytest.raises(JobError, match="no worker for this run after 0 s: asked for: 2 x 1 GPU"):
        made.ensure([job()])
    made.close()


def test_other_frames_of_the_proof_end_the_run_and_empty_what_it_stored(
    scheduler: Make, cache: Cache
) -> None:
    gate = threading.Event()

    def render(worker: str, wanted: Job) -> Answer:
        if worker == "w1":
            gate.wait(10)
        frames = f"{worker}-frames" if wanted == PROOF_JOB else ""
        return sent(wanted, frames)

    made = scheduler(Threads(render))
    made.ensure([job(0)], pool=[job(0), job(1)])
    assert cache.load(job(0), reused=True) is not None
    gate.set()
    with pytest.raises(
        IncomparableError, match=r"node-w1, GPU 0: renders other frames of base, cat"
    ) as caught:
        made.ensure([job(seed) for seed in range(300)])
    made.close()
    assert "node-w0, GPU 0: w1-frames and w0-frames" in str(caught.value)
    assert cache.load(job(0), reused=True) is None


def test_a_worker_that_cannot_render_the_proof_is_left_out(scheduler: Make) -> None:
    def render(worker: str, wanted: Job) -> Answer:
        return Refusal("no memory left", "nvidia-smi") if worker == "w0" else sent(wanted)

    notes: list[str] = []
    made = scheduler(Threads(render), note=notes.append)
    assert len(made.ensure([job(0), job(1)])) == 2
    made.close()
    assert notes == ["node-w0, GPU 0, renders nothing: no memory left"]


def test_when_none_can_render_the_reason_is_told(scheduler: Make) -> None:
    made = scheduler(Threads(lambda *_: Refusal("the model does not load", "look at it")))
    with pytest.raises(JobError, match=r"node-w.: the model does not load") as caught:
        made.ensure([job(0), job(1)])
    assert caught.value.next_command == "look at it"
    made.close()


def test_a_refused_job_fails_alone_and_is_not_tried_again(scheduler: Make) -> None:
    asked: list[int] = []

    def render(worker: str, wanted: Job) -> Answer:
        asked.append(wanted.seed)
        return Refusal("no such layer", "inspect it") if wanted.seed == 1 else sent(wanted)

    made = scheduler(Threads(render))
    for _ in range(2):
        with pytest.raises(JobError, match=r"x, cat, seed 1: no such layer \(on node-w") as caught:
            made.ensure([job(1)], pool=[job(0), job(1)])
        assert caught.value.next_command == "inspect it"
    assert len(made.ensure([job(0)])) == 1
    made.close()
    assert asked.count(1) == 1


def test_a_checkpoint_that_cannot_be_used_fails_its_jobs_here(scheduler: Make) -> None:
    def refuse(wanted: Sequence[Job]) -> None:
        raise JobError("not rendered: the file is broken", next_command="inspect it")

    crew = Threads(plain)
    made = scheduler(crew, checkpoint_of=refuse)
    with pytest.raises(JobError, match="x, cat, seed 0: not rendered: the file is broken"):
        made.ensure([job(0)])
    made.close()
    assert crew.rendered == []


def test_a_full_disk_fails_the_job_with_the_folder(
    scheduler: Make, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_wanlora.files.write_whole", full)
    monkeypatch.setattr("pytest_wanlora.jobs.cache.write_whole", full)
    made = scheduler(Threads(plain))
    with pytest.raises(JobError, match="No space left on device") as caught:
        made.ensure([job(0)])
    assert str(cache.folder.parent) in str(caught.value)
    made.close()


def test_what_another_run_is_rendering_is_taken_from_the_cache(scheduler: Make, cache: Cache) -> None:
    held, done = threading.Event(), threading.Event()

    def other() -> None:
        with Cache(cache.folder).claim(job(0).key) as claimed:
            assert claimed
            held.set()
            done.wait(10)
            cache.store(job(0), produced(job(0)))

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    crew = Threads(plain)
    made = scheduler(crew)
    made.ensure([job(1)], pool=[job(0), job(1)])
    done.set()
    made.ensure([job(0), job(1)])
    made.close()
    thread.join()
    assert crew.rendered == [("x", 1)]


def test_while_workers_are_idle_more_jobs_are_asked_for(scheduler: Make) -> None:
    slow = threading.Event()

    def render(worker: str, wanted: Job) -> Answer:
        if wanted.seed == 0 and wanted.candidate == "x":
            slow.wait(10)
        if wanted.candidate == "next":
            slow.set()
        return sent(wanted)

    more = job(0, candidate="next", identity="1" * 64)
    crew = Threads(render)
    made = scheduler(crew, ahead=lambda: [job(0), more])
    made.ensure([job(0)], pool=[job(0)])
    made.close()
    assert sorted(crew.rendered) == [("next", 0), ("x", 0)]


def test_an_error_of_the_scheduler_reaches_those_who_wait(scheduler: Make) -> None:
    crew = Threads(plain)

    def broken(timeout: float) -> Sequence[Event]:
        raise ZeroDivisionError("a bug")

    crew.poll = broken  # type: ignore[method-assign]  # the bug
    made = scheduler(crew)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        made.ensure([job(0)])
    made.close()


@pytest.mark.parametrize("slots", [2, 6])
def test_the_progress_names_nodes_or_counts_them(scheduler: Make, slots: int) -> None:
    told: list[str] = []
    go = threading.Event()

    def render(worker: str, wanted: Job) -> Answer:
        if wanted.candidate == "x":
            go.wait(3)
        return sent(wanted)

    def show(words: str) -> None:
        told.append(words)
        if words.count("rendering"):
            go.set()

    crew = Threads(render, slots=slots)
    made = scheduler(crew, progress=show)
    made.ensure([job(seed) for seed in range(slots)])
    made.close()
    last = told[-1]
    assert last == ("node-w0 1 rendering; node-w1 1 rendering" if slots == 2 else "6 nodes 6 rendering")
