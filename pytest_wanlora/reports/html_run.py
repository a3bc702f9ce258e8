"""What the HTML page says of the whole run: courses over checkpoints, limits, chance, training data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import Language, digits
from pytest_wanlora.reports import plots, sentences, trend
from pytest_wanlora.reports.html_checkpoints import Anchors, Mark, mark
from pytest_wanlora.reports.html_text import isolated, label
from pytest_wanlora.reports.i18n import change_of, title_of, value_of
from pytest_wanlora.reports.limits import LimitRow, limit_rows, nearest
from pytest_wanlora.reports.limits import targets as targets_of
from pytest_wanlora.reports.summary import noise_floors
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.verdict.judgement import ALL

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord


@dataclass(frozen=True)
class CourseView:
    """One metric over the checkpoints.

    Attributes:
        title: The metric.
        better: Which way is better.
        plot: Changes against the baseline; None where the metric has no band.
        rows: Scenario, then value, change and mark for each checkpoint.
    """

    title: str
    better: str
    plot: Markup | None
    rows: tuple[tuple[str, tuple[tuple[str, str, Mark], ...]], ...]


@dataclass(frozen=True)
class LimitView:
    """One absolute limit, or a target, of one checkpoint.

    Attributes:
        candidate: Its name.
        place: Metric and scenario.
        demanded: The bound in words.
        value: As printed.
        baseline: The baseline's, as printed; it is not judged.
        n: Videos it rests on.
        room: How far from the bound, in words.
        mark: Kept or not.
        anchor: Where its details are; empty for a target.
        plot: Value beside bound.
    """

    candidate: str
    place: str
    demanded: str
    value: str
    baseline: str
    n: int
    room: str
    mark: Mark
    anchor: str
    plot: Markup | None


@dataclass(frozen=True)
class NoiseView:
    """What chance alone does, as a table.

    Attributes:
        metrics: Titles of the columns.
        rows: Scenario, then for each metric the floor, the band and whether it is resolved; None where
            nothing is known.
        unresolved: Bands that the seeds cannot resolve, in words.
        n: Videos a side at the last look.
    """

    metrics: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str, bool] | None, ...]], ...]
    unresolved: tuple[str, ...]
    n: int


@dataclass(frozen=True)
class TrainingView:
    """The training data beside the verdicts.

    Attributes:
        plot: Shares by category; rare ones hatched.
        shares: Category, prompts and share, for the table.
        candidates: Names of the checkpoints, one column of marks each.
        scenarios: Scenario, category, share, whether it is rare, and the worst verdict of each checkpoint's
            comparisons.
        suspicions: In words.
        correlations: In words.
    """

    plot: Markup
    shares: tuple[tuple[str, int, str], ...]
    candidates: tuple[str, ...]
    scenarios: tuple[tuple[str, str, str, bool, tuple[Mark, ...]], ...]
    suspicions: tuple[str, ...]
    correlations: tuple[str, ...]


def courses(record: RunRecord, anchors: Anchors) -> tuple[CourseView, ...]:
    """Every metric over the checkpoints; empty unless there are several."""
    names = [card.name for card in record.candidates if card.sha256 is not None]
    if len(names) < 2:
        return ()
    return tuple(
        _course(record, anchors, names, metric, points) for metric, points in trend.trend(record).items()
    )


def _course(
    record: RunRecord,
    anchors: Anchors,
    names: list[str],
    metric: str,
    points: tuple[trend.TrendPoint, ...],
) -> CourseView:
    lines, rows = [], []
    language = anchors.language
    strengths = trend.strengths(record)
    epochs = list(dict.fromkeys(name for of in strengths.values() for name in of)) or names
    for scenario in (*anchors.scenarios, ALL):
        own = [point for point in points if point.scenario == scenario]
        if all(point.verdict is None for point in own):
            continue
        pooled = scenario == ALL
        at = 0 if pooled else anchors.scenarios.index(scenario)
        course = tuple(plots.Point(point.change, point.verdict, point.low, point.high) for point in own)
        if not strengths:
            lines.append(plots.Course("Σ" if pooled else str(at + 1), course, pooled=pooled, colour=at))
        elif pooled:
            known = dict(zip(names, course, strict=True))
            for number, (scale, of) in enumerate(strengths.items()):
                spots = tuple(known.get(of.get(name, ""), plots.Point(None, None)) for name in epochs)
                lines.append(plots.Course(digits(scale), spots, colour=number))
        cells = tuple(
            (
                value_of(metric, point.value),
                change_of(metric, point.change, point.verdict, language),
                mark(point.verdict, language),
            )
            for point in own
        )
        rows.append((anchors.where(scenario), cells))
    band = record.suite.tolerances.get(metric)
    title = title_of(metric, language)
    plot = None
    if band and band.get("fail") and lines:
        last = lines[-1].points[-1]
        plot = plots.courses(
            epochs,
            lines,
            warn=band.get("warn", band["fail"]),
            fail=band["fail"],
            title=Html.OVER.say(language, metric=title, count=len(epochs)),
            description=Html.COURSE_WORDS.say(
                language, scenario=label(rows[-1][0]), change=plots.worded(last.change, language)
            ),
        )
    return CourseView(title, anchors.better(metric), plot, tuple(rows))


def limits(record: RunRecord, anchors: Anchors) -> tuple[LimitView, ...]:
    """The absolute limits of all checkpoints."""
    found = [(card.name, row) for card in record.candidates for row in limit_rows(record, card.name)]
    # by limit, so that the checkpoints stand below each other
    places = list(dict.fromkeys(map(_bound_of, (row for _, row in found))))
    found.sort(key=lambda each: places.index(_bound_of(each[1])))
    return tuple(_limit(name, anchors, row) for name, row in found)


def _bound_of(row: LimitRow) -> tuple[str, str, float | None, float | None]:
    return row.scenario, row.metric, row.minimum, row.maximum


def _limit(candidate: str, anchors: Anchors, row: LimitRow) -> LimitView:
    language = anchors.language
    demanded = demand(row.minimum, row.maximum, language)
    place, value = _where(row.metric, row.scenario, anchors), value_of(row.metric, row.value)
    room = ""
    bound, _ = nearest(row.minimum, row.maximum, row.value)
    if row.margin is not None and row.value is not None and bound is not None:
        side = Html.ROOM_ABOVE if row.value >= bound else Html.ROOM_BELOW
        room = side.say(language, room=plots.percent(row.margin, signed=False))
    return LimitView(
        candidate=candidate,
        place=place,
        demanded=demanded,
        value=value,
        baseline=value_of(row.metric, row.baseline),
        n=row.n,
        room=room,
        mark=mark(row.judgement.verdict, language),
        anchor=anchors.item(row.judgement),
        plot=plots.bullet(
            row.value,
            row.minimum,
            row.maximum,
            f"{label(place)}, {label(candidate)}",
            Html.BULLET_WORDS.say(language, value=value, demanded=demanded),
        ),
    )


def demand(minimum: float | None, maximum: float | None, language: Language) -> str:
    """What a limit demands, in words."""
    bounds = ((Html.AT_LEAST, minimum), (Html.AT_MOST, maximum))
    said = [phrase.say(language, bound=bound) for phrase, bound in bounds if bound is not None]
    return Html.AND.say(language).join(said)


def targets(record: RunRecord, anchors: Anchors) -> tuple[LimitView, ...]:
    """The suite's targets, reached or not; they gate nothing."""
    language = anchors.language
    reached = {
        True: Mark("pass", Html.REACHED.say(language)),
        False: Mark("warn", Html.NOT_REACHED.say(language)),
        None: mark(None, language),
    }
    made = []
    for card in record.candidates:
        for each in targets_of(record, card.name):
            higher = each.metric not in METRICS or METRICS[each.metric].higher_is_better
            made.append(
                LimitView(
                    candidate=card.name,
                    place=_where(each.metric, each.scenario, anchors),
                    demanded=(Html.AT_LEAST if higher else Html.AT_MOST).say(language, bound=each.target),
                    value=value_of(each.metric, each.value),
                    baseline="",
                    n=each.n,
                    room="",
                    mark=reached[each.reached],
                    anchor="",
                    plot=None,
                )
            )
    return tuple(made)


def _where(metric: str, scenario: str, anchors: Anchors) -> str:
    return f"{title_of(metric, anchors.language)}, {anchors.where(scenario)}"


def noise(record: RunRecord, anchors: Anchors) -> NoiseView | None:
    """Noise floors of the baseline; None where it has none."""
    floors = noise_floors(record)
    if not floors:
        return None
    metrics = tuple(m for m in METRICS if any(f.metric == m for f in floors))
    found = {(f.scenario, f.metric): f for f in floors}
    rows = []
    for scenario in dict.fromkeys(f.scenario for f in floors):
        cells = [found.get((scenario, m)) for m in metrics]
        rows.append(
            (
                anchors.where(scenario),
                tuple(
                    None
                    if f is None
                    else (
                        plots.percent(f.floor, signed=False),
                        plots.percent(f.fail, signed=False),
                        f.resolved,
                    )
                    for f in cells
                ),
            )
        )
    return NoiseView(
        metrics=tuple(title_of(m, anchors.language) for m in metrics),
        rows=tuple(rows),
        unresolved=tuple(
            Html.MOVES.say(
                anchors.language,
                place=_where(f.metric, f.scenario, anchors),
                floor=plots.percent(f.floor, signed=False),
                n=f.n,
                band=plots.percent(f.fail, signed=False),
                enough=f.n_needed,
            )
            for f in floors
            if not f.resolved
        ),
        n=max(f.n for f in floors),
    )


def training(record: RunRecord, anchors: Anchors) -> TrainingView | None:
    """The training data, where the user named it."""
    card, language = record.training_data, anchors.language
    if card is None:
        return None
    rare = {each.category for each in card.scenarios.values() if each.rare}
    listed = ", ".join(f"{name} {share:.1%}" for name, share in card.shares.items())
    several = len(record.candidates) > 1
    suspicions = tuple(
        (f"{isolated(each.candidate)}: " if several else "")
        + sentences.suspicion_text(each, language, isolated)
        for each in card.suspicions
    )
    correlations = tuple(
        (f"{isolated(each.candidate)}: " if several else "") + sentences.correlation_text(each, language)
        for each in card.correlations
    )
    return TrainingView(
        plot=plots.shares(
            card.shares,
            rare,
            Html.BY_CATEGORY.say(language),
            Html.RARE_ARE.say(
                language, listed=listed, rare=", ".join(sorted(rare)) or Html.NONE_RARE.say(language)
            ),
        ),
        shares=tuple((name, card.counts.get(name, 0), f"{share:.1%}") for name, share in card.shares.items()),
        candidates=tuple(each.name for each in record.candidates),
        scenarios=tuple(
            (
                name,
                each.category,
                Html.UNKNOWN.say(language) if each.share is None else f"{each.share:.1%}",
                each.rare,
                tuple(_worst(record, candidate.name, name, language) for candidate in record.candidates),
            )
            for name, each in card.scenarios.items()
        ),
        suspicions=suspicions,
        correlations=correlations,
    )


def _worst(record: RunRecord, candidate: str, scenario: str, language: Language) -> Mark:
    own = [
        judged.verdict
        for judged in record.judgements
        if (judged.kind, judged.candidate, judged.scenario) == ("regression", candidate, scenario)
    ]
    return mark(max(own, key=lambda verdict: verdict.severity, default=None), language)


def flat(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values of a table; what is nested as JSON."""
    return tuple(
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in values.items()
    )


def when(time: str) -> str:
    """A time of the record for people; as it stands where it is none.

    Example:
        >>> when("2026-11-22T10:45:01+00:00")
        '2026-11-22 10:45 UTC'
    """
    try:
        known = datetime.fromisoformat(time)
    except ValueError:
        return time
    return f"{known:%Y-%m-%d %H:%M} {known.tzname() or ''}".rstrip()
