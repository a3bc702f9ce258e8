"""What the metrics are: name, unit, direction, level and version of every score."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.files import file_sha256
from pytest_wanlora.phrases import Language
from pytest_wanlora.registry import Extension, ExtensionFile, extensions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP: Final = "wanlora.metrics"


@dataclass(frozen=True)
class Metric:
    """Metadata of one score; what a comparison needs to know besides the number.

    Attributes:
        id: Name in suites, options, files and test ids.
        title: Name in English, the same in every report.
        unit: Unit as printed after a number; empty for a plain number.
        higher_is_better: Direction in which a change is an improvement.
        level: `"video"` for a score of one video, `"set"` for a score of a set of videos, `"question"` for
            what is asked of the videos of a scenario beside the base model's (`verdict.questions`).
        two_sided: A large change in the good direction is suspicious too: a frozen video has the best
            temporal consistency, noise raises sharpness.
        digits: Decimals to print.
        version: Raised whenever the recipe changes in a way that changes numbers; part of the fingerprint.
        title_ko: Name in Korean; `title` when left out.
        tolerance: `warn` and `fail` of a suite that states none, as 0.05 for 5 %; None: only suites that
            state a tolerance gate on it.
        hint: For `two_sided` metrics: what to look at when a score has improved suspiciously much.
        hint_ko: The same in Korean; `hint` when left out.
        score: Scores one video, uint8 (frames, height, width, 3), RGB. For metrics of installed packages;
            the built-in ones are computed together.
        score_set: Scores a set of videos from their features, float32 (videos, dimensions): those of the
            suite's `scoring.video_features`. The same.
        files: What the metric needs on this machine, such as weights.
    """

    id: str
    title: str
    unit: str
    higher_is_better: bool
    level: Literal["video", "set", "question"]
    two_sided: bool = False
    digits: int = 4
    version: int = 1
    title_ko: str = ""
    tolerance: tuple[float, float] | None = None
    hint: str = ""
    hint_ko: str = ""
    score: Callable[[NDArray[np.uint8]], float] | None = field(default=None, repr=False)
    score_set: Callable[[NDArray[np.float32]], float] | None = field(default=None, repr=False)
    files: tuple[ExtensionFile, ...] = ()

    def name(self, language: Language) -> str:
        """The metric's name in a language."""
        return (self.title_ko if language == "ko" else "") or self.title

    def look_at(self, language: Language) -> str:
        """What a large rise may hide, in a language; empty without a hint."""
        return (self.hint_ko if language == "ko" else "") or self.hint

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


#: CLIPScore is the cosine of caption and frame times this (Hessel 2021, "CLIPScore").
CLIPSCORE_WEIGHT: Final = 2.5

# `kvd` and `drift` lie around zero, where a relative change says nothing; `clip_cosine` and `sharpness_pct`
# are other views of `clip` and `sharpness`: these four have no tolerance and are only reported.
BUILT_IN: Final = _mapping(
    Metric("clip", "CLIPScore", "", True, "video", tolerance=(0.01, 0.05), title_ko="CLIP Score"),
    Metric("clip_cosine", "CLIP cosine", "", True, "video", title_ko="CLIP 코사인"),
    Metric("fvd", "FVD", "", False, "set", digits=2, tolerance=(0.05, 0.25)),
    Metric("kvd", "KVD", "", False, "set"),
    Metric(
        "temporal",
        "Temporal consistency",
        "%",
        True,
        "video",
        two_sided=True,
        digits=2,
        tolerance=(0.005, 0.05),
        hint="a video that freezes is perfectly consistent: look at its motion",
        title_ko="Temporal Consistency",
        hint_ko="멈춘 영상은 일관성이 완벽하게 나오므로 Motion 값을 확인하세요",
    ),
    Metric(
        "sharpness",
        "Sharpness",
        "",
        True,
        "video",
        two_sided=True,
        digits=1,
        tolerance=(0.02, 0.15),
        hint="noise and ringing raise sharpness: look at the video",
        hint_ko="노이즈와 링잉이 Sharpness 값을 높이므로 영상을 확인하세요",
    ),
    Metric(
        "sharpness_pct",
        "Sharpness of reference",
        "%",
        True,
        "video",
        digits=1,
        title_ko="Sharpness(기준 대비)",
    ),
    Metric(
        "color",
        "Colour diversity",
        "%",
        True,
        "video",
        two_sided=True,
        digits=2,
        tolerance=(0.05, 0.25),
        hint="flicker and noise raise colour diversity: look at the video",
        title_ko="Color Diversity",
        hint_ko="깜빡임과 노이즈가 Color Diversity 값을 높이므로 영상을 확인하세요",
    ),
    Metric(
        "motion",
        "Motion",
        "%",
        True,
        "video",
        two_sided=True,
        digits=3,
        tolerance=(0.10, 0.40),
        hint="jitter and flicker raise motion: look at the video",
        hint_ko="떨림과 깜빡임이 Motion 값을 높이므로 영상을 확인하세요",
    ),
    Metric("drift", "Colour drift", "", False, "video", digits=2, title_ko="Color Drift"),
    Metric(
        "overall",
        "Overall quality",
        "%",
        True,
        "video",
        digits=1,
        tolerance=(0.01, 0.10),
        title_ko="Overall Quality",
    ),
)
"""The metrics of this package, in the order of reports."""

# never part of a fingerprint: they are made of features that are stored with every video
QUESTIONS: Final = _mapping(
    Metric("bleed", "Bleed", "", False, "question", digits=2, title_ko="번짐(Bleed)"),
    Metric("likeness", "Likeness", "", True, "question", digits=3, title_ko="피사체 유사도(Likeness)"),
    Metric("collapse", "Spread over seeds", "", True, "question", digits=2, title_ko="시드 간 다양성"),
    Metric("copies", "Distance to training clips", "", True, "question", digits=2, title_ko="학습 영상 거리"),
)
"""What a suite may ask of a LoRA: `suite.bleed` and `suite.subject`."""


class _Metrics(Mapping[str, Metric]):
    """A view of the registry, which reads entry points on the first use and never when it is imported."""

    def __getitem__(self, name: str) -> Metric:
        return _registered()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_registered())

    def __len__(self) -> int:
        return len(_registered())


METRICS: Final[Mapping[str, Metric]] = _Metrics()
"""Every metric by id, in the order of reports: the built-in ones, those of installed packages, questions."""


def scoring_metrics() -> Iterator[Metric]:
    """The metrics that videos are scored by, one by one or as sets: all but the questions."""
    return (metric for metric in METRICS.values() if metric.level != "question")


@cache
def _registered() -> Mapping[str, Metric]:
    added = (_checked(each) for each in extensions(GROUP, Metric, taken={**BUILT_IN, **QUESTIONS}))
    return _mapping(*BUILT_IN.values(), *added, *QUESTIONS.values())


def _checked(found: Extension[Metric]) -> Metric:
    """The metric that an entry point provides, if it is whole."""
    metric = found.value
    needed, other = ("score", "score_set") if metric.level == "video" else ("score_set", "score")
    warn, fail = metric.tolerance or (0.0, 1.0)
    problems = {
        f"its id is {metric.id!r}; allowed: the name of the entry point": metric.id != found.name,
        "title is empty": not metric.title,
        f"level is {metric.level!r}; allowed: 'video', 'set'": metric.level not in ("video", "set"),
        f"{needed} is missing: a metric of level {metric.level!r} needs it": not callable(
            getattr(metric, needed)
        ),
        f"{other} is given; allowed for level {metric.level!r}: {needed}": getattr(metric, other) is not None,
        f"version is {metric.version!r}; allowed: 1 or more": metric.version < 1,
        f"tolerance is {metric.tolerance}; allowed: 0 <= warn <= fail <= 1, fail above 0": not (
            0 <= warn <= fail <= 1 and fail > 0
        ),
    }
    for problem, holds in problems.items():
        if holds:
            raise found.wrong(problem)
    return metric


def added_scores(video: NDArray[np.uint8]) -> dict[str, float]:
    """Score one video with the metrics of installed packages.

    Args:
        video: uint8 (frames, height, width, 3), RGB.

    Raises:
        ScoringError: One of them fails or returns no finite number.
    """
    return {each.id: _number(each, each.score, video) for each in METRICS.values() if each.score is not None}


def added_set_scores(features: NDArray[Any]) -> dict[str, float]:
    """The same for a set of videos.

    Args:
        features: (videos, dimensions).

    Raises:
        ScoringError: As `added_scores`.
    """
    return {
        each.id: _number(each, each.score_set, features)
        for each in METRICS.values()
        if each.score_set is not None
    }


@cache
def added_code() -> Mapping[str, str]:
    """SHA-256 of the file that defines each score of installed packages, by metric id.

    Part of a video's key: a changed file is measured again, also while its author has not raised the version.
    Read once: a file that changes during a run is not the code that this process has loaded.
    """
    return {each.id: _code_sha256(score) for each in METRICS.values() if (score := each.score) is not None}


def _code_sha256(score: Callable[..., float]) -> str:
    try:
        path = inspect.getsourcefile(inspect.unwrap(score))
    except TypeError:
        # an object with `__call__`
        path = inspect.getsourcefile(type(score))
    return "" if path is None or not Path(path).is_file() else file_sha256(path)


def _number(metric: Metric, score: Callable[[Any], float], measured: NDArray[Any]) -> float:
    view = measured.view()
    view.flags.writeable = False  # one extension must not change what the next one measures
    remedy = f"correct the package that provides {metric.id}, or pip uninstall it"
    try:
        value = float(score(view))
    # code of another package: whatever it raises, the video has no score
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ScoringError(
            f"metric {metric.id} failed on an array of shape {measured.shape}: "
            f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})",
            next_command=remedy,
        ) from error
    if not math.isfinite(value):
        raise ScoringError(
            f"metric {metric.id} returned {value}; allowed: a finite number", next_command=remedy
        )
    return value


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
