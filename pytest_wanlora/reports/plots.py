"""Plots of a report as SVG text: no script, no fonts, colours from the page's style sheet by class.

Every plot is `role="img"` with a title and a description, says with shapes and words what it says with
colour, and stands beside a table of its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from pytest_wanlora.phrases import Language
from pytest_wanlora.reports.svg import Kind, drawing, line, mark, number, rect, shape, short, text
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.verdict.judgement import Verdict
from pytest_wanlora.verdict.standing import change_words

#: Colours of courses in the style sheet; more courses share them, and differ by their labels.
COLOURS: Final = 8
# farther out than this many fail bands a dot is drawn as an arrow at the edge
_FARTHEST = 16.0


@dataclass(frozen=True)
class Strip:
    """What a strip shows: the change of one metric, positive to the worse, as shares (0.05 for 5 %).

    Attributes:
        changes: By seed; empty for a metric of sets.
        change: What was judged.
        low: Lower bound of its interval.
        high: Upper bound.
        warn: Band.
        fail: Band.
        suspicious: Improvement beyond which a two-sided metric warns; None for the others.
        language: Of its words.
    """

    changes: Mapping[int, float]
    change: float | None
    low: float | None
    high: float | None
    warn: float
    fail: float
    suspicious: float | None = None
    language: Language = "en"

    def words(self, seed: int, change: float) -> str:
        """A seed's change, for its dot."""
        return Html.OF_SEED.say(self.language, seed=seed, change=worded(change, self.language))


def percent(change: float, *, signed: bool = True) -> str:
    """A share in percent with as many digits as it needs, and a real minus sign."""
    size = abs(change) * 100
    digits = 0 if size >= 10 or math.isclose(size, round(size), abs_tol=1e-6) else 1
    sign = ("\N{MINUS SIGN}" if change < 0 else "+") if signed and change else ""
    return f"{sign}{size:.{digits}f}%"


def strip(shown: Strip, title: str, description: str) -> Markup:
    """Changes of one metric on a line, better to the right: bands, seeds, the judged change and its interval.

    Args:
        shown: What to draw.
        title: Its name for those who do not see it.
        description: Its numbers in a sentence.
    """
    width, left, right = 320.0, 8.0, 8.0
    low, high, cut = _domain(shown)
    scale = (width - left - right) / (high - low)

    def x(value: float) -> float:
        return width - right - (min(max(value, low), high) - low) * scale

    parts = [_zone("z-warn", x(shown.fail), x(shown.warn)), _zone("z-fail", left, x(shown.fail))]
    if shown.suspicious is not None:
        parts.append(_zone("z-warn", x(-shown.suspicious), width - right))
    parts.append(line("axis", left, 17, width - right, 17))
    parts.append(line("zero", x(0.0), 2, x(0.0), 32))
    if shown.low is not None and shown.high is not None:
        parts.append(line("interval", x(shown.low), 25, x(shown.high), 25))
        parts += [line("interval-end", x(end), 22, x(end), 28) for end in (shown.low, shown.high)]
    for seed, change in shown.changes.items():
        parts.append(_seed(x(change), change, shown.words(seed, change), outside=abs(change) > cut))
    if shown.change is not None and math.isfinite(shown.change):
        parts.append(shape("diamond", "mean", x(shown.change), 25, 4.5))
    parts += _ticks(shown, x, low)
    return drawing(width, 46, "strip", title, description, parts)


def _domain(shown: Strip) -> tuple[float, float, float]:
    cut = _FARTHEST * shown.fail
    seen = [shown.change, shown.low, shown.high, *shown.changes.values()]
    inside = [min(max(value, -cut), cut) for value in seen if value is not None and not math.isnan(value)]
    low = min(-0.5 * shown.fail, *inside, 0.0)
    high = max(1.5 * shown.fail, *inside, 0.0)
    room = 0.04 * (high - low)
    return low - room, high + room, cut


def _seed(at: float, change: float, words: str, *, outside: bool) -> Markup:
    if not outside:
        return Markup('<circle class="seed" cx="{}" cy="10" r="3.2"><title>{}</title></circle>').format(
            number(at), words
        )
    tip, tail = (at - 3, at + 4) if change > 0 else (at + 3, at - 4)
    points = f"{number(tip)},10 {number(tail)},6 {number(tail)},14"
    return Markup('<polygon class="seed" points="{}"><title>{}</title></polygon>').format(points, words)


def worded(change: float | None, language: Language = "en") -> str:
    """A relative change to the worse of one seed, in words; None or NaN where there is none."""
    if change is None or math.isnan(change):
        return Html.NO_CHANGE_TOLD.say(language)
    return change_words(change, None, Verdict.PASS, language)


def _ticks(shown: Strip, x: Callable[[float], float], low: float) -> list[Markup]:
    def words(change: float) -> str:
        way = Html.TICK_WORSE if change > 0 else Html.TICK_BETTER
        return way.say(shown.language, size=percent(change, signed=False))

    wanted = [(shown.fail, words(shown.fail)), (0.0, Html.TICK_BASE.say(shown.language))]
    wanted.append((shown.warn, words(shown.warn)))
    if shown.suspicious is not None and low < -shown.suspicious:
        wanted.append((-shown.suspicious, words(-shown.suspicious)))
    elif low < -shown.fail:
        wanted.append((low * 0.96, words(low * 0.96)))
    taken: list[float] = []
    made = []
    for value, label in wanted:
        at = x(value)
        if all(abs(at - other) > 64 for other in taken):
            taken.append(at)
            anchor = "start" if at < 32 else "end" if at > 288 else "middle"
            made.append(text("tick", at, 43, label, anchor))
    return made


@dataclass(frozen=True)
class Point:
    """One checkpoint on a course.

    Attributes:
        change: Relative change to the worse; None where nothing was measured.
        verdict: Of the comparison; of a candidate in a race how it ended.
        low: Lower bound of the change; None without an interval.
        high: Upper bound.
    """

    change: float | None
    verdict: Kind
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Course:
    """One scenario over the checkpoints.

    Attributes:
        label: A character or two, written at its end.
        points: In the checkpoints' order.
        pooled: It is all scenarios together, drawn thicker and with its intervals.
        colour: Number of its colour.
    """

    label: str
    points: tuple[Point, ...]
    pooled: bool = False
    colour: int = 0


def courses(
    names: Sequence[str],
    lines: Sequence[Course],
    *,
    warn: float,
    fail: float,
    title: str,
    description: str,
    level: Callable[[float], str] = lambda change: percent(-change),
) -> Markup:
    """Changes of one metric from checkpoint to checkpoint; up is better, the baseline is the zero line.

    Args:
        names: Of the checkpoints.
        lines: One a scenario.
        warn: Band.
        fail: Band.
        title: Its name for those who do not see it.
        description: Its numbers in a sentence.
        level: A change in words, for the axis.
    """
    width, height, left, right, top, bottom = 340.0, 190.0, 46.0, 30.0, 10.0, 26.0
    cut = _FARTHEST * fail
    seen = [min(max(p.change, -cut), cut) for c in lines for p in c.points if p.change is not None]
    best, worst = min([-0.5 * fail, *seen]), max([1.4 * fail, *seen])
    room = 0.06 * (worst - best)
    best, worst = best - room, worst + room
    step = (width - left - right) / max(len(names), 1)

    def x(index: int) -> float:
        return left + (index + 0.5) * step

    def y(change: float) -> float:
        return top + (min(max(change, best), worst) - best) / (worst - best) * (height - top - bottom)

    across = width - right - left
    parts = [
        rect("z-warn", left, y(warn), across, y(fail) - y(warn)),
        rect("z-fail", left, y(fail), across, height - bottom - y(fail)),
        line("zero", left, y(0.0), width - right, y(0.0)),
    ]
    parts += [text("tick", left - 6, at + 3.5, label, "end") for label, at in _levels(best, fail, y, level)]
    parts += [
        text("tick", x(i), height - 8, short(name, int(step / 6.2)), "middle")
        for i, name in enumerate(names)
        if len(names) <= 6 or i % math.ceil(len(names) / 6) == 0
    ]
    ends: list[tuple[float, str]] = []
    for course in sorted(lines, key=lambda each: each.pooled):
        parts += _course(course, x, y)
        last = [(i, p.change) for i, p in enumerate(course.points) if p.change is not None]
        if last:
            ends.append((y(last[-1][1]), course.label))
    parts += [
        text("label", width - right + 8, at + 3.5, label, "start")
        for at, label in _apart(ends, min(11.0, (height - 20) / len(lines) if lines else 11.0), height)
    ]
    return drawing(width, height, "courses", title, description, parts)


def _levels(
    best: float, fail: float, y: Callable[[float], float], level: Callable[[float], str]
) -> list[tuple[str, float]]:
    levels: list[tuple[str, float]] = []
    for change in (0.0, fail, best * 0.94):
        if all(abs(y(change) - at) > 12 for _, at in levels):
            levels.append((level(change), y(change)))
    return levels


def _course(course: Course, x: Callable[[int], float], y: Callable[[float], float]) -> list[Markup]:
    known = [(i, p) for i, p in enumerate(course.points) if p.change is not None]
    spots = " ".join(f"{number(x(i))},{number(y(p.change or 0.0))}" for i, p in known)
    kind = "course pooled" if course.pooled else f"course c{course.colour % COLOURS}"
    made = [
        line("whisker", x(i), y(p.low), x(i), y(p.high))
        for i, p in known
        if course.pooled and p.low is not None and p.high is not None
    ]
    made += [Markup('<polyline class="{}" points="{}"/>').format(kind, spots)]
    return made + [mark(p.verdict, x(i), y(p.change or 0.0)) for i, p in known]


def _apart(ends: list[tuple[float, str]], gap: float, height: float) -> list[tuple[float, str]]:
    """Labels moved down, and back up from the edge, until none covers another."""
    placed = sorted(ends)
    for index in range(1, len(placed)):
        low = placed[index - 1][0] + gap
        placed[index] = (max(placed[index][0], low), placed[index][1])
    edge = height - 8
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = (min(placed[index][0], edge), placed[index][1])
        edge = placed[index][0] - gap
    return placed


def curves(lines: Sequence[Sequence[float]], title: str, description: str) -> Markup:
    """Values over the frames of a video: a broken line, then a solid one.

    Args:
        lines: Two of the same number of values, one or more.
        title: Its name for those who do not see it.
        description: Its numbers in a sentence.
    """
    width, height, left = 340.0, 110.0, 40.0
    low, high = (pick(value for of in lines for value in of) for pick in (min, max))
    scale, step = (height - 24) / max(high - low, 1e-6), (width - left - 8) / max(len(lines[0]) - 1, 1)

    def y(value: float) -> float:
        return height - 14 - (value - low) * scale

    parts = [text("tick", left - 6, y(value) + 3.5, f"{value:.2f}", "end") for value in {low, high}]
    for kind, of in zip(("curve base", "curve"), lines, strict=True):
        spots = " ".join(f"{number(left + at * step)},{number(y(value))}" for at, value in enumerate(of))
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, spots))
    return drawing(width, height, "courses", title, description, parts)


def bars(values: Mapping[int, float], count: int, top: float, title: str, description: str) -> Markup:
    """A bar for each block of the model.

    Args:
        values: By block number; those that are not there get a cross.
        count: Blocks of the model.
        top: Value at the upper edge, so that several plots share a scale.
        title: Its name for those who do not see it.
        description: Its numbers in a sentence.
    """
    width, height, left, base = 340.0, 130.0, 36.0, 108.0
    step = (width - left - 6) / max(count, 1)
    scale = (base - 12) / top if top > 0 else 0.0
    parts = [line("axis", left, base, width - 6, base), line("grid", left, 12, width - 6, 12)]
    parts += [text("tick", left - 6, 15.5, f"{top:.3g}", "end"), text("tick", left - 6, base, "0", "end")]
    for block in range(count):
        at = left + block * step
        if block in values:
            tall = max(values[block] * scale, 0.5)
            bar = Markup(
                '<rect class="bar" x="{}" y="{}" width="{}" height="{}" rx="1.5">'
                "<title>block {}: {}</title></rect>"
            )
            gap = min(step * 0.25, 6)
            sizes = (number(at + gap / 2), number(base - tall), number(step - gap), number(tall))
            parts.append(bar.format(*sizes, block, f"{values[block]:.4g}"))
        else:
            parts.append(text("absent", at + step / 2, base - 4, "\N{MULTIPLICATION SIGN}", "middle"))
        if block % max(1, math.ceil(count / 10)) == 0:
            parts.append(text("tick", at + step / 2, height - 8, str(block), "middle"))
    return drawing(width, height, "bars", title, description, parts)


def bullet(
    value: float | None,
    minimum: float | None,
    maximum: float | None,
    title: str,
    description: str,
) -> Markup:
    """A value beside its limit; what the limit forbids is hatched.

    Args:
        value: The candidate's; None leaves the bar out.
        minimum: Lower bound.
        maximum: Upper bound.
        title: Its name for those who do not see it.
        description: Its numbers in a sentence.
    """
    width, left, right = 220.0, 2.0, 2.0
    known = [each for each in (value, minimum, maximum) if each is not None]
    low, high = min([0.0, *known]), max([0.0, *known]) * 1.15 or 1.0
    scale = (width - left - right) / (high - low)

    def x(number: float) -> float:
        return left + (number - low) * scale

    parts = []
    if minimum is not None:
        parts.append(rect("z-fail", left, 4, x(minimum) - left, 18))
    if maximum is not None:
        parts.append(rect("z-fail", x(maximum), 4, width - right - x(maximum), 18))
    if value is not None:
        kept = (minimum is None or value >= minimum) and (maximum is None or value <= maximum)
        start, end = sorted((x(0.0), x(value)))
        parts.append(rect("bar" if kept else "bar broken", start, 9, max(end - start, 1.0), 8))
    parts += [line("bound", x(b), 2, x(b), 24) for b in (minimum, maximum) if b is not None]
    return drawing(width, 26, "bullet", title, description, parts)


def shares(values: Mapping[str, float], marked: Iterable[str], title: str, description: str) -> Markup:
    """Horizontal bars of shares that sum to 1; marked ones are hatched.

    Args:
        values: Name to share, in the order to draw.
        marked: Names to point out.
        title: Its name for those who do not see it.
        description: Its numbers in a sentence.
    """
    width, left, row = 420.0, 110.0, 24.0
    pointed = set(marked)
    top = max(values.values(), default=1.0) or 1.0
    parts = []
    for index, (name, share) in enumerate(values.items()):
        y = 4 + index * row
        long = share / top * (width - left - 52)
        parts.append(text("name", left - 8, y + 14, short(name, 16), "end"))
        parts.append(rect("bar", left, y + 3, max(long, 1.0), 15))
        if name in pointed:
            parts.append(rect("rare", left, y + 3, max(long, 1.0), 15))
        parts.append(text("name", left + long + 6, y + 14, f"{share:.1%}", "start"))
    return drawing(width, 8 + len(values) * row, "shares", title, description, parts)


def _zone(kind: str, start: float, end: float) -> Markup:
    return rect(kind, start, 2, end - start, 30)
