"""One gate run: what was asked for, what is to be judged, and the results so far.

Every process of a run (the controller and each worker) builds the same `Gate` from the same settings; what
they share is the cache and the run's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import environment as environments
from pytest_wanlora import suite as suites
from pytest_wanlora.checkpoint.formats import added_formats
from pytest_wanlora.errors import JobError, SettingsError, SuiteError, WanloraError
from pytest_wanlora.jobs.board import Board, Progress
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import BASE, BatchProducer, Job, JobResult, Produced, Producer, plan
from pytest_wanlora.jobs.scheduler import Scheduler, find
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.registry import check_groups
from pytest_wanlora.reports.writing import added_reports
from pytest_wanlora.results.folders import point_latest
from pytest_wanlora.settings import load_suite
from pytest_wanlora.suite import hub, resolve
from pytest_wanlora.suite.models import added_models
from pytest_wanlora.suite.schema import added_scenarios
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.cluster.nodes import Cluster
    from pytest_wanlora.cluster.scheduler import ClusterScheduler
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.results.parts import RaceCard
    from pytest_wanlora.run.handover import Handover
    from pytest_wanlora.run.judge import Judge
    from pytest_wanlora.run.preflight import Finding, Preflight
    from pytest_wanlora.run.training_data import TrainingData
    from pytest_wanlora.settings import Device, Settings
    from pytest_wanlora.suite import Scenario, Suite

#: Problems of a checkpoint with which rendering it would be a waste: nothing it shows could be published.
HOPELESS = frozenset({"nan", "inf", "zero_b"})
#: Bytes of a candidate's name in the name of a run's folder.
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Candidate:
    """What is gated.

    Attributes:
        name: Unique within the run; `"base"` for the model without LoRA.
        checkpoint: The LoRA; None for the model without.
        scale: Its strength; 0 without one.
    """

    name: str
    checkpoint: Checkpoint | None
    scale: float = 0.0


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
        on_progress: Called with the progress after each change.
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
    on_progress: Callable[[Progress], None] | None = None
    race: RaceCard | None = None
    _known: dict[str, JobResult] = field(default_factory=dict)

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
        seeds = self.suite.seeds
        return self.seeds(seeds.most if self.settings.update_baselines else seeds.first)

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
        from pytest_wanlora.run.preflight import Finding

        changed = handed.differing(self.digests)
        if changed:
            again = "wait until nothing writes to the run's files, then run the same command again"
            self.blocked = (Finding("inputs", f"changed after the run began: {changed}", again),)

    @cached_property
    def items(self) -> tuple[ItemId, ...]:
        """What the gate judges, candidate by candidate: the file, the limits, the comparison."""
        return tuple(item for each in self.candidates for item in demanded(self, each))

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
        """The candidate of that name; the model without LoRA for `"base"`."""
        return next((each for each in self.candidates if each.name == name), self.base)

    def scenario(self, identifier: str) -> Scenario:
        """The scenario of that id."""
        return next(each for each in self.suite.scenarios if each.id == identifier)

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

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the candidates."""
        return tuple(each.checkpoint.path for each in self.candidates if each.checkpoint is not None)

    def examine(self) -> Preflight:
        """Find out, before anything is loaded or written, what this machine lacks for all items."""
        from pytest_wanlora.run.preflight import Request, examine

        settings, most = self.settings, self.suite.seeds.most
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
                typed=self._typed_for_baselines(),
                cache_dir=settings.cache_dir,
                videos=len(self.candidates) * len(self.scenarios) * most,
                # what a cluster renders with is looked for on its nodes
                model_files=self.cluster is None and getattr(self.producer, "uses_model_files", True),
                files=self.files,
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

    def _typed_for_baselines(self) -> tuple[str, ...]:
        """Options that were typed and that a baseline must be measured with."""
        typed = []
        if self.device.source == "--wanlora-device":
            typed.append(f"--wanlora-device {self.device.name}")
        if (
            self.settings.seeds is not None
            and self.settings.sources.get("wanlora-seeds") == "--wanlora-seeds"
        ):
            first, most = self.settings.seeds
            typed.append(f"--wanlora-seeds {first}:{most}")
        return tuple(typed)

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
        new = [job for job in wanted if job.key not in keys]
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
        if isinstance(item, str):
            return self.jobs(self.candidate(item), self.scenarios, self.first_look)
        candidate = self.candidate(item.candidate)
        if item.kind == "checkpoint":
            return self.probes(candidate)
        scenarios = [each for each in self.scenarios if item.scenario in (each.id, ALL)]
        return self.jobs(candidate, scenarios, self.first_look)

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
        checkpoint = self.candidate(jobs[0].candidate).checkpoint
        if checkpoint is not None:
            hopeless = [problem for problem in checkpoint.problems if problem.code in HOPELESS]
            if hopeless:
                raise JobError(
                    f"not rendered: {'; '.join(problem.words for problem in hopeless)}",
                    next_command=f"python -m pytest_wanlora inspect {checkpoint.path}",
                )
        return checkpoint

    def _begin(self, jobs: Sequence[Job]) -> Sequence[Callable[[], Produced]]:
        checkpoint = self.checkpoint_of(jobs)
        if isinstance(self.producer, BatchProducer):
            return self.producer.begin(jobs, checkpoint)
        return [partial(self.producer.produce, job, checkpoint) for job in jobs]

    def report(self, nodes: str = "") -> None:
        """Show the progress, and what the nodes of a cluster do."""
        progress = self.board.progress()
        if progress is not None and self.on_progress is not None:
            self.on_progress(replace(progress, nodes=nodes))

    def look_ahead(self) -> tuple[Job, ...]:
        """Find further jobs of the run while nothing else is to be rendered; returns all that are wanted."""
        self.judge.look_ahead()
        return self.pool


def demanded(gate: Gate, candidate: Candidate) -> tuple[ItemId, ...]:
    """Everything that the suite demands of one candidate, of the scenarios that are rendered.

    The model without LoRA is only measured; a run that stores baselines compares nothing.
    """
    if candidate.checkpoint is None:
        return ()
    ids = tuple(scenario.id for scenario in gate.scenarios)
    found = [ItemId("checkpoint", candidate.name, "", "")]
    for limit in gate.suite.limits:
        places = {"all": (ALL,), "each": ids}.get(limit.scenario, (limit.scenario,))
        found += [
            ItemId("limit", candidate.name, place, limit.metric)
            for place in places
            if place == ALL or place in ids
        ]
    if not gate.settings.update_baselines:
        if any(METRICS[metric].level == "video" for metric in gate.suite.tolerances):
            found += [ItemId("videos", candidate.name, place, "") for place in ids]
        found += [
            ItemId("regression", candidate.name, place, metric)
            for place in (*ids, ALL)
            for metric in METRICS
            if metric in gate.suite.tolerances
        ]
    # two limits may bound the same metric in the same place, from either side
    return tuple(dict.fromkeys(found))


def resolve_extensions() -> None:
    """Load every extension of every group, before anything else happens.

    Raises:
        ExtensionError: One of them cannot be used.
    """
    check_groups()
    len(METRICS)
    added_formats()
    added_models()
    added_reports()
    added_scenarios()


def read_candidates(settings: Settings) -> tuple[Candidate, ...]:
    """Read the checkpoints of `--lora`, each at each strength; the model without LoRA if there is none.

    Candidates of one file follow each other, so that a process loads it once. Names tell the strength where
    there are several: `epoch-6@0.8`.

    Raises:
        CheckpointError: One of them cannot be read or is refused.
    """
    if not settings.lora:
        return (Candidate(BASE, None),)
    asked = checkpoints.asked(settings.lora, by_name=_pairs_by_name(settings))
    # a file called base.safetensors must not be taken for the model without LoRA
    names = [f"{name}-lora" if name == BASE else name for name in checkpoints.names_of(asked)]
    read = {name: each.read(name) for name, each in zip(names, asked, strict=True)}
    several = len(settings.scales) > 1
    return tuple(
        Candidate(f"{name}@{scale:g}" if several else name, found, scale)
        for name, found in read.items()
        for scale in settings.scales
    )


def _pairs_by_name(settings: Settings) -> bool:
    """Whether files are paired by their names: on a suite with two experts, or where all point to one."""
    if settings.suite is not None:
        try:
            named = suites.load(settings.suite, baselines=settings.baselines_dir, seeds=settings.seeds)
        except SuiteError:
            return False  # `load_suite` says what is wrong
        return named.model.experts is not None
    if not checkpoints.pairs_by_name(settings.lora):
        return False
    (first, *_) = checkpoints.asked(settings.lora, by_name=True)
    return suites.fits_experts(first.read("pair"))


def distinct(candidates: Iterable[Candidate], scenarios: Iterable[str]) -> tuple[Candidate, ...]:
    """Rename candidates until no two items of a run have the same id: `x` in `y-z` and `x-y` in `z`.

    Args:
        candidates: In their order; the first of two keeps its name.
        scenarios: Ids of what is rendered.
    """
    places = (*scenarios, ALL)
    taken: set[str] = set()
    found = []
    for each in candidates:
        names = chain([each.name], (f"{each.name}-{number}" for number in count(2)))
        # a place is empty for the item on the file itself, which has no scenario in its id
        ids = ((name, {f"{name}-{place}" for place in ("", *places)}) for name in names)
        name, own = next((name, own) for name, own in ids if taken.isdisjoint(own))
        taken |= own
        found.append(replace(each, name=name))
    return tuple(found)


def open_gate(
    settings: Settings,
    *,
    make_producer: Callable[[Suite, Environment], Producer],
    run_folder: Path | None = None,
    who: str = "main",
    handed: Handover | None = None,
) -> Gate:
    """Read what the settings name and build the gate; nothing is written and no model is loaded.

    Args:
        settings: What the user asked for.
        make_producer: Makes what renders and scores.
        run_folder: Of a run that another process began; None begins one.
        who: Name of this process in the run's notes.
        handed: What that process has read.

    Raises:
        WanloraError: A checkpoint, the suite or a setting is wrong.
    """
    resolve_extensions()
    if handed is None:
        candidates = read_candidates(settings)
    else:
        candidates = tuple(
            Candidate(name, known, handed.scales[name]) for name, known in handed.checkpoints.items()
        )
    suite = load_suite(settings, [each.checkpoint for each in candidates if each.checkpoint is not None])
    device = settings.device_for(suite)
    cluster = None
    if settings.ray is None:
        environment = environments.detect(suite.sampling.dtype, device.name)
    else:
        from pytest_wanlora.run.remote import open_cluster

        cluster, environment = open_cluster(settings, suite, device)
    if cluster is None and environment.device_name == environments.NO_GPU:
        raise no_gpu(settings, suite, device)
    data = None
    if settings.training_data is not None and run_folder is None:
        # read once, by the process that writes the record
        from pytest_wanlora.run import training_data

        data = training_data.read(settings.training_data, suite)
    scenarios = settings.selected(suite)
    candidates = candidates if handed else distinct(candidates, [each.id for each in scenarios])
    folder = run_folder or new_run_folder(settings.output_dir, candidates)
    gate = Gate(
        settings=settings,
        suite=suite,
        scenarios=scenarios,
        candidates=candidates,
        device=device,
        environment=environment,
        run_folder=folder,
        producer=make_producer(suite, environment),
        board=Board(folder / "board", who=who, reuse=settings.cache),
        cache=Cache(settings.cache_dir),
        cluster=cluster,
        training_data=data,
    )
    if handed is not None:
        gate.require_same(handed)
    return gate


def no_gpu(settings: Settings, suite: Suite, device: Device) -> WanloraError:
    """The error for a GPU that was asked for and is not visible."""
    asked = f"{device.name!r} was asked for and no such GPU is visible"
    what = f"{asked}; allowed: one that CUDA shows, cpu, auto"
    on_cpu = settings.again("--wanlora-device=cpu")
    next_command = f"nvidia-smi, and look at CUDA_VISIBLE_DEVICES; or {on_cpu}"
    if settings.device is None:
        return SuiteError(f"{suite.where('device')}: device: {what}", next_command=next_command)
    return SettingsError(f"{device.source}: {what}", next_command=next_command)


def new_run_folder(output_dir: Path, candidates: Sequence[Candidate]) -> Path:
    """Name the folder of a new run: time and candidate, and the process so that two runs never share it.

    Processes in two containers may have the same number, and one process may run pytest twice in a second: so
    another number is added where the name is taken.
    """
    name = candidates[0].name if len(candidates) == 1 else f"{len(candidates)}-checkpoints"
    # file systems allow 255 bytes, and a checkpoint may have them all
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    # a process may gate several times within a second
    runs = chain([run], (f"{run}.{number}" for number in count(2)))
    return next(folder for each in runs if not (folder := output_dir / f"{each}-{name}").exists())
