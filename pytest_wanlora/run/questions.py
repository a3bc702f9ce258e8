"""What a suite asks of a LoRA besides its scores, and what is measured to answer it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict import questions
from pytest_wanlora.verdict.judgement import Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.measured import settled, unfit_set
from pytest_wanlora.verdict.questions import Question

if TYPE_CHECKING:
    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.run.comparison import Standard
    from pytest_wanlora.suite import Scenario, Suite
    from pytest_wanlora.verdict.sequential import Assessment


def asked(suite: Suite, scenarios: Sequence[Scenario]) -> Iterator[tuple[str, str]]:
    """Scenario and metric of every question that a suite asks, in the order of its items."""
    for scenario in scenarios:
        if suite.bleed is not None and scenario.category not in suite.bleed.about:
            yield scenario.id, "bleed"


def by_metric(suite: Suite) -> dict[str, tuple[str, ...]]:
    """The same of all scenarios, as a record states it: metric to scenarios."""
    found: dict[str, tuple[str, ...]] = {}
    for place, metric in asked(suite, suite.scenarios):
        found[metric] = (*found.get(metric, ()), place)
    return found


def of_results(
    standard: Standard, results: Mapping[str, Sequence[JobResult]], wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], Question]:
    """The questions that results can answer.

    Args:
        standard: The baseline.
        results: By scenario, in the order of the seeds.
        wanted: Scenario and metric of what is asked.
    """
    return {
        (place, metric): _bleed(standard, place, results[place])
        for place, metric in sorted(wanted)
        if place in results
    }


def _bleed(standard: Standard, scenario: str, results: Sequence[JobResult]) -> Question:
    band = standard.gate.suite.bleed
    assert band is not None
    stored = standard.stored_features(scenario)
    own = np.stack([each.features["video"] for each in results])
    return Question(
        METRICS["bleed"], band.warn, band.fail, lambda n: questions.bleed(own[:n], stored, band.warn)
    )


def judged(
    standard: Standard, blank: Judgement, results: Sequence[JobResult], assessment: Assessment | None
) -> Judgement:
    """Judge one question.

    Args:
        standard: The baseline.
        blank: Names the item.
        results: Of its scenario.
        assessment: What the pairs tell; None where no scenario was fit to be assessed.
    """
    item = (blank.scenario, blank.metric)
    degenerate = {(each.scenario, each.seed): each.degenerate for each in results if each.degenerate}
    if (unfit := unfit_set(0.0, degenerate)) is not None:
        return settled(blank, *unfit)
    suite = standard.gate.suite
    evidence = None if assessment is None else assessment.evidence.get(item)
    if evidence is None or not evidence.tested:
        verdict = Verdict.WARN if suite.undecided == "warn" else Verdict.UNDECIDED
        return settled(blank, verdict, ReasonCode.TOO_FEW_TO_ASK, {})
    question = of_results(standard, {blank.scenario: results}, {item})[item]
    return questions.judge_question(blank, question, evidence, undecided=suite.undecided)
