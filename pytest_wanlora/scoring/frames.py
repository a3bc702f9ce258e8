"""Scores of raw frames: sharpness, colour diversity, motion, colour drift, and what cannot be scored at all.

A video is uint8 of shape (frames, height, width, 3), RGB, as rendered: an encoder would change every number.
Each score raises `ScoringError` for another dtype or shape, or fewer than two frames.
Everything here runs in one OpenCV thread, so the thread count of a machine cannot change a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.suite.subject import WITH_TRIGGER
from pytest_wanlora.verdict import copies

MINIMUM_SIDE = 16
"""Smallest height and width in pixels; the optical flow finds nothing to match below."""

BLACK_LEVEL = 16
"""Luma up to which a video counts as black: the black of limited-range video."""

FLAT_DEVIATION = 1.0
"""Standard deviation, in levels of 255, below which a frame has no content in any channel."""

FARTHEST_MOTION = 0.07
"""Share of the width up to which `motion` follows a picture that moves as a whole, whatever its texture."""

_HISTOGRAM_BINS = 8
# of phase correlation: pixels of the small picture, and the least share of it in one peak
_SMALL_WIDTH = 256
_LEAST_RESPONSE = 0.3
# a shift explains a picture that the flow has lost if it leaves less than half of the difference
_EXPLAINED = 0.5
# luma, Cb and Cr of ITU-R BT.601 at full range, from R, G, B
_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float64
)


def degenerate(video: NDArray[Any]) -> str | None:
    """Say why a video cannot be scored.

    A degenerate video still has a sharpness or a colour entropy, and an average would hide it; so it is told
    apart before anything is measured.

    Returns:
        One clause, such as `"it is black: ..."`, or None for a video that can be scored. Reported are:
        another dtype or shape than uint8 (frames, height, width, 3), fewer than two frames, frames below
        `MINIMUM_SIDE`, a black video, a frame of one colour, frames that are all the same, and a picture
        that moves further between two frames than `motion` can follow.
    """
    problem = _shape_problem(video)
    if problem is not None:
        return problem
    lumas = [_luma(frame) for frame in video]
    brightest = max(float(np.percentile(luma, 99.9)) for luma in lumas)
    if brightest <= BLACK_LEVEL:
        return f"it is black: 99.9 % of every frame's luma is at most {brightest:.0f} of 255"
    flat = [t for t, frame in enumerate(video) if _largest_deviation(frame) < FLAT_DEVIATION]
    if flat:
        return f"{_frames(flat)} of {len(video)} are of one colour"
    if all(np.array_equal(frame, video[0]) for frame in video[1:]):
        return f"all {len(video)} frames are identical"
    return _lost_motion(lumas)


def sharpness(video: NDArray[np.uint8]) -> float:
    """Variance of the 3x3 Laplacian of luma, mean over frames.

    Luma is 8-bit BT.601; the kernel is [0 1 0; 1 -4 1; 0 1 0], OpenCV's `Laplacian` of aperture 1. Uncapped,
    0 and up, in squared levels of 255. Noise and ringing raise it as detail does, so it is judged both ways;
    it depends on the frame size.
    """
    _require_video(video)
    with _one_thread():
        values = [float(cv2.Laplacian(_luma(frame), cv2.CV_64F, ksize=1).var()) for frame in video]
    return float(np.mean(values))


def sharpness_percent(value: float, reference: float) -> float:
    """Sharpness as a share of a reference, in percent, capped at 100: min(100, 100 * value / reference).

    For display and `overall` only; above the cap a loss is invisible.

    Raises:
        ScoringError: The reference is not a positive number.
    """
    if not (np.isfinite(reference) and reference > 0):
        raise ScoringError(f"scoring.sharpness_reference is {reference}, allowed is a positive number")
    return min(100.0, 100.0 * value / reference)


def color(video: NDArray[np.uint8]) -> float:
    """Colour diversity: 100 * Shannon entropy of an 8x8x8 HSV histogram / log2(512), mean over frames.

    In percent: 0 for one colour, 100 for all 512 bins alike. The entropy is taken a frame at a time and not
    of all frames pooled, because a colour that drifts through the video would fill more bins of a pooled
    histogram and score as diversity. Bins are equal shares of OpenCV's 8-bit HSV (hue 0 to 180, saturation
    and value 0 to 256).
    """
    _require_video(video)
    with _one_thread():
        values = [_hsv_entropy(frame) for frame in video]
    return 100.0 * float(np.mean(values)) / float(np.log2(_HISTOGRAM_BINS**3))


def motion(video: NDArray[np.uint8]) -> float:
    """Mean optical-flow magnitude of consecutive frames, in percent of the frame diagonal a frame step.

    Flow is OpenCV's DIS (Kroeger 2016, "Fast Optical Flow using Dense Inverse Search"), preset FAST, on 8-bit
    luma. 0 for a frozen video; a share of the diagonal so that the frame size does not matter. Right to 10 %
    up to a shift of `FARTHEST_MOTION` of the width a frame; beyond it the flow of fine textures falls, and
    `degenerate` tells such a video.
    """
    _require_video(video)
    diagonal = float(np.hypot(video.shape[1], video.shape[2]))
    with _one_thread():
        flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        lumas = [_luma(frame) for frame in video]
        values = []
        for before, after in pairwise(lumas):
            field = flow.calc(before, after, None).astype(np.float64)
            values.append(float(np.hypot(field[..., 0], field[..., 1]).mean()))
    return 100.0 * float(np.mean(values)) / diagonal


def drift(video: NDArray[np.uint8]) -> float:
    """Offset of the later frames' mean colour from the first frame's, mean over the later frames.

    The mean colour is (Y, Cb, Cr) of BT.601 at full range and the offset its Euclidean length, so a jump of
    brightness and a cast both count; in levels of 255. Moving content shifts the mean a little too: compare
    it with a baseline, do not read it alone.
    """
    _require_video(video)
    # sums of integers are exact in any order, and a channel at a time takes a seventh of the time
    sums = [[int(frame[..., channel].sum(dtype=np.int64)) for channel in range(3)] for frame in video]
    means = np.array(sums, np.float64) / (video.shape[1] * video.shape[2]) @ _YCBCR.T
    return float(np.linalg.norm(means[1:] - means[0], axis=1).mean())


def thumbnails(video: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Each frame as a square of means of its pixels, uint8 (T, side, side, 3)."""
    with _one_thread():
        return np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in video])


def in_small(video: NDArray[np.uint8], scenario: str) -> Mapping[str, NDArray[np.float32]]:
    """The features of a video by which copies of training clips are found; none without the trigger."""
    if not scenario.endswith(WITH_TRIGGER):
        return {}
    small = thumbnails(video[:: copies.step_of(len(video))], copies.SIDE)
    return {copies.FEATURE: small.astype(np.float32)}


def scores(video: NDArray[np.uint8], sharpness_reference: float) -> Mapping[str, float]:
    """Every score of this module by metric id."""
    sharp = sharpness(video)
    return {
        "sharpness": sharp,
        "sharpness_pct": sharpness_percent(sharp, sharpness_reference),
        "color": color(video),
        "motion": motion(video),
        "drift": drift(video),
    }


def _shape_problem(video: NDArray[Any]) -> str | None:
    if video.dtype != np.uint8:
        return f"its dtype is {video.dtype}, allowed is uint8"
    if video.ndim != 4 or video.shape[3] != 3:
        return f"its shape is {video.shape}, allowed is (frames, height, width, 3)"
    if video.shape[0] < 2:
        return f"it has {video.shape[0]} frames, at least 2 are needed"
    if min(video.shape[1:3]) < MINIMUM_SIDE:
        return (
            f"its frames are {video.shape[1]} x {video.shape[2]} pixels, "
            f"at least {MINIMUM_SIDE} x {MINIMUM_SIDE} are needed"
        )
    return None


def _require_video(video: NDArray[np.uint8]) -> None:
    problem = _shape_problem(video)
    if problem is not None:
        raise ScoringError(f"the video cannot be scored: {problem}")


def _lost_motion(lumas: list[NDArray[np.uint8]]) -> str | None:
    """Say that a picture moves further between two frames than the optical flow follows.

    Phase correlation finds the shift of a whole picture however far it is. Where that is far, and shifting
    the first frame by it comes much nearer to the second than the flow does, the flow has lost it.
    """
    with _one_thread():
        share = min(1.0, _SMALL_WIDTH / lumas[0].shape[1])
        small = [
            cv2.resize(luma, None, fx=share, fy=share, interpolation=cv2.INTER_AREA).astype(np.float32)
            for luma in lumas
        ]
        window = cv2.createHanningWindow(small[0].shape[::-1], cv2.CV_32F)
        for number, (before, after) in enumerate(pairwise(small)):
            (x, y), response = cv2.phaseCorrelate(before, after, window)
            reach = float(np.hypot(x, y)) / before.shape[1]
            if reach > FARTHEST_MOTION and response >= _LEAST_RESPONSE:
                flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
                field = flow.calc(lumas[number], lumas[number + 1], None)
                shift = np.broadcast_to(np.array([x / share, y / share], np.float32), field.shape)
                left = [_difference(lumas[number], lumas[number + 1], each, shift) for each in (shift, field)]
                if left[0] < _EXPLAINED * left[1]:
                    return (
                        f"frames {number} to {number + 1} move by {reach:.0%} of the width, "
                        f"and the motion score follows {FARTHEST_MOTION:.0%}"
                    )
    return None


def _difference(
    before: NDArray[np.uint8], after: NDArray[np.uint8], field: NDArray[Any], shift: NDArray[Any]
) -> float:
    """Mean absolute difference of a frame and the one before it moved by a flow, (H, W, 2).

    Only where the frame before has the picture under the shift of the whole.
    """
    height, width = before.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = cv2.remap(after, columns + field[..., 0], rows + field[..., 1], cv2.INTER_LINEAR)
    x, y = columns + shift[..., 0], rows + shift[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return float(np.abs(moved[inside].astype(np.float64) - before[inside]).mean()) if inside.any() else 0.0


def _frames(indices: list[int]) -> str:
    shown = ", ".join(str(index) for index in indices[:5])
    return f"frames {shown}{', ...' if len(indices) > 5 else ''}"


def _largest_deviation(frame: NDArray[np.uint8]) -> float:
    """Standard deviation of the channel that varies most."""
    # numpy's takes forty times as long
    _, deviations = cv2.meanStdDev(np.ascontiguousarray(frame))
    return float(deviations.max())


def _luma(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    luma: NDArray[np.uint8] = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return luma


def _hsv_entropy(frame: NDArray[np.uint8]) -> float:
    hsv = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2HSV)
    bins = [_HISTOGRAM_BINS] * 3
    counts = cv2.calcHist([hsv], [0, 1, 2], None, bins, [0, 180, 0, 256, 0, 256]).astype(np.float64)
    share = counts[counts > 0] / counts.sum()
    # + 0.0 turns the -0.0 of a single bin into 0.0
    return float(-(share * np.log2(share)).sum() + 0.0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run OpenCV in one thread: DIS may cut the frame into a stripe a thread, and stripes change the flow."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
