"""A function where a metric is expected."""

from typing import Any


def brightness(video: Any) -> float:  # noqa: ANN401 - not called
    """Mean of all pixels."""
    return float(video.mean())
