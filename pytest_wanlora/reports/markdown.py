"""The Markdown page of a run in English and Korean, in the shape of the report that the project grew from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_wanlora.reports import markdown_candidate, markdown_run
from pytest_wanlora.reports.i18n import Language
from pytest_wanlora.reports.markdown_tables import Scribe, heading
from pytest_wanlora.reports.words_page import Page

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord


def page(record: RunRecord, language: Language) -> str:
    """The whole page.

    Args:
        record: The run.
        language: `"en"` or `"ko"`.
    """
    return "\n\n".join(blocks(record, language)) + "\n"


def blocks(record: RunRecord, language: Language) -> tuple[str, ...]:
    """The page as blocks of Markdown that each stand alone, the verdict first; see `page`."""
    scribe = Scribe(language)
    return tuple(block for block in _blocks(record, scribe) if block)


def _blocks(record: RunRecord, scribe: Scribe) -> Iterator[str]:
    cards = [card for card in record.candidates if card.sha256 is not None]
    title = scribe.say(Page.SEVERAL, count=len(cards))
    if len(cards) == 1:
        title = scribe.name(cards[0].name)
    elif not cards:
        title = scribe.name(record.suite.name)
    yield heading(1, scribe.say(Page.TITLE, name=title))
    yield markdown_run.verdicts(record, scribe)
    yield from markdown_run.project_tests(record, scribe)
    yield from markdown_run.overview(record, scribe)
    if len(cards) == 1:
        yield from markdown_candidate.findings(record, cards[0], scribe, 2)
        yield from markdown_run.training_data(record, scribe)
        yield from markdown_candidate.conclusions(record, cards[0], scribe, 2)
    else:
        yield from markdown_run.comparison(record, scribe)
        yield from markdown_run.training_data(record, scribe)
        for card in cards:
            yield heading(2, scribe.name(card.name))
            yield from markdown_candidate.findings(record, card, scribe, 3)
            yield from markdown_candidate.conclusions(record, card, scribe, 3)
    yield from markdown_run.notes(record, scribe)
    yield from markdown_run.reading(record, scribe)
    yield from markdown_run.reproduce(record, scribe)
