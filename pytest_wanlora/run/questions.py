"""What a suite asks of a LoRA besides its scores, and what is measured to answer it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite.subject import WITH_TRIGGER as MARK
from pytest_wanlora.suite.subject import frames_feature
from pytest_wanlora.verdict import copies, questions
from pytest_wanlora.verdict.judgement import Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.measured import settled, unfit_set
from pytest_wanlora.verdict.questions import Question
from pytest_wanlora.verdict.standing import FEWEST_VIDEOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.run.comparison import Standard
    from pytest_wanlora.suite import Scenario, Suite
    from pytest_wanlora.verdict.sequential import Assessment

#: What is asked of the videos with the trigger.
WITH_TRIGGER: Final = frozenset({"likeness", "collapse", "copies"})
#: Fewer clips have no usual distance that one could stand out from.
_FEWEST_CLIPS: Final = 3


def asked(suite: Suite, scenarios: Sequence[Scenario]) -> Iterator[tuple[str, str]]:
    """Scenario and metric of every question that a suite asks, in the order of its items."""
    for scenario in scenarios:
        triggered = scenario.id in suite.triggered
        if suite.bleed is not None and (triggered or scenario.category not in suite.bleed.about):
            yield scenario.id, "bleed"
        if triggered:
            yield scenario.id, "likeness"
            yield scenario.id, "collapse"
        if triggered and suite.subject is not None and suite.subject.training is not None:
            yield scenario.id, "copies"


def with_trigger(suite: Suite, scenarios: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """Scenarios, and behind them the same with the trigger, of those that have one."""
    triggered = suite.triggered
    return (*scenarios, *(triggered[each.id] for each in scenarios if each.id in triggered))


def by_metric(suite: Suite) -> dict[str, tuple[str, ...]]:
    """The same of all scenarios, as a record states it: metric to scenarios."""
    found: dict[str, tuple[str, ...]] = {}
    for place, metric in asked(suite, suite.scenarios):
        found[metric] = (*found.get(metric, ()), place)
    return found


def place_of(scenario: str, metric: str) -> str:
    """Under which id the videos are kept that answer a question."""
    return scenario + MARK if metric in WITH_TRIGGER else scenario


def of_results(
    standard: Standard, results: Mapping[str, Sequence[JobResult]], wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Question]:
    """The questions that results can answer and that a test decides.

    Args:
        standard: The baseline.
        results: By scenario, in the order of the seeds.
        wanted: Scenario and metric of what is asked.

    Raises:
        BaselineError: The baseline has no embeddings of frames.
        WanloraError: A reference cannot be read or embedded.
    """
    makers = {"bleed": _bleed, "collapse": _collapse, "likeness": _likeness}
    return {
        (scenario, metric): makers[metric](standard, scenario, results[place])
        for scenario, metric in sorted(wanted)
        if metric in makers and (place := place_of(scenario, metric)) in results
    }


def _bleed(standard: Standard, scenario: str, results: Sequence[JobResult]) -> Question:
    band = standard.gate.suite.bleed
    assert band is not None
    stored, own = standard.stored_features(scenario, len(results)), _features(results)
    return Question(
        METRICS["bleed"], band.warn, band.fail, lambda n: questions.bleed(own[:n], stored, band.warn)
    )


def _collapse(standard: Standard, scenario: str, results: Sequence[JobResult]) -> Question:
    subject = standard.gate.suite.subject
    assert subject is not None
    stored, own = standard.stored_features(scenario, len(results)), _features(results)
    band = subject.collapse
    return Question(
        METRICS["collapse"], band.warn, band.fail, lambda n: questions.collapse(own[:n], stored, band.warn)
    )


def _likeness(standard: Standard, scenario: str, results: Sequence[JobResult]) -> Question:
    demands = standard.gate.suite.demands
    wanted = 0.0 if demands is None else demands.likeness.gain
    base, own = (np.array([each.mean() for each in of]) for of in _curves(standard, scenario, results))
    return Question(
        METRICS["likeness"],
        wanted,
        wanted,
        lambda n: questions.gain(own[:n], base, wanted),
        offset=1.0,
        demanded=demands is not None,
    )


def _features(results: Sequence[JobResult]) -> NDArray[np.float32]:
    return np.stack([each.features["video"] for each in results])


def _curves(
    standard: Standard, scenario: str, results: Sequence[JobResult]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Likeness of the frames of the base's videos and of the candidate's, (videos, frames) each."""
    references, name = standard.pictures.references, frames_feature(standard.gate.suite.scoring.frames)
    own = [questions.likeness(each.features[name], references) for each in results]
    stored = standard.stored_frames(scenario, len(own))[: len(own)]
    base = [questions.likeness(each, references) for each in stored]
    return np.stack(base), np.stack(own)


def judged(
    standard: Standard,
    blank: Judgement,
    results: Sequence[JobResult],
    assessment: Assessment | None,
) -> Judgement:
    """Judge one question.

    Args:
        standard: The baseline.
        blank: Names the item.
        results: The videos that answer it.
        assessment: What the pairs tell; None where no scenario was fit to be assessed.

    Raises:
        WanloraError: The baseline, a reference or a clip is missing or cannot be read.
    """
    item, suite = (blank.scenario, blank.metric), standard.gate.suite
    degenerate = {(blank.scenario, each.seed): each.degenerate for each in results if each.degenerate}
    if (unfit := unfit_set(0.0, degenerate)) is not None:
        return settled(blank, *unfit)
    if blank.metric == "copies":
        return _judged_copies(standard, blank, results)
    evidence = None if assessment is None else assessment.evidence.get(item)
    if blank.n < FEWEST_VIDEOS or (evidence is not None and not evidence.tested):
        # not even with `undecided: warn`: nothing was measured
        return settled(blank, Verdict.UNDECIDED, ReasonCode.TOO_FEW_TO_ASK, {})
    if assessment is None or evidence is None:
        # the scenario's other videos cannot be scored
        return settled(blank, Verdict.ERROR, ReasonCode.NOT_MEASURED, {})
    question = of_results(standard, {place_of(*item): results}, {item})[item]
    if blank.metric != "likeness":
        # they share the chance of a false alarm
        blank = replace(blank, details={"shared": len(assessment.evidence)})
        return questions.judge_question(blank, question, evidence, undecided=suite.undecided)
    base, own = _curves(standard, blank.scenario, results)
    curves = [each.mean(axis=0) for each in (base, own)]
    third = max(1, len(curves[1]) // 3)
    return questions.judge_gain(
        blank,
        question,
        evidence,
        last=evidence.n >= assessment.most,
        sides=(float(base.mean()), float(own.mean())),
        details={
            "first": float(curves[1][:third].mean()),
            "last": float(curves[1][-third:].mean()),
            "baseline_curve": tuple(round(float(each), 4) for each in curves[0]),
            "curve": tuple(round(float(each), 4) for each in curves[1]),
            "references": standard.pictures.reference_files,
        },
    )


def _judged_copies(standard: Standard, blank: Judgement, results: Sequence[JobResult]) -> Judgement:
    clips = standard.pictures.clips
    if len(clips) < _FEWEST_CLIPS:
        return settled(blank, Verdict.WARN, ReasonCode.TOO_FEW_CLIPS, {"clips": len(clips)})
    for each in results:
        if copies.FEATURE not in each.features:
            raise ScoringError(
                f"{each.job.label}: kept without the feature {copies.FEATURE!r}, which copies are found by: "
                "rendered by an older version, or by a producer of your own that gives none",
                next_command=standard.gate.settings.again("--wanlora-no-cache"),
            )
    videos = [each.features[copies.FEATURE] for each in results]
    step = copies.step_of(standard.gate.suite.sampling.frames)
    found = copies.nearest(videos, list(clips.values()), step)
    own = dict(zip((each.seed for each in results), found, strict=True))
    return questions.judge_copies(blank, own, list(clips))
