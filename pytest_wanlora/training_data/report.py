"""What a training set is made of: the numbers of `data report`, as JSON and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.phrases import number_of
from pytest_wanlora.text_table import aligned, cut
from pytest_wanlora.training_data.balance import Draw
from pytest_wanlora.training_data.categories import LANGUAGES, Means
from pytest_wanlora.training_data.duplicates import Duplicates
from pytest_wanlora.training_data.metadata import FORMATS
from pytest_wanlora.training_data.survey import EXAMPLES, MEANS, Survey
from pytest_wanlora.training_data.trigger import TriggerUse
from pytest_wanlora.training_data.videos import BROKEN, ENDINGS, URLS, Reading, State

SCHEMA_VERSION: Final = 1
_BAR = 30


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
        videos: Rows whose video another row names too, beyond the first.
    """

    exact: int
    near: int | None
    threshold: float
    largest: tuple[Group, ...]
    videos: int


@dataclass(frozen=True)
class Report:
    """The report on training data.

    Attributes:
        taken: Prompts that an epoch takes: rows with a prompt as often as the config repeats them. All counts
            below are of these but for those of examples, repeats and videos.
        notes: What the user should know of how it was read.
        folded: Rows by category of the word lists that is not reported; they are in `other`.
        without_prompt: Rows whose prompt is empty or would be read as missing; not in any count below.
        categories: Rows by category, `other` last.
        languages: Rows by language.
        category_by_language: Rows by language by category.
        undecided: Rows that no word decided and no similarity either: all of them are `other`.
        ties: Rows that words of several categories decide alike: the first in order has them.
        by_similarity: Rows decided by text similarity.
        lengths: By language.
        videos: Rows by `videos.State`, by its lower-case name.
        broken_examples: A few rows at which the training would stop, with the reason.
        remote_examples: A few rows that name a URL, which is not fetched.
        clips: What reading the files showed; None where they were not read.
        triggers: Of each trigger that was named, how the captions use it.
        without_prompt_examples: The first rows of `without_prompt`.
    """

    path: Path
    rows: int
    taken: int
    notes: tuple[str, ...]
    folded: Mapping[str, int]
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
    remote_examples: tuple[str, ...] = ()
    clips: Reading | None = None
    triggers: tuple[TriggerUse, ...] = ()
    without_prompt_examples: tuple[str, ...] = ()

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

    def to_json(self) -> dict[str, Any]:
        """The report as plain data with its `schema_version` and the `shares`."""
        plain = asdict(replace(self, clips=None))
        plain["path"] = str(self.path)
        if self.clips is not None:
            # asdict would count the pairs of a Counter
            plain["clips"] = {**vars(self.clips), "target": asdict(self.clips.target)}
        if not self.triggers:
            del plain["triggers"]
        return {"schema_version": SCHEMA_VERSION, "shares": self.shares, **plain}


def build(survey: Survey, duplicates: Duplicates, *, threshold: float) -> Report:
    """Make the report of a survey."""
    present = survey.present
    undecided = present & (survey.means == MEANS.index(Means.NOTHING))
    spoken = [index for index in range(len(LANGUAGES)) if bool((present & (survey.languages == index)).any())]
    by_language = {index: present & (survey.languages == index) for index in spoken}
    per_language = {index: survey.counts(rows) for index, rows in by_language.items()}
    return Report(
        path=survey.source.path,
        rows=len(survey),
        taken=survey.taken(present),
        notes=survey.notes,
        folded=survey.folded,
        without_prompt=int(np.count_nonzero(~present)),
        categories=survey.counts(present),
        languages={LANGUAGES[index]: survey.taken(rows) for index, rows in by_language.items()},
        category_by_language={
            name: {LANGUAGES[index]: per_language[index][name] for index in spoken}
            for name in survey.rules.names
        },
        undecided=survey.taken(undecided),
        ties=survey.taken(present & (survey.means == MEANS.index(Means.TIE))),
        by_similarity=survey.taken(present & (survey.means == MEANS.index(Means.SIMILARITY))),
        undecided_examples=tuple(
            cut(survey.prompts[int(row)]) for row in np.flatnonzero(undecided)[:EXAMPLES]
        ),
        lengths={
            LANGUAGES[index]: _lengths(
                np.array([len(survey.prompts[row]) for row in np.flatnonzero(rows).tolist()])
            )
            for index, rows in by_language.items()
        },
        repeats=_repeats(survey, duplicates, threshold),
        videos={
            state.name.lower(): int(count)
            for state in State
            if (count := np.count_nonzero(survey.video_states == state))
        },
        broken_examples=tuple(
            f"{row}: {State(survey.video_states[number]).name.lower()}"
            for number, row in survey.examples(np.isin(survey.video_states, list(BROKEN))).items()
        ),
        remote_examples=tuple(survey.examples(survey.video_states == State.REMOTE).values()),
        without_prompt_examples=tuple(survey.examples(~present).values()),
    )


def _lengths(characters: NDArray[np.int64]) -> Lengths:
    return Lengths(
        least=int(characters.min()),
        median=float(np.median(characters)),
        p95=float(np.percentile(characters, 95)),
        most=int(characters.max()),
    )


def _repeats(survey: Survey, duplicates: Duplicates, threshold: float) -> Repeats:
    largest: list[Group] = []
    for kept, rows in duplicates.groups():
        if len(largest) == EXAMPLES:
            break
        exact = bool(duplicates.exact[rows].all())
        largest.append(Group(cut(survey.prompts[kept]), len(rows) + 1, exact))
    named = survey.video_digests[survey.video_states != State.NAMELESS]
    return Repeats(
        exact=duplicates.exact_count,
        near=duplicates.near_count if survey.source.near else None,
        threshold=threshold,
        largest=tuple(largest),
        videos=len(named) - len(np.unique(named)),
    )


def report_lines(report: Report) -> Iterator[str]:
    """A report as lines of text."""
    with_prompt = report.rows - report.without_prompt
    yield f"{report.path}: {report.rows:,} rows, {with_prompt:,} with a prompt"
    if report.taken != with_prompt:
        yield f"  counted as often as an epoch takes them: {number_of(report.taken, 'prompt')}"
    yield from (f"  {note}" for note in report.notes)
    if report.without_prompt:
        yield f"  {report.without_prompt:,} rows have no prompt, or one that the training reads as missing"
        yield from (f"    such as {example}" for example in report.without_prompt_examples)
    yield ""
    languages = list(report.languages)
    rows = [
        [name, f"{count:,}", _percent(report.shares[name]), "█" * round(report.shares[name] * _BAR)]
        + [f"{report.category_by_language[name][language]:,}" for language in languages]
        for name, count in report.categories.items()
    ]
    yield from _table(["category", "rows", "share", "", *languages], rows)
    yield ""
    yield from folded_lines(report.folded)
    yield from _decided(report)
    yield ""
    yield from _table(
        ["language", "rows", "share", "characters: least", "median", "95 %", "most"],
        [
            [
                language,
                f"{count:,}",
                _percent(count / max(report.taken, 1)),
                f"{report.lengths[language].least:,}",
                f"{report.lengths[language].median:,.0f}",
                f"{report.lengths[language].p95:,.0f}",
                f"{report.lengths[language].most:,}",
            ]
            for language, count in report.languages.items()
        ],
    )
    yield ""
    yield from _repeats_lines(report.repeats)
    yield ""
    for use in report.triggers:
        yield from trigger_lines(use)
        yield ""
    yield from _videos(report)


def folded_lines(folded: Mapping[str, int]) -> Iterator[str]:
    """Which categories count as `other`, as lines of text."""
    for name, count in folded.items():
        yield f"{number_of(count, 'prompt')} of {name} count as other: no scenario of the suite is of {name}"


def trigger_lines(use: TriggerUse) -> Iterator[str]:
    """The use of a trigger as lines of text."""
    whole = max(use.held + use.without, 1)
    yield (
        f"trigger {use.trigger!r}: a word of its own in {use.held:,} of {use.held + use.without:,} captions, "
        f"{_percent(use.held / whole)}"
    )
    if use.held:
        places = (f"{name} {_percent(count / use.held)}" for name, count in use.places.items())
        yield "  it stands: " + ", ".join(places)
    if use.without:
        yield f"  warning: {use.without:,} captions lack it; add it, unless they keep the rest as it is:"
        yield from (f"    {example}" for example in use.without_examples)
    for what, spellings in (("nearly the trigger", use.near), ("the trigger within a word", use.fused)):
        if spellings:
            yield f"  warning: {what}, which the model reads as something else:"
        for each in spellings[:EXAMPLES]:
            yield f"    {each.text!r} in {each.captions:,}, such as {each.example}"
        if len(spellings) > EXAMPLES:
            yield f"    and {len(spellings) - EXAMPLES:,} more spellings, which --json lists"
    if use.search:
        yield f"  next: {use.search}"


def draw_lines(output: Path, seed: int, before: Mapping[str, int], drawn: Draw) -> Iterator[str]:
    """What was drawn, as lines of text."""
    yield f"{output}: {number_of(len(drawn.rows), 'row')}, seed {seed}"
    if drawn.dropped:
        yield "left out before: " + ", ".join(
            f"{count:,} {reason}" for reason, count in drawn.dropped.items()
        )
    totals = max(sum(before.values()), 1), max(len(drawn.rows), 1)
    rows = [
        [
            name,
            f"{count:,}",
            _percent(count / totals[0]),
            f"{drawn.available[name]:,}",
            f"{drawn.wanted.get(name, 0):,}",
            _percent(drawn.wanted.get(name, 0) / totals[1]),
        ]
        for name, count in before.items()
    ]
    yield from _table(["category", "rows there", "share", "usable", "drawn", "share"], rows)
    for name, (least, most) in drawn.repeated.items():
        times = f"{least}" if least == most else f"{least} or {most}"
        yield f"repeated: {name} has {drawn.distinct[name]:,} different rows, each is taken {times} times"


def _decided(report: Report) -> Iterator[str]:
    yield f"prompts without a word of the lists, which count as other: {report.undecided:,}"
    for example in report.undecided_examples:
        yield f"  such as: {example}"
    if report.ties:
        yield (
            "prompts that weigh the same for several categories, the first of which has them: "
            f"{report.ties:,}"
        )
    if report.by_similarity:
        yield f"prompts decided by text similarity: {report.by_similarity:,}"


def _repeats_lines(repeats: Repeats) -> Iterator[str]:
    near = (
        "not looked for"
        if repeats.near is None
        else f"{repeats.near:,} (similarity from {repeats.threshold:g})"
    )
    yield f"repeated prompts: {repeats.exact:,} exact, near: {near}"
    for group in repeats.largest:
        yield f"  {group.rows:,} rows {'exactly' if group.exact else 'nearly'}: {group.prompt}"
    if repeats.videos:
        yield f"repeated videos: {repeats.videos:,} rows name a video that another row names"


def _videos(report: Report) -> Iterator[str]:
    yield "videos: " + ", ".join(f"{count:,} {state}" for state, count in report.videos.items())
    for example in report.broken_examples:
        yield f"  the training would stop at {example}"
    if report.videos.get(State.MISSING.name.lower()):
        # --base is of tables that are named themselves
        table = report.path.suffix.lower().removeprefix(".") in FORMATS and not report.path.is_dir()
        way = "name the folder of the videos with --base" if table else "correct the names of the videos"
        yield f"  next: {way}, or do not look for them: --videos none"
    if report.videos.get(State.UNSUPPORTED.name.lower()):
        endings = ", ".join(sorted(ENDINGS))
        yield f"  next: name files that end in {endings}, or URLs that begin with {' or '.join(URLS)}"
    if report.remote_examples:
        yield (
            f"  remote: a URL such as {report.remote_examples[0]}; DiffSynth fetches it while it trains, "
            "nothing here does, so it is neither looked for nor read"
        )
        yield "  next: to have these videos looked at, download them and name the files in the table"
    if report.clips is not None:
        yield from _clips(report.clips)


def _clips(clips: Reading) -> Iterator[str]:
    target = clips.target
    size = "their own size" if target.height is None else f"{target.width}x{target.height}"
    yield f"  read: {clips.read:,}, unreadable: {clips.unreadable:,}"
    for reason in clips.reasons:
        yield f"    {reason}"
    yield "  sizes: " + ", ".join(f"{count:,} of {size}" for size, count in clips.sizes.most_common(6))
    yield "  frames: " + ", ".join(
        f"{count:,} with {frames}" for frames, count in clips.frames.most_common(6)
    )
    yield f"  trained at {size} and up to {target.frames} frames:"
    most = _percent(clips.most_cropped)
    yield f"    {clips.enlarged:,} are enlarged, {clips.cropped:,} cropped (at most {most} of the area)"
    yield f"    {clips.short:,} are shorter; rounding to 4n + 1 drops {clips.lost_frames:,} of their frames"
    if clips.refused:
        yield f"    {clips.refused:,} are not sized in multiples of {target.multiple}: the model stops"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    left = [number for number, title in enumerate(header) if number == 0 or not title]
    yield from aligned([header, *rows], left=left)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
