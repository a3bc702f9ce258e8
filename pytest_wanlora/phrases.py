"""A phrase in every language that reports are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Final, Literal

Language = Literal["en", "ko"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "ko")


class _Counts(Formatter):
    def format_field(self, value: object, spec: str) -> str:
        if spec == "s" and isinstance(value, int):
            return "" if value == 1 else "s"
        return format(value, spec)


_COUNTS: Final = _Counts()


@dataclass(frozen=True, eq=False)
class Phrase:
    """One phrase in every language, with the same format fields in each.

    Attributes:
        en: English.
        ko: Korean.
    """

    en: str
    ko: str

    def say(self, language: Language, **fields: object) -> str:
        """The phrase in a language; `{n:s}` in it is the ending of a plural, empty where the number n is 1.

        Args:
            language: `"en"` or `"ko"`.
            fields: Values of its format fields; text must already be quoted for the output format.
        """
        return _COUNTS.format(self.en if language == "en" else self.ko, **fields)


def number_of(count: int, noun: str) -> str:
    """A number of things in English: `1 video`, `2,000 videos`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def strength_of(scale: float, own: Mapping[str, float]) -> str:
    """The strength of a LoRA; of a pair that of each half, with the factors of which it is the product.

    Args:
        scale: Factor on the whole LoRA.
        own: Of a pair, the factor on each expert's LoRA.

    Example:
        >>> strength_of(0.8, {})
        '0.8'
        >>> strength_of(1.0, {"high": 0.05, "low": 0.1})
        'high 0.05, low 0.1'
        >>> strength_of(0.8, {"high": 0.5, "low": 1.0})
        'high 0.4 (0.5 x 0.8), low 0.8 (1 x 0.8)'
    """
    if all(each == 1.0 for each in own.values()):
        return f"{scale:g}"
    factors = "" if scale == 1.0 else " ({own:g} x {scale:g})"
    return ", ".join(
        f"{expert} {each * scale:g}{factors.format(own=each, scale=scale)}" for expert, each in own.items()
    )
