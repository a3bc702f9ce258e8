"""What the HTML page shows of a race: its answer, the losses over the checkpoints, a row a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from pytest_wanlora.phrases import Language, digits
from pytest_wanlora.reports import plots, race
from pytest_wanlora.reports.html_text import isolated, visible

if TYPE_CHECKING:
    from pytest_wanlora.results.race import RaceCard
    from pytest_wanlora.results.run_record import RunRecord


@dataclass(frozen=True)
class RaceView:
    """The race that chose the checkpoint.

    Attributes:
        title: Of the section.
        lines: The answer, what better means, who failed, and what it cost.
        plot: Losses over the checkpoints, a line for each strength; empty where no loss is known.
        caption: What the plot shows.
        head: Titles of the table.
        rows: A candidate each, the winner first.
    """

    title: str
    lines: tuple[str, ...]
    plot: Markup
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def race_view(record: RunRecord, language: Language) -> RaceView | None:
    """The race; None without one."""
    found = record.race
    if found is None:
        return None
    return RaceView(
        title=race.RACE["title"].say(language),
        lines=tuple(race.lines(found, language, isolated, visible)),
        plot=_curve(found, language),
        caption=race.RACE["curve"].say(language),
        head=race.head(language),
        rows=tuple(race.rows(found, language, isolated, visible)),
    )


def _curve(card: RaceCard, language: Language) -> Markup:
    """The losses over the checkpoints, in the order of the command line, with a line for each strength."""
    if all(each.loss is None for each in card.entrants):
        return Markup()
    names = list(dict.fromkeys(each.checkpoint for each in card.entrants))
    found = {(each.scale, each.checkpoint): each.loss for each in card.entrants}
    strengths = list(dict.fromkeys(each.scale for each in card.entrants))
    # of pairs whose halves have strengths of their own one line holds several, which its points' names tell
    own = any(each.strengths for each in card.entrants) and len(strengths) == 1
    courses = [
        plots.Course(
            "" if own else digits(scale),
            tuple(plots.Point(found.get((scale, name)), None) for name in names),
            colour=number,
        )
        for number, scale in enumerate(strengths)
    ]
    said = race.RACE["curve"].say(language)
    return plots.courses(names, courses, warn=1.0, fail=1.0, title=said, description=said)
