"""The video files of a data set: whether they are there, and what the training would make of them."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from pathlib import Path

IMAGE_ENDINGS = frozenset({"jpg", "jpeg", "png", "webp", "bmp"})
VIDEO_ENDINGS = frozenset({"gif", "mp4", "avi", "mov", "wmv", "mkv", "flv", "webm"})
"""Endings that DiffSynth's `UnifiedDataset` opens as videos; it stops at any other."""

ENDINGS = VIDEO_ENDINGS | IMAGE_ENDINGS
"""Both."""

URLS = ("http://", "https://")
"""What DiffSynth fetches while it trains; nothing here does."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LOADER_MULTIPLE = 16
_FRAME_STEP = 4
_EXAMPLE_REASONS = 5
_LONGEST_REASON = 200
_NO_FRAME = "no frame of it can be decoded"


class State(IntEnum):
    """What can be told of a video without opening it."""

    PRESENT = 0
    NAMELESS = 1
    MISSING = 2
    EMPTY = 3
    UNSUPPORTED = 4
    REMOTE = 5
    UNCHECKED = 6


BROKEN = frozenset({State.NAMELESS, State.MISSING, State.EMPTY, State.UNSUPPORTED})
"""States in which the training would stop at the row."""


def is_url(video: str) -> bool:
    """Whether a video is named by a URL of any kind, which no folder stands before."""
    return _SCHEME.match(video) is not None


def named_in(value: object) -> str | None:
    """The only text or else URL in an object or a list, which somebody wrote for a text."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    texts = [each for each in parts if isinstance(each, str)]
    found = texts if len(texts) == 1 else [each for each in texts if is_url(each)]
    return found[0] if len(found) == 1 else None


def placed(video: str | None, base: Path) -> str | None:
    """The path of a video of a table, from the table's folder or else the working folder; a URL as it is."""
    if video is None or is_url(video):
        return video
    found = base / video
    return str(Path(video).resolve() if not found.exists() and Path(video).exists() else found)


def state_of(video: str | None, base: str) -> State:
    """Look whether a video file is there.

    Args:
        video: As the metadata names it, None where it names none.
        base: The folder that relative names start from (`--dataset_base_path` of the training); a text, since
            a `Path` for each of a million rows takes longer than asking the system.
    """
    if video is None:
        return State.NAMELESS
    if video.startswith(URLS):
        return State.REMOTE
    if is_url(video) or video.rpartition(".")[2].lower() not in ENDINGS:
        return State.UNSUPPORTED
    try:
        found = os.stat(os.path.join(base, video))  # noqa: PTH116, PTH118  see `base`
    except (OSError, ValueError):
        # //host/a.mp4 is a path where there is such a file, and else a URL without its beginning
        return State.UNSUPPORTED if video.startswith("//") else State.MISSING
    if not stat.S_ISREG(found.st_mode):
        return State.MISSING
    return State.PRESENT if found.st_size else State.EMPTY


@dataclass(frozen=True)
class Target:
    """What the training is told to make of each video.

    Attributes:
        height: Pixels, None for the dynamic resolution (each video keeps its own, rounded down).
        width: Pixels, None with `height`.
        frames: The most frames of a video that are used, from its beginning.
        max_pixels: Pixels a frame above which the dynamic resolution shrinks.
        multiple: What the model needs sizes to be a multiple of: 32 for TI2V-5B, 16 for the other Wan models.
    """

    height: int | None
    width: int | None
    frames: int = 81
    max_pixels: int = 1024 * 1024
    multiple: int = 32


@dataclass(frozen=True)
class Clip:
    """A video that could be read.

    Attributes:
        height: Pixels.
        width: Pixels.
        frames: Frames, counted by decoding as the training does.
        rate: Frames a second.
    """

    height: int
    width: int
    frames: int
    rate: float


@dataclass(frozen=True)
class Fit:
    """What the training makes of a video.

    Attributes:
        height: Pixels after resizing and cropping.
        width: Pixels after that.
        frames: Frames used: the target's, or the largest 4n + 1 that a shorter video has.
        enlarged: Whether the video is scaled up.
        cropped: Share of its area that is cut off, 0 to 1.
        lost_frames: Frames of a video shorter than the target that the rounding drops, 0 to 3.
        refused: Whether the model would stop, because a side is no multiple of what it needs.
    """

    height: int
    width: int
    frames: int
    enlarged: bool
    cropped: float
    lost_frames: int
    refused: bool


@dataclass
class Reading:
    """What reading the video files showed; counts of videos.

    Attributes:
        target: What the training is told to make of them.
        read: Videos that could be read to their end.
        reasons: The first few of them, with the reason.
        sizes: Videos by `WIDTHxHEIGHT`.
        frames: Videos by number of frames.
        enlarged: Videos that the training scales up.
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


def fit(clip: Clip, target: Target) -> Fit:
    """Follow DiffSynth's `ImageCropAndResize` and `LoadVideo` (diffsynth/core/data/operators.py, 2.1)."""
    if target.height is not None and target.width is not None:
        height, width = target.height, target.width
    else:
        height, width = clip.height, clip.width
        if height * width > target.max_pixels:
            shrink = (height * width / target.max_pixels) ** 0.5
            height, width = int(height / shrink), int(width / shrink)
        height, width = (side // _LOADER_MULTIPLE * _LOADER_MULTIPLE for side in (height, width))
    scale = max(width / clip.width, height / clip.height)
    # a video smaller than the loader's step is rounded down to nothing
    covered = height * width / (clip.height * scale * clip.width * scale) if height and width else 0.0
    frames = target.frames
    if clip.frames < frames:
        frames = max((clip.frames - 1) // _FRAME_STEP * _FRAME_STEP + 1, 1)
    return Fit(
        height=height,
        width=width,
        frames=frames,
        enlarged=scale > 1,
        cropped=max(1 - covered, 0.0),
        lost_frames=clip.frames - frames if clip.frames < target.frames else 0,
        refused=height % target.multiple > 0 or width % target.multiple > 0 or 0 in (height, width),
    )


def read_clips(
    paths: Sequence[Path],
    target: Target,
    *,
    workers: int = 2,
    progress: Callable[[int, float], None] | None = None,
) -> Reading:
    """Read every video file; slow, each is decoded to its end."""
    clips = Reading(target)
    for done, (path, found) in enumerate(read_all(paths, workers=workers), start=1):
        if isinstance(found, str):
            clips.unreadable += 1
            if len(clips.reasons) < _EXAMPLE_REASONS:
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
            progress(done, done / len(paths))
    return clips


def read_all(paths: Iterable[Path], *, workers: int = 2) -> Iterator[tuple[Path, Clip | str]]:
    """Read many videos, some at a time.

    Returns:
        Each path with its clip, or with the reason why it cannot be read, in the order of `paths`.
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(workers) as pool:
        while chunk := list(islice(remaining, 16 * workers)):
            yield from zip(chunk, pool.map(read, chunk), strict=True)


def read(path: Path) -> Clip | str:
    """Decode a video to its end, as the training does to count its frames.

    Args:
        path: A video, or an image, which the training takes for a video of one frame.

    Returns:
        The clip, or the reason why it cannot be read.
    """
    if path.suffix.lower().removeprefix(".") in IMAGE_ENDINGS:
        return _read_image(path)
    # a report that opens no video needs neither
    import cv2
    import imageio_ffmpeg

    try:
        frames, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return lines[-1].strip()[:_LONGEST_REASON] if lines else _NO_FRAME
    capture = cv2.VideoCapture(str(path))
    try:
        decoded, frame = capture.read()
        rate = float(capture.get(cv2.CAP_PROP_FPS))
    finally:
        capture.release()
    if not frames or not decoded:
        return _NO_FRAME
    height, width = frame.shape[:2]
    return Clip(height, width, int(frames), rate)


def _read_image(path: Path) -> Clip | str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            return Clip(image.height, image.width, 1, 0.0)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        return str(error)[:_LONGEST_REASON]
