"""The workers of a run as actors of Ray."""

from __future__ import annotations

import queue
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.cluster.crew import About, Event
from pytest_wanlora.cluster.nodes import import_ray, last_line, resources
from pytest_wanlora.cluster.worker import MakeProducer, Worker, halves
from pytest_wanlora.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.cluster.nodes import Cluster
    from pytest_wanlora.jobs.job import Job
    from pytest_wanlora.suite import Sampling

#: How often the worker of a slot is replaced after it was lost.
_REPLACED: Final = 2


class RayCrew:
    """The workers of a cluster: one actor a GPU, or a CPU."""

    def __init__(self, cluster: Cluster, make_producer: MakeProducer, sampling: Sampling) -> None:
        self.cluster = cluster
        self.slots = cluster.slots
        self._arguments = (import_ray().cloudpickle.dumps(make_producer), sampling, cluster.device)
        self._kinds = {each.kind for node in cluster.nodes for each in node.hardware}
        self._names = {node.id: node.name for node in cluster.nodes}
        # made by `poll`: what Ray calls when a call ends may not call Ray, whose client would wait for itself
        self._ended: queue.SimpleQueue[Callable[[], Event]] = queue.SimpleQueue()
        self._actors: dict[str, Any] = {}
        self._waiting: set[str] = set()
        self._replacements = 0
        self._checkpoints: dict[str, Any] = {}
        self._number = 0

    @property
    def starting(self) -> int:
        """How many were asked for and are not ready."""
        return len(self._waiting)

    def start(self, count: int) -> None:
        """Ask for workers; Ray starts them as GPUs get free."""
        self._replacements += _REPLACED * count
        for _ in range(count):
            self._start_one()

    def _start_one(self) -> None:
        unit = "num_gpus" if self.cluster.device == "cuda" else "num_cpus"
        actor = import_ray().remote(_Actor)
        name, self._number = f"worker-{self._number}", self._number + 1
        self._waiting.add(name)
        self._actors[name] = actor.options(
            **{unit: 1},
            # the scheduler decides what is done again, and where
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=4,
            scheduling_strategy="SPREAD",
        ).remote(*self._arguments)
        self._follow(self._actors[name].about.remote(), partial(self._ready, name), name)

    def _ready(self, name: str, told: tuple[str, str, str, str]) -> Event:
        node, host, gpu, kind = told
        label = self._names.setdefault(node, f"{host} ({node[:6]})")
        if kind not in self._kinds:
            why = f"it came later and is {kind}; this run renders on {', '.join(sorted(self._kinds))}"
            return Event(name, "lost", why=f"{label}: {why}")
        return Event(name, "ready", about=About(label, gpu, kind))

    def poll(self, timeout: float) -> Sequence[Event]:
        """Wait for events, up to some seconds."""
        events: list[Event] = []
        try:
            events.append(self._ended.get(timeout=timeout)())
            while True:
                events.append(self._ended.get_nowait()())
        except queue.Empty:
            # not before: a worker that is ready and not yet heard of must not be missed
            self._waiting.difference_update(event.worker for event in events)
            return events

    def begin(self, worker: str, number: int, jobs: Sequence[Job], checkpoint: Checkpoint | None) -> None:
        """Have a worker render and score a batch.

        Raises:
            CheckpointError: The file cannot be read, or is another than when the run began.
        """
        actor = self._actors[worker]
        data = [] if checkpoint is None else [self._bytes_of(each) for each in halves(checkpoint)]

        def rendered(_: object) -> Event:
            self._follow(
                actor.finish.remote(number, len(jobs)),
                lambda answers: Event(worker, "scored", number, answers=answers),
                worker,
            )
            return Event(worker, "rendered", number)

        for job in jobs:
            _ = job.key  # computed here, where the files are that it is made of
        self._follow(actor.render.remote(number, list(jobs), checkpoint, *data), rendered, worker)

    def dismiss(self, worker: str, *, instead: bool) -> None:
        """End a worker, and start another one instead if wanted."""
        self._waiting.discard(worker)
        actor = self._actors.pop(worker, None)
        if actor is None:
            return
        import_ray().kill(actor)
        if instead and self._replacements:
            self._replacements -= 1
            self._start_one()

    def describe(self) -> str:
        """What was asked for, and what the cluster has."""
        unit = "GPU" if self.cluster.device == "cuda" else "CPU"
        return f"asked for: {max(1, self.starting)} x 1 {unit}; there: {resources()}"

    def close(self) -> None:
        """End all workers."""
        for name in list(self._actors):
            self.dismiss(name, instead=False)

    def _bytes_of(self, checkpoint: Checkpoint) -> Any:  # noqa: ANN401 - Ray's references have no useful type
        """The bytes of a file in Ray's object store, which sends them to a node once."""
        if checkpoint.sha256 not in self._checkpoints:
            import numpy as np

            try:
                data = np.fromfile(checkpoint.path, dtype=np.uint8)
            except OSError as error:
                raise CheckpointError(
                    f"{checkpoint.path}: cannot be read: {error.strerror}",
                    next_command=f"ls -l {shlex.quote(str(checkpoint.path))}",
                ) from error
            # the nodes compare its digest when they read it
            self._checkpoints[checkpoint.sha256] = import_ray().put(data)
        return self._checkpoints[checkpoint.sha256]

    def _follow(self, reference: Any, event: Callable[[Any], Event], worker: str) -> None:  # noqa: ANN401
        """Put an event into the queue when a call has ended."""

        def ended(call: Future[Any]) -> None:
            error = call.exception()
            lost = partial(Event, worker, "lost", why="" if error is None else last_line(error))
            self._ended.put(lost if error is not None else partial(event, call.result()))

        reference.future().add_done_callback(ended)


class _Actor:
    """A `Worker` in an actor of Ray."""

    def __init__(self, make_producer: bytes, sampling: Sampling, device: str) -> None:
        ray = import_ray()
        self._node = ray.get_runtime_context().get_node_id()
        self._worker = Worker(ray.cloudpickle.loads(make_producer), sampling, device)

    def about(self) -> tuple[str, str, str, str]:
        return (self._node, socket.gethostname(), *self._worker.about())

    def render(
        self, number: int, jobs: Sequence[Job], checkpoint: Checkpoint | None, *data: NDArray[Any]
    ) -> None:
        self._worker.render(number, jobs, checkpoint, data)

    def finish(self, number: int, count: int) -> Any:  # noqa: ANN401
        return self._worker.finish(number, count)


def send_conftests() -> None:
    """Have the code of a project's `conftest.py` travel with what it made: no node can import it."""
    ray = import_ray()
    for module in list(sys.modules.values()):
        if Path(getattr(module, "__file__", None) or "").name == "conftest.py":
            ray.cloudpickle.register_pickle_by_value(module)
