"""What the HTML page says of each checkpoint: the verdict, what failed, and the matrix of marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports import html_card, next_steps, plots, sentences, summary
from pytest_wanlora.reports.html_card import Fact
from pytest_wanlora.reports.html_text import isolated, visible
from pytest_wanlora.reports.i18n import OUTCOMES, VERDICTS, metric_name
from pytest_wanlora.verdict.decision import Cause, RunOutcome
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, PytestOutcome, Verdict
from pytest_wanlora.verdict.reasons import aside
from pytest_wanlora.verdict.standing import change_words

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
# one that is not there could not be judged
_MARKS = {each: Mark(_KINDS.get(each, "unknown"), VERDICTS[each].say("en")) for each in Verdict}
# lines of what fails that are shown at once; of what could only not be judged, where nothing else fails
_TELLING, _FEW = 6, 3
_UNMEASURED = Mark("unknown", OUTCOMES["unmeasured"].say("en"))


def mark(verdict: Verdict | None) -> Mark:
    """The mark of a verdict; None is an item that nobody judged."""
    return _UNMEASURED if verdict is None else _MARKS[verdict]


def title_of(metric: str) -> str:
    """A metric's name for people."""
    return metric_name(metric, "en") or metric


def value_of(metric: str, value: float | None) -> str:
    """A metric's value as printed; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return METRICS[metric].format(value) if metric in METRICS else f"{value:.4g}"


def change_of(metric: str, change: float | None, verdict: Verdict | None) -> str:
    """A change in words; nothing that warns is called better, only higher or lower.

    Example:
        >>> change_of("sharpness", -0.897, Verdict.WARN)
        '89.7% higher'
    """
    if change is None:
        return ""
    return change_words(change, METRICS.get(metric), Verdict.PASS if verdict is None else verdict)


def _of_test(outcome: PytestOutcome) -> Mark:
    if outcome is PytestOutcome.PASSED:
        return Mark("pass", "passed")
    failed = outcome in (PytestOutcome.FAILED, PytestOutcome.ERROR)
    return Mark("fail" if failed else "unknown", outcome.replace("_", " "))


class Anchors:
    """Names of places in the page: made of numbers, so that no name of a record can break one.

    Args:
        record: The run.
    """

    def __init__(self, record: RunRecord) -> None:
        judged: list[Judgement | ItemId] = [*record.judgements, *record.expected]
        known = [*record.suite.prompts]
        others = sorted({each.scenario for each in judged} - {*known, "", ALL})
        #: Scenario ids in the order of the page, without the pooled one.
        self.scenarios: tuple[str, ...] = (*known, *others)
        self.candidates = [card.name for card in record.candidates]
        metrics = summary.metrics_of(record)
        limited = {each.metric for each in judged if each.kind == "limit"} - set(metrics)
        self.metrics: tuple[str, ...] = (*metrics, *sorted(limited))

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
        what: Scenario and metric, for those who hear the table.
    """

    mark: Mark
    detail: str
    anchor: str
    what: str


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
        state: `"yes"`, `"no"` or `"none"` (the model without LoRA, or a partial run in which nothing failed).
        headline: The decision in a few words.
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
    card = record.candidates[index]
    decision = record.decision(card.name)
    failing = sorted(
        decision.failing, key=lambda each: (each.kind != "checkpoint", _KINDS.get(each.verdict) is None)
    )
    seen = sum(each.verdict in _KINDS for each in failing) + len(decision.tests)
    why = {each.name: sentences.item_outcome_text(each, "en", str) for each in record.left_out}
    missing = tuple(
        Line(_UNMEASURED, _place(item), why.get(str(item), "not measured"), "", anchors.item(item))
        for item in decision.unmeasured
    )
    lines = zip(record.project_tests, project_tests(record), strict=True)
    tests = tuple(line for test, line in lines if test in decision.tests)
    state, headline = "no", "may not be published"
    if card.publishable:
        state, headline = "yes", "may be published"
    elif card.sha256 is None:
        state, headline = "none", "was measured as a baseline"
    elif not (decision.failing or decision.unmeasured or decision.tests or decision.run_problem):
        state, headline = "none", "was judged in part only"
    elif decision.outcome in (RunOutcome.NOT_MEASURED, RunOutcome.UNDECIDED):
        state = "none"
        headline = sentences.outcome_headline(decision.outcome, len(decision.causes), "en")
    return CandidateView(
        index=index,
        card=card,
        state=state,
        headline=headline,
        reason=card.reason if card.sha256 is None else sentences.decision_text(record, card, "en", isolated),
        steps=() if card.sha256 is None else _steps(record, card.name),
        failing=(
            *(_line(each, anchors) for each in failing if not each.verdict.unmeasured),
            *tests,
            *(_cause(each, anchors) for each in decision.causes),
            *missing,
        ),
        telling=min(seen, _TELLING) or _FEW,
        warnings=tuple(_line(each, anchors) for each in decision.warnings),
        failures=_failures([each for each in record.failures if each.candidate == card.name]),
        cells=_cells(record, anchors, card.name),
        facts=html_card.facts(card),
        problems=html_card.problems(card),
        layers=html_card.layers(card),
        applied=html_card.applied(record, card.name),
        norms=html_card.norms(card, top),
    )


def _steps(record: RunRecord, candidate: str) -> tuple[tuple[tuple[str, ...], str], ...]:
    made: list[tuple[tuple[str, ...], str]] = []
    for step in next_steps.next_steps(record, candidate):
        words: tuple[str, ...] = (sentences.step_text(step, "en", isolated),)
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
    first, _, more = judged.explained.partition("\n")
    words = first
    if judged.kind == "regression" and judged.value is not None and judged.baseline is not None:
        numbers = [value_of(judged.metric, each) for each in (judged.baseline, judged.value)]
        change = change_of(judged.metric, judged.change, judged.verdict)
        words = f"{change}, {numbers[0]} \N{RIGHTWARDS ARROW} {numbers[1]}"
        if judged.verdict is Verdict.WARN and (more := aside(judged)):
            words += f"; {more}"
        if judged.verdict is Verdict.FAIL and judged.fail is not None:
            words += f"; {plots.percent(judged.fail, signed=False)} is allowed"
        more = ""
    return Line(mark(judged.verdict), _place(judged), words, more, anchors.item(judged))


def _cause(cause: Cause, anchors: Anchors) -> Line:
    """Why items could not be measured, once for all of them."""
    first, others = cause.judgements[0], len(cause.judgements) - 1
    words, _, more = cause.reason.partition("\n")
    command = f"next: {cause.next_command}" if cause.next_command else ""
    place = f"{_place(first)} and {others} more" if others else _place(first)
    more = "\n".join(filter(None, (more, command)))
    return Line(mark(first.verdict), place, words, more, anchors.item(first))


def _place(judged: Judgement | ItemId) -> str:
    if judged.kind == "checkpoint":
        return "The file"
    if judged.kind == "videos":
        return f"Videos, {judged.scenario}"
    where = "all scenarios together" if judged.scenario == ALL else judged.scenario
    return f"{title_of(judged.metric)}{' limit' if judged.kind == 'limit' else ''}, {where}"


def project_tests(record: RunRecord) -> tuple[Line, ...]:
    """A line for each project test, in the record's order."""
    several = len(record.candidates) > 1
    lines = []
    for index, test in enumerate(record.project_tests):
        words = sentences.item_outcome_text(test, "en", str)
        if several:
            words = f"{sentences.project_test_place(test, 'en', str)}: {words}"
        lines.append(Line(_of_test(test.outcome), test.name, words, "", f"test-{index}"))
    return tuple(lines)


def _failures(failures: Sequence[Failure]) -> tuple[tuple[str, str | None, int], ...]:
    counted: dict[tuple[str, str | None], int] = {}
    for each in failures:
        key = (each.message, each.next_command)
        counted[key] = counted.get(key, 0) + 1
    return tuple((message, command, count) for (message, command), count in counted.items())


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
    judged = record.judged(candidate, scenario, metric)
    anchor = f"{anchors.panel(scenario, candidate)}-{anchors.metrics.index(metric)}"
    what = f"{title_of(metric)}, {'all scenarios' if scenario == ALL else scenario}"
    if not judged:
        return Cell(_UNMEASURED, "", anchor, what) if (scenario, metric) in demanded else None
    # a limit is told where it is broken, or where there is nothing else
    told = [each for each in judged if each.kind == "regression" or each.verdict.fails] or judged
    worst = max(told, key=lambda each: (each.verdict.severity, each.kind == "regression"))
    detail = ""
    if worst.kind == "limit":
        detail = (
            "limit broken"
            if worst.verdict is Verdict.FAIL
            else "limit kept"
            if worst.value is not None
            else ""
        )
    elif worst.change is not None:
        detail = change_of(metric, worst.change, worst.verdict)
    return Cell(mark(worst.verdict), detail, anchor, what)
