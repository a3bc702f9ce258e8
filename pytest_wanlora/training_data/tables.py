"""Reports and plans as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_wanlora.text_table import aligned
from pytest_wanlora.training_data.balance import Draw
from pytest_wanlora.training_data.report import Clips, Repeats, Report
from pytest_wanlora.training_data.videos import State

_BAR = 30


def report_lines(report: Report) -> Iterator[str]:
    """A report as lines of text.

    Args:
        report: The report.
    """
    with_prompt = report.rows - report.without_prompt
    yield f"{report.path}: {report.rows:,} rows, {with_prompt:,} with a prompt"
    if report.without_prompt:
        yield f"  {report.without_prompt:,} rows have no prompt, or one that the training reads as missing"
    yield ""
    languages = list(report.languages)
    rows = [
        [name, f"{count:,}", _percent(report.shares[name]), _bar(report.shares[name])]
        + [f"{report.category_by_language[name][language]:,}" for language in languages]
        for name, count in report.categories.items()
    ]
    yield from _table(["category", "rows", "share", "", *languages], rows)
    yield ""
    yield from _decided(report)
    yield ""
    yield from _table(
        ["language", "rows", "share", "characters: least", "median", "95 %", "most"],
        [
            [
                language,
                f"{count:,}",
                _percent(count / max(with_prompt, 1)),
                f"{report.lengths[language].least:,}",
                f"{report.lengths[language].median:,.0f}",
                f"{report.lengths[language].p95:,.0f}",
                f"{report.lengths[language].most:,}",
            ]
            for language, count in report.languages.items()
        ],
    )
    yield ""
    yield from _repeats(report.repeats)
    yield ""
    yield from _videos(report)


def draw_lines(output: Path, seed: int, before: Mapping[str, int], drawn: Draw) -> Iterator[str]:
    """What was drawn, as lines of text.

    Args:
        output: The file that was written.
        seed: Of the draw.
        before: Rows of the whole set by category.
        drawn: The draw.
    """
    yield f"{output}: {len(drawn.rows):,} rows, seed {seed}"
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


def _repeats(repeats: Repeats) -> Iterator[str]:
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
        yield "  next: name the folder of the videos with --base, or do not look for them: --videos none"
    if report.clips is not None:
        yield from _clips(report.clips)


def _clips(clips: Clips) -> Iterator[str]:
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


def _bar(share: float) -> str:
    return "█" * round(share * _BAR)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
