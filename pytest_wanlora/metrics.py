"""What the metrics are: name, unit, direction, level and version of every score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pytest_wanlora.phrases import Language


@dataclass(frozen=True)
class Metric:
    """Metadata of one score; what a comparison needs to know besides the number.

    Attributes:
        id: Name in suites, options, files and test ids.
        title: Name in English, the same in every report.
        title_ko: Name in Korean reports.
        unit: Unit as printed after a number; empty for a plain number.
        higher_is_better: Direction in which a change is an improvement.
        level: `"video"` for a score of one video, `"set"` for a score of a set of videos.
        two_sided: A large change in the good direction is suspicious too: a frozen video has the best
            temporal consistency, noise raises sharpness.
        digits: Decimals to print.
        version: Raised whenever the recipe changes in a way that changes numbers; part of the fingerprint.
    """

    id: str
    title: str
    title_ko: str
    unit: str
    higher_is_better: bool
    level: Literal["video", "set"]
    two_sided: bool
    digits: int
    version: int = 1

    def name(self, language: Language) -> str:
        """The metric's name in a language."""
        return self.title if language == "en" else self.title_ko

    def format(self, value: float) -> str:
        """Print a value with the metric's digits and unit; a value that is not finite by its name.

        Example:
            >>> METRICS["temporal"].format(98.731)
            '98.73 %'
        """
        if not math.isfinite(value):
            return str(value)
        number = f"{value:.{self.digits}f}"
        return f"{number} {self.unit}" if self.unit else number


def _mapping(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.id: metric for metric in metrics})


METRICS: Mapping[str, Metric] = _mapping(
    Metric("clip", "CLIPScore", "CLIP Score", "", True, "video", two_sided=False, digits=4),
    Metric("clip_cosine", "CLIP cosine", "CLIP 코사인", "", True, "video", two_sided=False, digits=4),
    Metric("fvd", "FVD", "FVD", "", False, "set", two_sided=False, digits=2),
    Metric("kvd", "KVD", "KVD", "", False, "set", two_sided=False, digits=4),
    Metric(
        "temporal",
        "Temporal consistency",
        "Temporal Consistency",
        "%",
        True,
        "video",
        two_sided=True,
        digits=2,
    ),
    Metric("sharpness", "Sharpness", "Sharpness", "", True, "video", two_sided=True, digits=1),
    Metric(
        "sharpness_pct",
        "Sharpness of reference",
        "Sharpness(기준 대비)",
        "%",
        True,
        "video",
        two_sided=False,
        digits=1,
    ),
    Metric("color", "Colour diversity", "Color Diversity", "%", True, "video", two_sided=True, digits=2),
    Metric("motion", "Motion", "Motion", "%", True, "video", two_sided=True, digits=3),
    Metric("drift", "Colour drift", "Color Drift", "", False, "video", two_sided=False, digits=2),
    Metric("overall", "Overall quality", "Overall Quality", "%", True, "video", two_sided=False, digits=1),
)
"""Every metric by id, in the order of reports."""


def overall(temporal: float, sharpness_pct: float, color: float) -> float:
    """Weighted mean of three percentages: 0.4 * temporal + 0.3 * sharpness_pct + 0.3 * color.

    Args:
        temporal: In percent.
        sharpness_pct: In percent, the capped form.
        color: In percent.
    """
    return 0.4 * temporal + 0.3 * sharpness_pct + 0.3 * color


def grade(value: float) -> Literal["S", "A", "B", "C"]:
    """Return the grade of an `overall`: S from 90, A from 80, B from 70, C below.

    Raises:
        ValueError: The value is not finite; what was not measured has no grade.

    Example:
        >>> grade(86.4)
        'A'
    """
    if not math.isfinite(value):
        raise ValueError(f"overall must be finite to be graded, got {value}")
    if value >= 90:
        return "S"
    if value >= 80:
        return "A"
    return "B" if value >= 70 else "C"
