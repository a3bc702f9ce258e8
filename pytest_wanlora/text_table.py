"""Text for terminals: aligned tables, long texts on one line."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Collection, Sequence
from typing import Final

WIDTH: Final = 80
"""Columns of a terminal of which nothing else is known."""


def aligned(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> list[str]:
    """Format rows as lines of aligned columns.

    Args:
        rows: At least one; all have the same number of columns.
        left: Indices of the left-aligned columns; the others are right-aligned.
    """
    widths = [max(map(columns, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(_padded(*cell, left) for cell in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def _padded(column: int, cell: tuple[str, int], left: Collection[int]) -> str:
    text, width = cell
    blanks = " " * (width - columns(text))
    return text + blanks if column in left else blanks + text


def columns(text: str) -> int:
    """Terminal columns that a text takes: Hangul and Han characters take two each."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def cut(text: str) -> str:
    """A text on one line, cut if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


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
