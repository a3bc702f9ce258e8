"""What users' own tests see of candidates and baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora.errors import ScoringError

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.metrics import Metric
    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.suite import Scenario


class CandidateView:
    """One candidate with its videos and scores; whatever is missing is rendered when it is asked for.

    Attributes:
        name: As in test ids.

    Example:
        ::

            def test_nature_keeps_moving(wanlora_candidate, wanlora_baseline):
                candidate = wanlora_candidate.mean("test2_nature", "motion")
                assert candidate > 0.5 * wanlora_baseline.mean("test2_nature", "motion")
    """

    def __init__(self, gate: Gate, candidate: Candidate) -> None:
        self.name = candidate.name
        self._gate = gate
        self._candidate = candidate

    def __repr__(self) -> str:
        return f"<candidate {self.name}>"

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What is known of the LoRA file; None for the model without LoRA."""
        return self._candidate.checkpoint

    def results(self, scenario: Scenario | str) -> tuple[JobResult, ...]:
        """The rendered videos of a scenario, one for each seed of the first look: scores, features, preview.

        Raises:
            JobError: One of them cannot be rendered.
        """
        chosen = self._gate.scenario(_name(scenario))
        return self._gate.results(self._gate.jobs(self._candidate, [chosen], self._gate.first_look))

    def scores(self, scenario: Scenario | str, metric: Metric | str) -> Mapping[int, float]:
        """One metric of every video of a scenario, by seed.

        Raises:
            JobError: A video cannot be rendered.
            ScoringError: A video is degenerate, or the metric is none of videos.
        """
        results = self.results(scenario)
        for result in results:
            if result.degenerate is not None:
                raise ScoringError(f"{result.job.label}: the video cannot be scored: {result.degenerate}")
        return {result.seed: _score(result.scores, metric, result.job.label) for result in results}

    def mean(self, scenario: Scenario | str, metric: Metric | str) -> float:
        """Mean of `scores`."""
        return _mean(self.scores(scenario, metric))

    def previews(self, scenario: Scenario | str) -> tuple[Path, ...]:
        """The mp4 files of a scenario, for people; empty with `--wanlora-no-previews`."""
        return tuple(result.preview for result in self.results(scenario) if result.preview is not None)


class BaselineView:
    """The stored baseline's scores, at the seeds that the candidates are rendered with."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __repr__(self) -> str:
        return f"<baseline {self._gate.settings.baseline}>"

    def scores(self, scenario: Scenario | str, metric: Metric | str) -> Mapping[int, float]:
        """One metric of every stored video of a scenario, by seed.

        Raises:
            BaselineError: There is no baseline, or it was measured otherwise than this run measures.
            ScoringError: The baseline lacks one of the seeds, or the metric.
        """
        name = _name(scenario)
        standard = self._gate.judge.standard
        standard.require([self._gate.scenario(name)])
        stored = standard.baseline.scores.get(name, {})
        missing = [seed for seed in self._gate.first_look if seed not in stored]
        if missing:
            raise ScoringError(f"the baseline has no videos of {name} with seeds {missing}")
        label = f"baseline, {name}"
        return {seed: _score(stored[seed], metric, label) for seed in self._gate.first_look}

    def mean(self, scenario: Scenario | str, metric: Metric | str) -> float:
        """Mean of `scores`."""
        return _mean(self.scores(scenario, metric))


def _name(scenario: Scenario | str) -> str:
    return scenario if isinstance(scenario, str) else scenario.id


def _score(scores: Mapping[str, float], metric: Metric | str, label: str) -> float:
    name = metric if isinstance(metric, str) else metric.id
    if name not in scores:
        raise ScoringError(f"{label}: there is no score {name!r} of a video; there are {', '.join(scores)}")
    return scores[name]


def _mean(scores: Mapping[int, float]) -> float:
    return math.fsum(scores.values()) / len(scores)
