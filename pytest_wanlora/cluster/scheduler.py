"""Have every job rendered once on a cluster: what `jobs.scheduler` is within one machine.

The process that judges is the only one that writes the cache. A thread of it hears what the workers tell,
gives them work and stores their results; `ensure` waits for that thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora.cluster.crew import PROOF, About, Answer, Crew, Event, Refusal
from pytest_wanlora.cluster.dispatch import HANDED_ON, Batch, Dispatcher
from pytest_wanlora.errors import IncomparableError, JobError, WanloraError
from pytest_wanlora.files import delete_whole
from pytest_wanlora.jobs.job import Job, JobResult
from pytest_wanlora.jobs.scheduler import find

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.jobs.board import Board
    from pytest_wanlora.jobs.cache import Cache

logger = logging.getLogger(__name__)

_TICK: Final = 0.5
#: Nodes that the progress names one by one.
_NAMED: Final = 4


class ClusterScheduler:
    """Renders jobs once on the workers of a cluster.

    Args:
        cache: Where results are kept; written by this process alone.
        checkpoint_of: The checkpoint of a batch; a WanloraError from it is recorded for its jobs.
        proof: What every worker renders first; its frames must be the same on all of one kind.
        score_in_background: Whether a worker scores a batch while it renders the next.
        wait: Seconds without a worker after which the run gives up.
        limit: Seconds that a batch may take; a worker that takes longer is ended.
        note: Called with what readers of the record must know: nodes that were lost, workers not used.
        progress: Called now and then by `ensure`, with what the nodes do.
        ahead: Called by `ensure` when workers have nothing to do; returns more jobs of the run.
    """

    def __init__(
        self,
        crew: Crew,
        cache: Cache,
        board: Board,
        *,
        checkpoint_of: Callable[[Sequence[Job]], Checkpoint | None],
        proof: Job,
        batch: int = 1,
        score_in_background: bool = False,
        wait: float,
        limit: float,
        note: Callable[[str], None] | None = None,
        progress: Callable[[str], None] | None = None,
        ahead: Callable[[], Sequence[Job]] | None = None,
    ) -> None:
        self.crew = crew
        self.cache = cache
        self.board = board
        self.checkpoint_of = checkpoint_of
        self.proof = proof
        self.wait = wait
        self.limit = limit
        self.note = note
        self.progress = progress
        self.ahead = ahead
        self._dispatcher = Dispatcher(batch=batch, background=score_in_background, accept=self._accept)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._broken: WanloraError | BaseException | None = None
        self._wanted: dict[str, Job] = {}
        self._settled: set[str] = set()
        self._stored: set[str] = set()
        self._failed: dict[str, JobError] = {}
        self._claims: dict[str, ExitStack] = {}
        self._about: dict[str, About] = {}
        self._proving: dict[str, float] = {}
        #: Kind of worker to the frames of the first one's proof and where that is.
        self._proofs: dict[str, tuple[str, str]] = {}
        self._lost: list[str] = []
        self._told: list[str] = []
        self._alone_since = 0.0
        self._asked = 0
        board.attempts = HANDED_ON + 1

    def ensure(self, needed: Sequence[Job], *, pool: Sequence[Job] = ()) -> dict[str, JobResult]:
        """Wait until every needed job is rendered; the workers render the rest of the pool meanwhile.

        Args:
            pool: Every job of the run; what is not in it any more is not begun.

        Returns:
            Results by key.

        Raises:
            JobError: A needed job failed, was lost with three workers, or there are no workers.
            IncomparableError: Workers of one kind render different frames.
        """
        results: dict[str, JobResult] = {}
        missing = {job.key: job for job in needed}
        told = -1.0
        while True:
            self._find(missing, results)
            if not missing:
                return results
            with self._changed:
                if self._broken is not None:
                    raise self._broken
                self._offer([*missing.values(), *pool])
                self._changed.wait_for(lambda: self._any_news(missing), timeout=_TICK)
                idle = self._thread is not None and not self._dispatcher.open
            if idle and self.ahead is not None:
                pool = self.ahead() or pool
            if self.progress is not None and time.monotonic() - told > 1.0:
                told = time.monotonic()
                self.progress(self.words)

    def close(self) -> None:
        """End the workers, once what has arrived is stored."""
        with self._changed:
            self._stopping = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.crew.close()

    @property
    def words(self) -> str:
        """The nodes and what their workers do, for the progress."""
        with self._changed:
            states = dict.fromkeys(self._proving, "proving")
            for name, worker in self._dispatcher.workers.items():
                states[name] = "rendering" if worker.batches else "waiting"
            nodes: dict[str, Counter[str]] = {}
            for name, state in states.items():
                nodes.setdefault(self._about[name].node, Counter())[state] += 1
            lost, starting = list(dict.fromkeys(self._lost)), self.crew.starting
        if len(nodes) <= _NAMED:
            words = [f"{node} {_counted(nodes[node])}" for node in sorted(nodes)]
        else:
            words = [f"{len(nodes)} nodes {_counted(sum(nodes.values(), Counter()))}"]
        words += [f"{starting} starting"] if starting else []
        words += [f"lost {', '.join(lost[:_NAMED])}"] if lost else []
        return "; ".join(words)

    def _find(self, missing: dict[str, Job], results: dict[str, JobResult]) -> None:
        for key, job in list(missing.items()):
            # what is wanted already is looked for once it is settled
            look = key in self._settled or key not in self._wanted
            result = find(job, self.cache, self.board) if look else None
            if result is not None:
                results[key] = result
                del missing[key]
            elif key in self._failed:
                raise self._failed[key]
            else:
                self.board.raise_failure(job)

    def _any_news(self, missing: Mapping[str, Job]) -> bool:
        news = self._settled | self._failed.keys()
        return self._broken is not None or not news.isdisjoint(missing)

    def _offer(self, jobs: Sequence[Job]) -> None:
        """Tell the dispatcher what is wanted, and start as many workers as have something to do."""
        wanted = {job.key: job for job in jobs if job.key not in self._settled}
        if wanted.keys() != self._wanted.keys():
            self._wanted = wanted
            self._dispatcher.offer(job for key, job in wanted.items() if key != self.proof.key)
        # the proof alone needs one worker too
        useful = min(self.crew.slots, max(1, self._dispatcher.open + self._dispatcher.running))
        if useful > self._asked:
            self.crew.start(useful - self._asked)
            self._asked = useful
        if self._thread is None and not self._stopping:
            self._alone_since = time.monotonic()
            self._thread = threading.Thread(target=self._run, name="wanlora-cluster", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping and self._broken is None:
                self._step(self.crew.poll(_TICK))
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._broken = error
        finally:
            # a lock is released by the thread that took it
            for claims in self._claims.values():
                claims.close()
            with self._changed:
                self._changed.notify_all()

    def _step(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        arrived: list[tuple[Batch, Event]] = []
        with self._changed:
            for event in events:
                batch = self._hear(event, now)
                if batch is not None:
                    arrived.append((batch, event))
            self._watch(now)
            self._give(now)
        for batch, event in arrived:
            about = self._about[event.worker]
            for job, answer in zip(batch.jobs, event.answers, strict=True):
                self._keep(job, answer, about)
            self._release(batch.block)
        with self._changed:
            self._changed.notify_all()

    def _hear(self, event: Event, now: float) -> Batch | None:
        """Take one event in; returns a batch whose results have arrived."""
        name = event.worker
        if event.kind == "ready" and event.about is not None:
            self._about[name] = event.about
            self._proving[name] = now
            self.crew.begin(name, PROOF, [self.proof], None)
        elif event.kind == "lost":
            self._lose(name, event.why)
        elif event.kind == "scored" and event.batch == PROOF:
            return self._prove(name, event.answers[0], now)
        elif event.kind == "rendered":
            self._dispatcher.rendered(name, event.batch, now)
        elif event.kind == "scored":
            return self._dispatcher.scored(name, event.batch, now)
        return None

    def _prove(self, name: str, answer: Answer, now: float) -> Batch | None:
        """Compare a worker's first frames with those of the first worker of its kind."""
        if self._proving.pop(name, None) is None:
            return None
        about = self._about[name]
        if isinstance(answer, Refusal):
            self._note(f"{about.place}, renders nothing: {answer.message}")
            self.crew.dismiss(name, instead=False)
            if not self._dispatcher.workers and not self._proving and not self.crew.starting:
                self._broken = JobError(f"{about.node}: {answer.message}", next_command=answer.next_command)
            return None
        frames = answer.produced.frames_sha256
        first, where = self._proofs.setdefault(about.kind, (frames, about.place))
        if frames != first:
            self._break_off(about, frames, first, where)
            return None
        self._dispatcher.join(name, now)
        if self.proof.key in self._settled:
            return None
        block = self.proof.block(self._dispatcher.batch)
        return Batch(PROOF, block, (self.proof,)) if self._accept(block, [self.proof]) else None

    def _break_off(self, about: About, frames: str, first: str, where: str) -> None:
        for key in self._stored:
            # one of the two is wrong, and nobody knows which
            with contextlib.suppress(OSError):
                delete_whole(self.cache.folder / key)
        self._broken = IncomparableError(
            f"{about.place}: renders other frames of {self.proof.label} than {where}: "
            f"{frames[:12]} and {first[:12]}\nBoth are {about.kind}. One of them is broken, so the "
            f"{len(self._stored)} videos that this run has rendered were removed from the cache.",
            next_command="find the broken GPU (nvidia-smi -q -d ECC on both nodes), take its node out of the "
            "cluster, and run the same command again",
        )

    def _lose(self, name: str, why: str) -> None:
        about = self._about.get(name)
        place = "a node" if about is None else about.place
        if about is not None:
            self._lost.append(about.node)
        self._proving.pop(name, None)
        self._note(f"worker on {place} was lost: {why}")
        self.crew.dismiss(name, instead=True)
        for batch in self._dispatcher.lose(name):
            nodes = ", ".join(self._about[each].node for each in batch.lost_with)
            error = JobError(
                f"{HANDED_ON + 1} workers were lost while they rendered it ({nodes}); not tried again\n"
                f"The last one: {why}",
                next_command="look at memory and logs of these nodes, then run the same command again",
            )
            for job in batch.jobs:
                self._fail(job, error)
            self._release(batch.block)

    def _watch(self, now: float) -> None:
        """End workers that take too long, and give up without any."""
        self._dispatcher.retry()
        asked = self._proofs and self.proof.key in self._wanted.keys() - self._settled
        # another process had its claim when it was rendered here
        if asked and find(self.proof, self.cache, self.board) is not None:
            self._settled.add(self.proof.key)
        late = [name for name, since in self._proving.items() if since < now - self.limit]
        for name in [*late, *self._dispatcher.overdue(now - self.limit)]:
            self._lose(name, f"it took longer than {self.limit:.0f} s, the limit of --wanlora-ray-limit")
        if self._dispatcher.workers or self._proving:
            self._alone_since = now
        elif now - self._alone_since > self.wait or not self.crew.starting:
            waited = f"after {now - self._alone_since:.0f} s" if self.crew.starting else "any more"
            told = "".join(f"\n{note}" for note in self._told[-3:])
            self._broken = self._broken or JobError(
                f"the cluster has no worker for this run {waited}: {self.crew.describe()}; "
                f"allowed: --wanlora-ray-wait with more seconds{told}",
                next_command="ray status",
            )

    def _give(self, now: float) -> None:
        while given := self._dispatcher.assign(now):
            for name, batch in given:
                try:
                    checkpoint = self.checkpoint_of(batch.jobs)
                    for job in batch.jobs:
                        self.board.start(job, who=name)
                    self.crew.begin(name, batch.number, batch.jobs, checkpoint)
                except WanloraError as error:
                    self._dispatcher.scored(name, batch.number, now)
                    for job in batch.jobs:
                        self._fail(job, error)
                    self._release(batch.block)

    def _accept(self, block: str, jobs: Sequence[Job]) -> Sequence[Job] | None:
        """Claim a block; jobs of it that have a result are settled."""
        claims = ExitStack()
        if not claims.enter_context(self.cache.claim(block)):
            claims.close()
            return None
        left = []
        for job in jobs:
            if find(job, self.cache, self.board) is not None:
                self._settled.add(job.key)
            elif job.key not in self._failed:
                left.append(job)
        if left:
            self._claims[block] = claims
        else:
            claims.close()
        return left

    def _release(self, block: str) -> None:
        claims = self._claims.pop(block, None)
        if claims is not None:
            claims.close()

    def _keep(self, job: Job, answer: Answer, about: About) -> None:
        """Store one result, or note why there is none."""
        if isinstance(answer, Refusal):
            self._fail(job, JobError(f"{answer.message} (on {about.node})", next_command=answer.next_command))
            return
        preview = answer.preview
        produced = replace(
            answer.produced,
            notes={**answer.produced.notes, "node": about.node, "gpu": about.gpu},
            write_preview=None if preview is None else partial(_write, preview),
        )
        try:
            self.cache.store(job, produced)
            self.board.finish(job, produced.seconds, who=about.node)
            self.board.note_prompts(produced.notes, node=about.node)
        except WanloraError as error:
            self._fail(job, error)
            return
        with self._changed:
            self._stored.add(job.key)
            self._settled.add(job.key)

    def _fail(self, job: Job, error: WanloraError) -> None:
        logger.warning("%s: %s", job.label, error)
        self._failed[job.key] = JobError(error.message, next_command=error.next_command, video=job.label)
        # a full disk must not hide why the job failed
        with contextlib.suppress(JobError):
            self.board.fail(job, error.message, error.next_command)

    def _note(self, line: str) -> None:
        logger.warning("%s", line)
        self._told.append(line)
        if self.note is not None:
            self.note(line)


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _counted(states: Mapping[str, int]) -> str:
    return ", ".join(f"{states[state]} {state}" for state in sorted(states))
