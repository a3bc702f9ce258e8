from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.scoring import frames
from pytest_wanlora.scoring.clip import ClipScorer, clip_scores, temporal_consistency
from pytest_wanlora.scoring.frechet import set_scores
from pytest_wanlora.scoring.scorer import Scorer, VideoScores
from pytest_wanlora.scoring.weights import load_reference
from pytest_wanlora.suite import Scoring, VideoFeatures

from .conftest import moving, replace

CAPTION = "a red lantern"


@pytest.fixture(scope="module")
def scorer(scoring: Scoring) -> Scorer:
    return Scorer(scoring, device="cpu")


def bits(result: VideoScores) -> tuple[object, ...]:
    return dict(result.scores), result.clip_frames.tobytes(), result.video_features.tobytes()


def test_every_video_metric_is_scored(scorer: Scorer) -> None:
    scores = scorer.score(moving(1), CAPTION).scores
    assert set(scores) == {metric.id for metric in METRICS.values() if metric.level == "video"}
    assert all(np.isfinite(value) for value in scores.values())


def test_scores_are_those_of_the_parts(scorer: Scorer, scoring: Scoring) -> None:
    video = moving(2)
    result = scorer.score(video, CAPTION)
    clip = ClipScorer(scoring.clip, device="cpu")
    embedded = clip.embed_frames(video)
    expected = {
        **clip_scores(embedded, clip.embed_text(CAPTION)),
        "temporal": temporal_consistency(embedded),
        **frames.scores(video, scoring.sharpness_reference),
    }
    overall = 0.4 * expected["temporal"] + 0.3 * expected["sharpness_pct"] + 0.3 * expected["color"]
    assert result.scores == {**expected, "overall": pytest.approx(overall)}
    assert np.array_equal(result.clip_frames, embedded)
    assert result.video_features.shape == (12,)
    assert result.degenerate is None


def test_order_repetition_and_company_change_no_bit(scorer: Scorer, scoring: Scoring) -> None:
    videos = [moving(seed, frames=frames) for seed, frames in ((1, 9), (2, 13), (3, 9))]
    together = [bits(scorer.score(video, CAPTION)) for video in videos]
    backwards = [bits(scorer.score(video, CAPTION)) for video in reversed(videos)]
    alone = [bits(Scorer(scoring, device="cpu").score(video, CAPTION)) for video in videos]
    assert together == backwards[::-1] == alone


def test_threads_change_no_bit(scorer: Scorer) -> None:
    video, before = moving(4), (torch.get_num_threads(), cv2.getNumThreads())
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            results.append(bits(scorer.score(video, CAPTION)))
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    assert results[0] == results[1]


def test_scoring_does_not_touch_the_video(scorer: Scorer) -> None:
    video = moving(5)
    video.flags.writeable = False
    scorer.score(video, CAPTION)


def test_degenerate_video_has_a_reason_and_no_score(scorer: Scorer) -> None:
    result = scorer.score(np.zeros((9, 64, 96, 3), np.uint8), CAPTION)
    assert result.scores == {}
    assert result.degenerate is not None
    assert "black" in result.degenerate
    assert result.clip_frames.size == result.video_features.size == 0


def test_features_alone(scorer: Scorer) -> None:
    video = moving(6)
    assert np.array_equal(scorer.features(video), scorer.score(video, CAPTION).video_features)
    with pytest.raises(ScoringError, match="reference set: all 9 frames are identical"):
        scorer.features(moving(6, speed=0))


class TestCheck:
    def test_passes(self, scorer: Scorer) -> None:
        scorer.check([CAPTION], frame_count=9)

    def test_long_caption(self, scorer: Scorer) -> None:
        with pytest.raises(ScoringError, match="the rest would be cut"):
            scorer.check([CAPTION, "x" * 60], frame_count=9)

    def test_short_videos(self, scorer: Scorer) -> None:
        with pytest.raises(ScoringError, match="videos of 4 frames are too short"):
            scorer.check([CAPTION], frame_count=4)


class TestReference:
    def test_set_scores_against_it(self, scorer: Scorer, scoring: Scoring) -> None:
        features = np.stack([scorer.features(moving(seed)) for seed in range(3)])
        reference = load_reference(scoring)
        scores = set_scores(features, reference.sets["all"])
        assert (scores["n"], scores["reference_n"], reference.frames) == (3.0, 20.0, 9)
        assert np.isfinite([scores["fvd"], scores["kvd"]]).all()

    def test_of_another_network(
        self, changed: Callable[..., Scoring], torchscript_settings: VideoFeatures
    ) -> None:
        with pytest.raises(ScoringError, match="was made by video features"):
            load_reference(changed(video_features=torchscript_settings))

    def test_missing(self, changed: Callable[..., Scoring]) -> None:
        with pytest.raises(ScoringError, match=r"scoring.reference: /gone/reference.safetensors"):
            load_reference(changed(reference="/gone/reference.safetensors"))

    def test_other_digest(self, changed: Callable[..., Scoring]) -> None:
        with pytest.raises(ScoringError, match="the suite states"):
            load_reference(changed(reference_sha256="ab" * 32))


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_unusable_device(scoring: Scoring, device: str) -> None:
    with pytest.raises(ScoringError, match=f"device '{device}' cannot be used"):
        Scorer(scoring, device=device)


def test_sharpness_reference_must_be_positive(changed: Callable[..., Scoring]) -> None:
    with pytest.raises(ScoringError, match=r"scoring\.sharpness_reference"):
        Scorer(changed(sharpness_reference=float("nan")), device="cpu")


def test_digest_of_clip_is_checked(scoring: Scoring, changed: Callable[..., Scoring]) -> None:
    with pytest.raises(ScoringError, match=r"scoring\.clip\.weights"):
        Scorer(changed(clip=replace(scoring.clip, sha256="ab" * 32)), device="cpu")
