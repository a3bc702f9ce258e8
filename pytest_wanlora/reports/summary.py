"""What the judgements of one checkpoint amount to: rows of tables, outcomes of scenarios, averages, targets.

Keys and numbers only; the words of a language are `i18n`'.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.standing import FEWEST_VIDEOS, Standing, standing

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.verdict.noise import NoiseFloor

OutcomeKind = Literal["success", "slight_loss", "undecided", "failure", "unmeasured"]

_LOSSES = (Verdict.FAIL, Verdict.DEGENERATE)
_LESSER = (Verdict.WARN, Verdict.UNDECIDED)
_UNMEASURED = (Verdict.MISSING_BASELINE, Verdict.INCOMPARABLE, Verdict.ERROR)


@dataclass(frozen=True)
class Row:
    """One comparison with the baseline, as a line of a table.

    Attributes:
        scenario: Scenario id, or `"all"`.
        metric: Metric id.
        baseline: The baseline's value; None where there is none.
        value: The candidate's; None where it was not measured.
        difference: `value - baseline`, in the metric's unit: its sign is that of the number, not of better or
            worse.
        relative: The same as a share of the baseline, 0.05 for 5 %; None from a baseline of 0. Of a distance
            both are taken above their floors, as they are judged (`signed_change`).
        judgement: The verdict, its evidence and its reason.
    """

    scenario: str
    metric: str
    baseline: float | None
    value: float | None
    difference: float | None
    relative: float | None
    judgement: Judgement


@dataclass(frozen=True)
class Outcome:
    """What became of one scenario.

    Attributes:
        kind: `"failure"`: an item fails or a video is degenerate; else `"unmeasured"`: an item could not be
            judged, or nothing was; else `"slight_loss"`: something warns because it is worse; else
            `"success"`.
        scenario: Scenario id, or `"all"`.
        better: Metrics that are certainly better.
        worse: Metrics with a loss that warns or fails.
        failing: Those of them that fail, and metrics whose video is degenerate.
        broken: Metrics whose absolute limit is broken.
        asked: Questions of which the answer fails, warns or is not proven, worst first.
        suspicious: Metrics that rose so much that it warns.
        weak: Metrics that are beyond their fail band, which is not proven.
        untested: Metrics where the band alone decides, for want of seeds.
        unmeasured: Metrics that could not be judged, or were not.
    """

    kind: OutcomeKind
    scenario: str
    better: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    asked: tuple[Judgement, ...] = ()
    suspicious: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Average:
    """Plain mean over scenarios, as a report's table has it.

    Attributes:
        baseline: Mean of the scenarios' baselines; None if one of them is missing.
        value: Mean of the candidate's values; None if one of them is missing.
        change: `value - baseline`.
        relative: The same as a share of the baseline, of a distance above the floors; None where undefined.
        scenarios: How many the mean is taken of.
    """

    baseline: float | None
    value: float | None
    difference: float | None
    relative: float | None
    scenarios: int


def scenarios_of(record: RunRecord) -> tuple[str, ...]:
    """Scenario ids in the suite's order, without the pooled `"all"`."""
    return tuple(record.suite.prompts)


def metrics_of(record: RunRecord) -> tuple[str, ...]:
    """Metrics that are compared with the baseline, in the order of reports."""
    compared = {item.metric for item in record.expected if item.kind == "regression"}
    compared |= {judged.metric for judged in record.judgements if judged.kind == "regression"}
    return ordered(compared)


def ordered(metrics: Iterable[str]) -> tuple[str, ...]:
    """Metrics once, in the order of reports; unknown ones last."""
    known = list(METRICS)
    return tuple(
        sorted(set(metrics), key=lambda name: (known.index(name) if name in METRICS else len(known), name))
    )


def rows(record: RunRecord, candidate: str) -> tuple[Row, ...]:
    """The comparisons of a candidate, scenario by scenario in the suite's order, the pooled ones last."""
    compared = [each for each in record.judgements if each.kind == "regression"]
    own = [each for each in compared if each.candidate == candidate]
    return tuple(_row(judged) for judged in sorted(own, key=lambda each: place_of(record, each)))


def place_of(record: RunRecord, judged: Judgement) -> tuple[int, str, int, str]:
    """Where a judgement stands in a table: by scenario in the suite's order, then by metric."""
    order = [*record.suite.prompts, ALL]
    known = list(METRICS)
    return (
        order.index(judged.scenario) if judged.scenario in order else len(order),
        judged.scenario,
        known.index(judged.metric) if judged.metric in METRICS else len(known),
        judged.metric,
    )


def _row(judged: Judgement) -> Row:
    difference = difference_of(judged.baseline, judged.value)
    return Row(
        scenario=judged.scenario,
        metric=judged.metric,
        baseline=judged.baseline,
        value=judged.value,
        difference=difference,
        relative=signed_change(judged.metric, judged.baseline, judged.value, judged.change),
        judgement=judged,
    )


def difference_of(baseline: float | None, value: float | None) -> float | None:
    """`value - baseline`, None where one is missing."""
    return None if baseline is None or value is None else value - baseline


def signed_change(
    metric: str, baseline: float | None, value: float | None, judged: float | None
) -> float | None:
    """The relative change of a value, the same in every report.

    Args:
        metric: Metric id.
        baseline: The baseline's value.
        value: The candidate's.
        judged: The change to the worse that was judged; that of a distance is taken above the floors.
    """
    known = METRICS.get(metric)
    if known is None or known.level == "video":
        return relative_of(baseline, difference_of(baseline, value))
    return -judged if judged is not None and known.higher_is_better else judged


def relative_of(baseline: float | None, difference: float | None) -> float | None:
    """A difference as a share of the baseline's size, None where that is 0 or missing."""
    if baseline is None or difference is None or baseline == 0.0:
        return None
    share = difference / abs(baseline)
    return share if math.isfinite(share) else None


def outcomes(record: RunRecord, candidate: str) -> tuple[Outcome, ...]:
    """The outcome of every scenario in the suite's order."""
    return tuple(outcome(record, candidate, scenario) for scenario in scenarios_of(record))


def outcome(record: RunRecord, candidate: str, scenario: str) -> Outcome:
    """What became of one scenario of one candidate.

    Args:
        record: The run.
        candidate: Name of the checkpoint.
        scenario: Scenario id, or `"all"`.
    """
    items = [j for j in record.judgements if (j.candidate, j.scenario) == (candidate, scenario)]
    judged = {each.item for each in items}
    absent = [
        item.metric
        for item in record.expected
        if (item.candidate, item.scenario) == (candidate, scenario) and item not in judged and item.metric
    ]
    ruined = any(each.kind == "videos" and each.verdict in _LOSSES for each in items)
    compared = [each for each in items if each.kind == "regression"]
    limits = [each for each in items if each.kind == "limit"]
    worse = _where(compared, lambda each: each.verdict in (*_LOSSES, *_LESSER) and _lost(each))
    failing = _where(compared, lambda each: each.verdict in _LOSSES)
    broken = _where(limits, lambda each: each.verdict in _LOSSES)
    unmeasured = ordered(
        [*absent, *(each.metric for each in items if each.verdict in _UNMEASURED and each.metric)]
    )
    questions = [each for each in items if each.kind == "question" and not each.verdict.unmeasured]
    asked = [each for each in questions if each.verdict in (*_LOSSES, *_LESSER)]
    asked.sort(key=lambda each: each.gravity)
    kind: OutcomeKind = "success"
    if failing or broken or ruined or any(each.verdict in _LOSSES for each in asked):
        kind = "failure"
    elif unmeasured or not items:
        kind = "unmeasured"
    elif any(each.verdict is Verdict.UNDECIDED for each in items):
        kind = "undecided"
    elif worse or asked:
        kind = "slight_loss"
    return Outcome(
        kind=kind,
        scenario=scenario,
        better=_where(compared, lambda each: each.verdict is Verdict.BETTER),
        worse=worse,
        failing=failing,
        broken=broken,
        asked=tuple(asked),
        suspicious=_where(compared, lambda each: each.verdict is Verdict.WARN and not _lost(each)),
        weak=_where(
            compared,
            lambda each: (
                each.verdict in _LESSER
                and beyond(each)
                and standing(each) in (Standing.WEAK, Standing.TOO_FEW)
            ),
        ),
        untested=_where(
            compared,
            lambda each: standing(each) is Standing.BAND_ALONE,
        ),
        unmeasured=unmeasured,
    )


@dataclass(frozen=True)
class MoreVideos:
    """What would decide the items of a checkpoint that are undecided.

    Attributes:
        videos: How many more, of all scenarios concerned; None where 10,000 of one would not be enough.
        seeds: `seeds.most` that allows them; 0 where no number does.
        most: How many more of the checkpoint the next command renders at most: a whole gate goes on in all
            scenarios that are open, look by look.
        base: How many of the model without LoRA it renders besides at most, since the baseline lacks them.
        seconds_each: How long one takes, as this run's videos did; None where that is not known.
        stopped: Whether the gate stopped before it had all the videos that it may render.
        alone: Items, and `seeds` of each, where the whole gate again would not decide them, since it stopped
            or would stop at other items: each of these goes on if it is run alone.
    """

    videos: int | None
    seeds: int = 0
    most: int = 0
    base: int = 0
    seconds_each: float | None = None
    stopped: bool = False
    alone: Mapping[ItemId, int] = field(default_factory=dict)


def videos_each(record: RunRecord, judged: Judgement) -> int:
    """Videos of a scenario that an item rests on."""
    return judged.n // max(len(scenarios_of(record)), 1) if judged.scenario == ALL else judged.n


def seeds_to_decide(judged: Judgement, scenarios: int) -> int | None:
    """Seeds of a scenario that would decide an item that is undecided; None where 10,000 would not.

    Args:
        judged: The item's judgement.
        scenarios: Of the suite.
    """
    if standing(judged) is Standing.TOO_FEW or judged.code is ReasonCode.TOO_FEW_TO_ASK:
        return FEWEST_VIDEOS
    missing = None if judged.evidence is None else judged.evidence.n_missing
    # the pooled item's are of all scenarios together
    among = max(scenarios, 1) if judged.scenario == ALL else 1
    return None if missing is None else judged.n // among - -missing // among


def more_videos(record: RunRecord, candidate: str) -> MoreVideos | None:
    """How many more videos would decide what is undecided; None if nothing is.

    Args:
        record: The run.
        candidate: Name of the checkpoint.
    """
    undecided = record.decision(candidate).undecided
    if not undecided:
        return None
    names = scenarios_of(record)
    more: dict[str, int] = {}
    goal: dict[str, int] = {}
    found: dict[ItemId, int] = {}
    for judged in undecided:
        enough, n = seeds_to_decide(judged, len(names)), videos_each(record, judged)
        if enough is None:
            return MoreVideos(None)
        found[judged.item] = enough
        for name in names if judged.scenario == ALL else (judged.scenario,):
            more[name] = max(more.get(name, 0), enough - n, 1)
            goal[name] = max(goal.get(name, 0), enough)
    stopped = any(videos_each(record, judged) < most_seeds(record) for judged in undecided)
    alone, seeds = found if stopped or record.partial else {}, max(found.values())
    goal = goal if alone else dict.fromkeys(names, seeds)
    own = (video for video in record.videos if (video.role, video.candidate) == ("candidate", candidate))
    taken = Counter(video.scenario for video in own)
    rendered = record.totals.rendered
    return MoreVideos(
        videos=sum(more.values()),
        seeds=seeds,
        most=sum(max(count - taken[name], 0) for name, count in goal.items()),
        base=int(sum(max(count - _held(record, name), 0) for name, count in goal.items())),
        seconds_each=record.totals.rendering_seconds / rendered if rendered else None,
        stopped=stopped,
        alone=alone,
    )


def _held(record: RunRecord, scenario: str) -> float:
    """Seeds of a scenario that need no video of the model without LoRA, as far as the record tells."""
    baseline = record.baseline
    if baseline is None or baseline.sha256 is not None or baseline.cap is not None:
        # none is rendered: what the baseline lacks is not compared
        return math.inf
    seen = sum(video.role == "baseline" and video.scenario == scenario for video in record.videos)
    # a noise floor is of the last look of its time, and no fewer seeds were stored
    return max((floor.n for floor in baseline.noise), default=seen)


def noise_floors(record: RunRecord) -> tuple[NoiseFloor, ...]:
    """What chance does to the metrics that the suite compares, beside the bands that it has now."""
    known = () if record.baseline is None else record.baseline.noise
    compared = metrics_of(record)
    # a record of an earlier version does not state its bands
    bands = {metric: band["fail"] for metric, band in record.suite.tolerances.items()}
    return tuple(
        floor
        for floor in known
        if floor.metric in compared and bands.get(floor.metric, floor.fail) == floor.fail
    )


def most_seeds(record: RunRecord) -> int:
    """Videos of a scenario that the run could compare."""
    cap = None if record.baseline is None else record.baseline.cap
    most = record.suite.looks[-1] if record.suite.looks else 0
    return most if cap is None else min(most, cap.stored)


def _lost(judged: Judgement) -> bool:
    # without a change, such as from a baseline of 0, a warning or a failure is taken for a loss
    return judged.change is None or judged.change > 0.0


def beyond(judged: Judgement) -> bool:
    """Whether a comparison is beyond its fail band, whatever its verdict."""
    return judged.change is not None and judged.fail is not None and judged.change > judged.fail


def _where(judgements: Iterable[Judgement], holds: Callable[[Judgement], bool]) -> tuple[str, ...]:
    return ordered(each.metric for each in judgements if holds(each))


def averages(record: RunRecord, candidate: str) -> dict[str, Average]:
    """Plain means over scenarios, by metric in the order of reports.

    Of a distance this is the mean of the scenarios' distances, as a report's table has it; the distance of
    all videos pooled is another number, judged in the rows of scenario `"all"`.

    Args:
        record: The run.
        candidate: Name of the checkpoint.

    Returns:
        One average for every metric that is compared. A scenario without a value leaves no mean: what was
        not measured is not averaged away.
    """
    found = {(row.scenario, row.metric): row for row in rows(record, candidate)}
    names = scenarios_of(record)
    return {
        metric: _average([found.get((scenario, metric)) for scenario in names])
        for metric in metrics_of(record)
        if any((scenario, metric) in found for scenario in names)
    }


def _average(of: list[Row | None]) -> Average:
    baseline = mean_of([None if row is None else row.baseline for row in of])
    value = mean_of([None if row is None else row.value for row in of])
    taken = [None if row is None else above_floors(row.judgement) for row in of]
    before = mean_of([None if pair is None else pair[0] for pair in taken])
    after = mean_of([None if pair is None else pair[1] for pair in taken])
    relative = relative_of(before, difference_of(before, after))
    return Average(baseline, value, difference_of(baseline, value), relative, len(of))


def has_floor(judged: Judgement) -> bool:
    """Whether so few videos explain a part of the values: those of a distance."""
    return judged.evidence is not None and judged.evidence.baseline_floor is not None


def above_floors(judged: Judgement) -> tuple[float, float] | None:
    """The two values that a change is of, the baseline's first: of a distance those above its floor."""
    return None if judged.value is None or judged.baseline is None else judged.changed


def mean_of(values: list[float | None]) -> float | None:
    """Plain mean, None if a value is missing: what was not measured is not averaged away."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
