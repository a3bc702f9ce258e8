"""Names and other people's texts in Markdown: they read as they are, and can be nothing but text."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pytest_wanlora.phrases import Language
from pytest_wanlora.reports.words_page import Page

#: Most characters of a name in a table, and of a text elsewhere.
CELL: Final = 80
LINE: Final = 600
#: What a code span shows as it is, in a table too, and what a renderer makes no link or mention of.
_SIMPLE: Final = re.compile(r"[\w.\-+/=(),:@#~%\[\]{}<>&*!?'\";$^ ]+")
#: What Markdown, HTML or GitHub give a meaning to: structure anywhere, links, mentions and emoji names where
#: a word follows, lists and headings at the start of a line.
_MEANING: Final = re.compile(
    r"""[\\`*\[\]<&#|~$]           # structure, references to issues, formulas
    |(?<![^\W_])_|_(?![^\W_])    # emphasis; not within a word
    |[@:](?=\S)                  # mentions, emoji names, schemes of addresses
    |(?<=www)\.                  # addresses without one
    |^>|^[-+](?=[-\s]|$)|^=      # quotations, lists, rules, headings
    |^\d{1,9}[.)](?=\s|$)        # numbered lists
    """,
    re.VERBOSE | re.IGNORECASE,
)
#: A word without the quotation marks and brackets before it and the punctuation behind it, or one character.
_PIECE: Final = re.compile(r"""(?P<word>[^ ('"][^ ]*?(?=[.:,;)'"]*(?: |$)))|.""")
#: The names of files, keys and tests, which a code span shows as they are.
_CODE: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.\-+/=,:@~%\[\]{}*]+")
#: Joins the parts of one emoji; other format characters are invisible, or turn the reading direction.
_JOINER: Final = "\u200d"
_ISOLATE, _END = "\u2068", "\u2069"


def plain(value: str, most: int, language: Language) -> str:
    """A text in one line without invisible characters, cut with a note where it is long.

    Args:
        value: Anything.
        most: Characters that are kept.
        language: Of the note.
    """
    kept = value[:most]
    line = "".join(map(_visible, " ".join(kept.split())))
    if len(value) <= most:
        return line
    return line + Page.CUT.say(language, more=f"{len(value) - most:,}")


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Zl", "Zp") or (category == "Cf" and character != _JOINER):
        return f"[U+{ord(character):04X}]"
    return character


def text(value: str, language: Language, *, most: int = LINE) -> str:
    """Any text as Markdown that shows it and does nothing.

    The name of a file, key or test with a character that Markdown, HTML or GitHub give a meaning to is a code
    span; in any other word such a character is a reference, which is never structure. Right-to-left text is
    isolated, so that it does not turn what follows.

    Args:
        value: Anything.
        language: Of the note where it is cut.
        most: Characters that are kept.
    """
    line = plain(value, most, language)
    # what begins a line has another meaning than the same within it
    meant = {found.start() for found in _MEANING.finditer(line)}

    def shown(found: re.Match[str]) -> str:
        places = range(*found.span())
        if meant.isdisjoint(places):
            return found[0]
        if found["word"] and _CODE.fullmatch(found[0]):
            return f"`{found[0]}`"
        return "".join(_reference(line[at]) if at in meant else line[at] for at in places)

    return _isolated(_PIECE.sub(shown, line))


def _reference(character: str) -> str:
    # behind an @ a renderer would look for someone to mention, whatever way it is written
    return f"&#{ord(character)};" + ("&#8203;" if character == "@" else "")


def _isolated(line: str) -> str:
    turned = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in line)
    return f"{_ISOLATE}{line}{_END}" if turned else line


def name(value: str, language: Language, *, most: int = CELL) -> str:
    """A name: in a code span if that shows it as it is, else as text.

    Args:
        value: Anything.
        language: Of the note where it is cut.
        most: Characters that are kept.
    """
    line = plain(value, most, language)
    if _SIMPLE.fullmatch(line) and line == line.strip():
        return f"`{_isolated(line)}`"
    return text(value, language, most=most) if line.strip() else "`(?)`"


def code_block(lines: str) -> str:
    """A block of code whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{lines}\n{fence}"
