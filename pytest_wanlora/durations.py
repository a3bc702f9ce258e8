"""How long something takes, as people write and read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pytest_wanlora.phrases import Language

_UNITS: Final[Mapping[Language, tuple[str, str, str]]] = MappingProxyType(
    {"en": (" h", " min", " s"), "ko": ("시간", "분", "초")}
)


def duration(seconds: float, language: Language = "en") -> str:
    """Seconds in the two largest units.

    Example:
        >>> duration(3725)
        '1 h 2 min'
    """
    hour, minute, second = _UNITS[language]
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{second}"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{minute} {rest}{second}"
    return f"{minutes // 60}{hour} {minutes % 60}{minute}"


def seconds_of(text: str, *, most_digits: int) -> float:
    """Seconds of a time such as 90s, 40m or 1.5h, with so many digits before the point; 0 of another text."""
    found = re.fullmatch(rf"([0-9]{{1,{most_digits}}}(?:\.[0-9]{{1,3}})?)([smh])", text)
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
