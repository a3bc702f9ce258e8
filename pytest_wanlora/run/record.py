"""Put the run record together from the judgements that came in and the results in the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_wanlora import results
from pytest_wanlora.baseline import video_file
from pytest_wanlora.environment import differences
from pytest_wanlora.errors import SuiteError, WanloraError
from pytest_wanlora.files import from_here
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.results.parts import (
    BaselineCard,
    Beneath,
    CandidateCard,
    Failure,
    Part,
    Paths,
    Role,
    SetScores,
    Storing,
    SuiteCard,
    Totals,
    Video,
    block_norms,
)
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.run import questions, training_data
from pytest_wanlora.run.inputs import prompts
from pytest_wanlora.run.looks import COMPARED
from pytest_wanlora.run.losses import losses_of
from pytest_wanlora.run.update_baseline import versions
from pytest_wanlora.suite import chosen_by, packaged
from pytest_wanlora.suite.fingerprint import fingerprint
from pytest_wanlora.verdict.decision import told_alike
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.judgement import ALL, ItemOutcome, Judgement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.baseline import Baseline, Prompt
    from pytest_wanlora.jobs.job import Job, JobResult
    from pytest_wanlora.results.training_data import TrainingDataCard
    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.judge import Judge
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.suite import Suite


@dataclass(frozen=True)
class Ending:
    """How the session went.

    Attributes:
        command: The command line.
        started: Seconds since the epoch.
        finished: The same.
        exit_status: pytest's.
        left_out: What was to be judged or stored and was not.
        project_tests: What became of the project's tests that use a `wanlora_*` fixture.
        other_failures: Node ids of what failed besides.
        storing: What came of the baseline that the run was to store; None for a gate.
        notes: What else a reader must know.
    """

    command: tuple[str, ...]
    started: float
    finished: float
    exit_status: int
    left_out: tuple[ItemOutcome, ...]
    project_tests: tuple[ItemOutcome, ...]
    other_failures: tuple[str, ...]
    notes: tuple[str, ...]
    storing: Storing | None = None


def build(gate: Gate, judge: Judge, judgements: Sequence[Judgement], ending: Ending) -> RunRecord:
    """Build the record of a run; nothing is rendered.

    Args:
        gate: The run.
        judge: Its baseline and reference.
        judgements: All that came in.
        ending: How the session went.

    Raises:
        RecordError: Two workers contradict each other.
    """
    baseline = _baseline(judge, judgements)
    videos, sets = _measured(gate, judge, baseline is not None)
    part = Part(
        videos=tuple(videos),
        sets=tuple(sets),
        judgements=tuple(told_alike(judgements)),
        failures=_failures(gate),
    )
    merged = results.merge([part])
    partial = (
        gate.settings.partial
        or gate.settings.update_baselines
        or bool(ending.left_out)
        or (gate.race is not None and not gate.race.gated)
        or not all(test.outcome.ran for test in ending.project_tests)
    )
    record = RunRecord(
        **{name: getattr(merged, name) for name in Part.model_fields},
        run_id=gate.run_folder.name,
        started=_iso(ending.started),
        finished=_iso(ending.finished),
        command=ending.command,
        exit_status=ending.exit_status,
        partial=partial,
        environment=gate.environment.record(),
        versions=versions(),
        suite=_suite(gate),
        candidates=_cards(gate, merged.videos, merged.judgements),
        baseline=baseline and baseline.extended(judge.standard.baseline.scores, videos),
        expected=gate.items,
        left_out=ending.left_out,
        project_tests=ending.project_tests,
        other_failures=ending.other_failures,
        totals=Totals.of(merged.videos, merged.failures, ending.finished - ending.started),
        training_data=_training_data(gate, merged.judgements),
        paths=_paths(gate),
        race=gate.race,
        storing=ending.storing,
        notes=(
            *ending.notes,
            *(() if gate.cluster is None else gate.cluster.notes),
            *(found.sentence for found in gate.blocked),
            *gate.board.damage(),
        ),
    )
    return record.ended(ending.exit_status)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _paths(gate: Gate) -> Paths:
    suite, data = gate.suite, gate.training_data
    return Paths(
        run=from_here(gate.run_folder),
        suite=suite.name if packaged().get(suite.name) == suite.path else from_here(suite.path),
        checkpoints={each.name: each.argument for each in gate.candidates if each.checkpoint is not None},
        training_data=None if data is None else from_here(data.path),
    )


def _suite(gate: Gate) -> SuiteCard:
    suite = gate.suite
    known = _fingerprint(suite)
    return SuiteCard(
        name=suite.name,
        sha256=suite.sha256,
        fingerprint=known,
        prompts=_prompts(suite),
        targets={scenario.id: dict(scenario.target) for scenario in suite.scenarios if scenario.target},
        limits=tuple(limit.model_dump(mode="json") for limit in suite.limits),
        tolerances={name: tolerance.model_dump() for name, tolerance in suite.tolerances.items()},
        looks=Plan.between(suite.seeds.first, suite.seeds.most).looks,
        weak="warn" if suite.undecided == "warn" else "fail",
        questions=questions.by_metric(suite),
        stack=tuple(_stack(suite, known)),
        objective=suite.objective,
    )


def _stack(suite: Suite, known: Mapping[str, Any]) -> Iterator[Beneath]:
    digests = known.get("stack", [])
    for place, each in enumerate(suite.stack):
        for expert, key, text in each.files():
            # none where a file is missing, which has failed every item
            found = digests[place][key]["sha256"] if digests else []
            name = PurePosixPath(text.rpartition(":")[2].replace("\\", "/")).name
            yield Beneath(file=name, expert=expert, scale=each.scale, sha256=", ".join(found))


def _prompts(suite: Suite) -> dict[str, Prompt]:
    try:
        return prompts(suite, suite.scenarios)
    except WanloraError:
        # an input image is missing; the record still tells the texts
        texts = [each.model_copy(update={"input_image": None}) for each in suite.scenarios]
        return prompts(suite, texts)


def _fingerprint(suite: Suite) -> dict[str, Any]:
    try:
        return fingerprint(suite)
    except SuiteError as error:
        # a reference set that is missing has failed its items; the record still tells what was measured
        return {"incomplete": error.message}


def _cards(gate: Gate, videos: Sequence[Video], judgements: Sequence[Judgement]) -> tuple[CandidateCard, ...]:
    # what no comparison has measured has no loss either, and its baseline may not fit
    compared = {each.candidate for each in judgements if each.kind == "regression" and each.value is not None}
    losses = losses_of(gate, compared)
    cards = [_card(gate, each, videos) for each in gate.candidates]
    return tuple(card.model_copy(update={"losses": losses.get(card.name, {})}) for card in cards)


def _card(gate: Gate, candidate: Candidate, videos: Sequence[Video]) -> CandidateCard:
    """The card without its decision, which the record takes."""
    checkpoint = candidate.checkpoint
    if checkpoint is None:
        return CandidateCard(
            name=candidate.name, sha256=None, scale=0.0, publishable=False, reason="the model without LoRA"
        )
    folder = gate.settings.output_dir
    seeds = {v.seed for v in videos if v.role == "candidate" and v.candidate == candidate.name}
    return CandidateCard(
        name=candidate.name,
        sha256=checkpoint.sha256,
        scale=candidate.scale,
        checkpoint={
            **checkpoint.describe(),
            "model_blocks": gate.suite.model.architecture.blocks,
            **_chosen(gate),
        },
        norms=block_norms(checkpoint.norms),
        runs=max(1, results.runs_so_far(folder, checkpoint.sha256, gate.suite.name, seeds)),
        publishable=False,
        reason="",
    )


def _chosen(gate: Gate) -> dict[str, str]:
    """By which words of the header the suite was chosen, where it was not by shapes or by the user."""
    known = [each.checkpoint for each in gate.candidates if each.checkpoint is not None]
    how = "shapes" if not known or gate.settings.suite is not None else chosen_by(*known)
    return {} if how == "shapes" else {"suite_by": how}


def _baseline(judge: Judge, judgements: Sequence[Judgement]) -> BaselineCard | None:
    if judge.gate.settings.update_baselines:
        return None
    try:
        found = judge.standard.baseline
    except WanloraError:
        return None
    compared = any(each.kind in COMPARED and not each.verdict.unmeasured for each in judgements)
    return BaselineCard(
        name=found.name,
        digest=found.digest,
        created=found.created,
        sha256=None if found.candidate is None else found.candidate.get("sha256"),
        environment=found.environment,
        differences=tuple(
            line for lines in differences(found.environment, judge.gate.environment) for line in lines
        ),
        noise=found.noise,
        cap=judge.standard.cap(partial(_rendered, judge.gate)) if compared else None,
    )


def _rendered(gate: Gate, jobs: Sequence[Job]) -> Sequence[JobResult]:
    """Results of jobs that were rendered, or the error that one of them ended with."""
    found = gate.known(jobs)
    for job in jobs if len(found) < len(jobs) else ():
        gate.board.raise_failure(job)
    return found


def _training_data(gate: Gate, judgements: Sequence[Judgement]) -> TrainingDataCard | None:
    if gate.training_data is None:
        return None
    names = [candidate.name for candidate in gate.candidates]
    return training_data.card(gate.training_data, gate.suite.scenarios, names, judgements)


def _measured(gate: Gate, judge: Judge, compared: bool) -> tuple[list[Video], list[SetScores]]:
    """Videos of this run and their pairs in the baseline, and the scores of both sides' sets."""
    if gate.blocked:
        return [], []
    announced = gate.board.announced()
    videos: list[Video] = []
    sets: list[SetScores] = []
    pairs: dict[str, set[int]] = {}
    for candidate in gate.candidates:
        vectors: dict[str, NDArray[np.float32]] = {}
        for scenario in questions.with_trigger(gate.suite, gate.scenarios):
            jobs = gate.jobs(candidate, [scenario], gate.last_look)
            found = gate.known([job for job in jobs if job.key in announced])
            videos += [_video(gate, candidate.name, result) for result in found]
            if scenario not in gate.scenarios:
                continue
            sound = [result for result in found if result.degenerate is None]
            pairs.setdefault(scenario.id, set()).update(result.seed for result in sound)
            if sound and len(sound) == len(found):
                vectors[scenario.id] = np.stack([result.features["video"] for result in sound])
        sets += _sets(gate, judge, "candidate", candidate.name, vectors)
    if compared:
        stored, vectors = _stored(gate, judge, pairs)
        videos += stored
        sets += _sets(gate, judge, "baseline", judge.standard.baseline.name, vectors)
    return videos, sets


def _stored(
    gate: Gate, judge: Judge, pairs: Mapping[str, set[int]]
) -> tuple[list[Video], dict[str, NDArray[np.float32]]]:
    """The baseline's videos of some scenarios and seeds, and their features."""
    baseline = judge.standard.known
    videos: list[Video] = []
    vectors: dict[str, NDArray[np.float32]] = {}
    for name, seeds in pairs.items():
        seen = sorted(seeds & set(baseline.seeds(name)))
        if not seen:
            continue
        here = _rendered_here(gate, baseline, name, seen)
        for seed in seen:
            own, added = here.get(seed), seed not in judge.standard.baseline.scores[name]
            kept = None if own is None else own.preview
            kept = kept or video_file(judge.standard.folder, name, seed)
            videos.append(
                Video(
                    role="baseline",
                    candidate=baseline.name,
                    scenario=name,
                    seed=seed,
                    scores=baseline.scores[name][seed],
                    preview=_relative(gate, kept) if kept.is_file() else None,
                    seconds=own.seconds if own and added else 0.0,
                    reused=own.reused if own and added else True,
                )
            )
        vectors[name] = np.stack([baseline.features[name, seed] for seed in seen])
    return videos, vectors


def _rendered_here(
    gate: Gate, baseline: Baseline, scenario: str, seeds: Sequence[int]
) -> dict[int, JobResult]:
    """The baseline's videos that the cache has too: of the same scores, so the same videos."""
    if baseline.candidate is not None:
        return {}
    jobs = gate.jobs(gate.base, [gate.scenario(scenario)], seeds)
    return {
        result.seed: result
        for result in gate.known(jobs)
        if dict(result.scores) == baseline.scores[scenario][result.seed]
    }


def _relative(gate: Gate, path: Path) -> str | None:
    """A path as the record names it: from the run's folder, with forward slashes."""
    try:
        return Path(os.path.relpath(path, gate.run_folder)).as_posix()
    except ValueError:
        # on another drive there is no way from here to there
        return None


def _video(gate: Gate, candidate: str, result: JobResult) -> Video:
    return Video(
        role="candidate",
        # not the job's: candidates with equal bytes share their videos
        candidate=candidate,
        scenario=result.scenario,
        seed=result.seed,
        scores=dict(result.scores),
        degenerate=result.degenerate,
        key=result.key,
        frames_sha256=result.frames_sha256,
        preview=None if result.preview is None else _relative(gate, result.preview),
        seconds=result.seconds,
        reused=result.reused,
        applied=None if result.applied is None else result.applied.plain(),
        node=result.notes.get("node"),
        gpu=result.notes.get("gpu"),
    )


def _sets(
    gate: Gate, judge: Judge, role: Role, name: str, vectors: Mapping[str, NDArray[np.float32]]
) -> list[SetScores]:
    places = {place: [place] for place in vectors}
    if len(vectors) == len(gate.scenarios):
        places[ALL] = list(vectors)
    try:
        measured = {
            place: judge.standard.set_scores(np.concatenate([vectors[each] for each in names]), names)
            for place, names in places.items()
        }
    except WanloraError:
        # what is missing has failed the items that need it
        return []
    return [
        SetScores(
            role=role,
            candidate=name,
            scenario=place,
            scores={metric: float(scores[metric]) for metric in METRICS if metric in scores},
            n=int(scores["n"]),
            reference_n=int(scores["reference_n"]),
        )
        for place, scores in measured.items()
        if scores
    ]


def _failures(gate: Gate) -> tuple[Failure, ...]:
    return tuple(Failure(**note) for note in gate.board.failures())
