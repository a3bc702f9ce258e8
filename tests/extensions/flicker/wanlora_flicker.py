"""Two metrics: flicker of one video, and how far the videos of a set are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_wanlora import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LUMA = (0.299, 0.587, 0.114)


def flicker(video: NDArray[np.uint8]) -> float:
    """Mean absolute second difference of luma over time, in grey levels."""
    import numpy as np

    luma = video.astype(np.float64) @ np.array(LUMA)
    return float(np.abs(np.diff(luma, n=2, axis=0)).mean())


def spread(features: NDArray[np.float32]) -> float:
    """Mean distance of the videos' features from their mean."""
    import numpy as np

    return float(np.linalg.norm(features - features.mean(axis=0), axis=1).mean())


FLICKER = Metric(
    id="flicker",
    title="Flicker",
    title_ko="깜빡임",
    unit="",
    higher_is_better=False,
    level="video",
    digits=2,
    tolerance=(0.05, 0.30),
    hint="brightness jumps from frame to frame: look at the video",
    score=flicker,
)

SPREAD = Metric(
    id="spread",
    title="Spread of videos",
    title_ko="영상 다양성",
    unit="",
    higher_is_better=True,
    level="set",
    digits=3,
    tolerance=(0.10, 0.50),
    hint="the videos have become more alike",
    score_set=spread,
)
