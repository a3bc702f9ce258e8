"""Plots of `docs/evidence.md`, as plain SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.evidence.tables import FIXED, cell, interval, share, videos

__all__ = ["drawings"]

_COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#555555", "#16a3a3", "#a0522d")
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 44, 430, 260
_PLACE = "test2_nature"
_LETTER = 7  # pixels at most, on average
# words stay readable on a line
_HALO = 'stroke="#fff" stroke-width="3" paint-order="stroke"'

Point = tuple[float, float]


def drawings(record: Mapping[str, Any]) -> dict[str, str]:
    """SVG by name, without those of which nothing was measured."""
    made = {"power": _power(record), "cost": _cost(record), "false-alarms": _false_alarms(record)}
    return {name: drawing for name, drawing in made.items() if drawing}


def _power(record: Mapping[str, Any]) -> str:
    lines: dict[str, dict[str, list[Point]]] = {}
    for name, found in record["cells"].items():
        if name.startswith("sizes/epoch-2") and found["place"] == _PLACE:
            for design in ("sequential", "single"):
                point = found["size"], share(found["designs"][design])
                lines.setdefault(found["metric"], {}).setdefault(design, []).append(point)
    if not lines:
        return ""
    parts = list(_frame(3.0, 0.5))
    x, y = _LEFT + _WIDTH / 3.0 * 1.5, _TOP + _HEIGHT * (1 - 0.8)
    parts.append(
        f'<path d="M{x} {_TOP}v{_HEIGHT}M{_LEFT} {y}h{_WIDTH}" stroke="#999" stroke-dasharray="2 3"/>'
    )
    for number, (metric, designs) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        for design, points in designs.items():
            spots = " ".join(
                f"{_LEFT + _WIDTH * a / 3.0:.1f},{_TOP + _HEIGHT * (1 - b):.1f}" for a, b in sorted(points)
            )
            style = ' stroke-dasharray="5 4" stroke-opacity=".55"' if design == "single" else ""
            parts.append(
                f'<polyline points="{spots}" fill="none" stroke="{colour}" stroke-width="2"{style}/>'
            )
        at = _TOP + 16 + 18 * number
        parts.append(f'<path d="M{_LEFT + _WIDTH + 14} {at - 4}h22" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_LEFT + _WIDTH + 42, at, metric))
    parts.append(_text(_LEFT + _WIDTH + 14, _TOP + 40 + 18 * len(lines), "dashed: one video"))
    parts.append(_text(_LEFT + _WIDTH / 2, _TOP + _HEIGHT + 36, "true loss, in fail bands", "middle"))
    return _svg(f"Share of gates that fail, by the loss of one metric in {_PLACE}", parts, 640, 360)


def _frame(right: float, step: float) -> Iterator[str]:
    yield f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>'
    for percent in range(0, 101, 20):
        yield _text(_LEFT - 6, _TOP + _HEIGHT * (1 - percent / 100) + 4, f"{percent} %", "end")
    for i in range(round(right / step) + 1):
        yield _text(_LEFT + _WIDTH * i * step / right, _TOP + _HEIGHT + 18, f"{i * step:g}", "middle")


def _cost(record: Mapping[str, Any]) -> str:
    bars = [
        (name.partition("/")[2], videos(found["designs"]["sequential"]))
        for name, found in record["cells"].items()
        if name.startswith("real/") or (name.startswith("false alarms/") and "swapped" not in name)
    ]
    words = [f"{value:.0f}" for _, value in bars]
    title = f"Mean videos of a decision; 16 of each scenario are {FIXED}, the goal is {FIXED // 2}"
    spans = [(0.0, value) for _, value in bars]
    return _bars(title, [name for name, _ in bars], spans, words, float(FIXED), (FIXED / 2, FIXED))


def _false_alarms(record: Mapping[str, Any]) -> str:
    names, spans, words = [], [], []
    for name in [key for key in record["cells"] if key.startswith("false alarms/") and "swapped" not in key]:
        for design, label in (
            ("sequential", "3 to 16"),
            ("fixed", "16"),
            ("tiny", "3 to 8"),
            ("single", "1"),
        ):
            tally = cell(record, name, design)
            if tally:
                names.append(f"{name.partition('/')[2]}: {label}")
                spans.append(interval(tally["failed"], tally["gates"]))
                words.append(f"{100 * share(tally):.1f} %")
    title = "False alarms, 95 % intervals; the line is the goal of 5 %"
    return _bars(title, names, spans, words, 1.0, (0.05,))


def _bars(
    title: str,
    names: Sequence[str],
    spans: Sequence[Point],
    words: Sequence[str],
    most: float,
    lines: Sequence[float],
) -> str:
    if not names:
        return ""
    left, width, bottom = 210, 370, _TOP + 20 * len(names)
    parts = []
    for value in lines:
        across = f"M{left + width * value / most:.1f} {_TOP - 4}V{bottom}"
        parts.append(f'<path d="{across}" stroke="{_COLOURS[1]}" stroke-dasharray="4 3"/>')
    for number, (name, (low, high), word) in enumerate(zip(names, spans, words, strict=True)):
        top = _TOP + 20 * number
        start, length = left + width * low / most, max(width * (high - low) / most, 1.5)
        parts.append(_text(left - 8, top + 13, name, "end"))
        parts.append(
            f'<rect x="{start:.1f}" y="{top + 3}" width="{length:.1f}" height="13" fill="{_COLOURS[0]}"/>'
        )
        at = start + length + 5
        for value in lines:
            # words never stand on a line
            across_at = left + width * value / most
            if at - 2 < across_at < at + _LETTER * len(word):
                at = across_at + 5
        parts.append(_text(at, top + 13, word))
    return _svg(title, parts, 640, bottom + 12)


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_HALO}>{escape(words)}</text>'


def _svg(title: str, parts: Sequence[str], width: int, height: int) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" fill="#222" role="img">'
    )
    # a ground of its own: pages may be dark
    ground = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    words = f'<text x="12" y="22" font-size="14" font-weight="bold">{escape(title)}</text>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, words, *parts, "</svg>"]) + "\n"
