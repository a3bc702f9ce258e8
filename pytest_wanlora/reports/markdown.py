"""The Markdown page of a run in English and Korean, in the shape of the report that the project grew from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import markdown_candidate, markdown_run
from pytest_wanlora.reports.markdown_tables import Scribe, heading
from pytest_wanlora.reports.words_page import Page

if TYPE_CHECKING:
    from pytest_wanlora.reports.stated import Stated
    from pytest_wanlora.results.run_record import RunRecord

NOTHING_STATED: Final[Mapping[str, Sequence[Stated]]] = MappingProxyType({})


def page(
    record: RunRecord, language: Language, *, stated: Mapping[str, Sequence[Stated]] = NOTHING_STATED
) -> str:
    """The whole page.

    Args:
        record: The run.
        language: `"en"` or `"ko"`.
        stated: Figures that a source states, by candidate; those that the scores do not give are noted.
    """
    return "\n\n".join(blocks(record, language, stated=stated)) + "\n"


def blocks(
    record: RunRecord, language: Language, *, stated: Mapping[str, Sequence[Stated]] = NOTHING_STATED
) -> tuple[str, ...]:
    """The page as blocks of Markdown that each stand alone, the verdict first; see `page`."""
    scribe = Scribe(language)
    return tuple(block for block in _blocks(record, scribe, stated) if block)


def _blocks(record: RunRecord, scribe: Scribe, stated: Mapping[str, Sequence[Stated]]) -> Iterator[str]:
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
        told = stated.get(cards[0].name, ())
        yield from markdown_candidate.conclusions(record, cards[0], scribe, 2, told)
    else:
        yield from markdown_run.comparison(record, scribe)
        yield from markdown_run.training_data(record, scribe)
        for card in cards:
            yield heading(2, scribe.name(card.name))
            yield from markdown_candidate.findings(record, card, scribe, 3)
            told = stated.get(card.name, ())
            yield from markdown_candidate.conclusions(record, card, scribe, 3, told)
    yield from markdown_run.notes(record, scribe)
    yield from markdown_run.reading(record, scribe)
    yield from markdown_run.reproduce(record, scribe)
