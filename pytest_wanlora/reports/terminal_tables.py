"""What the terminal shows of judgements: worst first in a few lines, as full tables, as one matrix."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pytest_wanlora.metrics import METRICS, Metric, grade
from pytest_wanlora.reports.summary import (
    above_floors,
    has_floor,
    ordered,
    place_of,
    scenarios_of,
    signed_change,
)
from pytest_wanlora.text_table import aligned, columns
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict
from pytest_wanlora.verdict.reasons import aside
from pytest_wanlora.verdict.standing import interval_words, judged_change

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord

#: Columns of a terminal of which nothing else is known.
WIDTH: Final = 80
#: Of each checkpoint where there are several.
MOST_OF_SEVERAL: Final = 5
_MOST_WARNINGS: Final = 20


class Line(str):
    """A line with the colour that pytest's terminal gives it, if it has colours: `{"red": True}`."""

    markup: Mapping[str, bool]

    def __new__(cls, text: str, verdict: Verdict | None = None, **markup: bool) -> Line:
        """Colour by a verdict, or by names of `TerminalWriter.markup`."""
        made = super().__new__(cls, text)
        made.markup = markup if verdict is None else {_colour(verdict): True}
        return made


def _colour(verdict: Verdict) -> str:
    if verdict.fails:
        return "red"
    return "yellow" if verdict is Verdict.WARN else "green"


def word(verdict: Verdict) -> str:
    """A verdict as the terminal says it: what asks for attention in capitals."""
    said = verdict.value.replace("_", " ").removeprefix("missing ")
    if verdict is Verdict.MISSING_BASELINE:
        said = f"no {said}"
    return said.upper() if _asks(verdict) else said


def _asks(verdict: Verdict) -> bool:
    """Whether a reader should look at an item with this verdict."""
    return verdict.fails or verdict is Verdict.WARN


def headline(judged: Judgement, *, with_verdict: bool = True) -> str:
    """What is wrong with an item in the fewest words, for pytest's short summary.

    Args:
        judged: The item's judgement.
        with_verdict: Whether the verdict is named where no numbers tell it.

    Example:
        `CLIP -20.4 % (max -5 %) test2_nature`
    """
    metric, place = METRICS.get(judged.metric), judged.scenario or judged.candidate
    title = judged.kind if metric is None else metric.title
    verdict = f" {word(judged.verdict)}" if with_verdict else ""
    if metric is not None and judged.verdict is Verdict.DEGENERATE:
        return f"{title} (see the videos) {place}"
    if metric is None or judged.value is None:
        return f"{title}{verdict} {place}"
    if judged.kind == "limit":
        bounds = ((judged.minimum, "min"), (judged.maximum, "max"))
        said = ", ".join(f"{name} {bound:g}" for bound, name in bounds if bound is not None)
        return f"{title} {metric.format(judged.value)} ({said}) {place}"
    relative = signed_change(judged.metric, judged.baseline, judged.value, judged.change)
    if relative is None or judged.fail is None or judged.warn is None:
        return f"{title} {metric.format(judged.value)}{verdict} {place}"
    worse = "-" if metric.higher_is_better else "+"
    gained = judged.change is not None and judged.change < 0.0
    if gained:
        better = "+" if metric.higher_is_better else "-"
        band = f"look from {better}{100 * judged.fail:.3g} %"
    elif judged.verdict is Verdict.WARN and judged.change is not None and judged.change <= judged.fail:
        band = f"warn {worse}{100 * judged.warn:.3g} %, max {worse}{100 * judged.fail:.3g} %"
    else:
        band = f"max {worse}{100 * judged.fail:.3g} %"
    return f"{title} {100 * relative:+.1f} % ({band}) {place}"


def wrapped(text: str, width: int, indent: str = "", *, hanging: str = "  ") -> list[str]:
    """Prose in lines of at most so many columns; no word is cut, so that a path stays whole."""
    lines = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line,
            width,
            initial_indent=indent,
            subsequent_indent=indent + hanging,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [indent]
    return lines


def worst_first(own: Iterable[Judgement], width: int, *, most: int | None = None) -> Iterator[str]:
    """What fails and what warns, each with its reason; what could not be measured is told elsewhere."""
    told = sorted(filter(_is_told, own), key=lambda each: each.gravity)
    shown = told[: _MOST_WARNINGS + sum(each.verdict.fails for each in told) if most is None else most]
    for judged in shown:
        said = f"  {word(judged.verdict)} {headline(judged, with_verdict=False)}"
        yield Line(said, judged.verdict)
        yield from wrapped(_reason(judged), width, "      ", hanging="")
    if len(shown) < len(told):
        yield f"  and {len(told) - len(shown)} more; -v shows every item"


def _is_told(judged: Judgement) -> bool:
    return _asks(judged.verdict) and not judged.verdict.unmeasured


def _reason(judged: Judgement) -> str:
    metric = METRICS.get(judged.metric)
    pair = above_floors(judged)
    if judged.kind != "regression" or metric is None or pair is None:
        return judged.reason.partition("\n")[0]
    above = " above the floor" if has_floor(judged) else ""
    said = [f"{metric.format(pair[0])} -> {metric.format(pair[1])}{above}, n = {judged.n}"]
    if judged.evidence is not None and (bounds := interval_words(judged)):
        said.append(f"{judged.evidence.level:.0%} interval {bounds}")
    if judged.worst is not None and judged.verdict.fails:
        said.append(f"worst: {judged.worst.scenario} seed {judged.worst.seed}")
    if more := aside(judged):
        said.append(more)
    return "; ".join(said)


def counted(own: Sequence[Judgement]) -> str:
    """How many items have which verdict, worst first."""
    found = sorted({each.verdict for each in own}, key=lambda verdict: -verdict.severity)
    said = [f"{sum(each.verdict is verdict for each in own)} {word(verdict)}" for verdict in found]
    return f"items: {', '.join(said)}"


def full_table(record: RunRecord, compared: Sequence[Judgement], width: int) -> Iterator[str]:
    """Every comparison: a heading for each scenario, then its metrics, worst first."""
    rows = [("metric", "baseline", "candidate", "change", "n", "verdict")]
    found = sorted(compared, key=lambda each: (place_of(record, each)[:2], each.gravity))
    for judged in found:
        metric = METRICS[judged.metric]
        graded = f" {grade(judged.value)}" if judged.metric == "overall" and judged.value is not None else ""
        rows.append(
            (
                metric.title,
                number(metric, judged.baseline),
                number(metric, judged.value) + graded,
                judged_change(judged),
                str(judged.n),
                word(judged.verdict),
            )
        )
    head, *lines = aligned(rows, left={0, 5})
    yield f"    {head}"
    previous = None
    for judged, line in zip(found, lines, strict=True):
        if judged.scenario != previous:
            yield f"  {'all scenarios together' if judged.scenario == ALL else judged.scenario}"
            previous = judged.scenario
        yield Line(f"    {line}", judged.verdict)
        if _is_told(judged):
            yield from wrapped(_reason(judged), width, "        ", hanging="")


def number(metric: Metric, value: float | None) -> str:
    """A value with its unit; a dash where there is none."""
    return "-" if value is None else metric.format(value)


def limit_lines(judged: Judgement, width: int) -> list[Line]:
    """A limit or a question, in as many lines as the width asks for."""
    # the reason of what could not be measured is told once, with the others of its cause
    why = "" if judged.verdict.unmeasured else f"{judged.reason.partition(chr(10))[0]}: "
    place = "of all" if judged.scenario == ALL else judged.scenario
    said = f"  {judged.kind} {place} {METRICS[judged.metric].title}: {why}{word(judged.verdict)}"
    verdict = judged.verdict if judged.verdict.fails else None
    return [Line(each, verdict) for each in wrapped(said, width, hanging="    ")]


def matrix(record: RunRecord, names: Sequence[str], width: int) -> Iterator[str]:
    """The worst verdict of each scenario and checkpoint, in as many parts as the width asks for."""
    heads = {name: name if columns(name) <= width // 4 else str(at) for at, name in enumerate(names, 1)}
    places = [(scenario, scenario) for scenario in scenarios_of(record)] + [(ALL, "all together")]
    left = list(names)
    while left:
        part = list(left)
        rows = _matrix_rows(record, places, part, heads)
        while len(part) > 1 and max(map(columns, rows)) > width:
            part.pop()
            rows = _matrix_rows(record, places, part, heads)
        yield from rows
        left = left[len(part) :]
    yield from (f"  {head}: {name}" for name, head in heads.items() if head != name)


def _matrix_rows(
    record: RunRecord, places: Sequence[tuple[str, str]], names: Sequence[str], heads: Mapping[str, str]
) -> list[str]:
    rows = [("scenario", *(heads[name] for name in names))]
    for scenario, title in places:
        rows.append((title, *(_worst(record, name, scenario) for name in names)))
    return [f"  {line}" for line in aligned(rows, left=range(len(names) + 1))]


def _worst(record: RunRecord, candidate: str, scenario: str) -> str:
    own = [j for j in record.judgements if (j.candidate, j.scenario) == (candidate, scenario)]
    if not own:
        return "-"
    worst = max((each.verdict for each in own), key=lambda verdict: verdict.severity)
    metrics = ordered(each.metric for each in own if each.verdict is worst and each.metric)
    count = len(metrics) if _asks(worst) else 0
    return f"{word(worst)}{f' {count}' if count > 1 else ''}"
