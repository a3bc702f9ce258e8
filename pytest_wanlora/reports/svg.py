"""The few SVG elements that the plots are made of; every word is escaped, colours come by class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from markupsafe import Markup

from pytest_wanlora.reports.html_text import visible
from pytest_wanlora.verdict.judgement import Verdict

Kind = Verdict | Literal["won", "out"] | None
"""What a mark tells: a verdict, how a race ended for a candidate, or neither."""


def short(name: str, most: int) -> str:
    """A name that is cut where it would not fit."""
    most = max(most, 3)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def number(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".removesuffix(".0")


def rect(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    """A rectangle; one of a size below 0 is drawn with none."""
    sizes = (number(x), number(y), number(max(width, 0.0)), number(max(height, 0.0)))
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(kind, *sizes)


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line."""
    ends = (number(x1), number(y1), number(x2), number(y2))
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *ends)


def text(kind: str, x: float, y: float, words: str, anchor: str) -> Markup:
    """Words at a place; `anchor` is SVG's."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, number(x), number(y), anchor, visible(words)
    )


def mark(kind: Kind, x: float, y: float) -> Markup:
    """A verdict's own shape: they differ without their colours."""
    if kind in (Verdict.BETTER, "won"):
        return shape("diamond", "m-better" if kind is Verdict.BETTER else "mean", x, y, 5)
    if kind is Verdict.WARN:
        return shape("triangle", "m-warn", x, y, 5)
    if kind is Verdict.PASS:
        return Markup('<circle class="m-pass" cx="{}" cy="{}" r="3.6"/>').format(number(x), number(y))
    if kind == "out":
        return Markup("").join(line("m-out", x - 4, y - 4 * way, x + 4, y + 4 * way) for way in (1, -1))
    # neither good nor bad: nobody has decided, or there is nothing to decide
    neutral = kind is None or kind is Verdict.UNDECIDED
    return shape("square", "m-none" if neutral else "m-fail", x, y, 4)


def shape(corners: str, kind: str, x: float, y: float, size: float) -> Markup:
    """A diamond, triangle or square around a place."""
    directions = {
        "diamond": ((0, -1), (1, 0), (0, 1), (-1, 0)),
        "triangle": ((0, -1), (1, 0.8), (-1, 0.8)),
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    }[corners]
    points = " ".join(f"{number(x + size * dx)},{number(y + size * dy)}" for dx, dy in directions)
    return Markup('<polygon class="{}" points="{}"/>').format(kind, points)


def drawing(
    width: float, height: float, kind: str, title: str, description: str, parts: Iterable[Markup]
) -> Markup:
    """The whole picture, with a title and a description for those who do not see it."""
    return Markup(
        '<svg class="plot {}" viewBox="0 0 {} {}" role="img"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(
        kind, number(width), number(height), visible(title), visible(description), Markup("").join(parts)
    )
