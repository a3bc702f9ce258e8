"""What a training set is made of: the numbers of `data report`, as JSON and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.training_data.analysis import MEANS, NO_CATEGORY
from pytest_wanlora.training_data.categories import LANGUAGES, Means
from pytest_wanlora.training_data.duplicates import Duplicates
from pytest_wanlora.training_data.survey import Survey
from pytest_wanlora.training_data.videos import BROKEN, State, Target, fit, read_all

SCHEMA_VERSION: Final = 1
_EXAMPLES = 5
_LONGEST_EXAMPLE = 80


@dataclass(frozen=True)
class Lengths:
    """Lengths of prompts, in characters."""

    least: int
    median: float
    p95: float
    most: int


@dataclass(frozen=True)
class Group:
    """Prompts that say the same.

    Attributes:
        prompt: The one that stands for them, cut if it is long.
        rows: How many rows there are, itself included.
        exact: Whether all have the very same text.
    """

    prompt: str
    rows: int
    exact: bool


@dataclass(frozen=True)
class Repeats:
    """Duplicates of the whole set.

    Attributes:
        exact: Rows whose prompt another row has, letter by letter, beyond the first.
        near: Further rows whose prompt is nearly another's; None where that was not looked for.
        threshold: Similarity from which on it is.
        largest: The largest groups.
        videos: Rows whose video another row names too, beyond the first.
    """

    exact: int
    near: int | None
    threshold: float
    largest: tuple[Group, ...]
    videos: int


@dataclass
class Clips:
    """What reading the video files showed; counts of videos.

    Attributes:
        target: What the training is told to make of them.
        read: Videos that could be read to their end.
        unreadable: Videos that could not.
        reasons: The first few of them, with the reason.
        sizes: Videos by `WIDTHxHEIGHT`.
        frames: Videos by number of frames.
        enlarged: Videos that the training scales up.
        cropped: Videos that it cuts.
        most_cropped: Largest share of a video's area that is cut off, 0 to 1.
        short: Videos with fewer frames than the target's.
        lost_frames: Frames of those that the rounding to 4n + 1 drops.
        refused: Videos of a size that the model stops at.
    """

    target: Target
    read: int = 0
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    frames: Counter[int] = field(default_factory=Counter)
    enlarged: int = 0
    cropped: int = 0
    most_cropped: float = 0.0
    short: int = 0
    lost_frames: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Report:
    """The report on one metadata file.

    Attributes:
        path: The file.
        rows: Its rows.
        without_prompt: Rows whose prompt is empty or would be read as missing; not in any count below.
        categories: Rows by category, `other` last.
        languages: Rows by language.
        category_by_language: Rows by language by category.
        undecided: Rows that no word decided and no similarity either: all of them are `other`.
        ties: Rows that words of several categories decide alike: the first in order has them.
        by_similarity: Rows decided by text similarity.
        undecided_examples: A few undecided prompts.
        lengths: By language.
        repeats: Duplicates.
        videos: Rows by `videos.State`, by its lower-case name.
        broken_examples: A few rows at which the training would stop, with the reason.
        clips: What reading the files showed; None where they were not read.
    """

    path: Path
    rows: int
    without_prompt: int
    categories: Mapping[str, int]
    languages: Mapping[str, int]
    category_by_language: Mapping[str, Mapping[str, int]]
    undecided: int
    ties: int
    by_similarity: int
    undecided_examples: tuple[str, ...]
    lengths: Mapping[str, Lengths]
    repeats: Repeats
    videos: Mapping[str, int]
    broken_examples: tuple[str, ...]
    clips: Clips | None = None

    @property
    def shares(self) -> dict[str, float]:
        """Share of the rows with a prompt by category, 0 to 1; the sum is 1 if there is a prompt."""
        total = max(sum(self.categories.values()), 1)
        return {name: count / total for name, count in self.categories.items()}

    @property
    def broken(self) -> int:
        """Rows at which the training would stop for their video, and videos that cannot be read."""
        unreadable = self.clips.unreadable if self.clips is not None else 0
        return sum(self.videos.get(state.name.lower(), 0) for state in BROKEN) + unreadable

    def with_clips(self, clips: Clips) -> Report:
        """The same report with what reading the files showed.

        Args:
            clips: From `read_clips`.
        """
        return replace(self, clips=clips)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data with its `schema_version` and the `shares`."""
        plain = asdict(replace(self, clips=None))
        plain["path"] = str(self.path)
        if self.clips is not None:
            # asdict would count the pairs of a Counter
            plain["clips"] = {**vars(self.clips), "target": asdict(self.clips.target)}
        return {"schema_version": SCHEMA_VERSION, "shares": self.shares, **plain}


def build(survey: Survey, duplicates: Duplicates, *, threshold: float) -> Report:
    """Make the report of a survey.

    Args:
        survey: What was found, its prompts still open.
        duplicates: What repeats what in it.
        threshold: The similarity that `duplicates` were found with.
    """
    present = survey.categories != NO_CATEGORY
    undecided = present & (survey.means == MEANS.index(Means.NOTHING))
    spoken = [index for index in range(len(LANGUAGES)) if bool((present & (survey.languages == index)).any())]
    by_language = {index: present & (survey.languages == index) for index in spoken}
    per_language = {index: survey.counts(rows) for index, rows in by_language.items()}
    return Report(
        path=survey.source.path,
        rows=len(survey),
        without_prompt=int(np.count_nonzero(~present)),
        categories=survey.counts(present),
        languages={LANGUAGES[index]: int(np.count_nonzero(rows)) for index, rows in by_language.items()},
        category_by_language={
            name: {LANGUAGES[index]: per_language[index][name] for index in spoken}
            for name in survey.rules.names
        },
        undecided=int(np.count_nonzero(undecided)),
        ties=int(np.count_nonzero(present & (survey.means == MEANS.index(Means.TIE)))),
        by_similarity=int(np.count_nonzero(present & (survey.means == MEANS.index(Means.SIMILARITY)))),
        undecided_examples=tuple(
            _cut(survey.prompts[int(row)]) for row in np.flatnonzero(undecided)[:_EXAMPLES]
        ),
        lengths={LANGUAGES[index]: _lengths(survey.characters[rows]) for index, rows in by_language.items()},
        repeats=_repeats(survey, duplicates, threshold),
        videos={
            state.name.lower(): int(count)
            for state in State
            if (count := np.count_nonzero(survey.video_states == state))
        },
        broken_examples=_broken_examples(survey),
    )


def read_clips(
    survey: Survey, target: Target, *, workers: int = 2, progress: Callable[[int, float], None] | None = None
) -> Clips:
    """Read every video file that is there; slow, each is decoded to its end.

    Args:
        survey: What was found, with the states of the files.
        target: What the training is told to make of them.
        workers: ffmpeg processes at a time.
        progress: Told the videos done and their share of all.

    Raises:
        DataError: The metadata changed since the survey.
    """
    clips = Clips(target)
    total = max(int(np.count_nonzero(survey.video_states == State.PRESENT)), 1)
    for done, (path, found) in enumerate(read_all(_paths(survey), workers=workers), start=1):
        if isinstance(found, str):
            clips.unreadable += 1
            if len(clips.reasons) < _EXAMPLES:
                clips.reasons.append(f"{path}: {found}")
        else:
            made = fit(found, target)
            clips.read += 1
            clips.sizes[f"{found.width}x{found.height}"] += 1
            clips.frames[found.frames] += 1
            clips.enlarged += made.enlarged
            clips.cropped += made.cropped > 0.001
            clips.most_cropped = max(clips.most_cropped, made.cropped)
            clips.short += found.frames < target.frames
            clips.lost_frames += made.lost_frames
            clips.refused += made.refused
        if progress is not None:
            progress(done, done / total)
    return clips


def _paths(survey: Survey) -> Iterator[Path]:
    with survey.source.open() as metadata:
        for row, state in zip(metadata, survey.video_states, strict=False):
            if state == State.PRESENT and row.video is not None:
                yield survey.source.base / row.video


def _lengths(characters: NDArray[np.uint32]) -> Lengths:
    return Lengths(
        least=int(characters.min()),
        median=float(np.median(characters)),
        p95=float(np.percentile(characters, 95)),
        most=int(characters.max()),
    )


def _repeats(survey: Survey, duplicates: Duplicates, threshold: float) -> Repeats:
    largest: list[Group] = []
    for kept, rows in duplicates.groups():
        if len(largest) == _EXAMPLES:
            break
        exact = bool(duplicates.exact[rows].all())
        largest.append(Group(_cut(survey.prompts[kept]), len(rows) + 1, exact))
    named = survey.video_digests[survey.video_states != State.NAMELESS]
    return Repeats(
        exact=duplicates.exact_count,
        near=duplicates.near_count if survey.source.near else None,
        threshold=threshold,
        largest=tuple(largest),
        videos=len(named) - len(np.unique(named)),
    )


def _broken_examples(survey: Survey) -> tuple[str, ...]:
    broken = np.flatnonzero(np.isin(survey.video_states, list(BROKEN)))[:_EXAMPLES]
    if not len(broken):
        return ()
    records = survey.records(int(row) for row in broken)
    unit = "record" if survey.source.path.suffix.lower() == ".json" else "line"
    return tuple(
        f"{unit} {records[int(row)].place}: {_cut(records[int(row)].video or '(no name)')}: "
        f"{State(survey.video_states[row]).name.lower()}"
        for row in broken
    )


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_EXAMPLE else line[: _LONGEST_EXAMPLE - 1] + "…"
