"""Words of a record as the HTML page shows them: of any length and direction, with nothing hidden."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup

_LONG: Final = 240
_LONG_NAME: Final = 72
#: Turns of the reading direction and control characters; joiners, which emoji and Persian need, may stay.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Spell out characters that cannot be seen and change how others are read, and halves of pairs.

    Example:
        >>> visible("a\u202eb")
        'a\\u202eb'
    """
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def capital(words: str) -> str:
    """Words as the head of a column begins them.

    Example:
        >>> capital("verdict")
        'Verdict'
    """
    return words[:1].upper() + words[1:]


def isolated(text: str) -> str:
    """A name for the middle of a sentence: whatever its direction, the words around it stay in order."""
    return f"\u2068{label(text)}\u2069"


def label(text: str) -> str:
    """A name for where no element can stand: in attributes and plots."""
    return _cut(visible(text))


def name(text: str) -> Markup:
    """A name of the record, cut in the middle if it is endless."""
    clean = visible(text)
    if len(clean) <= _LONG_NAME:
        return Markup("<bdi>{}</bdi>").format(clean)
    return Markup('<bdi title="{}">{}</bdi>').format(clean[:2000], _cut(clean))


def _cut(text: str) -> str:
    return text if len(text) <= _LONG_NAME else f"{text[: _LONG_NAME - 24]}…{text[-20:]}"


def prose(text: str) -> Markup:
    """Words of the record; what is endless can be opened."""
    clean = visible(text)
    if len(clean) <= _LONG:
        return Markup('<bdi class="prose">{}</bdi>').format(clean)
    return Markup(
        '<details class="long"><summary><bdi>{}…</bdi> <span class="count">({:,} characters)</span></summary>'
        '<div class="prose" dir="auto">{}</div></details>'
    ).format(clean[: _LONG - 80], len(clean), clean)
