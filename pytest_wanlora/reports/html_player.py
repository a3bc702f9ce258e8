"""The videos of a scenario in the HTML page: baseline and checkpoints side by side, one seed at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_wanlora.phrases import Language
from pytest_wanlora.reports.html_checkpoints import Anchors
from pytest_wanlora.reports.html_previews import place_of
from pytest_wanlora.reports.html_text import label
from pytest_wanlora.reports.i18n import title_of
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.suite.subject import WITH_TRIGGER, plain
from pytest_wanlora.verdict.judgement import Judgement, Verdict

if TYPE_CHECKING:
    from pytest_wanlora.reports.html_previews import Previews
    from pytest_wanlora.results.parts import Video
    from pytest_wanlora.results.run_record import RunRecord


@dataclass(frozen=True)
class Shot:
    """One video of a row of the grid.

    Attributes:
        clip: Its name in the page, or its address beside it; None where there is none to show.
        words: Why there is none, or what is wrong with the video.
        beside: It is not in the page.
        file: What it is saved as.
    """

    clip: str | None
    words: str
    beside: bool = False
    file: str = ""


@dataclass(frozen=True)
class Take:
    """One seed: a row of the grid.

    Attributes:
        seed: Of all its videos.
        shots: The baseline's if there is one, then each checkpoint's.
        worst: Metrics and checkpoints of which it is the worst; empty for most.
    """

    seed: int
    shots: tuple[Shot, ...]
    worst: str


@dataclass(frozen=True)
class Player:
    """The videos of a scenario: baseline and checkpoints side by side, one seed at a time.

    Attributes:
        sides: Role, name and the checkpoint's index, -1 for the baseline.
        takes: By seed.
        first: Index of the take to show first: the worst of what is worst.
        playable: A take has a video to show.
        absent: Where none has, why.
    """

    sides: tuple[tuple[str, str, int], ...]
    takes: tuple[Take, ...]
    first: int

    @property
    def playable(self) -> bool:
        """Whether there is a video to show."""
        return any(shot.clip for take in self.takes for shot in take.shots)

    @property
    def absent(self) -> tuple[str, ...]:
        """Why there is none, each reason once."""
        told = (
            f"{side[0]}: {shot.words}"
            for take in self.takes
            for side, shot in zip(self.sides, take.shots, strict=True)
            if shot.words
        )
        return tuple(dict.fromkeys(told))


def saved_as(anchors: Anchors, scenario: str, seed: int, index: int) -> str:
    """Name of a video's file: of the candidate at an index, or of the baseline below 0."""
    whose = f"candidate{index + 1}" if index >= 0 else "baseline"
    third = "-trigger" if scenario != plain(scenario) else ""
    return f"{whose}-{anchors.scene(plain(scenario))}{third}-seed{seed}.mp4"


def player_of(record: RunRecord, anchors: Anchors, previews: Previews, scenario: str) -> Player | None:
    """All videos of a scenario; None where nothing was to be rendered."""
    language = anchors.language
    third: dict[str, dict[int, Video]] = {}
    own: dict[str, dict[int, Video]] = {"": {}, **{name: {} for name in anchors.candidates}}
    for video in record.videos:
        name = "" if video.role == "baseline" else video.candidate
        if video.scenario == scenario and name in own:
            own[name][video.seed] = video
        elif video.scenario == scenario + WITH_TRIGGER:
            third.setdefault(name, {})[video.seed] = video
    lost = {(f.candidate, f.seed): f.message for f in record.failures if f.scenario == scenario}
    made = [name for name in anchors.candidates if own[name] or any(at[0] == name for at in lost)]
    seeds = {seed for name in made for seed in own[name]} | {seed for _, seed in lost}
    if not seeds:
        return None
    sides = [(Html.ROLE_CANDIDATE.say(language), name, anchors.candidates.index(name)) for name in made]
    # A | B | C: the baseline, the candidate without the trigger, and with it
    with_trigger = [(Html.ROLE_TRIGGER.say(language), name, at) for _, name, at in sides if name in third]
    if record.baseline is not None:
        sides.insert(0, (Html.ROLE_BASELINE.say(language), record.baseline.name, -1))
    judged = [j for j in record.judgements if j.scenario == scenario]
    takes = []
    for seed in sorted(seeds):
        shots = []
        for _, name, index in sides:
            found = own["" if index < 0 else name].get(seed)
            if found is None:
                shots.append(Shot(None, _absent(lost, name, index, seed, language)))
            else:
                shots.append(_shot(previews, found, anchors, index))
        for _, name, index in with_trigger:
            found = third[name].get(seed)
            missing = Shot(None, Html.KEPT_NONE.say(language))
            shots.append(missing if found is None else _shot(previews, found, anchors, index))
        takes.append(Take(seed, tuple(shots), _worst_in(judged, seed, anchors)))
    return Player((*sides, *with_trigger), tuple(takes), _first(takes, judged))


def _absent(lost: dict[tuple[str, int], str], name: str, index: int, seed: int, language: Language) -> str:
    if index < 0:
        return Html.NO_SEED.say(language)
    return lost.get((name, seed)) or Html.KEPT_NONE.say(language)


def _worst_in(judged: Sequence[Judgement], seed: int, anchors: Anchors) -> str:
    found = [
        (title_of(j.metric, anchors.language), j.candidate)
        for j in judged
        if j.kind == "regression" and j.worst is not None and j.worst.seed == seed and _told(j)
    ]
    several = len(anchors.candidates) > 1
    return ", ".join(dict.fromkeys(f"{title} ({label(name)})" if several else title for title, name in found))


def _told(judged: Judgement) -> bool:
    return judged.verdict not in (Verdict.PASS, Verdict.BETTER)


def _shot(previews: Previews, video: Video, anchors: Anchors, index: int) -> Shot:
    language, shown = anchors.language, previews.shown[place_of(video)]
    why = {"none": Html.KEPT_NONE, "missing": Html.GONE, "unreadable": Html.UNREADABLE}
    words = [Html.DEGENERATE.say(language, why=video.degenerate)] if video.degenerate else []
    if shown.fate in why:
        words.append(why[shown.fate].say(language))
    return Shot(
        shown.clip or shown.link,
        "; ".join(words),
        beside=shown.fate == "left_out",
        file=saved_as(anchors, video.scenario, video.seed, index),
    )


def _first(takes: Sequence[Take], judged: Sequence[Judgement]) -> int:
    """The take to open with: worst in the item with the worst verdict, if it can be seen."""
    ordered = sorted(judged, key=lambda j: j.gravity)
    seeds = [each.seed for each in takes]
    for each in ordered:
        if each.worst is not None and _told(each):
            at = seeds.index(each.worst.seed) if each.worst.seed in seeds else -1
            if at >= 0 and any(shot.clip for shot in takes[at].shots):
                return at
    seen = [i for i, take in enumerate(takes) if any(shot.clip for shot in take.shots)]
    return seen[0] if seen else 0
