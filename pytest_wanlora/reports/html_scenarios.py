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
    NOTHING,
    Anchors,
    Mark,
    change_of,
    mark,
    saved_as,
    title_of,
    value_of,
)
from pytest_wanlora.reports.html_previews import place_of
from pytest_wanlora.reports.html_run import demand
from pytest_wanlora.reports.html_text import label
from pytest_wanlora.reports.i18n import OUTCOMES
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict
from pytest_wanlora.verdict.reasons import aside
from pytest_wanlora.verdict.standing import interval_words, standing

if TYPE_CHECKING:
    from pytest_wanlora.baseline.store import Prompt
    from pytest_wanlora.reports.html_previews import Previews
    from pytest_wanlora.results.parts import Pair, Video
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
class Shot:
    """One video of a row of the grid.

    Attributes:
        clip: Its name in the page, or its address beside it; None where there is none to show.
        words: Why there is none, or what is wrong with the video.
        beside: It is not in the page.
        file: What it is saved as.
    """

    clip: str | None
    words: str
    beside: bool = False
    file: str = ""


@dataclass(frozen=True)
class Take:
    """One seed: a row of the grid.

    Attributes:
        seed: Of all its videos.
        shots: The baseline's if there is one, then each checkpoint's.
        worst: Metrics and checkpoints of which it is the worst; empty for most.
    """

    seed: int
    shots: tuple[Shot, ...]
    worst: str


@dataclass(frozen=True)
class Player:
    """The videos of a scenario: baseline and checkpoints side by side, one seed at a time.

    Attributes:
        sides: Role, name and the checkpoint's index, -1 for the baseline.
        takes: By seed.
        first: Index of the take to show first: the worst of what is worst.
        playable: A take has a video to show.
        absent: Where none has, why.
    """

    sides: tuple[tuple[str, str, int], ...]
    takes: tuple[Take, ...]
    first: int

    @property
    def playable(self) -> bool:
        """Whether there is a video to show."""
        return any(shot.clip for take in self.takes for shot in take.shots)

    @property
    def absent(self) -> tuple[str, ...]:
        """Why there is none, each reason once."""
        told = (
            f"{side[0]}: {shot.words}"
            for take in self.takes
            for side, shot in zip(self.sides, take.shots, strict=True)
            if shot.words
        )
        return tuple(dict.fromkeys(told))


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
    """

    anchor: str
    candidate: str
    index: int
    outcome: Mark
    story: str
    items: tuple[ItemView, ...]
    reasons: tuple[str, ...]
    seeds_table: tuple[tuple[str, ...], ...]


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
        player = None if scenario == ALL else _player(record, anchors, previews, scenario)
        panels = tuple(_panel(record, anchors, scenario, name) for name in anchors.candidates)
        if player is None:
            panels = tuple(panel for panel in panels if panel.items)
        if not panels:
            continue
        number = "" if scenario == ALL else str(anchors.scenarios.index(scenario) + 1)
        prompt = record.suite.prompts.get(scenario)
        made.append(Scene(anchors.scene(scenario), number, scenario, prompt, player, panels))
    return tuple(made)


def _panel(record: RunRecord, anchors: Anchors, scenario: str, candidate: str) -> Panel:
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
    evidence = judged.evidence
    if evidence is None or judged.value is None or judged.baseline is None:
        return ""
    if evidence.baseline_floor is None or evidence.value_floor is None:
        return ""
    before, after = judged.baseline - evidence.baseline_floor, judged.value - evidence.value_floor
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
    for floor in () if record.baseline is None else record.baseline.noise:
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
        level=0.9 if evidence is None else evidence.level,
        language=language,
    )
    bounds = interval_words(judged, language) if low is not None and evidence is not None else ""
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
            interval=f", {Html.INTERVAL_IS.say(language, level=shown.level, bounds=bounds)}"
            if bounds
            else "",
            warn=plots.percent(judged.warn, signed=False),
            fail=plots.percent(judged.fail, signed=False),
            seeds=Html.SEED_VALUES.say(language, values=seeds) if seeds else "",
        ),
    )


def _player(record: RunRecord, anchors: Anchors, previews: Previews, scenario: str) -> Player | None:
    """All videos of a scenario; None where nothing was to be rendered."""
    language = anchors.language
    own: dict[str, dict[int, Video]] = {"": {}, **{name: {} for name in anchors.candidates}}
    for video in record.videos:
        name = "" if video.role == "baseline" else video.candidate
        if video.scenario == scenario and name in own:
            own[name][video.seed] = video
    lost = {(f.candidate, f.seed): f.message for f in record.failures if f.scenario == scenario}
    made = [name for name in anchors.candidates if own[name] or any(at[0] == name for at in lost)]
    seeds = {seed for name in made for seed in own[name]} | {seed for _, seed in lost}
    if not seeds:
        return None
    sides = [(Html.ROLE_CANDIDATE.say(language), name, anchors.candidates.index(name)) for name in made]
    if record.baseline is not None:
        sides.insert(0, (Html.ROLE_BASELINE.say(language), record.baseline.name, -1))
    judged = [j for j in record.judgements if j.scenario == scenario]
    takes = []
    for seed in sorted(seeds):
        shots = []
        for _, name, index in sides:
            found = own["" if index < 0 else name].get(seed)
            if found is None:
                shots.append(Shot(None, _absent(lost, name, index, seed, language)))
            else:
                shots.append(_shot(previews, found, anchors, index))
        takes.append(Take(seed, tuple(shots), _worst_in(judged, seed, anchors)))
    return Player(tuple(sides), tuple(takes), _first(takes, judged))


def _absent(lost: dict[tuple[str, int], str], name: str, index: int, seed: int, language: Language) -> str:
    if index < 0:
        return Html.NO_SEED.say(language)
    return lost.get((name, seed)) or Html.KEPT_NONE.say(language)


def _worst_in(judged: Sequence[Judgement], seed: int, anchors: Anchors) -> str:
    found = [
        (title_of(j.metric, anchors.language), j.candidate)
        for j in judged
        if j.kind == "regression" and j.worst is not None and j.worst.seed == seed and _told(j)
    ]
    several = len(anchors.candidates) > 1
    return ", ".join(dict.fromkeys(f"{title} ({label(name)})" if several else title for title, name in found))


def _told(judged: Judgement) -> bool:
    return judged.verdict not in (Verdict.PASS, Verdict.BETTER)


def _shot(previews: Previews, video: Video, anchors: Anchors, index: int) -> Shot:
    language, shown = anchors.language, previews.shown[place_of(video)]
    why = {"none": Html.KEPT_NONE, "missing": Html.GONE, "unreadable": Html.UNREADABLE}
    words = [Html.DEGENERATE.say(language, why=video.degenerate)] if video.degenerate else []
    if shown.fate in why:
        words.append(why[shown.fate].say(language))
    return Shot(
        shown.clip or shown.link,
        "; ".join(words),
        beside=shown.fate == "left_out",
        file=saved_as(anchors, video.scenario, video.seed, index),
    )


def _first(takes: Sequence[Take], judged: Sequence[Judgement]) -> int:
    """The take to open with: worst in the item with the worst verdict, if it can be seen."""
    ordered = sorted(judged, key=lambda j: (-j.verdict.severity, -(j.change or 0.0)))
    seeds = [each.seed for each in takes]
    for each in ordered:
        if each.worst is not None and _told(each):
            at = seeds.index(each.worst.seed) if each.worst.seed in seeds else -1
            if at >= 0 and any(shot.clip for shot in takes[at].shots):
                return at
    seen = [i for i, take in enumerate(takes) if any(shot.clip for shot in take.shots)]
    return seen[0] if seen else 0


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
