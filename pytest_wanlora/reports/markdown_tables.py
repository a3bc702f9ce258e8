"""Pieces of Markdown: headings, tables, lists. Every piece is a block that stands alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import escaping, i18n
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict

_LONGEST_COMMAND = 2000


@dataclass(frozen=True)
class Scribe:
    """Writes names, texts and marks in one language.

    Attributes:
        language: `"en"` or `"ko"`.
    """

    language: Language

    def name(self, value: str) -> str:
        """Somebody's name for something."""
        return escaping.name(value, self.language)

    def text(self, value: str, most: int = escaping.LINE) -> str:
        """Somebody's words."""
        return escaping.text(value, self.language, most=most)

    def reason(self, judged: Judgement) -> str:
        """Why an item has its verdict, then the next command as code."""
        command = judged.next_command
        shown = f" → {escaping.name(command, self.language, most=300)}" if command else ""
        return self.text(reasons.reason(judged, self.language)) + shown

    def command(self, line: str) -> str:
        """A command as a block of code; none that is cut, since it would do something else."""
        if len(line) > _LONGEST_COMMAND:
            return Page.LONG_COMMAND.say(self.language, length=f"{len(line):,}")
        return escaping.code_block(line)

    def moment(self, value: str) -> str:
        """A moment of ISO 8601, to the minute; anything else as it is."""
        try:
            return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M}"
        except ValueError:
            return self.text(value)

    def place(self, scenario: str) -> str:
        """A scenario, or all of them."""
        return Page.ALL_SCENARIOS.say(self.language) if scenario == ALL else self.name(scenario)

    def metric(self, metric: str) -> str:
        """A metric's name; an unknown one by its id."""
        return i18n.metric_name(metric, self.language) or self.name(metric)

    def mark(self, verdict: Verdict | None) -> str:
        """The sign and the word of a verdict."""
        if verdict is None:
            return Page.NONE.say(self.language)
        return f"{i18n.MARKS[verdict]} {i18n.VERDICTS[verdict].say(self.language)}"

    def say(self, page: Page, **fields: object) -> str:
        """A phrase."""
        return page.say(self.language, **fields)

    def head(self, *pages: Page) -> list[str]:
        """The head of a table."""
        return [page.say(self.language) for page in pages]


def heading(level: int, title: str) -> str:
    """A heading; its title is Markdown."""
    return f"{'#' * min(level, 6)} {title}"


def bullets(lines: Iterable[str]) -> str:
    """A list; each line is Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], body: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table; its cells are Markdown without a bare pipe.

    Args:
        head: Titles of the columns.
        body: Rows with as many cells.
        left: Columns that are aligned to the left; the others hold numbers.

    Raises:
        ValueError: A row has another number of cells.
    """
    rules = ["---" if column < left else "---:" for column in range(len(head))]
    lines = [head, rules, *body]
    if any(len(line) != len(head) for line in lines):
        raise ValueError(f"a table of {len(head)} columns has a row of another length")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
