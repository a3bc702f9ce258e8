"""What the HTML page shows of a race: its answer, the losses over the checkpoints, a row a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from pytest_wanlora.phrases import Language, digits
from pytest_wanlora.reports import plots, race, svg
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
        strengths: Of its lines, if there are several.
        key: The marks in it, and what they say.
        head: Titles of the table.
        rows: A candidate each, the winner first.
    """

    title: str
    lines: tuple[str, ...]
    plot: Markup
    caption: str
    strengths: tuple[str, ...]
    key: tuple[tuple[Markup, str], ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def race_view(record: RunRecord, language: Language) -> RaceView | None:
    """The race; None without one."""
    found = record.race
    if found is None:
        return None
    drawn = [each for each in found.entrants if each.loss is not None]
    # pairs whose halves have strengths of their own are on one line, and their names tell them apart
    scales = tuple(dict.fromkeys(each.scale for each in found.entrants))
    strengths = tuple(map(digits, scales)) if len(scales) > 1 else ()
    caption = race.RACE["curves" if strengths else "curve"].say(language)
    marks = sorted({race.mark(found, each) for each in drawn}, key=_place)
    return RaceView(
        title=race.RACE["title"].say(language),
        lines=tuple(race.lines(found, language, isolated, visible)),
        plot=_curve(found, caption) if drawn else Markup(),
        caption=caption,
        strengths=strengths,
        key=tuple((svg.mark(kind, 14, 6), race.RACE[words].say(language)) for kind, words in marks),
        head=race.head(language),
        rows=tuple(race.rows(found, language, isolated, visible)),
    )


def _curve(card: RaceCard, caption: str) -> Markup:
    """The losses over the checkpoints, in the order of the command line, with a line for each strength."""
    scales = list(dict.fromkeys(each.scale for each in card.entrants))
    names = list(dict.fromkeys(each.checkpoint for each in card.entrants))
    found = {(each.scale, each.checkpoint): each for each in card.entrants}
    courses = [
        plots.Course(
            digits(scale) if len(scales) > 1 else "",
            tuple(
                plots.Point(each.loss, race.mark(card, each)[0])
                if (each := found.get((scale, name))) is not None
                else plots.Point(None, None)
                for name in names
            ),
            colour=number,
        )
        for number, scale in enumerate(scales)
    ]
    return plots.courses(names, courses, warn=1.0, fail=1.0, title=caption, description=caption, level=_bands)


def _place(mark: tuple[svg.Kind, str]) -> int:
    order: tuple[svg.Kind, ...] = ("won", None, "out")
    return order.index(mark[0])


def _bands(loss: float) -> str:
    """A loss in fail bands as the table has it."""
    return f"{loss:+z.2f}" if loss else "0"
