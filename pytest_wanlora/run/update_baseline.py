"""Measure a baseline and store it, unless something speaks against it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

from pytest_wanlora import baseline as baselines
from pytest_wanlora.baseline import acceptance
from pytest_wanlora.baseline.store import Baseline
from pytest_wanlora.errors import BaselineError
from pytest_wanlora.run.inputs import prompts
from pytest_wanlora.suite.fingerprint import fingerprint
from pytest_wanlora.verdict import fvd, noise
from pytest_wanlora.verdict.items import FVD
from pytest_wanlora.verdict.judgement import ALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.run.judge import Judge
    from pytest_wanlora.run.session import Candidate, Gate
    from pytest_wanlora.verdict.judgement import ToleranceLike

_PACKAGES = ("pytest-wanlora", "pytest", "torch", "diffsynth", "open-clip-torch", "numpy", "scipy")


@dataclass(frozen=True)
class Stored:
    """What was written.

    Attributes:
        name: Of the baseline.
        place: Its folder.
        changes: `scenario  metric  old -> new`, a line each.
        notes: Bands that the stored seeds cannot resolve.
    """

    name: str
    place: str
    changes: tuple[str, ...]
    notes: tuple[str, ...]


def store(gate: Gate, judge: Judge, candidate: Candidate) -> Stored:
    """Measure a candidate with all seeds and store it as a baseline.

    Args:
        gate: The run.
        judge: Judges the candidate's file and limits.
        candidate: The checkpoint to accept, or the model without LoRA.

    Raises:
        BaselineError: It is refused (a limit is broken, a video is degenerate), or cannot be written.
        JobError: A video cannot be rendered.
        ScoringError: There is no reference set.
    """
    settings = gate.settings
    name = settings.update_target or candidate.name
    # before anything is rendered in vain
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
        raise _refused(name, lines)
    new = measure(gate, judge, candidate, name, results)
    demanded = [item for item in gate.items if item.candidate == candidate.name]
    refusals = acceptance.refusals(
        new,
        [judge.judgement(item) for item in demanded],
        demanded,
        seeds=dict.fromkeys(results, gate.first_look),
    )
    if refusals:
        raise _refused(name, refusals)
    changes = acceptance.changes(_previous(gate, name), new)
    videos = {
        (each.scenario, each.seed): each.preview
        for of in results.values()
        for each in of
        if each.preview is not None
    }
    baselines.write(new, settings.baselines_dir, videos=videos)
    place = baselines.folder(settings.baselines_dir, gate.suite.name, name)
    return Stored(name, str(place), changes, noise.too_tight(new.noise))


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
            fvd.Videos.of(stacked, judge.standard.reference_set([place] if place in vectors else vectors)),
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


def _refused(name: str, lines: Sequence[str]) -> BaselineError:
    listed = "\n".join(f"  {line}" for line in lines)
    return BaselineError(
        f"not stored as the baseline {name!r}; nothing was changed:\n{listed}",
        next_command="mend what is listed; a baseline must be whole and keep the suite's limits",
    )
