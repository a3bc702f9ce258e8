"""How long something takes, as people write and read it."""

from __future__ import annotations

import re


def duration(seconds: float) -> str:
    """Seconds in the two largest units.

    Example:
        >>> duration(3725)
        '1 h 2 min'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def seconds_of(text: str, *, most_digits: int) -> float:
    """Seconds of a time such as 90s, 40m or 1.5h, with so many digits before the point; 0 of another text."""
    found = re.fullmatch(rf"([0-9]{{1,{most_digits}}}(?:\.[0-9]{{1,3}})?)([smh])", text)
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
