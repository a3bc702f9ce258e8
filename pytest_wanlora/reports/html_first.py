"""The first screen of the HTML page: the worst videos of what fails, playing; one matrix; what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import plots, sentences, trend
from pytest_wanlora.reports.html_checkpoints import (
    Anchors,
    CandidateView,
    Mark,
    mark,
)
from pytest_wanlora.reports.html_player import saved_as
from pytest_wanlora.reports.html_previews import poster
from pytest_wanlora.reports.html_text import isolated, visible
from pytest_wanlora.reports.i18n import change_of, title_of
from pytest_wanlora.reports.next_steps import race_on
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict

if TYPE_CHECKING:
    from pytest_wanlora.reports.html_previews import Previews
    from pytest_wanlora.results.run_record import RunRecord

_MOST_LOOKS: Final = 3
#: Checkpoints beside the baseline; more would be too small to see anything.
_MOST_SIDES: Final = 3


@dataclass(frozen=True)
class Side:
    """One video of a row.

    Attributes:
        name: Of the baseline or the checkpoint.
        role: That it is the baseline or a candidate, in words.
        clip: Name of its clip in the page.
        file: What it is saved as.
        mark: The worst verdict of this checkpoint in this scenario; None for the baseline.
        poster: Its first frame, until it plays.
    """

    name: str
    role: str
    clip: str
    file: str
    mark: Mark | None
    poster: str


@dataclass(frozen=True)
class Look:
    """The same seed of the baseline and of every checkpoint, side by side.

    Attributes:
        candidate: The checkpoint that it is about.
        scenario: Its name.
        prompt: What was to be shown.
        seed: Of all videos of the row.
        what: What is wrong, in words; empty where nothing is.
        mark: The verdict that made it worth a look.
        anchor: Where its details are.
        sides: The baseline first.
    """

    candidate: str
    scenario: str
    prompt: str
    seed: int
    what: str
    mark: Mark
    anchor: str
    sides: tuple[Side, ...]


def looks(record: RunRecord, anchors: Anchors, previews: Previews) -> tuple[Look, ...]:
    """The worst pair of each scenario that fails, else of each that warns, else one pair of the run.

    Only what the page holds is shown; several checkpoints stand beside each other with the same seed.
    """
    found: dict[str, Look] = {}
    for judged in telling(record, each_scenario_once=False):
        scenario = "" if judged.worst is None else judged.worst.scenario
        if scenario in found or len(found) == _MOST_LOOKS:
            continue
        if found and not judged.verdict.fails:
            break
        shown = _look(record, anchors, previews, judged)
        if shown is not None:
            found[scenario] = shown
    return tuple(found.values())


def telling(record: RunRecord, *, each_scenario_once: bool = True) -> list[Judgement]:
    """What fails and has a worst video, worst first; where nothing does, the worst of the run.

    Args:
        record: The run.
        each_scenario_once: Only the worst of each scenario, and only one where nothing fails.
    """
    measured = [each for each in record.judgements if each.value is not None and not each.verdict.unmeasured]
    ordered = sorted(measured, key=lambda each: each.gravity)
    seen = [each for each in ordered if each.worst is not None]
    failed = [each for each in seen if each.verdict.fails]
    if not each_scenario_once:
        return failed or seen
    first = {each.worst.scenario: each for each in reversed(failed) if each.worst is not None}
    return [each for each in failed if each in first.values()] or seen[:1]


def _look(record: RunRecord, anchors: Anchors, previews: Previews, judged: Judgement) -> Look | None:
    if judged.worst is None:
        return None
    scenario, seed, language = judged.worst.scenario, judged.worst.seed, anchors.language
    paths = {
        "" if video.role == "baseline" else video.candidate: previews.folder / video.preview
        for video in record.videos
        if (video.scenario, video.seed) == (scenario, seed) and video.preview is not None
    }
    base = previews.shown.get(("baseline", "", scenario, seed))
    sides = []
    if base is not None and base.clip and record.baseline is not None:
        file = saved_as(anchors, scenario, seed, -1)
        sides.append(
            Side(
                record.baseline.name,
                Html.ROLE_BASELINE.say(language),
                base.clip,
                file,
                None,
                poster(paths.get("")),
            )
        )
    # what is judged, then what is recommended, then the others in their order
    names = list(
        dict.fromkeys(filter(None, (judged.candidate, trend.best(record).candidate, *anchors.candidates)))
    )
    own = sorted(names[:_MOST_SIDES], key=anchors.candidates.index)
    for name in own:
        shown = previews.shown.get(("candidate", name, scenario, seed))
        if shown is not None and shown.clip:
            file = saved_as(anchors, scenario, seed, anchors.candidates.index(name))
            verdict = _worst(record, name, scenario, language)
            sides.append(
                Side(
                    name,
                    Html.ROLE_CANDIDATE.say(language),
                    shown.clip,
                    file,
                    verdict,
                    poster(paths.get(name)),
                )
            )
    if not any(side.mark is not None and side.name == judged.candidate for side in sides):
        return None
    what = in_words(judged, language) if judged.verdict.fails or judged.verdict is Verdict.WARN else ""
    return Look(
        judged.candidate,
        scenario,
        record.suite.prompts[scenario].prompt if scenario in record.suite.prompts else "",
        seed,
        what,
        mark(judged.verdict, language),
        anchors.item(judged),
        tuple(sides),
    )


def in_words(judged: Judgement, language: Language) -> str:
    """What is wrong with an item that makes it worth a look, in a few words."""
    metric = title_of(judged.metric, language) if judged.metric else ""
    if not metric or judged.verdict is Verdict.DEGENERATE or judged.fail is None or judged.change is None:
        return Html.LOOK_AT.say(language, metric=metric or Html.VIDEOS.say(language))
    change = change_of(judged.metric, judged.change, judged.verdict, language)
    if judged.change <= judged.fail:
        return f"{metric}: {change}"
    return Html.ALLOWED.say(
        language, metric=metric, change=change, fail=plots.percent(judged.fail, signed=False)
    )


def _worst(record: RunRecord, candidate: str, scenario: str, language: Language) -> Mark:
    own = [j.verdict for j in record.judgements if (j.candidate, j.scenario) == (candidate, scenario)]
    return mark(max(own, key=lambda verdict: verdict.severity, default=None), language)


def first_step(
    record: RunRecord, views: tuple[CandidateView, ...], language: Language
) -> tuple[str, str] | None:
    """What to do first about the checkpoint that is recommended, or nearest to it: words and a command."""
    best = trend.best(record)
    name = best.candidate or best.numbers.get("nearest")
    chosen = [view for view in views if view.card.name == name] or [*views]
    if not chosen:
        steps = race_on(record)
        return (
            (sentences.step_text(steps[0], language, isolated, visible), steps[0].command) if steps else None
        )
    if not chosen[0].steps:
        return None
    said, command = chosen[0].steps[0]
    causes = record.decision(chosen[0].card.name).causes
    # an error knows better than a rule how to go on
    others = (cause.next_command for cause in causes if cause.next_command)
    return said[0], command or next(others, "")


def compact(
    record: RunRecord, views: tuple[CandidateView, ...], anchors: Anchors
) -> tuple[tuple[str, tuple[tuple[Mark, str] | None, ...]], ...]:
    """A row for each scenario, a mark with its place for each checkpoint; empty unless there are several."""
    judged = [view for view in views if view.cells]
    if len(judged) < 2:
        return ()
    rows = []
    for scenario in (*anchors.scenarios, ALL):
        cells = tuple(
            (
                _worst(record, view.card.name, scenario, anchors.language),
                anchors.panel(scenario, view.card.name),
            )
            if scenario in view.cells
            else None
            for view in judged
        )
        if any(cells):
            rows.append((anchors.where(scenario), cells))
    return tuple(rows)
