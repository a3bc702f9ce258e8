"""The looks of a run: which videos are rendered for a comparison, and what they tell so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_wanlora.errors import WanloraError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run import questions
from pytest_wanlora.suite.subject import plain
from pytest_wanlora.verdict import fvd
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.items import FVD
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.pairs import PairedScores, PairedSets
from pytest_wanlora.verdict.sequential import Assessment, assess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.baseline import Baseline
    from pytest_wanlora.jobs.job import Job, JobResult
    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.comparison import Standard
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.suite import Scenario

#: Kinds of items that are judged against the baseline.
COMPARED = ("regression", "videos", "question")


@dataclass(frozen=True)
class Settled:
    """One candidate's comparison, rendered as far as it takes.

    Attributes:
        pairs: Videos of each scenario.
        results: By scenario, in the order of the seeds.
        broken: Scenarios with a video that could not be rendered, and why.
        assessment: What the pairs tell; None if no scenario is fit to be assessed.
    """

    pairs: Mapping[str, int]
    results: Mapping[str, tuple[JobResult, ...]]
    broken: Mapping[str, WanloraError]
    assessment: Assessment | None


@dataclass(frozen=True)
class Comparison:
    """The looks of one candidate so far.

    Attributes:
        candidate: Whose.
        scenarios: What is rendered.
        metrics: What is compared.
        plan: Looks and levels.
        pairs: Videos of each scenario at the next look; changes.
        asked: Scenario and metric of the questions.
    """

    candidate: Candidate
    scenarios: Sequence[Scenario]
    metrics: Sequence[str]
    plan: Plan
    pairs: dict[str, int]
    asked: frozenset[tuple[str, str]] = frozenset()

    def rendered(self, gate: Gate) -> tuple[Scenario, ...]:
        """What is rendered: the scenarios, and with the trigger those that are asked for it."""
        asked = {place for place, metric in self.asked if metric in questions.WITH_TRIGGER}
        triggered = [each for name, each in gate.suite.triggered.items() if name in asked]
        return (*self.scenarios, *triggered)


class Looks:
    """Renders the videos of each candidate's comparison, look by look.

    Args:
        gate: The run.
        standard: What candidates are compared with.
    """

    def __init__(self, gate: Gate, standard: Standard) -> None:
        self.gate, self.standard = gate, standard
        self._settled: dict[str, Settled] = {}
        self._courses: dict[str, Comparison] = {}
        self._looking: set[str] = set()

    def settle(self, candidate: Candidate) -> Settled:
        """Render a candidate's videos, look by look, until nothing more would be learnt from the next.

        Only items that are chosen in this run count: an item that is not judged needs no videos.

        Raises:
            BaselineError: There is none.
            ScoringError: There is no reference set, and a distance is compared.
        """
        if candidate.name in self._settled:
            return self._settled[candidate.name]
        course = self._course(candidate)
        while (settled := self._advance(course)) is None:
            pass
        return settled

    def look_ahead(self) -> None:
        """Take the looks of candidates whose videos are there, so that their next jobs are known early."""
        # what can be compared has been compared once the first candidate is looked at
        for candidate in self.gate.candidates if self._courses else ():
            items = self.gate.chosen_items(candidate)
            busy = candidate.name in self._settled or candidate.name in self._looking
            if busy or not any(item.kind in COMPARED for item in items):
                continue
            try:
                course = self._course(candidate)
                jobs = [job for each in course.rendered(self.gate) for job in self._jobs(course, each)]
                jobs += [job for of in self.standard.missing(course.pairs).values() for job in of]
                if all(self.gate.known([job]) for job in jobs):
                    self._advance(course)
            except WanloraError:
                # the item that needs it will say so
                continue

    def _course(self, candidate: Candidate) -> Comparison:
        """The looks of a candidate so far."""
        if candidate.name in self._courses:
            return self._courses[candidate.name]
        candidate.renderable()
        chosen = [item for item in self.gate.chosen_items(candidate) if item.kind in COMPARED]
        places = {item.scenario for item in chosen}
        scenarios = [
            each
            for each in self.gate.scenarios
            if (ALL in places or each.id in places) and self.standard.has_seeds(each.id)
        ]
        asked = frozenset((item.scenario, item.metric) for item in chosen if item.kind == "question")
        metrics = [name for name in METRICS if any(item.metric == name for item in chosen)]
        if any(METRICS[name].level == "set" for name in metrics):
            # before anything is rendered in vain
            _ = self.standard.reference
        for place, metric in asked:
            if metric == "likeness":
                _ = self.standard.pictures.references, self.standard.stored_frames(place)
        # an item that is judged alone is no less open because another one fails
        plan = replace(self.plan(scenarios), stop_at_failure=len(chosen) > 1)
        pairs = {scenario.id: plan.looks[0] for scenario in scenarios}
        course = Comparison(candidate, scenarios, metrics, plan, pairs, asked)
        self._courses[candidate.name] = course
        return course

    def _advance(self, course: Comparison) -> Settled | None:
        """Take one look; None if another one would decide more."""
        self._looking.add(course.candidate.name)
        try:
            settled = self.look(course)
        finally:
            self._looking.discard(course.candidate.name)
        unsettled = () if settled.assessment is None else settled.assessment.unsettled
        if not unsettled:
            self._settled[course.candidate.name] = settled
            return settled
        for name in unsettled:
            course.pairs[name] = course.plan.following(course.pairs[name]) or course.pairs[name]
        return None

    def _jobs(self, course: Comparison, scenario: Scenario) -> tuple[Job, ...]:
        """The videos of a scenario at a candidate's present look."""
        return self.gate.jobs(course.candidate, [scenario], self.gate.seeds(course.pairs[plain(scenario.id)]))

    def plan(self, scenarios: Sequence[Scenario]) -> Plan:
        """The looks of some scenarios: as far as the baseline has seeds, where it cannot be extended."""
        seeds = self.gate.suite.seeds
        if self.standard.capped is None:
            return Plan.between(seeds.first, seeds.most)
        stored = min(self.standard.stored_seeds(scenario.id) for scenario in scenarios)
        return Plan.between(seeds.first, min(seeds.most, stored))

    def look(self, course: Comparison) -> Settled:
        """Render the videos of a candidate's next look, and assess them."""
        jobs = {scenario.id: self._jobs(course, scenario) for scenario in course.rendered(self.gate)}
        base = self.standard.missing(course.pairs)
        self.gate.extend([job for side in (jobs, base) for of in side.values() for job in of])
        results: dict[str, tuple[JobResult, ...]] = {}
        broken: dict[str, WanloraError] = {}
        for name, of in jobs.items():
            try:
                results[name] = self.gate.results(of)
            except WanloraError as error:
                broken[name] = error
        # after all of the candidate's, so that its LoRA is taken out once
        for name in course.pairs:
            try:
                self.standard.extended({name: course.pairs[name]})
            except WanloraError as error:
                lost = [place for place in results if plain(place) == name]
                broken |= dict.fromkeys(lost, error)
                results = {place: of for place, of in results.items() if place not in lost}
        sound = {name: of for name, of in results.items() if not any(each.degenerate for each in of)}
        assessment = self._assess(sound, course) if sound.keys() & course.pairs.keys() else None
        return Settled(dict(course.pairs), results, broken, assessment)

    def _assess(self, results: Mapping[str, Sequence[JobResult]], course: Comparison) -> Assessment:
        answers = questions.of_results(self.standard, results, course.asked)
        results = {name: of for name, of in results.items() if name in course.pairs}
        metrics = course.metrics
        video = tuple(METRICS[name] for name in metrics if METRICS[name].level == "video")
        baseline = self.standard.extended({name: course.pairs[name] for name in results})
        stored = baseline.scores

        def table(side: Callable[[str, JobResult], Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
            return {
                name: np.array(
                    [[side(name, each)[metric.id] for each in of] for metric in video], dtype=np.float64
                ).reshape(len(video), len(of))
                for name, of in results.items()
            }

        paired = PairedScores(
            metrics=video,
            candidate=table(lambda _, each: each.scores),
            baseline=table(lambda name, each: stored[name][each.seed]),
            sets=self._sets(results, baseline) if FVD.id in metrics else None,
            stored={
                name: np.array(
                    [[of.get(metric.id, np.nan) for of in stored[name].values()] for metric in video]
                ).reshape(len(video), len(stored[name]))
                for name in results
            },
            questions=answers,
        )
        return assess(paired, self.gate.suite.tolerances, course.plan)

    def _sets(self, results: Mapping[str, Sequence[JobResult]], baseline: Baseline) -> PairedSets:
        features: list[NDArray[np.float32]] = []
        rows: tuple[dict[str, NDArray[np.intp]], ...] = ({}, {}, {})
        for name, of in results.items():
            stored = [baseline.features[name, each.seed] for each in of]
            paired = {each.seed for each in of}
            others = [baseline.features[name, seed] for seed in baseline.seeds(name) if seed not in paired]
            for side, vectors in zip(
                rows, ([each.features["video"] for each in of], stored, others), strict=True
            ):
                side[name] = np.arange(len(features), len(features) + len(vectors))
                features += vectors
            rows[2][name] = np.concatenate([rows[1][name], rows[2][name]])
        stacked = np.stack(features)
        places = {ALL: list(results), **{name: [name] for name in results}}
        videos = {
            place: fvd.Videos.of(stacked, self.standard.reference_set(names))
            for place, names in places.items()
        }
        return PairedSets(videos, *rows)
