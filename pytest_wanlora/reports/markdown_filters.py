"""What the Markdown templates print with: nothing reaches a page that is not escaped or made here."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_wanlora.phrases import Language, product
from pytest_wanlora.reports import escaping, i18n, sentences
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.judgement import ALL, ItemOutcome, Judgement, Verdict

_LONGEST_COMMAND: Final = 2000


def markdown(made: str) -> Markup:
    """Mark a text as Markdown: of phrases, numbers, and names that are quoted already."""
    return Markup(made)  # noqa: S704


class Filters:
    """Filters of one language; each gives Markdown that can stand in a cell of a table.

    Attributes:
        language: `"en"` or `"ko"`.
    """

    def __init__(self, language: Language) -> None:
        self.language = language

    def shown(self, value: object) -> Markup:
        """Any value of a template: Markdown as it is, everything else escaped."""
        return value if isinstance(value, Markup) else self.text(value)

    def text(self, value: object, most: int = escaping.LINE) -> Markup:
        """Somebody's words."""
        return markdown(escaping.text(str(value), self.language, most=most))

    def name(self, value: object, most: int = escaping.CELL) -> Markup:
        """Somebody's name for something."""
        return markdown(escaping.name(str(value), self.language, most=most))

    def say(self, phrase: str, **fields: object) -> Markup:
        """A phrase by its id; fields that are neither numbers nor Markdown are escaped."""
        safe = {
            key: value if isinstance(value, (int, float)) else self.shown(value)
            for key, value in fields.items()
        }
        return markdown(Page[phrase].say(self.language, **safe))

    def reason(self, judged: Judgement) -> Markup:
        """Why an item has its verdict, then the next command as code."""
        said, command = self.text(reasons.reason(judged, self.language)), judged.next_command
        # as in every other line of a page
        said = said.replace(" -> ", " → ")
        return said + (markdown(" → ") + self.name(command, 300) if command else "")

    def command(self, line: str) -> Markup:
        """A command as a block of code; none that is cut, since it would do something else."""
        if len(line) > _LONGEST_COMMAND:
            return self.say("LONG_COMMAND", length=f"{len(line):,}")
        return markdown(escaping.code_block(line))

    def moment(self, value: str) -> Markup:
        """A moment of ISO 8601, to the minute; anything else as it is."""
        try:
            return markdown(f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M}")
        except ValueError:
            return self.text(value)

    def place(self, scenario: str) -> Markup:
        """A scenario, or all of them."""
        return self.say("ALL_SCENARIOS") if scenario == ALL else self.name(scenario)

    def metric(self, metric: str) -> Markup:
        """A metric's name; an unknown one by its id."""
        known = i18n.metric_name(metric, self.language)
        return markdown(known) if known else self.name(metric)

    def sign(self, of: Verdict | bool) -> Markup:
        """The sign of a verdict, or of whether something passed."""
        verdict = of if isinstance(of, Verdict) else Verdict.PASS if of else Verdict.FAIL
        return markdown(i18n.MARKS[verdict])

    def mark(self, verdict: Verdict | None) -> Markup:
        """The sign and the word of a verdict."""
        if verdict is None:
            return self.say("NONE")
        return markdown(f"{i18n.MARKS[verdict]} {i18n.VERDICTS[verdict].say(self.language)}")

    def value(self, value: float | None, metric: str, share: float | None = None) -> Markup:
        """A value with its unit, and what share of a limit it is."""
        share_of_limit = "" if share is None else f" ({share:.1%})"
        return markdown(sentences.value_text(metric, value) + share_of_limit)

    def difference(self, difference: float | None, metric: str) -> Markup:
        """A signed difference in the metric's unit."""
        return markdown(sentences.difference_text(metric, difference, self.language))

    def change(self, relative: float | None) -> Markup:
        """A signed relative change in percent."""
        return markdown(sentences.change_text(relative))

    def number(self, value: float | None, form: str) -> Markup:
        """A number by its format specification; a dash where there is none."""
        return self.say("NONE") if value is None else markdown(format(value, form))

    def strength(self, own: float, scale: float = 1.0) -> Markup:
        """The strength of half of a pair, times that of the pair."""
        return markdown(product(own, scale))

    def bounds(self, of: Any) -> Markup:  # noqa: ANN401 - whatever has a minimum and a maximum
        """The bounds of a limit."""
        signs = (("≥", of.minimum), ("≤", of.maximum))
        return markdown(", ".join(f"{sign} {bound:g}" for sign, bound in signs if bound is not None))

    def test_outcome(self, of: ItemOutcome) -> Markup:
        """What became of a pytest item."""
        return markdown(sentences.item_outcome_text(of, self.language, self.text))

    def test_place(self, of: ItemOutcome) -> Markup:
        """The checkpoint that a project test is about."""
        return markdown(sentences.project_test_place(of, self.language, self.name))

    def head(self, *titles: str, left: int = 1) -> Markup:
        """The head of a table.

        Args:
            titles: Ids of phrases, or Markdown.
            left: Columns that are aligned to the left; the others hold numbers.
        """
        cells = [title if isinstance(title, Markup) else self.say(title) for title in titles]
        rules = ["---" if column < left else "---:" for column in range(len(cells))]
        return markdown(f"| {' | '.join(cells)} |\n| {' | '.join(rules)} |")


@cache
def environment(language: Language) -> Environment:
    """Templates whose every value is escaped as Markdown unless a filter made it.

    Args:
        language: Of the filters.
    """
    filters = Filters(language)
    made = Environment(
        loader=PackageLoader("pytest_wanlora.reports"),
        # what a macro gives is Markdown, not a text to escape once more
        autoescape=True,
        finalize=filters.shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    public = {name: getattr(filters, name) for name in vars(Filters) if not name.startswith("_")}
    made.filters.update(public)
    made.globals.update(say=filters.say, head=filters.head)
    return made


def blocks(page: str) -> tuple[str, ...]:
    """A page as blocks of Markdown that each stand alone; nothing in one of them holds an empty line."""
    return tuple(re.split(r"\n{2,}", page.strip("\n")))
