"""The judge of a run: brings results, baseline and reference to the functions that decide.

Every process judges its own items from the same results, and the decision is a function of those alone, so
it does not matter which process judges what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_wanlora.errors import (
    BaselineError,
    IncomparableError,
    WanloraError,
)
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run import questions
from pytest_wanlora.run.applied import Files
from pytest_wanlora.run.comparison import Standard
from pytest_wanlora.run.looks import COMPARED, Looks, Settled
from pytest_wanlora.verdict import fvd, limits, regressions
from pytest_wanlora.verdict.evidence import Plan, change
from pytest_wanlora.verdict.items import FVD
from pytest_wanlora.verdict.judgement import ALL, Details, ItemId, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.measured import Scores, failed, said
from pytest_wanlora.verdict.videos import judge_videos

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.metrics import Metric
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.suite import Scenario


class Judge:
    """Judges items of one run.

    Args:
        gate: The run.

    Attributes:
        standard: The baseline and the reference set.
        looks: What the candidates' comparisons rest on.
        files: Of the checkpoints, and how their LoRAs were applied.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.standard = Standard(gate)
        self.looks = Looks(gate, self.standard)
        self.files = Files(gate)
        self._causes: dict[tuple[str, str], ItemId] = {}

    def judgement(self, item: ItemId) -> Judgement:
        """Judge one item; what cannot be measured gets a verdict that fails.

        Args:
            item: One of `gate.items`.
        """
        kinds = {
            "checkpoint": self.files.judgement,
            "videos": self._videos,
            "limit": self._limit,
            "regression": self._regression,
            "question": self._question,
        }
        if self.gate.blocked:
            return self._blocked(item)
        try:
            return kinds[item.kind](item)
        except IncomparableError as error:
            return failed(item, Verdict.INCOMPARABLE, ReasonCode.INCOMPARABLE, error)
        except BaselineError as error:
            return failed(item, Verdict.MISSING_BASELINE, ReasonCode.NO_BASELINE, error)
        except WanloraError as error:
            return failed(item, Verdict.ERROR, ReasonCode.ERROR, error)

    def same_cause(self, judged: Judgement) -> ItemId | None:
        """The first item that this process could not measure for the same reason, if it is another one."""
        if not judged.verdict.unmeasured:
            return None
        first = self._causes.setdefault(judged.cause, judged.item)
        return None if first == judged.item else first

    def _blocked(self, item: ItemId) -> Judgement:
        """What can be said without rendering: a broken file is refused, all else is not measured."""
        if item.kind == "checkpoint" and (broken := self.files.broken(item.candidate)):
            return broken
        own = [found for found in self.gate.blocked if found.blocks(item)]
        shown = own or list(self.gate.blocked)
        verdict = max((found.verdict for found in own), key=lambda each: each.severity, default=Verdict.ERROR)
        code = ReasonCode.NOT_RENDERED_SEVERAL if len(shown) > 1 else ReasonCode.NOT_RENDERED
        causes = tuple((found.message, 0, found.next_command) for found in shown)
        details: Details = {"message": shown[0].message, "more": len(shown) - 1, "causes": causes}
        return said(item, verdict, code, details, next_command=shown[0].next_command)

    def _limit(self, item: ItemId) -> Judgement:
        metric = METRICS[item.metric]
        if metric.level == "set":
            # before anything is rendered in vain
            _ = self.standard.reference
        limits = [
            limit
            for limit in self.gate.suite.limits
            if limit.metric == item.metric and limit.scenario in (item.scenario, _usual(item))
        ]
        results = self._rendered(item)
        judged = [self._one_limit(item, metric, limit, results) for limit in limits]
        return max(judged, key=lambda each: each.verdict.severity)

    def _rendered(self, item: ItemId) -> Mapping[str, Sequence[JobResult]]:
        """All videos of an item's scenarios: what the comparison rendered, or the first look without one."""
        own = self._scenarios(item)
        candidate = self.gate.candidate(item.candidate)
        compared = {each.scenario for each in self.gate.chosen_items(candidate) if each.kind in COMPARED}
        if compared & {ALL, *(scenario.id for scenario in own)}:
            try:
                return self._compared(item)[1]
            except WanloraError:
                # a limit needs no baseline: what cannot be compared is limited by the first look
                pass
        return {
            scenario.id: self.gate.results(self.gate.jobs(candidate, [scenario], self.gate.first_look))
            for scenario in own
        }

    def _one_limit(
        self,
        item: ItemId,
        metric: Metric,
        limit: limits.LimitLike,
        results: Mapping[str, Sequence[JobResult]],
    ) -> Judgement:
        degenerate = degenerates(results)
        if metric.level == "video":
            return limits.judge_limit(
                metric,
                candidate=item.candidate,
                scenario=item.scenario,
                limit=limit,
                scores=scores_of(results, metric.id),
                degenerate=degenerate,
            )
        # as in the comparison: a scenario that was stopped early must not be outweighed by the others
        common = min(map(len, results.values()), default=0)
        results = {name: of[:common] for name, of in results.items()}
        found = {} if degenerate else self.standard.set_scores(features_of(results), results)
        # one video of a scenario has no spread, so its floor is not known
        spread = common > 1
        told = self._told(results) if found and spread and metric.id == FVD.id else None
        return limits.judge_set_limit(
            metric,
            candidate=item.candidate,
            scenario=item.scenario,
            limit=limit,
            value=found.get(metric.id),
            n=sum(map(len, results.values())),
            reference_n=len(self.standard.reference_rows(results)),
            told=told,
            degenerate=degenerate,
        )

    def _told(self, results: Mapping[str, Sequence[JobResult]]) -> fvd.SetDistance:
        """The Fréchet distance of all videos of some scenarios, with its floor and interval."""
        videos = fvd.Videos.of(features_of(results), self.standard.reference_set(results), contrasts=False)
        ends = np.cumsum([len(of) for of in results.values()])
        return fvd.SetDistance.of(videos, np.split(np.arange(ends[-1]), ends[:-1]), Plan((1,)).tail)

    def _videos(self, item: ItemId) -> Judgement:
        return self.single_videos(item.candidate, item.scenario, self._compared(item)[1])

    def single_videos(
        self, candidate: str, scenario: str, results: Mapping[str, Sequence[JobResult]]
    ) -> Judgement:
        """Judge each video of a scenario on its own, beside all seeds of the baseline."""
        tolerances = self.gate.suite.tolerances
        metrics = [METRICS[name] for name in tolerances if METRICS[name].level == "video"]
        stored = self.standard.extended({scenario: len(results[scenario])}).scores[scenario]
        return judge_videos(
            candidate,
            scenario,
            {metric: scores_of(results, metric.id)[scenario] for metric in metrics},
            {metric: [of[metric.id] for of in stored.values() if metric.id in of] for metric in metrics},
            tolerances,
            degenerates(results),
        )

    def _compared(self, item: ItemId) -> tuple[Settled, dict[str, tuple[JobResult, ...]]]:
        """The candidate's comparison, and the results of an item's scenarios."""
        own = self._scenarios(item)
        self.standard.require(own)
        for scenario in own:
            self.standard.require_seeds(scenario.id)
        settled = self.looks.settle(self.gate.candidate(item.candidate))
        for scenario in own:
            if scenario.id in settled.broken:
                raise settled.broken[scenario.id]
        return settled, {scenario.id: settled.results[scenario.id] for scenario in own}

    def _regression(self, item: ItemId) -> Judgement:
        metric = METRICS[item.metric]
        settled, chosen = self._compared(item)
        assessment = settled.assessment
        evidence = None if assessment is None else assessment.evidence.get((item.scenario, item.metric))
        tolerances = self.gate.suite.tolerances
        if metric.level == "set":
            return self._set_regression(item, metric, settled, chosen)
        scores = scores_of(chosen, metric.id)
        extended = self.standard.extended({name: settled.pairs[name] for name in chosen})
        motion = scores_of(chosen, "motion")
        judged = regressions.judge_regression(
            metric,
            candidate=item.candidate,
            scenario=item.scenario,
            scores=scores,
            baseline=extended.metric(metric.id),
            tolerance=tolerances[metric.id],
            evidence=evidence,
            undecided=self.gate.suite.undecided,
            degenerate=degenerates(chosen),
            motion_change=_motion_change(motion, extended.metric("motion", list(motion))),
            motion_tolerance=tolerances.get("motion"),
        )
        return judged if evidence else regressions.without_call(judged, self.gate.suite.undecided)

    def _question(self, item: ItemId) -> Judgement:
        settled, _ = self._compared(item)
        place = questions.place_of(item.scenario, item.metric)
        if place in settled.broken:
            raise settled.broken[place]
        results = settled.results[place]
        blank = Judgement(**vars(item), verdict=Verdict.ERROR, reason="", n=len(results))
        return questions.judged(self.standard, blank, results, settled.assessment)

    def _set_regression(
        self, item: ItemId, metric: Metric, settled: Settled, chosen: Mapping[str, Sequence[JobResult]]
    ) -> Judgement:
        degenerate = degenerates(chosen)
        # a pooled distance is taken of equally many videos of each scenario
        common = min(settled.pairs[name] for name in chosen)
        assessment = settled.assessment
        own: Mapping[str, float] = {}
        stored: Mapping[str, float] = {}
        if not degenerate:
            seeds = self.gate.seeds(common)
            features = self.standard.extended(dict.fromkeys(chosen, common)).features
            own = self.standard.set_scores(features_of(chosen, common), chosen)
            stored = self.standard.set_scores(
                np.stack([features[name, seed] for name in chosen for seed in seeds]), chosen
            )
        evidence = None if assessment is None else assessment.evidence.get((item.scenario, item.metric))
        judged = regressions.judge_set(
            metric,
            candidate=item.candidate,
            scenario=item.scenario,
            value=own.get(metric.id),
            baseline=stored.get(metric.id),
            n=common * len(chosen),
            baseline_n=common * len(chosen),
            reference_n=len(self.standard.reference_rows(chosen)),
            tolerance=self.gate.suite.tolerances[metric.id],
            evidence=evidence,
            undecided=self.gate.suite.undecided,
            degenerate=degenerate,
        )
        return judged if evidence else regressions.without_call(judged, self.gate.suite.undecided)

    def _scenarios(self, item: ItemId) -> list[Scenario]:
        return [each for each in self.gate.scenarios if item.scenario in (each.id, ALL)]


def scores_of(results: Mapping[str, Sequence[JobResult]], metric: str) -> dict[str, dict[int, float]]:
    """One metric's scores by scenario and seed, of the videos that have it."""
    return {
        name: {each.seed: each.scores[metric] for each in of if metric in each.scores}
        for name, of in results.items()
    }


def degenerates(results: Mapping[str, Sequence[JobResult]]) -> dict[tuple[str, int], str]:
    """Videos that cannot be scored, by scenario and seed."""
    return {
        (name, each.seed): each.degenerate
        for name, of in results.items()
        for each in of
        if each.degenerate is not None
    }


def features_of(results: Mapping[str, Sequence[JobResult]], each: int | None = None) -> NDArray[np.float32]:
    """Video features, (videos, D), of the first videos of each scenario."""
    return np.stack([result.features["video"] for of in results.values() for result in of[:each]])


def _motion_change(motion: Scores, stored: Scores) -> float | None:
    pairs = [
        (stored[name][seed], value)
        for name, of in motion.items()
        for seed, value in of.items()
        if seed in stored.get(name, {})
    ]
    if not pairs:
        return None
    before, after = np.mean(pairs, axis=0)
    return float(change(before, after, higher_is_better=True))


def _usual(item: ItemId) -> str:
    return ALL if item.scenario == ALL else "each"
