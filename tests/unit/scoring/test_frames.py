from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring import frames

from .conftest import moving, textured

SCORES: list[Callable[[NDArray[np.uint8]], float]] = [
    frames.sharpness,
    frames.color,
    frames.motion,
    frames.drift,
]
Score = Callable[[NDArray[np.uint8]], float]
seeds = st.integers(0, 10_000)
few = settings(max_examples=20, deadline=None)
videos = hnp.arrays(np.uint8, st.tuples(st.just(3), st.integers(16, 24), st.integers(16, 24), st.just(3)))


class TestParity:
    """The same numbers as plain OpenCV and NumPy calls."""

    @few
    @given(videos)
    def test_sharpness(self, video: NDArray[np.uint8]) -> None:
        values = [cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for frame in video]
        assert frames.sharpness(video) == pytest.approx(np.mean(values), rel=1e-12)

    @few
    @given(videos)
    def test_color(self, video: NDArray[np.uint8]) -> None:
        values = []
        for frame in video:
            hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).reshape(-1, 3)
            counts, _ = np.histogramdd(hsv, bins=8, range=[(0, 180), (0, 256), (0, 256)])
            share = counts[counts > 0] / len(hsv)
            values.append(-(share * np.log2(share)).sum() / 9.0)
        assert frames.color(video) == pytest.approx(100.0 * np.mean(values), abs=1e-9)

    @pytest.mark.parametrize("speed", [1, 3])
    def test_motion_with_a_fresh_flow_each_pair(self, speed: int) -> None:
        video = moving(1, frames=4, speed=speed)
        values = []
        for t in range(3):
            flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(
                cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY),
                cv2.cvtColor(video[t + 1], cv2.COLOR_RGB2GRAY),
                None,
            )
            values.append(cv2.magnitude(flow[..., 0], flow[..., 1]).mean(dtype=np.float64))
        assert frames.motion(video) == pytest.approx(100.0 * np.mean(values) / np.hypot(64, 96), rel=1e-6)

    @few
    @given(videos)
    def test_drift(self, video: NDArray[np.uint8]) -> None:
        means = np.array(
            [cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).reshape(-1, 3).mean(axis=0) for frame in video]
        )
        expected = np.linalg.norm(means[1:] - means[0], axis=1).mean()
        # OpenCV rounds every pixel to a level, at most 0.5 off in each of three channels on both sides
        assert frames.drift(video) == pytest.approx(expected, abs=2.0 * np.sqrt(3 * 0.5**2))


class TestSharpness:
    @few
    @given(seeds, st.floats(0.6, 3.0), st.floats(1.3, 2.0))
    def test_falls_with_blur(self, seed: int, sigma: float, more: float) -> None:
        video = moving(seed, frames=3)
        once, twice = (
            np.stack([cv2.GaussianBlur(frame, (0, 0), value) for frame in video])
            for value in (sigma, sigma * more)
        )
        assert frames.sharpness(video) > frames.sharpness(once) > frames.sharpness(twice)

    @few
    @given(seeds, st.integers(8, 40))
    def test_rises_with_noise(self, seed: int, amount: int) -> None:
        video = moving(seed, frames=3)
        noise = np.random.default_rng(seed).integers(-amount, amount + 1, video.shape)
        noisy = np.clip(video.astype(int) + noise, 0, 255).astype(np.uint8)
        assert frames.sharpness(noisy) > frames.sharpness(video)

    @few
    @given(seeds)
    def test_falls_with_contrast_by_its_square(self, seed: int) -> None:
        video = (moving(seed, frames=3) // 2) * 2
        # halving even levels is exact but for the rounding of luma
        assert frames.sharpness(video // 2) == pytest.approx(frames.sharpness(video) / 4, rel=0.1)

    def test_is_not_capped(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        assert frames.sharpness(noise) > 10_000

    @settings(deadline=None)
    @given(st.floats(0, 1e5), st.floats(0.1, 1e4))
    def test_percent_is_capped(self, value: float, reference: float) -> None:
        percent = frames.sharpness_percent(value, reference)
        assert percent == min(100.0, 100.0 * value / reference)

    @pytest.mark.parametrize("reference", [0.0, -1.0, float("nan"), float("inf")])
    def test_reference_must_be_positive(self, reference: float) -> None:
        with pytest.raises(ScoringError, match=r"scoring\.sharpness_reference"):
            frames.sharpness_percent(1.0, reference)


class TestColor:
    def test_one_colour_has_none(self) -> None:
        assert frames.color(np.full((2, 16, 16, 3), 90, np.uint8)) == 0.0

    def test_equal_bins_give_the_logarithm_of_their_number(self) -> None:
        colours = np.array([[10, 10, 10], [100, 100, 100], [200, 200, 200], [255, 0, 0]], np.uint8)
        frame = np.repeat(colours, 64, axis=0).reshape(16, 16, 3)
        assert frames.color(np.stack([frame, frame])) == pytest.approx(100.0 * 2 / 9)

    @few
    @given(seeds)
    def test_falls_without_saturation(self, seed: int) -> None:
        video = moving(seed, frames=3)
        gray = np.repeat(video.max(axis=3, keepdims=True), 3, axis=3)  # hue and saturation 0, the same value
        assert frames.color(gray) < frames.color(video)

    @few
    @given(seeds)
    def test_a_colour_that_drifts_is_not_diversity(self, seed: int) -> None:
        one, other = textured(seed), textured(seed)[..., ::-1]
        alone = [frames.color(np.stack([frame, frame])) for frame in (one, other)]
        assert frames.color(np.stack([one, other])) == pytest.approx(np.mean(alone), rel=1e-12)

    @few
    @given(videos)
    def test_is_a_percentage(self, video: NDArray[np.uint8]) -> None:
        assert 0.0 <= frames.color(video) <= 100.0


class TestMotion:
    @pytest.mark.parametrize("seed", range(3))
    def test_is_zero_for_a_frozen_video_and_rises_with_speed(self, seed: int) -> None:
        values = [frames.motion(moving(seed, speed=speed)) for speed in (0, 1, 2, 4)]
        assert values[0] == 0.0
        assert values == sorted(values)

    @pytest.mark.parametrize("speed", [1, 2, 4])
    def test_is_the_share_of_the_diagonal(self, speed: int) -> None:
        expected = 100.0 * speed / np.hypot(64, 96)
        assert frames.motion(moving(5, speed=speed)) == pytest.approx(expected, rel=0.15)

    def test_does_not_depend_on_the_frame_size(self) -> None:
        video = moving(6, speed=2)
        large = np.stack([cv2.resize(frame, None, fx=2, fy=2) for frame in video])
        assert frames.motion(large) == pytest.approx(frames.motion(video), rel=0.1)

    @pytest.mark.parametrize("seed", range(3))
    def test_halves_when_every_frame_is_shown_twice(self, seed: int) -> None:
        video = moving(seed)
        steps = len(video) - 1
        assert frames.motion(np.repeat(video, 2, axis=0)) == pytest.approx(
            frames.motion(video) * steps / (2 * steps + 1)
        )


class TestDrift:
    @few
    @given(seeds, st.integers(-40, 40))
    def test_is_the_offset_of_luma(self, seed: int, offset: int) -> None:
        frame = np.clip(textured(seed), 50, 200)
        video = np.stack([frame, *[(frame.astype(int) + offset).astype(np.uint8)] * 3])
        assert frames.drift(video) == pytest.approx(abs(offset), abs=1e-9)

    def test_sees_a_cast_at_equal_luma(self) -> None:
        grey = np.full((16, 16, 3), 100, np.uint8)
        tinted = grey + np.array([29, 0, 0], np.uint8) - np.array([0, 0, 76], np.uint8)
        assert np.dot([0.299, 0.587, 0.114], tinted[0, 0]) == pytest.approx(100.0, abs=0.01)
        assert frames.drift(np.stack([grey, tinted])) > 30.0

    def test_is_zero_when_only_order_within_the_frame_changes(self) -> None:
        frame = textured(4)
        assert frames.drift(np.stack([frame, frame[::-1], frame[:, ::-1]])) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("score", [frames.sharpness, frames.color])
@few
@given(seeds, st.permutations(range(4)))
def test_frame_scores_do_not_depend_on_the_order(score: Score, seed: int, order: list[int]) -> None:
    video = moving(seed, frames=4)
    assert score(video[order]) == pytest.approx(score(video), rel=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_threads_change_no_bit_and_are_put_back(score: Score) -> None:
    video = moving(8)
    before = cv2.getNumThreads()
    values = []
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            values.append(score(video))
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
    assert values == [values[0]] * 3


@pytest.mark.parametrize("score", SCORES)
def test_views_score_as_copies_do(score: Score) -> None:
    video = moving(9)[:, ::-1, ::-1]
    assert score(video) == score(video.copy())


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("video", "words"),
    [
        (np.zeros((3, 32, 32, 3), np.float32), "float32"),
        (np.zeros((3, 32, 32), np.uint8), "shape"),
        (np.zeros((3, 32, 32, 4), np.uint8), "shape"),
        (np.zeros((1, 32, 32, 3), np.uint8), "1 frames"),
        (np.zeros((3, 32, 15, 3), np.uint8), "32 x 15"),
    ],
    ids=["dtype", "no channels", "alpha", "one frame", "small"],
)
def test_what_is_no_video_is_refused(score: Score, video: NDArray[np.uint8], words: str) -> None:
    with pytest.raises(ScoringError, match=words):
        score(video)
    reason = frames.degenerate(video)
    assert reason is not None
    assert words in reason


def test_scores_are_those_of_the_single_functions() -> None:
    video = moving(10)
    scores = frames.scores(video, 500.0)
    assert scores == {
        "sharpness": frames.sharpness(video),
        "sharpness_pct": min(100.0, frames.sharpness(video) / 5.0),
        "color": frames.color(video),
        "motion": frames.motion(video),
        "drift": frames.drift(video),
    }


class TestDegenerate:
    @few
    @given(seeds)
    def test_a_video_is_not(self, seed: int) -> None:
        assert frames.degenerate(moving(seed)) is None

    def test_a_dark_video_with_a_lit_window_is_not(self) -> None:
        video = np.random.default_rng(0).integers(0, 12, (4, 64, 96, 3)).astype(np.uint8)
        video[:, 20:26, 30:36] = 200
        assert frames.degenerate(video) is None

    def test_black(self) -> None:
        assert frames.degenerate(np.zeros((9, 32, 32, 3), np.uint8)) == (
            "it is black: 99.9 % of every frame's luma is at most 0 of 255"
        )

    def test_black_with_noise(self) -> None:
        video = np.random.default_rng(0).integers(0, 14, (4, 32, 32, 3)).astype(np.uint8)
        assert "black" in (frames.degenerate(video) or "")

    @pytest.mark.parametrize("level", [100, 255])
    def test_one_colour(self, level: int) -> None:
        video = np.full((4, 32, 32, 3), level, np.uint8)
        assert frames.degenerate(video) == "frames 0, 1, 2, 3 of 4 are of one colour"

    def test_noise_of_half_a_level_is_no_content(self) -> None:
        noise = np.random.default_rng(0).integers(0, 2, (4, 32, 32, 3))
        assert "of one colour" in (frames.degenerate((noise + 100).astype(np.uint8)) or "")

    def test_one_blank_frame_among_good_ones(self) -> None:
        video = moving(1)
        video[6] = 128
        assert frames.degenerate(video) == "frames 6 of 9 are of one colour"

    def test_many_blank_frames_are_counted_out(self) -> None:
        video = moving(1)
        video[1:] = 128
        assert frames.degenerate(video) == "frames 1, 2, 3, 4, 5, ... of 9 are of one colour"

    def test_frozen(self) -> None:
        assert frames.degenerate(moving(1, speed=0)) == "all 9 frames are identical"

    def test_one_pixel_is_enough_to_vary(self) -> None:
        video = moving(1, speed=0)
        video[3, 5, 5] = 255 - video[3, 5, 5]
        assert frames.degenerate(video) is None


def panned(share: float, *, detail: float, seed: int = 0) -> NDArray[np.uint8]:
    """A random texture that moves by a share of the width a frame, with blobs up to the size `detail`."""
    height, width = 120, 208
    generator = np.random.default_rng(seed)
    picture = np.zeros((height, 2 * width, 3))
    for octave in range(4):
        step = max(1.0, detail * width / 2**octave)
        noise = generator.normal(size=(int(height / step) + 3, int(2 * width / step) + 3, 3))
        picture += cv2.resize(noise, (2 * width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    whole = np.clip(128 + 45 * picture / picture.std(), 0, 255).astype(np.uint8)
    moves = [np.array([[1, 0, -share * width * frame], [0, 1, 0]], np.float32) for frame in range(3)]
    return np.stack([cv2.warpAffine(whole, move, (width, height)) for move in moves])


class TestHowFarMotionReaches:
    @pytest.mark.parametrize("detail", [0.5, 0.125, 0.05, 0.025])
    def test_it_is_right_within_its_range_and_told_beyond(self, detail: float) -> None:
        reached = []
        for share in (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15):
            video = panned(share, detail=detail)
            measured = frames.motion(video) / 100 * float(np.hypot(120, 208)) / 208
            told = frames.degenerate(video)
            if share <= 0.06:
                assert told is None
            if told is None:
                assert measured == pytest.approx(share, rel=0.1)
                reached.append(measured)
            else:
                assert "the motion score follows 7%" in told
        assert len(reached) >= 4
        assert reached == sorted(reached)

    def test_a_fine_texture_beyond_it_would_score_less_than_within(self) -> None:
        far, near = (frames.motion(panned(share, detail=0.025)) for share in (0.15, 0.06))
        assert far < near
        assert frames.degenerate(panned(0.15, detail=0.025)) is not None

    @pytest.mark.parametrize("seed", range(6))
    def test_a_cut_and_noise_are_no_motion(self, seed: int) -> None:
        cut = np.concatenate([panned(0.0, detail=0.1, seed=seed), panned(0.0, detail=0.1, seed=seed + 50)])
        noise = np.random.default_rng(seed).integers(0, 255, (4, 64, 112, 3), dtype=np.uint8)
        assert frames.degenerate(cut) is None
        assert frames.degenerate(noise) is None

    def test_an_object_before_a_still_picture_is_scored(self) -> None:
        picture = panned(0.0, detail=0.2)
        for frame, each in enumerate(picture):
            cv2.circle(each, (40 + 25 * frame, 60), 16, (220, 40, 40), -1)
        assert frames.degenerate(picture) is None
