"""What the HTML page says of each scenario: videos side by side, and every comparison with its plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from pytest_wanlora.metrics import METRICS, grade
from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import plots, sentences, summary
from pytest_wanlora.reports.html_checkpoints import (
    Anchors,
    Mark,
    mark,
)
from pytest_wanlora.reports.html_player import Player, player_of
from pytest_wanlora.reports.html_run import demand
from pytest_wanlora.reports.html_subject import SubjectView, subject_of
from pytest_wanlora.reports.html_text import label
from pytest_wanlora.reports.i18n import NOTHING, OUTCOMES, change_of, title_of, value_of
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict.judgement import ALL, Judgement
from pytest_wanlora.verdict.reasons import aside
from pytest_wanlora.verdict.standing import interval_words, standing

if TYPE_CHECKING:
    from pytest_wanlora.baseline.contents import Prompt
    from pytest_wanlora.reports.html_previews import Previews
    from pytest_wanlora.results.parts import Pair
    from pytest_wanlora.results.run_record import RunRecord

_OUTCOMES = {
    "success": "pass",
    "slight_loss": "warn",
    "undecided": "unknown",
    "failure": "fail",
    "unmeasured": "unknown",
}


@dataclass(frozen=True)
class ItemView:
    """One comparison, or a limit where nothing is compared.

    Attributes:
        anchor: Its place in the page.
        title: The metric.
        better: Which way is better.
        baseline: As printed.
        value: As printed.
        floors: Of a distance, both without the part that so few videos make by themselves.
        change: In words.
        interval: Of the change; empty where there is none.
        n: Videos it rests on.
        mark: The verdict.
        aside: What is to be said beyond the numbers; the whole reason where there are none.
        limit: The limit judged in the same place, if any: its mark and words.
        noise: What chance alone does, where the band is below it.
        plot: The strip, or None.
        worst: Seed of the worst video, or None.
    """

    anchor: str
    title: str
    better: str
    baseline: str
    value: str
    floors: str
    change: str
    interval: str
    n: int
    mark: Mark
    aside: str
    limit: tuple[Mark, str] | None
    noise: str
    plot: Markup | None
    worst: int | None


@dataclass(frozen=True)
class Panel:
    """One candidate's part of a scenario.

    Attributes:
        anchor: Its place in the page.
        candidate: Its name.
        index: The candidate's.
        outcome: What became of the scenario.
        story: The same in a sentence or two.
        items: Its comparisons.
        reasons: What several items give as their reason, once.
        seeds_table: Header and rows of the scores behind the plots.
        subject: What is shown of the subject, where one was asked for.
    """

    anchor: str
    candidate: str
    index: int
    outcome: Mark
    story: str
    items: tuple[ItemView, ...]
    reasons: tuple[str, ...]
    seeds_table: tuple[tuple[str, ...], ...]
    subject: SubjectView | None = None


@dataclass(frozen=True)
class Scene:
    """One scenario.

    Attributes:
        anchor: Its place in the page.
        number: As in the legend of the plots, empty for all scenarios together.
        name: Its id.
        prompt: What it was rendered from; None for all scenarios together.
        player: Its videos; None where none was made.
        panels: By candidate.
    """

    anchor: str
    number: str
    name: str
    prompt: Prompt | None
    player: Player | None
    panels: tuple[Panel, ...]


def scenes(record: RunRecord, anchors: Anchors, previews: Previews) -> tuple[Scene, ...]:
    """All scenarios in the suite's order, the pooled one last if anything was judged there."""
    made = []
    for scenario in (*anchors.scenarios, ALL):
        player = None if scenario == ALL else player_of(record, anchors, previews, scenario)
        panels = tuple(_panel(record, anchors, previews, scenario, name) for name in anchors.candidates)
        if player is None:
            panels = tuple(panel for panel in panels if panel.items)
        if not panels:
            continue
        number = "" if scenario == ALL else str(anchors.scenarios.index(scenario) + 1)
        prompt = record.suite.prompts.get(scenario)
        made.append(Scene(anchors.scene(scenario), number, scenario, prompt, player, panels))
    return tuple(made)


def _panel(record: RunRecord, anchors: Anchors, previews: Previews, scenario: str, candidate: str) -> Panel:
    language = anchors.language
    judged = [j for j in record.judgements if (j.candidate, j.scenario) == (candidate, scenario)]
    outcome = summary.outcome(record, candidate, scenario)
    items = [
        _item(record, anchors, scenario, metric, [j for j in judged if j.metric == metric])
        for metric in anchors.metrics
        if any(j.metric == metric for j in judged)
    ]
    # the same file is missing for each of them: once is enough
    lost = Counter(item.aside for item in items if item.value == NOTHING)
    repeated = tuple(aside for aside, n in lost.items() if aside and n > 1)
    return Panel(
        anchor=anchors.panel(scenario, candidate),
        candidate=candidate,
        index=anchors.candidates.index(candidate),
        outcome=Mark(_OUTCOMES[outcome.kind], OUTCOMES[outcome.kind].say(language)),
        story=sentences.outcome_text(record, candidate, outcome, language),
        items=tuple(replace(item, aside="") if item.aside in repeated else item for item in items),
        reasons=repeated,
        seeds_table=_seeds_table(record, candidate, scenario, language),
        subject=subject_of(record, previews.folder, candidate, scenario, language),
    )


def _item(
    record: RunRecord, anchors: Anchors, scenario: str, metric: str, judged: Sequence[Judgement]
) -> ItemView:
    compared = next((j for j in judged if j.kind == "regression"), None)
    limit = next((j for j in judged if j.kind == "limit"), None)
    shown = compared or judged[0]
    evidence = shown.evidence
    language = anchors.language
    interval = interval_words(shown, language)
    if interval and evidence is not None:
        interval = Html.INTERVAL_IS.say(language, level=evidence.level, bounds=interval)
    value = value_of(metric, shown.value)
    if metric == "overall" and shown.value is not None:
        value += f" {grade(shown.value)}"
    return ItemView(
        anchor=anchors.item(shown),
        title=title_of(metric, language),
        better=anchors.better(metric),
        baseline=value_of(metric, shown.baseline),
        value=value,
        floors=_floors(shown),
        change="" if compared is None else change_of(metric, compared.change, compared.verdict, language),
        interval=interval,
        n=shown.n,
        mark=mark(shown.verdict, language),
        aside=aside(shown, language),
        limit=None if limit is None else (mark(limit.verdict, language), _limit(limit, compared, language)),
        noise=_noise(record, compared, language) if compared is not None and standing(compared).open else "",
        plot=None if compared is None else _strip(record, compared, anchors),
        worst=None if compared is None or compared.worst is None else compared.worst.seed,
    )


def _floors(judged: Judgement) -> str:
    pair = summary.above_floors(judged)
    if pair is None or not summary.has_floor(judged):
        return ""
    before, after = pair
    return f"{value_of(judged.metric, before)} \N{RIGHTWARDS ARROW} {value_of(judged.metric, after)}"


def _limit(judged: Judgement, compared: Judgement | None, language: Language) -> str:
    demanded = demand(judged.minimum, judged.maximum, language)
    if judged.value is None:
        return demanded
    value = value_of(judged.metric, judged.value)
    said = Html.LIMIT_IS.say(language, demanded=demanded, value=value, n=judged.n)
    if compared is None or compared.n == judged.n or compared.value is None:
        return said
    return f"{said}. {Page.OTHER_COUNT.say(language, limit=judged.n, n=compared.n)}"


def _noise(record: RunRecord, judged: Judgement, language: Language) -> str:
    for floor in summary.noise_floors(record):
        if (floor.scenario, floor.metric) == (judged.scenario, judged.metric) and not floor.resolved:
            return Html.CHANCE_MOVES.say(
                language,
                floor=plots.percent(floor.floor, signed=False),
                n=floor.n,
                band=plots.percent(floor.fail, signed=False),
                enough=floor.n_needed,
            )
    return ""


def _strip(record: RunRecord, judged: Judgement, anchors: Anchors) -> Markup | None:
    if judged.change is None or judged.warn is None or not judged.fail:
        return None
    language, metric, evidence = anchors.language, METRICS.get(judged.metric), judged.evidence
    pairs = record.pairs(judged.candidate, judged.scenario, judged.metric) if metric is not None else ()
    low, high = (None, None) if evidence is None else (evidence.low, evidence.high)
    shown = plots.Strip(
        changes={pair.seed: pair.change for pair in pairs},
        change=judged.change,
        low=low,
        high=high,
        warn=judged.warn,
        fail=judged.fail,
        suspicious=judged.fail if metric is not None and metric.two_sided else None,
        language=language,
    )
    bounds = interval_words(judged, language) if low is not None else ""
    seeds = ", ".join(shown.words(seed, change) for seed, change in shown.changes.items())
    return plots.strip(
        shown,
        Html.CHANGE_OF.say(
            language,
            metric=title_of(judged.metric, language),
            scenario=label(anchors.where(judged.scenario)),
            name=label(judged.candidate),
        ),
        Html.STRIP_WORDS.say(
            language,
            change=change_of(judged.metric, judged.change, judged.verdict, language),
            interval=f", {Html.INTERVAL_IS.say(language, level=evidence.level, bounds=bounds)}"
            if bounds and evidence is not None
            else "",
            warn=plots.percent(judged.warn, signed=False),
            fail=plots.percent(judged.fail, signed=False),
            seeds=Html.SEED_VALUES.say(language, values=seeds) if seeds else "",
        ),
    )


def _seeds_table(
    record: RunRecord, candidate: str, scenario: str, language: Language
) -> tuple[tuple[str, ...], ...]:
    """Scores of both sides by seed: a header, then the rows."""
    metrics = [m for m in summary.metrics_of(record) if m in METRICS and METRICS[m].level == "video"]
    pairs = {m: {pair.seed: pair for pair in record.pairs(candidate, scenario, m)} for m in metrics}
    seeds = sorted({seed for found in pairs.values() for seed in found})
    if not seeds:
        return ()
    rows = [(Html.SEEDS.say(language), *(title_of(m, language) for m in metrics))]
    for seed in seeds:
        cells = [_pair_words(m, pairs[m].get(seed), language) for m in metrics]
        rows.append((str(seed), *cells))
    return tuple(rows)


def _pair_words(metric: str, pair: Pair | None, language: Language) -> str:
    if pair is None:
        return ""
    numbers = [value_of(metric, each) for each in (pair.baseline, pair.value)]
    return f"{numbers[0]} \N{RIGHTWARDS ARROW} {numbers[1]} ({plots.worded(pair.change, language)})"
