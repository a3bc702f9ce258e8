"""Which videos repeat a training clip: by their pictures in small, also cut, mirrored and begun elsewhere.

Pictures are compared in grey: in colour most of what two pictures share is the mean of each channel, which
another light changes.

Carlini and others 2023, "Extracting Training Data from Diffusion Models", tell a copy by its pixels, and by
how much nearer it is to a training picture than its neighbours are. An embedding tells what a picture shows:
for CLIP two clips of one subject are near, and a clip is far from itself mirrored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.verdict.evidence import Floats

#: A video is taken for a copy that is nearer to a clip than this part of the usual distance.
COPY: Final = 0.2
#: Name of the feature of a video that holds every `step_of`-th frame in small, (T, SIDE, SIDE, 3).
FEATURE: Final = "thumbnails"
#: Side of the thumbnails that videos and clips come as, in pixels, and of those that are compared.
SIDE: Final = 32
_SMALL: Final = 12
#: How much of a clip's width and height a copy may show, and the steps in which that is looked for.
_SIZES: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
_APART: Final = 0.06
_STEPS: Final = (0.02, 0.01, 0.005, 0.0025)
#: Weights of red, green and blue in a grey value (ITU-R BT.601).
_GREY: Final = np.array([0.299, 0.587, 0.114])
#: Frames of a video that are compared, at most.
_FRAMES: Final = 16
#: Clips that are looked at closely, and those whose distance from each other is taken for the usual one.
_CLOSELY: Final = 3
_NEIGHBOURS: Final = 8


@dataclass(frozen=True)
class Nearest:
    """The clip that a video is nearest to.

    Attributes:
        clip: Its number.
        distance: 1 less the mean correlation of the pictures, at the best alignment.
        usual: What the clips around the video are from theirs, the median.
    """

    clip: int
    distance: float
    usual: float

    @property
    def share(self) -> float:
        """The distance in units of the usual one; 1 where all clips are the same."""
        return self.distance / self.usual if self.usual > 0.0 else 1.0


@dataclass(frozen=True)
class _Look:
    """A part of a clip's pictures: its left upper corner and its size, as shares, and if it is mirrored."""

    left: float
    top: float
    size: float
    mirrored: bool

    @property
    def weights(self) -> tuple[Floats, Floats]:
        """Of the rows and of the columns of a thumbnail, (_SMALL, SIDE) each."""
        down, across = (_area(start, self.size) for start in (self.top, self.left))
        return down, across[::-1] if self.mirrored else across

    def moved(self, step: float) -> Iterator[_Look]:
        """The same part a step aside, up, down, nearer and farther."""
        half = step / 2
        for left, top, size in (
            *((step, 0.0, 0.0), (-step, 0.0, 0.0), (0.0, step, 0.0), (0.0, -step, 0.0)),
            *((-half, -half, step), (half, half, -step)),
        ):
            wide = min(1.0, max(_SIZES[-1], self.size + size))
            beside, below = (min(max(at, 0.0), 1.0 - wide) for at in (self.left + left, self.top + top))
            yield _Look(beside, below, wide, self.mirrored)


def _places(room: float) -> Sequence[float]:
    """Where a part may begin, no farther apart than `_APART`."""
    return [float(at) for at in np.linspace(0.0, room, 1 + math.ceil(round(room / _APART, 6)))]


_WHOLE: Final = _Look(0.0, 0.0, 1.0, mirrored=False)
_LOOKS: Final = tuple(
    _Look(left, top, size, mirrored)
    for size in _SIZES
    for left, top in itertools.product(_places(1.0 - size), repeat=2)
    for mirrored in (False, True)
)


def step_of(frames: int) -> int:
    """Every how many frames a video of so many is compared."""
    return -(-frames // _FRAMES)


def nearest(videos: Sequence[NDArray[Any]], clips: Sequence[NDArray[Any]], step: int) -> list[Nearest]:
    """The clip that each video is nearest to, and how far clips like it are from each other.

    A fresh video of the subject is about as far from the clips as they are from each other (Meehan, Chaudhuri
    and Dasgupta 2020, "A non-parametric test to detect data-copying in generative models", who compare both
    among neighbours too).

    Args:
        videos: Thumbnails of every `step`-th frame, (T, SIDE, SIDE, 3) each.
        clips: The same of every frame of each clip, (U, SIDE, SIDE, 3); two or more.
        step: See `step_of`.
    """
    videos, clips = ([frames.astype(np.float64) @ _GREY for frames in each] for each in (videos, clips))
    near = _distances(videos, clips, step, [None] * len(videos))
    around = sorted({clip for found in near for _, clip in found})
    own = _distances([clips[each][::step] for each in around], clips, step, around)
    apart = {each: found[0][0] for each, found in zip(around, own, strict=True)}
    return [
        Nearest(found[0][1], found[0][0], float(np.median([apart[clip] for _, clip in found])))
        for found in near
    ]


def _distances(
    videos: Sequence[Floats],
    clips: Sequence[Floats],
    step: int,
    but: Sequence[int | None],
) -> list[list[tuple[float, int]]]:
    """The nearest clips of each video, the nearest one first; the first few are aligned closely.

    Args:
        but: For each video a clip that is not looked at.
    """
    small = [_seen([_WHOLE], video)[0] for video in videos]
    found: list[list[tuple[float, int, _Look, int]]] = [[] for _ in videos]
    for number, clip in enumerate(clips):
        looks = _seen(_LOOKS, clip[::step])
        for own, without, of in zip(small, but, found, strict=True):
            if without != number:
                distance, look, shift = _coarse(own, looks)
                of.append((distance, number, _LOOKS[look], shift * step))
    nearest_of = []
    for own, of in zip(small, found, strict=True):
        of.sort(key=lambda each: each[:2])
        close = [
            (_close(own, clips[number], step, look, shift), number)
            for _, number, look, shift in of[:_CLOSELY]
        ]
        rest = [(distance, number) for distance, number, _, _ in of[_CLOSELY:_NEIGHBOURS]]
        nearest_of.append(sorted(close) + rest)
    return nearest_of


def _coarse(video: Floats, looks: Floats) -> tuple[float, int, int]:
    """Smallest distance over the looks at a clip and over shifts, the look and the shift.

    Half of the video at least lies beside the clip; of a shorter clip, each frame has the best of its frames.
    """
    cosines = np.einsum("td,vud->vtu", video, looks, optimize=True)
    length, least = cosines.shape[2], (len(video) + 1) // 2
    if length < least:
        means = cosines.max(axis=2).mean(axis=1)
        return 1.0 - float(means.max()), int(means.argmax()), 0
    by_shift = {
        shift: np.diagonal(cosines, shift, 1, 2).mean(axis=1)
        for shift in range(least - len(video), length - least + 1)
    }
    shift = max(by_shift, key=lambda each: float(by_shift[each].max()))
    return 1.0 - float(by_shift[shift].max()), int(by_shift[shift].argmax()), shift


def _seen(looks: Sequence[_Look], frames: Floats) -> Floats:
    """Grey thumbnails (U, SIDE, SIDE) under some looks, centred and of length 1, (looks, U, D)."""
    down, across = (np.stack(each) for each in zip(*(look.weights for look in looks), strict=True))
    rows = np.tensordot(down, frames, axes=(2, 1))
    # (looks, _SMALL, U, SIDE) with (looks, _SMALL, SIDE)
    cut = np.einsum("vatx,vbx->vtab", rows, across, optimize=True)
    flat = cut.reshape(len(looks), len(frames), -1)
    centred = flat - flat.mean(axis=2, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=2, keepdims=True), 1e-6))


def _close(video: Floats, clip: Floats, step: int, look: _Look, shift: int) -> float:
    """The smallest distance near a look and a shift, by steps downhill."""
    at, least = step * np.arange(len(video)), (len(video) + 1) // 2
    if len(clip[::step]) < least:
        looks = _seen([look, *look.moved(_STEPS[0])], clip)
        return 1.0 - float(np.einsum("td,vud->vtu", video, looks).max(axis=2).mean(axis=1).max())

    def distances(looks: Sequence[_Look], begun: int) -> list[float]:
        beside = (at + begun >= 0) & (at + begun < len(clip))
        if beside.sum() < least:
            return [2.0] * len(looks)
        seen = _seen(looks, clip[at[beside] + begun])
        found: list[float] = (1.0 - np.einsum("td,vtd->vt", video[beside], seen).mean(axis=1)).tolist()
        return found

    (best,) = distances([look], shift)
    for size in _STEPS:
        while True:
            tried = [(each, shift) for each in look.moved(size)]
            values = distances([each for each, _ in tried], shift)
            for begun in (shift - 1, shift + 1) if step > 1 else ():
                tried.append((look, begun))
                values += distances([look], begun)
            if min(values) >= best - 1e-9:
                break
            best = min(values)
            look, shift = tried[values.index(best)]
    return best


def _area(start: float, size: float) -> Floats:
    """Weights that average a part of SIDE pixels into fewer of equal size, (_SMALL, SIDE)."""
    edges = SIDE * np.linspace(start, start + size, _SMALL + 1)
    cells = np.arange(SIDE)
    cover = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return np.asarray(np.clip(cover, 0.0, None) / (edges[1] - edges[0]))
