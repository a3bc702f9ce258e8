"""Text for terminals: aligned tables, long texts on one line."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from typing import Final

_LONGEST: Final = 80


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
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
