"""Copies of training clips are found however they were changed, and fresh videos are not taken for copies."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_wanlora.scoring.frames import thumbnails
from pytest_wanlora.verdict.copies import COPY, SIDE, Nearest, nearest, step_of

Frames = NDArray[np.uint8]
HEIGHT, WIDTH = 96, 160


def clip(seed: int, frames: int = 9) -> Frames:
    """Blobs of a scene of its own that wander over a picture that all clips share."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(0).uniform(60, 160, (3, 5, 3)).astype(np.float32)
    video = np.stack([cv2.resize(shared, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)] * frames)
    for at, way, colour in zip(
        rng.uniform(0, 1, (6, 2)), rng.uniform(-1.5, 1.5, (6, 2)), rng.uniform(0, 255, (6, 3)), strict=True
    ):
        for number, frame in enumerate(video):
            x, y = at * (WIDTH, HEIGHT) + way * number
            cv2.circle(frame, (int(x), int(y)), 14, colour.tolist(), -1, cv2.LINE_AA)
    return np.asarray(video.clip(0, 255), np.uint8)


def cropped(video: Frames, left: float, top: float, size: float) -> Frames:
    y, x = int(top * HEIGHT), int(left * WIDTH)
    part = video[:, y : y + int(size * HEIGHT), x : x + int(size * WIDTH)]
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT)) for frame in part])


def noisy(video: Frames, scatter: float) -> Frames:
    return np.asarray(
        (video + np.random.default_rng(1).normal(0, scatter, video.shape)).clip(0, 255), np.uint8
    )


def lit(video: Frames, share: float) -> Frames:
    return np.asarray((share * video.astype(np.float32)).clip(0, 255), np.uint8)


CHANGES: dict[str, Callable[[Frames], Frames]] = {
    "none": lambda video: video,
    "begun later": lambda video: np.concatenate([video[3:], video[-1:], video[-1:], video[-1:]]),
    "noise": lambda video: noisy(video, 8.0),
    "cut in the middle": lambda video: cropped(video, 0.05, 0.05, 0.9),
    "cut aside": lambda video: cropped(video, 0.11, 0.02, 0.83),
    "cut to less": lambda video: cropped(video, 0.19, 0.08, 0.72),
    "tinted": lambda video: np.asarray((video * [1.2, 1.0, 0.5]).clip(0, 255), np.uint8),
    "mirrored": lambda video: np.ascontiguousarray(video[:, :, ::-1]),
    "brighter": lambda video: lit(video, 1.15),
    "darker": lambda video: lit(video, 0.7),
    "blurred": lambda video: np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in video]),
    "all of it": lambda video: noisy(lit(cropped(video, 0.03, 0.04, 0.92)[:, :, ::-1], 0.9), 4.0),
}
CLIPS = [thumbnails(clip(seed), SIDE) for seed in range(1, 9)]


@pytest.fixture(scope="module")
def copied() -> dict[str, Nearest]:
    """What copies of the second clip, changed in each way, are nearest to."""
    videos = [thumbnails(change(clip(2)), SIDE) for change in CHANGES.values()]
    return dict(zip(CHANGES, nearest(videos, CLIPS, 1), strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_however_it_was_changed(copied: dict[str, Nearest], change: str) -> None:
    assert copied[change].clip == 1
    assert copied[change].share < COPY


def test_fresh_videos_are_no_copies() -> None:
    found = nearest([thumbnails(clip(seed), SIDE) for seed in range(100, 104)], CLIPS, 1)
    assert min(each.share for each in found) > 2 * COPY


def test_clips_of_other_things_do_not_change_what_is_usual(copied: dict[str, Nearest]) -> None:
    others = [np.random.default_rng(seed).integers(0, 255, (9, SIDE, SIDE, 3)) for seed in range(4)]
    (among,) = nearest([thumbnails(clip(2), SIDE)], [*others, *CLIPS], 1)
    assert among.clip == copied["none"].clip + 4
    assert among.usual == pytest.approx(copied["none"].usual)


def test_a_long_video_is_compared_in_steps_and_found_at_any_frame() -> None:
    step = step_of(40)
    assert (step, step_of(9), step_of(16), step_of(81)) == (3, 1, 1, 6)
    clips = [thumbnails(clip(seed, 40), SIDE) for seed in range(1, 5)]
    begun = np.concatenate([clips[2][7:], clips[2][:7]])
    (found,) = nearest([begun[::step]], clips, step)
    assert found.clip == 2
    assert found.distance == pytest.approx(0.0, abs=1e-6)


def test_a_picture_is_a_clip_that_each_frame_may_repeat() -> None:
    clips = [each[4:5] for each in CLIPS]
    still = np.repeat(clips[5], 9, axis=0)
    (found,) = nearest([still], clips, 1)
    assert found.clip == 5
    assert found.distance == pytest.approx(0.0, abs=1e-6)


def test_among_clips_that_are_all_the_same_nothing_stands_out() -> None:
    assert Nearest(0, 0.1, usual=0.0).share == 1.0
    (found,) = nearest([CLIPS[1]], [CLIPS[0]] * 3, 1)
    assert found.usual == pytest.approx(0.0, abs=1e-6)
