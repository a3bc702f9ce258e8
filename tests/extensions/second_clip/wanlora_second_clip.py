"""A metric that takes the name of a built-in one."""

from pytest_wanlora import Metric

METRIC = Metric("clip", "Another CLIP score", "", True, "video", score=lambda video: float(video.mean()))
