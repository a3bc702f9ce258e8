"""Sections of the Markdown page that speak of one checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports import analysis, escaping, i18n, sentences
from pytest_wanlora.reports.markdown_tables import Scribe, bullets, heading, table
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, Verdict

if TYPE_CHECKING:
    from pytest_wanlora.reports.analysis import Average, LimitRow, OutcomeKind, Row
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord

__all__ = ["conclusions", "findings"]

_PROMPT = 300
_OUTCOME_MARKS: dict[OutcomeKind, str] = {
    "success": i18n.MARKS[Verdict.PASS],
    "slight_loss": i18n.MARKS[Verdict.WARN],
    "failure": i18n.MARKS[Verdict.FAIL],
    "unmeasured": i18n.MARKS[Verdict.MISSING_BASELINE],
}


def findings(record: RunRecord, card: CandidateCard, scribe: Scribe, level: int) -> Iterator[str]:
    """What was found of one checkpoint: failures, tables, scenarios, limits, evidence, targets.

    Args:
        record: The run.
        card: The checkpoint.
        scribe: The language.
        level: Of the sections' headings.
    """
    yield from _failing(record, card.name, scribe, level)
    yield from _results(record, card.name, scribe, level)
    yield from _scenarios(record, card.name, scribe, level)
    yield from _limits(record, card.name, scribe, level)
    yield from _evidence(record, card.name, scribe, level)
    yield from _targets(record, card.name, scribe, level)


def conclusions(record: RunRecord, card: CandidateCard, scribe: Scribe, level: int) -> Iterator[str]:
    """What to do next about one checkpoint.

    Args:
        record: The run.
        card: The checkpoint.
        scribe: The language.
        level: Of the sections' headings.
    """
    yield from _next(record, card.name, scribe, level)


def _failing(record: RunRecord, candidate: str, scribe: Scribe, level: int) -> Iterator[str]:
    decision = record.decision(candidate)
    if not (decision.failing or decision.unmeasured or decision.tests):
        return
    yield heading(level, scribe.say(Page.FAILED_ITEMS))
    yield scribe.say(Page.FAILED_NOTE)
    compared = {row.judgement.item: row for row in analysis.rows(record, candidate)}
    lines = []
    # a run that lacks its baseline fails everywhere for one reason: say it once
    grouped: dict[tuple[Verdict, str], list[ItemId]] = {}
    # what is wrong with the file comes first: it may be why all the rest fails
    for judged in sorted(decision.failing, key=lambda each: (each.kind != "checkpoint", -_severity(each))):
        why = _why(judged, compared.get(judged.item), scribe)
        grouped.setdefault((judged.verdict, why), []).append(judged.item)
    for (verdict, why), of in grouped.items():
        if len(of) == 1 and why.startswith(f"{scribe.metric(of[0].metric)} "):
            lines.append(f"{scribe.mark(verdict)}: {scribe.place(of[0].scenario)}: {why}")
        else:
            lines.append(f"{scribe.mark(verdict)}: {_places(of, scribe)} - {why}")
    lines += [
        f"{i18n.MARKS[Verdict.FAIL]} {scribe.say(Page.TEST)} {scribe.name(test.name)}: "
        + sentences.item_outcome_text(test, scribe.language, scribe.text)
        for test in decision.tests
    ]
    if decision.unmeasured:
        unmeasured = i18n.OUTCOMES["unmeasured"].say(scribe.language)
        places = _places(decision.unmeasured, scribe)
        lines.append(f"{i18n.MARKS[Verdict.MISSING_BASELINE]} {unmeasured}: {places}")
    yield bullets(lines)


def _severity(judged: Judgement) -> float:
    """The loss in fail bands; what has no number of its own comes before all that has."""
    if judged.verdict is not Verdict.FAIL or judged.change is None or not judged.fail:
        return math.inf
    return judged.change / judged.fail


def _why(judged: Judgement, row: Row | None, scribe: Scribe) -> str:
    """Why an item fails: by its numbers where they say it all, else in the words of the gate."""
    if judged.verdict is Verdict.FAIL and judged.value is not None:
        if row is not None and row.baseline is not None:
            return sentences.comparison_line(row, scribe.language)
        if judged.kind == "limit":
            value, bounds = sentences.value_text(judged.metric, judged.value), _bounds(judged)
            return scribe.say(Page.LIMIT_LINE, value=value, bounds=bounds)
    return scribe.reason(judged.reason)


def _bounds(of: Judgement | LimitRow) -> str:
    signs = (("≥", of.minimum), ("≤", of.maximum))
    return ", ".join(f"{sign} {bound:g}" for sign, bound in signs if bound is not None)


def _places(items: Sequence[ItemId], scribe: Scribe) -> str:
    """Items by scenario; the file's own have none."""
    by_place: dict[str, list[str]] = {}
    for item in items:
        place = scribe.say(Page.FILE) if item.kind == "checkpoint" else scribe.place(item.scenario)
        metrics = by_place.setdefault(place, [])
        if item.kind != "checkpoint":
            limit = f" ({scribe.say(Page.ABSOLUTE)})" if item.kind == "limit" else ""
            metrics.append(scribe.metric(item.metric) + limit)
    return "; ".join(f"{place}: {', '.join(of)}" if of else place for place, of in by_place.items())


def _results(record: RunRecord, candidate: str, scribe: Scribe, level: int) -> Iterator[str]:
    found = analysis.rows(record, candidate)
    if not found:
        return
    yield heading(level, scribe.say(Page.RESULTS))
    yield heading(level + 1, scribe.say(Page.OVERALL_TABLE))
    base = _base(record)
    places = [row for row in found if row.scenario != ALL]
    if places:
        head = scribe.head(
            Page.SCENARIO,
            Page.METRIC,
            base,
            Page.CANDIDATE,
            Page.DIFFERENCE,
            Page.CHANGE,
            Page.VIDEOS,
            Page.MARK,
        )
        yield table(head, _comparisons(places, scribe), left=2)
    yield heading(level + 1, scribe.say(Page.AVERAGES))
    head = scribe.head(Page.METRIC, base, Page.CANDIDATE, Page.DIFFERENCE, Page.CHANGE, Page.MARK)
    yield table(head, _averages(record, candidate, scribe))
    yield scribe.say(Page.AVERAGES_NOTE, scenarios=len(analysis.scenarios_of(record)))


def _base(record: RunRecord) -> Page:
    accepted = record.baseline is not None and record.baseline.sha256 is not None
    return Page.ACCEPTED if accepted else Page.BASE_MODEL


def _comparisons(found: Sequence[Row], scribe: Scribe) -> Iterator[list[str]]:
    previous = ""
    for row in found:
        yield [
            f"**{scribe.place(row.scenario)}**" if row.scenario != previous else "",
            scribe.metric(row.metric),
            *_numbers(row, scribe),
            str(row.judgement.n),
            scribe.mark(row.judgement.verdict),
        ]
        previous = row.scenario


def _numbers(row: Row, scribe: Scribe) -> list[str]:
    return [
        sentences.value_text(row.metric, row.baseline),
        sentences.value_text(row.metric, row.value),
        sentences.difference_text(row.metric, row.difference, scribe.language),
        sentences.change_text(row.relative),
    ]


def _averages(record: RunRecord, candidate: str, scribe: Scribe) -> Iterator[list[str]]:
    pooled = {row.metric: row for row in analysis.rows(record, candidate) if row.scenario == ALL}
    means = analysis.averages(record, candidate)
    for metric in analysis.metrics_of(record):
        row, mean = pooled.get(metric), means.get(metric)
        distance = metric in METRICS and METRICS[metric].level == "set"
        if distance and mean is not None:
            title = scribe.say(Page.MEAN_OF, metric=scribe.metric(metric))
            yield [title, *_mean(metric, mean, scribe), scribe.mark(None)]
        if distance and row is not None:
            title = scribe.say(Page.POOLED, metric=scribe.metric(metric))
            yield [title, *_numbers(row, scribe), scribe.mark(row.judgement.verdict)]
        elif not distance and mean is not None:
            verdict = None if row is None else row.judgement.verdict
            yield [scribe.metric(metric), *_mean(metric, mean, scribe), scribe.mark(verdict)]


def _mean(metric: str, mean: Average, scribe: Scribe) -> list[str]:
    return [
        sentences.value_text(metric, mean.baseline),
        sentences.value_text(metric, mean.value),
        sentences.difference_text(metric, mean.change, scribe.language),
        sentences.change_text(mean.relative),
    ]


def _scenarios(record: RunRecord, candidate: str, scribe: Scribe, level: int) -> Iterator[str]:
    yield heading(level, scribe.say(Page.ANALYSIS))
    for found in analysis.outcomes(record, candidate):
        prompt = record.suite.prompts[found.scenario]
        outcome = i18n.OUTCOMES[found.kind].say(scribe.language)
        place = f"{scribe.name(found.scenario)} ({scribe.text(prompt.category, escaping.CELL)})"
        yield heading(level + 1, f"{_OUTCOME_MARKS[found.kind]} {place} - {outcome}")
        yield sentences.outcome_text(record, candidate, found, scribe.language)
        lines = [*sentences.outcome_lines(record, candidate, found, scribe.language)]
        yield bullets([*lines, scribe.say(Page.PROMPT, prompt=scribe.text(prompt.prompt, _PROMPT))])


def _limits(record: RunRecord, candidate: str, scribe: Scribe, level: int) -> Iterator[str]:
    found = analysis.limit_rows(record, candidate)
    yield heading(level, scribe.say(Page.RAPA if analysis.is_rapa(record) else Page.LIMITS))
    if not found:
        yield scribe.say(Page.NO_LIMITS)
        return
    broken = [row for row in found if row.judgement.verdict.fails]
    known = [(row.margin, row) for row in found if row.margin is not None]
    if broken:
        yield scribe.say(Page.LIMITS_BROKEN, broken=len(broken), limits=len(found))
    elif known:
        margin, row = min(known, key=lambda each: each[0])
        place, metric = scribe.place(row.scenario), scribe.metric(row.metric)
        yield scribe.say(Page.LIMITS_HOLD, limits=len(found), margin=margin, metric=metric, place=place)
    summaries = analysis.limit_summaries(record, candidate)
    listed = [*summaries, *(row for row in found if row not in summaries)]
    head = scribe.head(
        Page.LIMIT, Page.SCENARIO, _base(record), Page.CANDIDATE, Page.MARGIN, Page.VIDEOS, Page.MARK
    )
    yield table(head, [_limit(row, scribe) for row in listed], left=2)
    if not analysis.published_scorers(record):
        yield scribe.say(Page.OWN_SCORERS)


def _limit(row: LimitRow, scribe: Scribe) -> list[str]:
    each = row.scenario == analysis.EACH
    return [
        f"**{scribe.metric(row.metric)} {_bounds(row)}**",
        scribe.say(Page.EACH_SCENARIO) if each else scribe.place(row.scenario),
        _shared(row.metric, row.baseline, row.baseline_share),
        _shared(row.metric, row.value, row.share),
        "-" if row.margin is None else f"{row.margin:+.1%}",
        str(row.n),
        scribe.mark(row.judgement.verdict),
    ]


def _shared(metric: str, value: float | None, share: float | None) -> str:
    number = sentences.value_text(metric, value)
    return number if share is None else f"{number} ({share:.1%})"


def _evidence(record: RunRecord, candidate: str, scribe: Scribe, level: int) -> Iterator[str]:
    found = [row for row in analysis.rows(record, candidate) if row.value is not None]
    yield heading(level, scribe.say(Page.EVIDENCE))
    if not found:
        yield scribe.say(Page.NOTHING)
        return
    weak = [row for row in found if row.judgement.evidence is not None and row.judgement.evidence.weak]
    untested = [row for row in found if _untested(row.judgement)]
    said = []
    if weak:
        said.append(scribe.say(Page.SOME_WEAK, weak=len(weak), all=len(found)))
    if untested:
        said.append(scribe.say(Page.SOME_UNTESTED, untested=len(untested), all=len(found)))
    yield " ".join(said or [scribe.say(Page.ALL_SETTLED)])
    head = scribe.head(
        Page.SCENARIO, Page.METRIC, Page.STANDING, Page.VIDEOS, Page.LOSS, Page.INTERVAL, Page.P_VALUE
    )
    yield table(head, [_sure(row.judgement, scribe) for row in found], left=3)


def _untested(judged: Judgement) -> bool:
    return judged.evidence is None or not judged.evidence.tested


def _sure(judged: Judgement, scribe: Scribe) -> list[str]:
    evidence = judged.evidence
    place = [scribe.place(judged.scenario), scribe.metric(judged.metric)]
    loss = "-" if judged.change is None else sentences.change_text(judged.change)
    standing = scribe.say(Page.SETTLED)
    interval = p_value = "-"
    if evidence is not None and evidence.low is not None and evidence.high is not None:
        ends = f"{sentences.change_text(evidence.low)} ~ {sentences.change_text(evidence.high)}"
        interval = f"{ends} ({evidence.level:.0%})"
    if evidence is not None and evidence.p_adjusted is not None:
        p_value = f"{evidence.p_adjusted:.3f}" if evidence.p_adjusted >= 0.001 else "<0.001"
    if _untested(judged):
        standing = scribe.say(Page.BAND_ALONE)
    elif evidence is not None and evidence.weak:
        enough = evidence.n_enough
        standing = scribe.say(
            Page.NEVER_ENOUGH if enough is None else Page.ENOUGH, n_enough=f"{enough or 0:,}"
        )
    return [*place, standing, str(judged.n), loss, interval, p_value.replace("<", "&lt;")]


def _targets(record: RunRecord, candidate: str, scribe: Scribe, level: int) -> Iterator[str]:
    found = analysis.targets(record, candidate)
    if not found:
        return
    yield heading(level, scribe.say(Page.TARGETS))
    states = {True: scribe.say(Page.REACHED), False: scribe.say(Page.OPEN), None: scribe.say(Page.NONE)}
    body = [
        [
            scribe.place(each.scenario),
            scribe.metric(each.metric),
            states[each.reached],
            f"{each.target:g}",
            sentences.value_text(each.metric, each.value),
            str(each.n),
        ]
        for each in found
    ]
    head = scribe.head(Page.SCENARIO, Page.METRIC, Page.MARK, Page.TARGET, Page.NOW, Page.VIDEOS)
    yield table(head, body, left=3)


def _next(record: RunRecord, candidate: str, scribe: Scribe, level: int) -> Iterator[str]:
    steps = analysis.next_steps(record, candidate)
    yield heading(level, scribe.say(Page.NEXT))
    if not steps:
        yield scribe.say(Page.NOTHING_NEXT)
    commands = [step.command for step in steps]
    for number, step in enumerate(steps, start=1):
        line = f"**{number}.** {sentences.step_text(step, scribe.language, scribe.name)}"
        yield line
        # several steps may end in one command: show it behind the last of them that stand together
        if step.command and step.command not in commands[number : number + 1]:
            yield scribe.command(step.command)
