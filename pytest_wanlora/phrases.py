"""A phrase in every language that reports are written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Language = Literal["en", "ko"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "ko")


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
        """The phrase in a language.

        Args:
            language: `"en"` or `"ko"`.
            fields: Values of its format fields; text must already be quoted for the output format.
        """
        return (self.en if language == "en" else self.ko).format(**fields)


def counted(count: int, noun: str) -> str:
    """A number of things in English: `1 video`, `2,000 videos`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
