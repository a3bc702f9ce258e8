"""A phrase in every language that reports are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
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


def digits(number: float) -> str:
    """A number with all of its digits, as a command takes it: fewer would be another strength.

    Example:
        >>> digits(1.0), digits(0.1333333333), digits(1e-05)
        ('1', '0.1333333333', '0.00001')
    """
    # the shortest text that reads back as the same number, without an exponent
    return format(Decimal(repr(number)), "f").removesuffix(".0")


def product(own: float, scale: float) -> str:
    """A strength that is the product of two, as `digits` writes it.

    Example:
        >>> product(0.1, 0.7), product(0.1333333333, 1.0)
        ('0.07', '0.1333333333')
    """
    # 0.1 x 0.7 is 0.06999999999999999, with digits that nobody typed
    return digits(own if scale == 1.0 else float(f"{own * scale:.15g}"))


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
        return digits(scale)
    factors = "" if scale == 1.0 else f" ({{}} x {digits(scale)})"
    return ", ".join(
        f"{expert} {product(each, scale)}{factors.format(digits(each))}" for expert, each in own.items()
    )
