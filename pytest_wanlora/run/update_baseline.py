"""Measure a baseline and store it, unless something speaks against it."""

from __future__ import annotations

import getpass
import os
import platform
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Final

import numpy as np

from pytest_wanlora import baseline as baselines
from pytest_wanlora.baseline import acceptance
from pytest_wanlora.baseline.contents import Baseline, Insistence
from pytest_wanlora.errors import BaselineError, RefusedError, SuiteError
from pytest_wanlora.jobs.job import BASE
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run.candidates import limit_items
from pytest_wanlora.run.inputs import prompts
from pytest_wanlora.run.looks import COMPARED
from pytest_wanlora.run.preflight import folder_option
from pytest_wanlora.suite import option_value
from pytest_wanlora.suite.fingerprint import fingerprint
from pytest_wanlora.suite.subject import frames_feature
from pytest_wanlora.verdict import fvd, noise
from pytest_wanlora.verdict.items import FVD
from pytest_wanlora.verdict.judgement import ALL, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.judge import Judge
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.verdict.judgement import ToleranceLike

#: What was not compared with the model without LoRA did not pass; with what it replaces it is noted.
_NOT_COMPARED = (Verdict.MISSING_BASELINE, Verdict.INCOMPARABLE)
_INSIST: Final = (
    "remove these reasons; --wanlora-force stores it in spite of them, and the baseline then says who did"
)
_WHOLE: Final = "allowed: a baseline that is whole and keeps the suite's limits"
_UNCOMPARED: Final = "it can be compared with no model without LoRA"
#: A message has 2,000 characters at most, and a line of a comparison some 250.
_SHOWN = 5
_PACKAGES = ("pytest-wanlora", "pytest", "torch", "diffsynth", "open-clip-torch", "numpy", "scipy")


@dataclass(frozen=True)
class Stored:
    """What was written.

    Attributes:
        name: Of the baseline.
        place: Its folder.
        changes: `scenario  metric  old -> new`, a line each.
        notes: Bands that the stored seeds cannot resolve, limits that the model without LoRA breaks itself,
            and whether what it replaces was not compared.
        insisted: Who insisted and against what, a sentence; empty where nobody had to.
    """

    name: str
    place: str
    changes: tuple[str, ...]
    notes: tuple[str, ...]
    insisted: str = ""


def store(gate: Gate, judge: Judge, candidate: Candidate) -> Stored:
    """Measure a candidate with all seeds and store it as a baseline.

    Args:
        gate: The run.
        judge: Judges the candidate's file and limits.
        candidate: The checkpoint to accept, or the model without LoRA.

    Raises:
        RefusedError: A limit is broken, a video is degenerate, it is smaller than what it replaces, the gate
            refuses the checkpoint, or there is no base to compare it with.
        BaselineError: It cannot be written.
        JobError: A video cannot be rendered.
        ScoringError: There is no reference set.
    """
    settings = gate.settings
    name = settings.update_target or candidate.name
    wanted = {scenario.id: gate.first_look for scenario in gate.scenarios}
    previous = _previous(gate, name)
    against = refuse_early(gate, candidate)
    _ = judge.standard.reference
    results = {
        scenario.id: gate.results(gate.jobs(candidate, [scenario], gate.first_look))
        for scenario in gate.scenarios
    }
    lines = [
        f"{each.job.label}: cannot be scored: {each.degenerate}"
        for of in results.values()
        for each in of
        if each.degenerate is not None
    ]
    if lines:
        raise _refused(name, lines, gate.settings.again(), [_WHOLE])
    new = measure(gate, judge, candidate, name, results)
    demanded = [item for item in gate.items if item.candidate == candidate.name]
    missing = acceptance.refusals(new, (), (), seeds=wanted)
    if missing:
        raise _refused(name, missing, gate.settings.again(), [_WHOLE])
    changes = acceptance.changes(previous, new)
    judgements = [judge.judgement(item) for item in demanded]
    refused = list(acceptance.refusals(new, judgements, demanded, seeds=wanted))
    compared, notes = _gated(gate, candidate, name)
    refused += compared
    if candidate.checkpoint is None:
        notes += _beyond_limits(gate, judge)
    if refused and not settings.force:
        raise _refused(name, refused, gate.settings.again("--wanlora-force"), [*_worse(changes), _INSIST])
    against = (*against, *refused)
    if against:
        new = new.model_copy(update={"insisted": Insistence(by=_who(), against=against)})
    videos = {
        (each.scenario, each.seed): each.preview
        for of in results.values()
        for each in of
        if each.preview is not None
    }
    baselines.write(new, settings.baselines_dir, videos=videos)
    place = baselines.folder(settings.baselines_dir, gate.suite.name, name)
    insisted = ""
    if new.insisted is not None:
        insisted = f"the baseline {name!r} was stored with --wanlora-force by {new.insisted.by}, against: "
        insisted += "; ".join(against)
    return Stored(name, str(place), changes, (*notes, *noise.too_tight(new.noise)), insisted)


def refuse_early(gate: Gate, candidate: Candidate) -> tuple[str, ...]:
    """Refuse what is known to be refused before anything is rendered in vain.

    Returns:
        Where it is smaller than what it replaces, which somebody insists on.

    Raises:
        RefusedError: It is smaller, or there is no base to compare it with.
    """
    name = gate.settings.update_target or candidate.name
    wanted = {scenario.id: gate.first_look for scenario in gate.scenarios}
    against = acceptance.losses(_own(gate, name), wanted)
    if gate.settings.force:
        return against
    if against:
        lines = ["it is smaller than what it would replace:", *against]
        raise _refused(name, lines, gate.settings.again("--wanlora-force"), [_INSIST])
    if candidate.checkpoint is not None:
        _require_base(gate, name)
    return ()


def _gated(gate: Gate, candidate: Candidate, name: str) -> tuple[list[str], list[str]]:
    """What a gate says of a checkpoint that is to be accepted: why it refuses it, and what was not compared.

    It is compared with the model without LoRA, as by any gate, and with what it replaces.
    """
    refused: list[str] = []
    notes: list[str] = []
    if candidate.checkpoint is None:
        return refused, notes
    for other in dict.fromkeys((BASE, name)):
        compared = replace(gate.settings, update_baselines=False, update_target=None, baseline=other)
        gating = replace(gate, settings=compared, candidates=(candidate,), chosen=frozenset())
        try:
            baseline = gating.judge.standard.baseline
        except BaselineError as error:
            if other == BASE:
                refused.append(f"{_UNCOMPARED}: {error.message}")
            continue
        try:
            judged = [gating.judge.judgement(item) for item in gating.items if item.kind in COMPARED]
        finally:
            gating.finish()
        incomparable = [each for each in judged if each.verdict in _NOT_COMPARED]
        if incomparable:
            why = f"it was not compared with {other!r}: {incomparable[0].explained.splitlines()[0]}"
            (refused if other == BASE else notes).append(why)
        # what another checkpoint was accepted for is no demand of the suite, but a proven loss is told
        failing = [each for each in judged if each.verdict.fails and each.verdict not in _NOT_COMPARED]
        shown = [each for each in failing if other == BASE or each.verdict is Verdict.FAIL]
        refused += [f"{each.item}, against {baseline.name!r}: {each.explained}" for each in shown]
    return refused, notes


def _beyond_limits(gate: Gate, judge: Judge) -> list[str]:
    """The limits that the model without LoRA breaks itself: no gate tells them from a LoRA's fault."""
    items = limit_items(gate.suite, [scenario.id for scenario in gate.scenarios], gate.base.name)
    found = []
    for judged in map(judge.judgement, items):
        if judged.verdict is Verdict.FAIL and judged.value is not None:
            value = METRICS[judged.metric].format(judged.value)
            bounds = [("at least", judged.minimum), ("at most", judged.maximum)]
            allowed = ", ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)
            place = "all scenarios" if judged.scenario == ALL else judged.scenario
            found.append(
                f"{place} {judged.metric}: the base model itself does not keep the limit ({value}; allowed: "
                f"{allowed}), so a LoRA that changes nothing fails there: "
                "look at the prompt, the caption and the limit"
            )
    return found


def _require_base(gate: Gate, name: str) -> None:
    """Refuse a checkpoint that nothing can be compared with, before it is rendered in vain."""
    place = gate.settings.baselines_dir
    try:
        found = baselines.load_baseline(gate.suite, place, BASE)
        try:
            current = fingerprint(gate.suite)
        except SuiteError:
            # files that a plan does not fetch
            current = dict(found.fingerprint)
        baselines.require_comparable(
            found,
            fingerprint=current,
            prompts=prompts(gate.suite, gate.scenarios),
            environment=gate.environment,
            other_environment=gate.settings.allow_environment,
        )
    except BaselineError as error:
        words = " ".join([option_value(gate.suite), *gate.typed_for_baselines()])
        measure_it = baselines.update_command(words, BASE) + folder_option(place, "--wanlora-baselines-dir")
        # a damaged one has a command of its own
        other = error.next_command if "--update-baselines" not in (error.next_command or "") else None
        lines = [
            f"{_UNCOMPARED}: {error.message}",
            "--wanlora-force stores it all the same, and the baseline then says who did",
        ]
        raise _refused(name, lines, other or measure_it) from error


def _worse(changes: Sequence[str]) -> list[str]:
    found = [line for line in changes if line.endswith("worse")]
    return ["what it would make worse, old -> new:", *found[:_SHOWN]] if found else []


def _who() -> str:
    """Who runs this: a CI's actor, or the user on this machine."""
    actor = os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN")
    if actor:
        return actor
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # KeyError before Python 3.13: there is no entry for the user
        user = "an unnamed user"
    return f"{user} on {platform.node() or 'an unnamed machine'}"


def measure(
    gate: Gate,
    judge: Judge,
    candidate: Candidate,
    name: str,
    results: Mapping[str, Sequence[JobResult]],
) -> Baseline:
    """Put a candidate's results into a baseline, with set scores and noise floors."""
    suite, checkpoint = gate.suite, candidate.checkpoint
    scores = {scenario: {each.seed: dict(each.scores) for each in of} for scenario, of in results.items()}
    floors = [
        floor
        for scenario in results
        for floor in noise.floors(scenario, scores[scenario], suite.tolerances, most=suite.seeds.most)
    ]
    vectors = {
        scenario: np.stack([each.features["video"] for each in of]) for scenario, of in results.items()
    }
    if FVD.id in suite.tolerances:
        floors += _set_floors(judge, suite.tolerances[FVD.id], vectors, suite.seeds.most)
    return Baseline(
        suite=suite.name,
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        candidate=None if checkpoint is None else checkpoint.describe(),
        scale=None if checkpoint is None else gate.settings.scale,
        fingerprint=fingerprint(suite),
        environment=gate.environment.record(),
        versions=versions(),
        prompts=prompts(gate.suite, gate.scenarios),
        scores=scores,
        sets={
            place: dict(judge.standard.set_scores(np.concatenate([vectors[each] for each in names]), names))
            for place, names in {**{each: [each] for each in vectors}, ALL: list(vectors)}.items()
        },
        noise=tuple(floors),
        features={
            (each.scenario, each.seed): each.features["video"] for of in results.values() for each in of
        },
        frames={
            (each.scenario, each.seed): each.features[frames_feature(suite.scoring.frames)]
            for of in results.values()
            for each in of
            if suite.subject is not None
        },
    )


def versions() -> dict[str, str]:
    """Versions of what a result depends on, for the record."""
    return {package: metadata.version(package) for package in _PACKAGES}


def _set_floors(
    judge: Judge,
    tolerance: ToleranceLike,
    vectors: Mapping[str, NDArray[np.float32]],
    most: int,
) -> list[noise.NoiseFloor]:
    stacked = np.concatenate(list(vectors.values()))
    rows, start = {}, 0
    for scenario, of in vectors.items():
        rows[scenario] = np.arange(start, start + len(of))[None]
        start += len(of)
    places = {**rows, ALL: np.concatenate(list(rows.values()))}
    found = (
        noise.set_floor(
            place,
            fvd.Videos.of(
                stacked,
                judge.standard.reference_set([place] if place in vectors else vectors),
                contrasts=False,
            ),
            of,
            tolerance,
            most=most,
        )
        for place, of in places.items()
    )
    return [floor for floor in found if floor is not None]


def _previous(gate: Gate, name: str) -> Baseline | None:
    """The baseline that is replaced; None when there is none that can be read."""
    root, _ = baselines.baseline_place(gate.settings.baselines_dir, gate.suite.name, name)
    try:
        return baselines.load(root, gate.suite.name, name)
    except BaselineError:
        return None


def _own(gate: Gate, name: str) -> Baseline | None:
    """The baseline of the user's own folder that would be overwritten."""
    try:
        return baselines.load(gate.settings.baselines_dir, gate.suite.name, name)
    except BaselineError:
        return None


def _refused(name: str, lines: Sequence[str], next_command: str, beside: Sequence[str] = ()) -> RefusedError:
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    listed = "\n".join(f"  {line}" for line in [*lines[:_SHOWN], *more, *beside])
    return RefusedError(
        f"refused, not stored as the baseline {name!r}; nothing was changed:\n{listed}",
        next_command=next_command,
    )
