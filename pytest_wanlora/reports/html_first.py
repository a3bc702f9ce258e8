"""The first screen of the HTML page: the worst videos of what fails, playing, and one matrix for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_wanlora.reports.html_checkpoints import Anchors, CandidateView, Mark, mark
from pytest_wanlora.reports.terminal_tables import headline
from pytest_wanlora.verdict.judgement import ALL, Judgement

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
        role: `"Baseline"` or `"Candidate"`.
        clip: Name of its clip in the page.
        file: What it is saved as.
        mark: The worst verdict of this checkpoint in this scenario; None for the baseline.
    """

    name: str
    role: str
    clip: str
    file: str
    mark: Mark | None


@dataclass(frozen=True)
class Look:
    """The same seed of the baseline and of every checkpoint, side by side.

    Attributes:
        scenario: Its name.
        seed: Of all videos of the row.
        what: What is wrong, in the words of the short summary; empty where nothing is.
        mark: The verdict that made it worth a look.
        anchor: Where its details are.
        sides: The baseline first.
    """

    scenario: str
    seed: int
    what: str
    mark: Mark
    anchor: str
    sides: tuple[Side, ...]


def looks(record: RunRecord, anchors: Anchors, previews: Previews) -> tuple[Look, ...]:
    """The worst pair of each scenario that fails, else of each that warns, else one pair of the run.

    Only what the page holds is shown; several checkpoints stand beside each other with the same seed.
    """
    measured = [each for each in record.judgements if each.value is not None and not each.verdict.unmeasured]
    ordered = sorted(measured, key=lambda each: (-each.verdict.severity, -(each.change or 0.0), each.item))
    severe = [each for each in ordered if each.verdict.fails] or ordered
    found: dict[str, Look] = {}
    for judged in severe:
        if judged.worst is None or judged.worst.scenario in found or len(found) == _MOST_LOOKS:
            continue
        if found and not judged.verdict.fails:
            break
        shown = _look(record, anchors, previews, judged)
        if shown is not None:
            found[judged.worst.scenario] = shown
    return tuple(found.values())


def _look(record: RunRecord, anchors: Anchors, previews: Previews, judged: Judgement) -> Look | None:
    if judged.worst is None:
        return None
    scenario, seed = judged.worst.scenario, judged.worst.seed
    base = previews.shown.get(("baseline", "", scenario, seed))
    sides = []
    if base is not None and base.clip and record.baseline is not None:
        file = f"baseline-{anchors.scene(scenario)}-seed{seed}.mp4"
        sides.append(Side(record.baseline.name, "Baseline", base.clip, file, None))
    names = [judged.candidate, *(name for name in anchors.candidates if name != judged.candidate)]
    own = sorted(names[:_MOST_SIDES], key=anchors.candidates.index)
    for name in own:
        shown = previews.shown.get(("candidate", name, scenario, seed))
        if shown is not None and shown.clip:
            file = f"candidate{anchors.candidates.index(name) + 1}-{anchors.scene(scenario)}-seed{seed}.mp4"
            sides.append(Side(name, "Candidate", shown.clip, file, _worst(record, name, scenario)))
    if not any(side.role == "Candidate" and side.name == judged.candidate for side in sides):
        return None
    asks = judged.verdict.fails or mark(judged.verdict).kind == "warn"
    what = headline(judged) if asks else ""
    return Look(scenario, seed, what, mark(judged.verdict), anchors.item(judged), tuple(sides))


def _worst(record: RunRecord, candidate: str, scenario: str) -> Mark:
    own = [j.verdict for j in record.judgements if (j.candidate, j.scenario) == (candidate, scenario)]
    return mark(max(own, key=lambda verdict: verdict.severity, default=None))


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
            (_worst(record, view.card.name, scenario), anchors.panel(scenario, view.card.name))
            if scenario in view.cells
            else None
            for view in judged
        )
        if any(cells):
            rows.append((scenario, cells))
    return tuple(rows)
