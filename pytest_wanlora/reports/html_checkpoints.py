"""What the HTML page says of each checkpoint: the verdict, what failed, and the matrix of marks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import html_card, next_steps, plots, sentences, summary
from pytest_wanlora.reports.html_card import Fact
from pytest_wanlora.reports.html_text import isolated, visible
from pytest_wanlora.reports.i18n import OUTCOMES, TESTS, VERDICTS, change_of, title_of, value_of
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict.decision import Cause, RunOutcome
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, PytestOutcome, Verdict
from pytest_wanlora.verdict.reasons import aside, reason

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard, Failure
    from pytest_wanlora.results.run_record import RunRecord


@dataclass(frozen=True)
class Mark:
    """A verdict for the eye: a shape and a word, and a colour on top.

    Attributes:
        kind: Class of the style sheet and name of the icon.
        word: What it says.
    """

    kind: str
    word: str


_KINDS = {
    Verdict.BETTER: "better",
    Verdict.PASS: "pass",
    Verdict.WARN: "warn",
    Verdict.UNDECIDED: "unknown",
    Verdict.FAIL: "fail",
    Verdict.DEGENERATE: "fail",
}
# lines of what fails that are shown at once; of what could only not be judged, where nothing else fails
_TELLING, _FEW = 6, 3


def mark(verdict: Verdict | None, language: Language = "en") -> Mark:
    """The mark of a verdict; None is an item that nobody judged."""
    if verdict is None:
        return Mark("unknown", OUTCOMES["unmeasured"].say(language))
    # one without a kind could not be judged
    return Mark(_KINDS.get(verdict, "unknown"), VERDICTS[verdict].say(language))


def _of_test(outcome: PytestOutcome, language: Language) -> Mark:
    failed = outcome in (PytestOutcome.FAILED, PytestOutcome.ERROR)
    kind = "pass" if outcome is PytestOutcome.PASSED else "fail" if failed else "unknown"
    # what stands behind it is told beside the mark
    return Mark(kind, re.split("[:,(]", TESTS[outcome].say(language))[0].strip())


class Anchors:
    """Names of places in the page: made of numbers, so that no name of a record can break one.

    Args:
        record: The run.
        language: Of the page.
    """

    def __init__(self, record: RunRecord, language: Language = "en") -> None:
        self.language: Language = language
        judged: list[Judgement | ItemId] = [*record.judgements, *record.expected]
        known = [*record.suite.prompts]
        others = sorted({each.scenario for each in judged} - {*known, "", ALL})
        #: Scenario ids in the order of the page, without the pooled one.
        self.scenarios: tuple[str, ...] = (*known, *others)
        self.candidates = [card.name for card in record.candidates]
        metrics = summary.metrics_of(record)
        asked = {each.metric for each in judged if each.kind in ("limit", "question")} - set(metrics)
        self.metrics: tuple[str, ...] = (*metrics, *summary.ordered(asked))

    def where(self, scenario: str) -> str:
        """A scenario's name, or that it is all of them."""
        return Page.ALL_SCENARIOS.say(self.language) if scenario == ALL else scenario

    def better(self, metric: str) -> str:
        """Which way of a metric is better; empty where nobody knows."""
        known = METRICS.get(metric)
        if known is None:
            return ""
        return (Html.HIGHER_BETTER if known.higher_is_better else Html.LOWER_BETTER).say(self.language)

    def scene(self, scenario: str) -> str:
        """Of a scenario's section."""
        return "all" if scenario == ALL else f"s{self.scenarios.index(scenario)}"

    def panel(self, scenario: str, candidate: str) -> str:
        """Of one candidate's part in it."""
        return f"{self.scene(scenario)}-c{self.candidates.index(candidate)}"

    def item(self, judged: Judgement | ItemId) -> str:
        """Of the row that tells about an item."""
        if judged.kind == "checkpoint" or judged.candidate not in self.candidates:
            return "checkpoint"
        if judged.kind == "videos":
            return self.panel(judged.scenario, judged.candidate)
        return f"{self.panel(judged.scenario, judged.candidate)}-{self.metrics.index(judged.metric)}"


@dataclass(frozen=True)
class Cell:
    """One place of the matrix.

    Attributes:
        mark: The worst of what was judged there.
        detail: The change, or what is wrong.
        anchor: Where its details are.
    """

    mark: Mark
    detail: str
    anchor: str


@dataclass(frozen=True)
class Line:
    """One thing that keeps a checkpoint from being published, or that warns.

    Attributes:
        mark: Its verdict.
        place: Metric and scenario.
        words: What is wrong.
        more: Further lines of the reason.
        anchor: Where its details are.
    """

    mark: Mark
    place: str
    words: str
    more: str
    anchor: str


@dataclass(frozen=True)
class CandidateView:
    """What the page says of a checkpoint before the details.

    Attributes:
        index: In the record's order.
        card: Of the record.
        state: `"yes"`, `"no"` or `"none"` (the model without LoRA, or a partial run in which nothing failed);
            of a run that stores a baseline, whether it was stored.
        headline: The decision in a few words, with the name.
        reason: Why, in a sentence or two.
        steps: What to do next: sentences, and the one command that they end with or an empty one.
        failing: What fails; what was measured first.
        telling: How many of these to show at once; the others can be opened.
        warnings: What warns.
        failures: Videos that could not be rendered, by message, with the next command and how many.
        cells: Scenario id to its row of the matrix, None where nothing is demanded; `ALL` last.
        facts: What its file is; empty for the model without LoRA.
        problems: What is wrong with the file.
        layers: Kinds of layers and how many it has of each.
        applied: How it was put on the model; empty if no video says so.
        norms: Plot of its blocks' norms, or None.
    """

    index: int
    card: CandidateCard
    state: str
    headline: str
    reason: str
    steps: tuple[tuple[tuple[str, ...], str], ...]
    failing: tuple[Line, ...]
    telling: int
    warnings: tuple[Line, ...]
    failures: tuple[tuple[str, str | None, int], ...]
    cells: dict[str, tuple[Cell | None, ...]]
    facts: tuple[Fact, ...]
    problems: tuple[str, ...]
    layers: tuple[tuple[str, str], ...]
    applied: tuple[Fact, ...]
    norms: Markup | None


def candidate_views(record: RunRecord, anchors: Anchors) -> tuple[CandidateView, ...]:
    """All checkpoints of a run, in its order."""
    top = max((norm for card in record.candidates for norm in card.norms.values()), default=0.0)
    return tuple(_candidate(record, anchors, index, top) for index in range(len(record.candidates)))


def _candidate(record: RunRecord, anchors: Anchors, index: int, top: float) -> CandidateView:
    card, language = record.candidates[index], anchors.language
    decision = record.decision(card.name)
    seen = sum(each.verdict in _KINDS for each in decision.failing) + len(decision.tests)
    why = {each.name: sentences.item_outcome_text(each, language, str) for each in record.left_out}
    nothing = mark(None, language)
    missing = tuple(
        Line(nothing, _place(item, anchors), why.get(str(item), nothing.word), "", anchors.item(item))
        for item in decision.unmeasured
    )
    lines = zip(record.project_tests, project_tests(record, language), strict=True)
    tests = tuple(line for test, line in lines if test in decision.tests)
    state, headline = "no", Html.MAY_NOT
    storing = record.storing
    if storing is not None:
        state = "yes" if storing.stored else "no" if storing.refused else "none"
    elif card.publishable:
        state, headline = "yes", Html.MAY
    elif card.sha256 is None:
        state, headline = "none", Html.WAS_BASELINE
    elif not (decision.failing or decision.unmeasured or decision.tests or decision.run_problem):
        state, headline = "none", Html.IN_PART
    elif decision.outcome in (RunOutcome.NOT_MEASURED, RunOutcome.UNDECIDED):
        undecided = decision.outcome is RunOutcome.UNDECIDED
        state, headline = "none", Html.UNDECIDED if undecided else Html.UNMEASURED
    return CandidateView(
        index=index,
        card=card,
        state=state,
        headline=sentences.verdict_text(record, card, language, isolated)
        if storing is not None
        else headline.say(language, name=sentences.at_strength(card.name, card.strength, language, isolated)),
        reason=card.reason
        if card.sha256 is None
        else sentences.decision_text(record, card, language, isolated),
        steps=() if card.sha256 is None else _steps(record, card.name, language),
        failing=(
            *(_line(each, anchors) for each in decision.failing if not each.verdict.unmeasured),
            *tests,
            *(
                ()
                if storing is None
                else [Line(nothing, storing.name, each, "", "next") for each in storing.why]
            ),
            *(_cause(each, anchors) for each in decision.causes),
            *missing,
        ),
        telling=min(seen, _TELLING) or _FEW,
        warnings=tuple(_line(each, anchors) for each in decision.warnings),
        failures=_failures([each for each in record.failures if each.candidate == card.name]),
        cells=_cells(record, anchors, card.name),
        facts=html_card.facts(card, language),
        problems=html_card.problems(card),
        layers=html_card.layers(card),
        applied=html_card.applied(record, card.name, language),
        norms=html_card.norms(card, top, language),
    )


def _steps(record: RunRecord, candidate: str, language: Language) -> tuple[tuple[tuple[str, ...], str], ...]:
    made: list[tuple[tuple[str, ...], str]] = []
    for step in next_steps.next_steps(record, candidate):
        words: tuple[str, ...] = (sentences.step_text(step, language, isolated, visible),)
        command = visible(step.command)
        if made and command and made[-1][1] == command:
            words = (*made.pop()[0], *words)
        made.append((words, command))
    return tuple(made)


def common_steps(views: Sequence[CandidateView]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """What is to be done whichever checkpoint one looks at; empty unless there are several."""
    lists = [view.steps for view in views if view.steps]
    if len(lists) < 2:
        return ()
    return tuple(step for step in lists[0] if all(step in steps for steps in lists[1:]))


def _line(judged: Judgement, anchors: Anchors) -> Line:
    language = anchors.language
    words, _, more = (judged.explained if language == "en" else _explained(judged)).partition("\n")
    pair = summary.above_floors(judged)
    if judged.kind == "regression" and pair is not None:
        before, after = (value_of(judged.metric, each) for each in pair)
        lost = judged.verdict in (Verdict.FAIL, Verdict.UNDECIDED) and judged.fail is not None
        words = (Html.FAILS_BY if lost else Html.CHANGED).say(
            language,
            change=change_of(judged.metric, judged.change, judged.verdict, language),
            before=before,
            after=after
            if not summary.has_floor(judged)
            else Html.ABOVE.say(language, value=after, n=judged.n),
            fail=plots.percent(judged.fail or 0.0, signed=False),
        )
        if judged.verdict in (Verdict.WARN, Verdict.UNDECIDED) and (said := aside(judged, language)):
            words += f"; {said}"
        more = ""
    return Line(mark(judged.verdict, language), _place(judged, anchors), words, more, anchors.item(judged))


def _explained(judged: Judgement) -> str:
    said = reason(judged, "ko")
    return f"{said}\n{Html.DO_IT.say('ko', command=judged.next_command)}" if judged.next_command else said


def _cause(cause: Cause, anchors: Anchors) -> Line:
    """Why items could not be measured, once for all of them."""
    language, first, others = anchors.language, cause.judgements[0], len(cause.judgements) - 1
    words, _, more = (cause.reason if language == "en" else reason(first, language)).partition("\n")
    command = Html.DO_IT.say(language, command=cause.next_command) if cause.next_command else ""
    place = _place(first, anchors)
    if others:
        place = Html.AND_OTHERS.say(language, first=place, others=others)
    lost = Html.LOST_FIRST.say(language, video=cause.videos[0]) if cause.videos else ""
    more = "\n".join(filter(None, (more, lost, command)))
    return Line(mark(first.verdict, language), place, words, more, anchors.item(first))


def _place(judged: Judgement | ItemId, anchors: Anchors) -> str:
    if judged.kind == "checkpoint":
        return Html.THE_FILE.say(anchors.language)
    where = anchors.where(judged.scenario)
    if judged.kind == "videos":
        return Html.IN_VIDEOS.say(anchors.language, scenario=where)
    title = title_of(judged.metric, anchors.language)
    if judged.kind == "limit":
        return Html.IN_LIMIT.say(anchors.language, metric=title, scenario=where)
    return f"{title}, {where}"


def project_tests(record: RunRecord, language: Language) -> tuple[Line, ...]:
    """A line for each project test, in the record's order."""
    several = len(record.candidates) > 1
    lines = []
    for index, test in enumerate(record.project_tests):
        words = sentences.item_outcome_text(test, language, str)
        if several:
            words = f"{sentences.project_test_place(test, language, str)}: {words}"
        lines.append(Line(_of_test(test.outcome, language), test.name, words, "", f"test-{index}"))
    return tuple(lines)


def _failures(failures: Sequence[Failure]) -> tuple[tuple[str, str | None, int], ...]:
    counted = Counter((each.message, each.next_command) for each in failures)
    return tuple((*known, count) for known, count in counted.items())


def _cells(record: RunRecord, anchors: Anchors, candidate: str) -> dict[str, tuple[Cell | None, ...]]:
    demanded = {(item.scenario, item.metric) for item in record.expected if item.candidate == candidate}
    table = {}
    for scenario in (*anchors.scenarios, ALL):
        row = tuple(_cell(record, anchors, candidate, scenario, m, demanded) for m in anchors.metrics)
        if any(row):
            table[scenario] = row
    return table


def _cell(
    record: RunRecord,
    anchors: Anchors,
    candidate: str,
    scenario: str,
    metric: str,
    demanded: set[tuple[str, str]],
) -> Cell | None:
    language = anchors.language
    judged = record.judged(candidate, scenario, metric)
    anchor = f"{anchors.panel(scenario, candidate)}-{anchors.metrics.index(metric)}"
    if not judged:
        return Cell(mark(None, language), "", anchor) if (scenario, metric) in demanded else None
    # a limit is told where it is broken, or where there is nothing else
    told = [each for each in judged if each.kind == "regression" or each.verdict.fails] or judged
    worst = max(told, key=lambda each: (each.verdict.severity, each.kind == "regression"))
    detail = ""
    if worst.kind == "limit":
        if worst.verdict is Verdict.FAIL:
            detail = Html.LIMIT_BROKEN.say(language)
        elif worst.value is not None:
            detail = Html.LIMIT_KEPT.say(language)
    elif worst.kind == "question":
        detail = value_of(metric, worst.value)
    elif worst.change is not None:
        detail = change_of(metric, worst.change, worst.verdict, language)
    return Cell(mark(worst.verdict, language), detail, anchor)
