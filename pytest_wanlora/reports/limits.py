"""The absolute limits that a checkpoint was judged by, and the suite's targets, as rows of tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports.summary import Row, mean_of, ordered, place_of, rows, scenarios_of
from pytest_wanlora.verdict.judgement import ALL, Judgement

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord

#: The place of a limit that holds for every scenario.
EACH: Final = "each"
_RAPA_2025: Final = frozenset({("clip", 0.3, None), ("fvd", None, 1140.0)})


@dataclass(frozen=True)
class LimitRow:
    """One absolute limit, as a line of a table.

    Attributes:
        scenario: Scenario id, or `"all"`.
        metric: Metric id.
        minimum: Lower bound, if any.
        maximum: Upper bound, if any.
        value: The candidate's value; None where it was not measured.
        baseline: The baseline's value in the same place, for the reader: limits do not judge it. None for a
            distance of another number of videos, which would not compare.
        share: `value` as a share of the bound that is nearest to being broken, 2.0 for twice the bound.
        baseline_share: The same for the baseline.
        margin: Room that is left as a share of the bound: positive inside, negative where it is broken.
        n: Videos the value rests on.
        judgement: The verdict and its reason.
    """

    scenario: str
    metric: str
    minimum: float | None
    maximum: float | None
    value: float | None
    baseline: float | None
    share: float | None
    baseline_share: float | None
    margin: float | None
    n: int
    judgement: Judgement


@dataclass(frozen=True)
class Target:
    """A value that more training is to reach; never gated.

    Attributes:
        scenario: Scenario id.
        metric: Metric id.
        target: What the suite names.
        value: The candidate's; None where it was not measured.
        reached: Whether it is at least as good; None where nothing was measured.
        n: Videos the value rests on.
    """

    scenario: str
    metric: str
    target: float
    value: float | None
    reached: bool | None
    n: int


def limit_rows(record: RunRecord, candidate: str) -> tuple[LimitRow, ...]:
    """The limits that a candidate was judged by, in the order of the scenarios, the pooled ones last."""
    own = [each for each in record.judgements if each.kind == "limit" and each.candidate == candidate]
    compared = {(row.scenario, row.metric): row for row in rows(record, candidate)}
    return tuple(
        _limit_row(judged, compared.get((judged.scenario, judged.metric)))
        for judged in sorted(own, key=lambda each: place_of(record, each))
    )


def limit_summaries(record: RunRecord, candidate: str) -> tuple[LimitRow, ...]:
    """Every limit once: one that holds for each scenario by the mean of the scenarios and the worst verdict.

    Returns:
        In the order of the first place of each. Of several places the scenario is `"each"`, the values are
        plain means (None if one is missing), the margin is the smallest, and the judgement the worst.
    """
    grouped: dict[tuple[str, float | None, float | None], list[LimitRow]] = {}
    for row in limit_rows(record, candidate):
        grouped.setdefault((row.metric, row.minimum, row.maximum), []).append(row)
    return tuple(of[0] if len(of) == 1 else _summary(of) for of in grouped.values())


def _summary(of: list[LimitRow]) -> LimitRow:
    value, baseline = mean_of([row.value for row in of]), mean_of([row.baseline for row in of])
    bound, _ = nearest(of[0].minimum, of[0].maximum, value)
    margins = [row.margin for row in of if row.margin is not None]
    worst = max(of, key=lambda row: row.judgement.verdict.severity)
    return replace(
        worst,
        scenario=EACH,
        value=value,
        baseline=baseline,
        share=share_of(bound, value),
        baseline_share=share_of(bound, baseline),
        margin=min(margins) if len(margins) == len(of) else None,
        n=sum(row.n for row in of),
    )


def _limit_row(judged: Judgement, compared: Row | None) -> LimitRow:
    bound, margin = nearest(judged.minimum, judged.maximum, judged.value)
    distance = judged.metric in METRICS and METRICS[judged.metric].level == "set"
    alike = compared is not None and (not distance or compared.judgement.n == judged.n)
    baseline = compared.baseline if compared is not None and alike else None
    if compared is not None and baseline is not None and "floor" in judged.details:
        # the value is above its floor
        evidence = compared.judgement.evidence
        floor = None if evidence is None else evidence.baseline_floor
        baseline = None if floor is None else baseline - floor
    return LimitRow(
        scenario=judged.scenario,
        metric=judged.metric,
        minimum=judged.minimum,
        maximum=judged.maximum,
        value=judged.value,
        baseline=baseline,
        share=share_of(bound, judged.value),
        baseline_share=share_of(bound, baseline),
        margin=margin,
        n=judged.n,
        judgement=judged,
    )


def share_of(bound: float | None, value: float | None) -> float | None:
    """A value as a share of a bound; None where that cannot be told."""
    return None if not bound or value is None else value / bound


def nearest(
    minimum: float | None, maximum: float | None, value: float | None
) -> tuple[float | None, float | None]:
    """The bound that a value is nearest to breaking, and the room left as a share of it."""
    if value is None:
        return (minimum if minimum is not None else maximum), None
    rooms = [(bound, sign * (value - bound)) for bound, sign in ((minimum, 1.0), (maximum, -1.0)) if bound]
    if not rooms:
        return None, None
    bound, room = min(rooms, key=lambda each: each[1] / abs(each[0]))
    return bound, room / abs(bound)


def is_rapa(record: RunRecord) -> bool:
    """Whether the suite's limits hold those of RAPA 2025: CLIPScore at least 0.3, FVD at most 1140."""
    known = {(limit.get("metric"), limit.get("min"), limit.get("max")) for limit in record.suite.limits}
    return known >= _RAPA_2025


def published_scorers(record: RunRecord) -> bool:
    """Whether the scores are those that published limits speak of: of ViT-B/32, on its crop, and of I3D."""
    scoring = record.suite.fingerprint.get("scoring")
    if not isinstance(scoring, dict):
        return False
    clip, video = scoring.get("clip"), scoring.get("video_features")
    if not isinstance(clip, dict) or not isinstance(video, dict):
        return False
    named = str(clip.get("model")).startswith("ViT-B-32") and "frame" not in clip
    return named and video.get("kind") == "torchscript"


def targets(record: RunRecord, candidate: str) -> tuple[Target, ...]:
    """The suite's targets in its order, reached or not by a candidate."""
    found = {(row.scenario, row.metric): row for row in rows(record, candidate)}
    listed = []
    for scenario in (*scenarios_of(record), ALL):
        wanted = record.suite.targets.get(scenario, {})
        for metric in ordered(wanted):
            row = found.get((scenario, metric))
            value = None if row is None else row.value
            n = 0 if row is None else row.judgement.n
            reached = None if value is None else _reaches(metric, value, wanted[metric])
            listed.append(Target(scenario, metric, wanted[metric], value, reached, n))
    return tuple(listed)


def _reaches(metric: str, value: float, target: float) -> bool:
    higher = metric not in METRICS or METRICS[metric].higher_is_better
    return value >= target if higher else value <= target
