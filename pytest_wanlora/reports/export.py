"""What exporters to experiment trackers share: a record as numbers by step, and videos side by side."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora.phrases import digits, strength_of
from pytest_wanlora.reports import sentences, trend
from pytest_wanlora.reports.commands import names_of, safe_name
from pytest_wanlora.reports.summary import rows

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord


@dataclass(frozen=True)
class Point:
    """One checkpoint of a run.

    Attributes:
        training: What its numbers belong to: the file's name without its last number, and the strength.
        step: That last number; without one its place in the run.
        numbers: `score/CLIP/scenario` and such.
        words: The decision in a sentence.
        videos: Scenario and seed to the files of the baseline's video and its own.
    """

    training: str
    step: int
    numbers: Mapping[str, float]
    words: str
    videos: Mapping[str, tuple[Path, Path]]


def points(record: RunRecord, folder: Path) -> Iterator[Point]:
    """The checkpoints of a run, in its order.

    Args:
        record: The run.
        folder: Of the run, where its previews are found.
    """
    safe = names_of(record)
    for place, card in enumerate(record.candidates):
        if card.sha256 is None:
            continue
        name, strength = safe[card.name], f"@{card.strength}".replace(" ", "")
        # several strengths are in the names too: of the run, then of a pair's halves
        own = strength_of(1.0, {expert: half.strength for expert, half in card.halves.items()})
        plain = card.name.removesuffix(f"@{digits(card.scale)}").removesuffix(f"@{own}".replace(" ", ""))
        name = name if plain == card.name else safe_name(plain)
        found = re.fullmatch(r"(.*?)[-_. ]*([0-9]+)", name)
        training, step = (found[1], int(found[2])) if found else (name, place)
        yield Point(
            training=(training or "checkpoints") + strength * (strength != "@1"),
            step=step,
            numbers=dict(_numbers(record, card.name)),
            words=f"{sentences.verdict_text(record, card, 'en', str)}: {card.reason}",
            videos=_videos(record, card.name, folder),
        )


def _numbers(record: RunRecord, candidate: str) -> Iterator[tuple[str, float]]:
    card = next(card for card in record.candidates if card.name == candidate)
    yield "publishable", float(card.publishable)
    if (loss := trend.loss(record, candidate)) is not None:
        yield "loss", loss[0]
    for row in rows(record, candidate):
        judged, place = row.judgement, f"{row.metric}/{row.scenario}"
        evidence = judged.evidence
        known = {
            "score": judged.value,
            "baseline": judged.baseline,
            "change": judged.change,
            "change_low": None if evidence is None else evidence.low,
            "change_high": None if evidence is None else evidence.high,
            "verdict": float(judged.verdict.severity),
        }
        yield from ((f"{name}/{place}", value) for name, value in known.items() if value is not None)


def _videos(record: RunRecord, candidate: str, folder: Path) -> dict[str, tuple[Path, Path]]:
    """Of each scenario the first seed of which both videos are there."""
    files = {
        (video.role == "baseline", video.scenario, video.seed): folder / video.preview
        for video in record.videos
        if video.preview is not None and (video.role == "baseline" or video.candidate == candidate)
    }
    found: dict[str, tuple[Path, Path]] = {}
    for scenario in record.suite.prompts:
        for seed in sorted({seed for _, name, seed in files if name == scenario}):
            pair = [files.get((role, scenario, seed)) for role in (True, False)]
            if pair[0] is not None and pair[1] is not None and pair[0].is_file() and pair[1].is_file():
                found[f"{scenario}/{seed}"] = (pair[0], pair[1])
                break
    return found


def side_by_side(pair: tuple[Path, Path], target: Path) -> None:
    """Write the baseline's video and the candidate's as one, in the format that the target's suffix says.

    Raises:
        OSError: ffmpeg cannot; with what it said.
    """
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(pair[0]), "-i", str(pair[1])]
    ended = subprocess.run(  # noqa: S603 - the ffmpeg that imageio-ffmpeg brings
        [*command, "-filter_complex", "hstack=inputs=2", str(target)], capture_output=True, check=False
    )
    if ended.returncode:
        raise OSError(f"ffmpeg: {ended.stderr.decode(errors='replace').strip()[:300]}")
