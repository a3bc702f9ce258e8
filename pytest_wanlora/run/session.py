"""One gate run: what was asked for, what is to be judged, and the results so far.

Every process of a run (the controller and each worker) builds the same `Gate` from the same settings; what
they share is the cache and the run's folder.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora.errors import JobError
from pytest_wanlora.jobs.board import Board, Progress
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import BASE, BatchProducer, Job, JobResult, Produced, Producer, plan
from pytest_wanlora.jobs.scheduler import Scheduler, find
from pytest_wanlora.options import in_one_word
from pytest_wanlora.results.folders import point_latest
from pytest_wanlora.run.candidates import Candidate, demanded
from pytest_wanlora.run.questions import WITH_TRIGGER, with_trigger
from pytest_wanlora.suite import hub, resolve
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.cluster.nodes import Cluster
    from pytest_wanlora.cluster.scheduler import ClusterScheduler
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.results.race import RaceCard
    from pytest_wanlora.run.findings import Finding, Preflight
    from pytest_wanlora.run.handover import Handover
    from pytest_wanlora.run.judge import Judge
    from pytest_wanlora.run.training_data import TrainingData
    from pytest_wanlora.settings import Device, Settings
    from pytest_wanlora.suite import Scenario, Suite


@dataclass(repr=False)
class Gate:
    """A gate run, as one process sees it.

    Attributes:
        settings: What the user asked for.
        suite: What is gated on.
        scenarios: Those of the suite that are rendered.
        candidates: What is gated, in the order of the command line.
        device: On what to render, and who said so.
        environment: What that is.
        run_folder: Of this run; shared by its processes.
        producer: Renders and scores.
        board: The run's shared notes.
        cache: Results by key.
        cluster: What renders instead of this machine, if the user said.
        training_data: What the candidates were trained on, if the user said; only in the process that began
            the run.
        preflight: What is missing on this machine; only in the process that began the run.
        blocked: Of that, what keeps the chosen items from being measured: then nothing is rendered at all.
        pool: Every job that the selected items need at the first look; what a waiting worker helps with.
        chosen: Items that this run judges.
        nodes: What the nodes of a cluster do; empty on one machine.
        repeated: Which checkpoints were named more than once; only in the process that began the run.
        race: What came of the race that chose the only candidate; None without one.
    """

    settings: Settings
    suite: Suite
    scenarios: tuple[Scenario, ...]
    candidates: tuple[Candidate, ...]
    device: Device
    environment: Environment
    run_folder: Path
    producer: Producer
    board: Board
    cache: Cache
    cluster: Cluster | None = None
    training_data: TrainingData | None = None
    preflight: Preflight | None = None
    blocked: tuple[Finding, ...] = ()
    pool: tuple[Job, ...] = ()
    chosen: frozenset[ItemId | str] = frozenset()
    nodes: str = ""
    repeated: tuple[str, ...] = ()
    race: RaceCard | None = None
    _known: dict[str, JobResult] = field(default_factory=dict)
    _alone: dict[str, Candidate] = field(default_factory=dict)

    @property
    def base(self) -> Candidate:
        """The model without LoRA."""
        return Candidate(BASE, None)

    def seeds(self, count: int) -> tuple[int, ...]:
        """The first seeds of the suite."""
        return tuple(range(self.suite.seeds.start, self.suite.seeds.start + count))

    @property
    def first_look(self) -> tuple[int, ...]:
        """Seeds of the first look; of the last one when baselines are stored."""
        return self.last_look if self.settings.update_baselines else self.seeds(self.suite.seeds.first)

    @property
    def last_look(self) -> tuple[int, ...]:
        """Seeds of the last look; all that a baseline of the model without a LoRA has when one is stored."""
        seeds, of_base = self.suite.seeds, self.settings.update_baselines and not self.settings.lora
        return self.seeds(max(seeds.most, seeds.baseline or 0) if of_base else seeds.most)

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Digests of what this process has read, by what it is; see `run.handover`."""
        from pytest_wanlora.run.handover import digests

        return digests(self)

    def identity(self, candidate: str) -> str:
        """Digest of all that a judgement on a candidate rests on, as this process has read it."""
        from pytest_wanlora.run.handover import identity

        return identity(self, candidate)

    def require_same(self, handed: Handover) -> None:
        """Block everything if this process has read something else than the one that started the run."""
        from pytest_wanlora.run.findings import Finding

        changed = handed.differing(self.digests)
        if changed:
            again = "wait until nothing writes to the run's files, then run the same command again"
            self.blocked = (Finding("inputs", f"changed after the run began: {changed}", again),)

    @cached_property
    def items(self) -> tuple[ItemId, ...]:
        """What the gate judges, candidate by candidate: the file, the limits, the comparison."""
        return tuple(
            item
            for each in self.candidates
            for item in demanded(self.settings, self.suite, self.scenarios, each)
        )

    def narrow(self, race: RaceCard) -> None:
        """Go on with the winner of a race alone."""
        self.race = race
        self.candidates = tuple(each for each in self.candidates if each.name == race.gated)
        self.__dict__.pop("items", None)

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the candidates whose measurements become a baseline."""
        return tuple(each.name for each in self.candidates) if self.settings.update_baselines else ()

    @cached_property
    def judge(self) -> Judge:
        """What judges the items; it reads the baseline when it is first needed."""
        from pytest_wanlora.run.judge import Judge

        return Judge(self)

    def preview(self, judged: Judgement) -> str | None:
        """The mp4 of the video that did worst in an item, if there is one."""
        if judged.worst is None:
            return None
        chosen = [self.scenario(judged.worst.scenario)]
        jobs = self.jobs(self.candidate(judged.candidate), chosen, [judged.worst.seed])
        paths = [result.preview for result in self.known(jobs) if result.preview is not None]
        return os.path.relpath(paths[0]) if paths else None

    def candidate(self, name: str) -> Candidate:
        """The candidate of that name, or of what `without` made; the model without LoRA for `"base"`."""
        own = next((each for each in self.candidates if each.name == name), None)
        return own or self._alone.get(name, self.base)

    def without(self, candidate: Candidate, expert: str) -> Candidate | None:
        """A candidate that is a pair without one of its LoRAs, so that its videos can be rendered."""
        found = candidate.without(expert)
        return None if found is None else self._alone.setdefault(found.name, found)

    def scenario(self, identifier: str) -> Scenario:
        """The scenario of that id."""
        return next(each for each in with_trigger(self.suite, self.suite.scenarios) if each.id == identifier)

    def jobs(
        self, candidate: Candidate, scenarios: Iterable[Scenario], seeds: Iterable[int]
    ) -> tuple[Job, ...]:
        """The videos of a candidate, scenario by scenario."""
        return plan(
            self.suite,
            candidate.checkpoint,
            name=candidate.name,
            scale=candidate.scale,
            seeds=seeds,
            environment=self.environment,
            producer=self.producer.identity,
            scenarios=scenarios,
        )

    def examine(self) -> Preflight:
        """Find out, before anything is loaded or written, what this machine lacks for all items."""
        from pytest_wanlora.run.preflight import Request, examine

        settings, most = self.settings, len(self.last_look)
        number = self.device.name.partition(":")[2]
        self.preflight = examine(
            self.suite,
            self.environment,
            Request(
                baselines_dir=settings.baselines_dir,
                baseline=None if settings.update_baselines else settings.baseline,
                scenarios=self.scenarios,
                allow_environment=settings.allow_environment,
                previews=settings.previews,
                device_number=int(number or 0),
                typed=self.typed_for_baselines(),
                cache_dir=settings.cache_dir,
                videos=len(self.candidates) * len(with_trigger(self.suite, self.scenarios)) * most
                + len(self.judge.standard.lacking),
                # what a cluster renders with is looked for on its nodes
                model_files=self.cluster is None and getattr(self.producer, "uses_model_files", True),
                with_baseline=self.with_baseline,
                loras=tuple(each.checkpoint for each in self.candidates if each.checkpoint is not None),
            ),
        )
        if self.cluster is not None:
            from pytest_wanlora.run.remote import examine_nodes

            findings = (*self.preflight.findings, *examine_nodes(self, self.cluster))
            self.preflight = replace(self.preflight, findings=findings)
        self.blocked = self.preflight.blocking([*self.items, *self.stored])
        return self.preflight

    def fetch(self) -> None:
        """Download what the preflight found missing, so that its digests are known before anything is judged.

        Raises:
            SuiteError: It cannot be downloaded.
        """
        downloads = () if self.preflight is None else self.preflight.downloads
        for each in downloads:
            hub.fetch(resolve(each.text, key=each.key, where=self.suite.where(each.key)))
        if downloads:
            # what was read before is not what will be loaded
            del self.digests
            _ = self.digests

    def typed_for_baselines(self, seeds: tuple[int, int] | None = None) -> tuple[str, ...]:
        """Options that were typed and that a baseline must be measured with; `seeds` replace those."""
        typed = []
        if self.device.source == "--wanlora-device":
            typed.append(f"--wanlora-device {self.device.name}")
        if self.settings.sources.get("wanlora-seeds") == "--wanlora-seeds":
            seeds = seeds or self.settings.seeds
        if seeds is not None:
            typed.append("--wanlora-seeds {}:{}".format(*seeds))
        words = in_one_word(self.settings.typed)
        return (*typed, *(shlex.quote(word) for word in words if word.startswith("--wanlora-ray")))

    def with_baseline(self, name: str) -> str:
        """The command line that was typed, compared with another baseline."""
        return self.settings.again(f"--wanlora-baseline={name}")

    def prepare(self) -> None:
        """Make the folders and prove that they can be written, before anything is rendered.

        Raises:
            JobError: One of them cannot be.
        """
        self.cache.prepare()
        self.board.prepare()
        for folder in (self.settings.cache_dir, self.settings.output_dir):
            ignore = folder.parent / ".gitignore"
            if folder.parent.name == ".wanlora" and not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")

    def close(self) -> None:
        """End a run whose record and reports are written."""
        self.board.clear()
        self.cache.close()
        point_latest(self.run_folder)

    def results(self, wanted: Sequence[Job]) -> tuple[JobResult, ...]:
        """Have jobs rendered, by this process or another, and return their results in the same order.

        Raises:
            JobError: One of them cannot be rendered.
        """
        for name in dict.fromkeys(job.candidate for job in wanted):
            # one cause for all of a candidate, whatever is asked of it
            self.candidate(name).renderable()
        if self.blocked:
            first = self.blocked[0]
            raise JobError(f"nothing is rendered: {first.message}", next_command=first.next_command)
        missing = [job for job in wanted if job.key not in self._known]
        if missing:
            self._known.update(self._scheduler.ensure(missing, pool=self.pool))
        return tuple(self._known[job.key] for job in wanted)

    def known(self, wanted: Sequence[Job]) -> tuple[JobResult, ...]:
        """Those of the jobs that have been rendered; nothing is rendered."""
        found = (self._known.get(job.key) or find(job, self.cache, self.board) for job in wanted)
        return tuple(result for result in found if result is not None)

    def select(self, chosen: Iterable[ItemId | str], *, announce: bool = True) -> None:
        """Say which items will be judged, before the first is: their jobs are what there is to do.

        Args:
            chosen: Items, and names of candidates whose measurements are stored.
            announce: Whether the other processes of the run are to know.
        """
        self.chosen = frozenset(chosen)
        if self.preflight is not None:
            self.blocked = self.preflight.blocking(self.chosen)
        if self.blocked or not announce:
            return
        wanted = {job.key: job for item in self.chosen_in_order() for job in self.needs(item)}
        self.pool = tuple(wanted.values())
        # the probe of the model without LoRA is no candidate's video, and the record does not count it either
        names = {candidate.name for candidate in self.candidates}
        counted = [job for job in self.pool if job.candidate in names]
        self.board.announce([job.key for job in counted], reused=len(self.known(counted)))

    def extend(self, wanted: Sequence[Job]) -> None:
        """Add the jobs of a further look to what there is to do."""
        keys = {job.key for job in self.pool}
        new = [job for job in wanted if job.key not in keys and not self.candidate(job.candidate).hopeless]
        if new:
            self.pool = (*self.pool, *new)
            self.board.extend([job.key for job in new], reused=len(self.known(new)))

    def chosen_items(self, candidate: Candidate) -> tuple[ItemId, ...]:
        """The items of a candidate that this run judges; all of them when none were chosen."""
        own = tuple(item for item in self.items if item.candidate == candidate.name)
        return tuple(item for item in own if item in self.chosen) or own

    def chosen_in_order(self) -> list[ItemId | str]:
        """The chosen items, in the gate's order."""
        return [item for item in (*self.items, *self.stored) if item in self.chosen]

    def needs(self, item: ItemId | str) -> tuple[Job, ...]:
        """The jobs of the first look that an item rests on."""
        candidate = self.candidate(item if isinstance(item, str) else item.candidate)
        if candidate.hopeless:
            return ()
        if isinstance(item, str):
            return self.jobs(candidate, self.scenarios, self.first_look)
        if item.kind == "checkpoint":
            return self.probes(candidate)
        plain = [each for each in self.scenarios if item.scenario in (each.id, ALL)]
        wanted = with_trigger(self.suite, plain) if item.metric in WITH_TRIGGER else plain
        return self.jobs(candidate, wanted, self.first_look)

    def probes(self, candidate: Candidate) -> tuple[Job, Job]:
        """The first video of a candidate and the same of the model without LoRA, whose frames must differ."""
        seeds = self.first_look[:1]
        (own,) = self.jobs(candidate, self.scenarios[:1], seeds)
        (base,) = self.jobs(self.base, self.scenarios[:1], seeds)
        return base, own

    @cached_property
    def _scheduler(self) -> Scheduler | ClusterScheduler:
        if self.cluster is not None:
            from pytest_wanlora.run import remote

            return remote.scheduler(self, self.cluster)
        batch, background = 1, False
        if isinstance(self.producer, BatchProducer):
            batch, background = self.producer.batch, self.producer.score_in_background
        return Scheduler(
            self._begin,
            self.cache,
            self.board,
            batch=batch,
            together=getattr(self.producer, "together", 1),
            score_in_background=background,
            progress=self.report,
        )

    def finish(self) -> None:
        """Wait until everything that this process has rendered is stored; a cluster is given back."""
        if "_scheduler" in self.__dict__:
            self._scheduler.close()
        if self.cluster is not None:
            self.cluster.close()

    def checkpoint_of(self, jobs: Sequence[Job]) -> Checkpoint | None:
        """The checkpoint that jobs of one batch are rendered with; None for the model without LoRA.

        Raises:
            JobError: Rendering it would be a waste.
        """
        return self.candidate(jobs[0].candidate).renderable()

    def _begin(self, jobs: Sequence[Job]) -> Sequence[Callable[[], Produced]]:
        checkpoint = self.checkpoint_of(jobs)
        if isinstance(self.producer, BatchProducer):
            return self.producer.begin(jobs, checkpoint)
        return [partial(self.producer.produce, job, checkpoint) for job in jobs]

    def report(self, nodes: str = "") -> None:
        """Note what the nodes of a cluster do, for the progress."""
        self.nodes = nodes

    def progress(self) -> Progress | None:
        """How far the run is; None before anything was announced."""
        progress = self.board.progress()
        return None if progress is None else replace(progress, nodes=self.nodes)

    def look_ahead(self) -> tuple[Job, ...]:
        """Find further jobs of the run while nothing else is to be rendered; returns all that are wanted."""
        self.judge.looks.look_ahead()
        return self.pool
