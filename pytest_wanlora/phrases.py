"""A phrase in every language that reports are written in."""

from __future__ import annotations

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
