"""The real videos of a reference set: which there are, and their frames in a suite's number and size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.files import listing
from pytest_wanlora.scoring.frechet import EVERY

ENDINGS = (".avi", ".gif", ".mkv", ".mov", ".mp4", ".webm")
"""Of the files that are read, in lower case."""


def find_sets(folder: Path) -> Mapping[str, tuple[Path, ...]]:
    """List the videos of each set.

    Args:
        folder: Holds a folder for each category, with its videos directly in it; or the videos themselves,
            which are then the single set `all`.

    Returns:
        Category (or `all`) -> its videos by name. Hidden files and other endings are passed over.

    Raises:
        ScoringError: No such folder, no videos in it or in one of its folders, or videos beside folders.
    """
    try:
        videos, folders = _inside(folder)
        found = {each.name: _inside(each)[0] for each in folders}
    except OSError as error:
        raise ScoringError(
            f"{error.filename}: the videos cannot be listed: {error.strerror}; allowed: a folder with a "
            "folder of videos for each category, or with the videos of one set",
            next_command=listing(folder),
        ) from error
    if videos and folders:
        raise ScoringError(
            f"{folder}: holds {videos[0].name} and the folder {folders[0].name}: it is not clear which set a "
            "video belongs to; allowed: videos alone, for one set, or a folder for each category",
            next_command=listing(folder),
        )
    sets = {EVERY: videos} if videos else found
    empty = [str(folder / name) for name, of in sets.items() if not of] or ([] if sets else [str(folder)])
    if empty:
        raise ScoringError(
            f"{', '.join(empty)}: no videos here; allowed: {', '.join(ENDINGS)}",
            next_command=listing(Path(empty[0])),
        )
    return sets


def read_frames(path: Path, count: int, *, every: int = 1) -> NDArray[np.uint8]:
    """Read frames of a video from its start on.

    Args:
        every: Take each frame (1), each second one (2), ...

    Returns:
        uint8 (frames, height, width, 3), RGB; fewer frames than wanted where the video ends, and
        (0, 0, 0, 3) where nothing can be decoded.
    """
    source = _gif_frames(path) if path.suffix.lower() == ".gif" else _decoded(path)
    frames = list(islice(source, 0, count * every, every))
    return np.stack(frames) if frames else np.empty((0, 0, 0, 3), np.uint8)


def fitted(video: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale a video to cover a size and cut its middle out, as DiffSynth does with training videos.

    The steps of its `ImageCropAndResize` (diffsynth/core/data/operators.py, 2.1): bilinear with antialiasing,
    the aspect ratio kept.

    Args:
        video: uint8 (T, H, W, 3).
        height: Wanted, pixels.
        width: Wanted, pixels.

    Returns:
        uint8 (T, height, width, 3); the video itself where it has that size.
    """
    # building a parser needs no image library
    from PIL import Image

    rows, columns = video.shape[1:3]
    if (rows, columns) == (height, width):
        return video
    scale = max(width / columns, height / rows)
    size = (round(columns * scale), round(rows * scale))
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    return np.stack(
        [
            np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))[
                top : top + height, left : left + width
            ]
            for frame in video
        ]
    )


def _inside(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The videos and the folders in a folder, by name, without hidden ones."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    videos = tuple(path for path in entries if path.is_file() and path.suffix.lower() in ENDINGS)
    return videos, tuple(path for path in entries if path.is_dir())


def _decoded(path: Path) -> Iterator[NDArray[np.uint8]]:
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            decoded, frame = capture.read()
            if not decoded:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _gif_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Frames of a GIF; OpenCV's reader drops those that are shown for no stated time."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                yield np.asarray(frame.convert("RGB"))
    except (OSError, UnidentifiedImageError, EOFError, ValueError):
        return
