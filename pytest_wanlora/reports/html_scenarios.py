"""What the HTML page says of each scenario: videos side by side, and every comparison with its plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from pytest_wanlora.metrics import METRICS, grade
from pytest_wanlora.reports import plots, sentences, summary
from pytest_wanlora.reports.html_checkpoints import Anchors, Mark, change_of, mark, title_of, value_of
from pytest_wanlora.reports.html_text import label
from pytest_wanlora.reports.i18n import OUTCOMES
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict
from pytest_wanlora.verdict.reasons import aside
from pytest_wanlora.verdict.standing import interval_words, standing

if TYPE_CHECKING:
    from pytest_wanlora.baseline.store import Prompt
    from pytest_wanlora.reports.html_previews import Place, Previews
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
class Side:
    """One video of a pair.

    Attributes:
        role: `"Baseline"` or `"Candidate"`.
        clip: Its name in the page, None where there is none to show.
        words: Why there is none, or what is wrong with the video.
        link: File of a preview that was left out.
    """

    role: str
    clip: str | None
    words: str
    link: str | None = None


@dataclass(frozen=True)
class Take:
    """One seed of a player.

    Attributes:
        seed: Of both videos.
        sides: The baseline's and the candidate's; the candidate's alone where there is no baseline.
        note: Metrics of which it is the worst.
    """

    seed: int
    sides: tuple[Side, ...]
    note: str


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
        takes: Its seeds; empty where no video was made.
        first: Index of the take to show first: the worst of what is worst.
        playable: A take has a video to show.
        absent: Where none has, why.
        reasons: What several items give as their reason, once.
        seeds_table: Header and rows of the scores behind the plots.
    """

    anchor: str
    candidate: str
    index: int
    outcome: Mark
    story: str
    items: tuple[ItemView, ...]
    takes: tuple[Take, ...]
    first: int
    playable: bool
    absent: tuple[str, ...]
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
        panels: By candidate.
    """

    anchor: str
    number: str
    name: str
    prompt: Prompt | None
    panels: tuple[Panel, ...]


def scenes(record: RunRecord, anchors: Anchors, previews: Previews) -> tuple[Scene, ...]:
    """All scenarios in the suite's order, the pooled one last if anything was judged there."""
    made = []
    for scenario in (*anchors.scenarios, ALL):
        panels = [_panel(record, anchors, previews, scenario, name) for name in anchors.candidates]
        shown = tuple(panel for panel in panels if panel.items or panel.takes)
        if not shown:
            continue
        number = "" if scenario == ALL else str(anchors.scenarios.index(scenario) + 1)
        made.append(
            Scene(anchors.scene(scenario), number, scenario, record.suite.prompts.get(scenario), shown)
        )
    return tuple(made)


def _panel(record: RunRecord, anchors: Anchors, previews: Previews, scenario: str, candidate: str) -> Panel:
    judged = [j for j in record.judgements if (j.candidate, j.scenario) == (candidate, scenario)]
    outcome = summary.outcome(record, candidate, scenario)
    takes = () if scenario == ALL else _takes(record, previews, scenario, candidate, judged)
    items = [
        _item(record, anchors, scenario, metric, [j for j in judged if j.metric == metric])
        for metric in anchors.metrics
        if any(j.metric == metric for j in judged)
    ]
    # the same file is missing for each of them: once is enough
    repeated = tuple(aside for aside, n in Counter(item.aside for item in items).items() if aside and n > 1)
    return Panel(
        anchor=anchors.panel(scenario, candidate),
        candidate=candidate,
        index=anchors.candidates.index(candidate),
        outcome=Mark(_OUTCOMES[outcome.kind], OUTCOMES[outcome.kind].say("en")),
        story=sentences.outcome_text(record, candidate, outcome, "en"),
        items=tuple(replace(item, aside="") if item.aside in repeated else item for item in items),
        takes=takes,
        first=_first(takes, judged),
        playable=any(side.clip for take in takes for side in take.sides),
        absent=tuple(
            dict.fromkeys(f"{side.role}: {side.words}" for take in takes for side in take.sides if side.words)
        ),
        reasons=repeated,
        seeds_table=_seeds_table(record, candidate, scenario),
    )


def _item(
    record: RunRecord, anchors: Anchors, scenario: str, metric: str, judged: Sequence[Judgement]
) -> ItemView:
    compared = next((j for j in judged if j.kind == "regression"), None)
    limit = next((j for j in judged if j.kind == "limit"), None)
    shown = compared or judged[0]
    evidence = shown.evidence
    interval = interval_words(shown)
    if interval and evidence is not None:
        interval = f"{evidence.level:.0%} interval {interval}"
    known = METRICS.get(metric)
    value = value_of(metric, shown.value)
    if metric == "overall" and shown.value is not None:
        value += f" {grade(shown.value)}"
    return ItemView(
        anchor=anchors.item(shown),
        title=title_of(metric),
        better="" if known is None else f"{'higher' if known.higher_is_better else 'lower'} is better",
        baseline=value_of(metric, shown.baseline),
        value=value,
        floors=_floors(shown),
        change="" if compared is None else change_of(metric, compared.change, compared.verdict),
        interval=interval,
        n=shown.n,
        mark=mark(shown.verdict),
        aside=aside(shown),
        limit=None if limit is None else (mark(limit.verdict), _limit(limit, compared)),
        noise=_noise(record, scenario, metric) if compared is not None and standing(compared).open else "",
        plot=None if compared is None else _strip(record, compared),
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


def _limit(judged: Judgement, compared: Judgement | None) -> str:
    bounds = (("at least", judged.minimum), ("at most", judged.maximum))
    demanded = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    if judged.value is None:
        return demanded
    said = f"{demanded}; it is {value_of(judged.metric, judged.value)}, n = {judged.n}"
    if compared is None or compared.n == judged.n or compared.value is None:
        return said
    return f"{said}. {Page.OTHER_COUNT.say('en', limit=judged.n, n=compared.n)}"


def _noise(record: RunRecord, scenario: str, metric: str) -> str:
    for floor in () if record.baseline is None else record.baseline.noise:
        if (floor.scenario, floor.metric) == (scenario, metric) and not floor.resolved:
            return (
                f"chance alone moves it by {plots.percent(floor.floor, signed=False)} with {floor.n} seeds, "
                f"more than the band of {plots.percent(floor.fail, signed=False)} allows; about "
                f"{floor.n_needed} seeds would resolve it"
            )
    return ""


def _strip(record: RunRecord, judged: Judgement) -> Markup | None:
    if judged.change is None or judged.warn is None or not judged.fail:
        return None
    metric = METRICS.get(judged.metric)
    pairs = record.pairs(judged.candidate, judged.scenario, judged.metric) if metric is not None else ()
    changes = {pair.seed: pair.change for pair in pairs}
    evidence = judged.evidence
    low, high = (None, None) if evidence is None else (evidence.low, evidence.high)
    where = "all scenarios" if judged.scenario == ALL else judged.scenario
    bounds = f", interval {interval_words(judged)}" if low is not None else ""
    seeds = f" Seeds: {', '.join(f'{s} {plots.percent(c)}' for s, c in changes.items())}." if changes else ""
    return plots.strip(
        plots.Strip(
            changes=changes,
            change=judged.change,
            low=low,
            high=high,
            warn=judged.warn,
            fail=judged.fail,
            suspicious=judged.fail if metric is not None and metric.two_sided else None,
        ),
        f"Change of {title_of(judged.metric)}, {label(where)}, {label(judged.candidate)}",
        f"{change_of(judged.metric, judged.change, judged.verdict)}{bounds}; plus is worse. Warns from "
        f"{plots.percent(judged.warn)}, fails beyond {plots.percent(judged.fail)}.{seeds}",
    )


def _takes(
    record: RunRecord, previews: Previews, scenario: str, candidate: str, judged: Sequence[Judgement]
) -> tuple[Take, ...]:
    own = {
        v.seed: v
        for v in record.videos
        if v.role == "candidate" and (v.candidate, v.scenario) == (candidate, scenario)
    }
    lost = {f.seed: f.message for f in record.failures if (f.candidate, f.scenario) == (candidate, scenario)}
    baseline = {v.seed: v for v in record.videos if v.role == "baseline" and v.scenario == scenario}
    takes = []
    for seed in sorted(own.keys() | lost.keys()):
        mine = (
            Side("Candidate", None, lost[seed])
            if seed not in own
            else _side(previews, ("candidate", candidate, scenario, seed), own[seed].degenerate)
        )
        sides: tuple[Side, ...] = (mine,)
        if record.baseline is not None:
            if seed in baseline:
                other = _side(previews, ("baseline", "", scenario, seed), baseline[seed].degenerate)
            else:
                other = Side("Baseline", None, "the baseline has no video of this seed")
            sides = (other, mine)
        worst = [
            title_of(j.metric)
            for j in judged
            if j.kind == "regression" and j.worst is not None and j.worst.seed == seed
        ]
        takes.append(Take(seed, sides, f"worst in {', '.join(worst)}" if worst else ""))
    return tuple(takes)


def _side(previews: Previews, place: Place, degenerate: str | None) -> Side:
    shown = previews.shown[place]
    why = {
        "here": "",
        "none": "no preview of this video was kept",
        "missing": "the preview's file is no longer there",
        "unreadable": "the preview's file cannot be read as an mp4",
        "left_out": "left out, to keep this page small enough to send",
    }[shown.fate]
    words = f"degenerate: {degenerate}" if degenerate else ""
    role = "Baseline" if place[0] == "baseline" else "Candidate"
    return Side(role, shown.clip, "; ".join(filter(None, (words, why))), shown.link)


def _first(takes: Sequence[Take], judged: Sequence[Judgement]) -> int:
    """The take to open with: worst in the item with the worst verdict, if it can be seen."""
    ordered = sorted(judged, key=lambda j: (-j.verdict.severity, -(j.change or 0.0)))
    seeds = [each.seed for each in takes]
    for each in ordered:
        if each.worst is not None and each.verdict not in (Verdict.PASS, Verdict.BETTER):
            at = seeds.index(each.worst.seed) if each.worst.seed in seeds else -1
            if at >= 0 and all(side.clip for side in takes[at].sides):
                return at
    seen = [i for i, take in enumerate(takes) if any(side.clip for side in take.sides)]
    return seen[0] if seen else 0


def _seeds_table(record: RunRecord, candidate: str, scenario: str) -> tuple[tuple[str, ...], ...]:
    """Scores of both sides by seed: a header, then the rows."""
    metrics = [m for m in summary.metrics_of(record) if m in METRICS and METRICS[m].level == "video"]
    pairs = {m: {pair.seed: pair for pair in record.pairs(candidate, scenario, m)} for m in metrics}
    seeds = sorted({seed for found in pairs.values() for seed in found})
    if not seeds:
        return ()
    rows = [("Seed", *(title_of(m) for m in metrics))]
    for seed in seeds:
        cells = [_pair_words(m, pairs[m].get(seed)) for m in metrics]
        rows.append((str(seed), *cells))
    return tuple(rows)


def _pair_words(metric: str, pair: Pair | None) -> str:
    if pair is None:
        return ""
    numbers = [value_of(metric, each) for each in (pair.baseline, pair.value)]
    return f"{numbers[0]} \N{RIGHTWARDS ARROW} {numbers[1]} ({plots.worded(pair.change)})"
