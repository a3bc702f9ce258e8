"""All scores of a video, and of a set of videos, as a suite asks for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora import metrics
from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring import frames
from pytest_wanlora.scoring.clip import ClipScorer, clip_scores, temporal_consistency
from pytest_wanlora.scoring.determinism import require_device
from pytest_wanlora.scoring.dino import DinoEmbedder
from pytest_wanlora.scoring.video_features import load_extractor

if TYPE_CHECKING:
    from pytest_wanlora.suite import Scoring


@dataclass(frozen=True, eq=False)
class VideoScores:
    """What one video scored.

    Attributes:
        scores: By metric id; empty for a degenerate video, never a substitute number.
        clip_frames: float32 (T, D), one CLIP embedding of length 1 a frame; (0, 0) for a degenerate video.
        video_features: float32 (D,); (0,) for a degenerate video.
        dino_frames: float32 (T, D), where the suite names DINOv2.
        degenerate: Why the video cannot be scored; None if it was.
    """

    scores: Mapping[str, float]
    clip_frames: NDArray[np.float32]
    video_features: NDArray[np.float32]
    degenerate: str | None = None
    dino_frames: NDArray[np.float32] | None = None


class Scorer:
    """The scorers of a suite, loaded once.

    One video is scored at a time, in float32 and with every forward pass of one fixed size, so a score does
    not depend on what else is scored, in which order, or by how many workers; `exact_arithmetic` says what
    that means on a GPU.

    Args:
        scoring: The suite's `scoring`.
        device: Where the networks run: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: A file is missing, is another than the suite states, or does not load; the device does
            not exist.
    """

    def __init__(self, scoring: Scoring, *, device: str) -> None:
        require_device(device)
        if not (math.isfinite(scoring.sharpness_reference) and scoring.sharpness_reference > 0):
            raise ScoringError(
                f"scoring.sharpness_reference is {scoring.sharpness_reference}, allowed is a positive number"
            )
        self._sharpness_reference = scoring.sharpness_reference
        self._clip = ClipScorer(scoring.clip, device=device)
        self._dino = None if scoring.frames is None else DinoEmbedder(scoring.frames, device=device)
        self._extractor = load_extractor(scoring.video_features, device=device)

    def check(self, captions: Iterable[str], *, frame_count: int) -> None:
        """Refuse before rendering what `score` would refuse after it.

        Raises:
            ScoringError: A caption that CLIP would cut, or videos too short for the video features.
        """
        for caption in captions:
            self._clip.check_caption(caption)
        if frame_count < self._extractor.minimum_frames:
            raise ScoringError(
                f"videos of {frame_count} frames are too short: the video features need "
                f"{self._extractor.minimum_frames}",
                next_command=f"set the suite's sampling.frames to {self._extractor.minimum_frames} or more",
            )

    def score(self, video: NDArray[np.uint8], caption: str) -> VideoScores:
        """Score one video.

        Args:
            video: uint8 (T, H, W, 3), RGB, as rendered.

        Returns:
            `clip`, `clip_cosine`, `temporal`, `sharpness`, `sharpness_pct`, `color`, `motion`, `drift`,
            `overall` and the metrics of installed packages, with the features that the set scores are made
            of; or no score and the reason.

        Raises:
            ScoringError: The caption is too long, the video too short for the video features, or a network
                returned values that are not finite.
        """
        reason = frames.degenerate(video)
        if reason is not None:
            return VideoScores({}, np.empty((0, 0), np.float32), np.empty(0, np.float32), reason)
        embedded = self._clip.embed_frames(video)
        scores = {
            **clip_scores(embedded, self._clip.embed_text(caption)),
            "temporal": temporal_consistency(embedded),
            **frames.scores(video, self._sharpness_reference),
        }
        scores["overall"] = metrics.overall(scores["temporal"], scores["sharpness_pct"], scores["color"])
        scores |= metrics.added_scores(video)
        dino = None if self._dino is None else self._dino.embed_frames(video)
        return VideoScores(scores, embedded, self._extractor(video), dino_frames=dino)

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed frames, or pictures of one size, as likeness compares them: (frames, D).

        Args:
            frames: uint8 (T, H, W, 3), RGB.
        """
        return (self._dino or self._clip).embed_frames(frames)

    def features(self, video: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the video features alone, float32 (D,); what a reference set is made of."""
        reason = frames.degenerate(video)
        if reason is not None:
            raise ScoringError(f"the video cannot be part of a reference set: {reason}")
        return self._extractor(video)
