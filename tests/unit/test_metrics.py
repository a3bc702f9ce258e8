from __future__ import annotations

import math
import subprocess
import sys

import pytest

from pytest_wanlora.metrics import BUILT_IN, grade, overall

SET_METRICS = {"fvd", "kvd"}
LOWER_IS_BETTER = {"fvd", "kvd", "drift"}
TWO_SIDED = {"temporal", "sharpness", "color", "motion"}


def test_metrics_are_those_of_the_design() -> None:
    assert list(BUILT_IN) == [
        "clip", "clip_cosine", "fvd", "kvd", "temporal", "sharpness", "sharpness_pct", "color", "motion",
        "drift", "overall",
    ]  # fmt: skip


@pytest.mark.parametrize("name", BUILT_IN)
def test_metadata(name: str) -> None:
    metric = BUILT_IN[name]
    assert metric.id == name
    assert metric.title
    assert metric.higher_is_better == (name not in LOWER_IS_BETTER)
    assert metric.level == ("set" if name in SET_METRICS else "video")
    assert metric.two_sided == (name in TWO_SIDED)
    assert metric.version >= 1


def test_format_names_what_is_no_number() -> None:
    assert BUILT_IN["temporal"].format(98.731) == "98.73 %"
    assert BUILT_IN["clip"].format(0.61234) == "0.6123"
    assert BUILT_IN["fvd"].format(math.nan) == "nan"


@pytest.mark.parametrize(
    ("temporal", "sharpness", "color", "expected"),
    [(99.1, 100.0, 78.1, 93.1), (98.7, 88.4, 86.0, 91.8), (97.8, 29.3, 88.3, 74.4)],
    ids=["korean_city", "nature", "action"],
)
def test_overall_is_the_formula_of_the_report(
    temporal: float, sharpness: float, color: float, expected: float
) -> None:
    assert overall(temporal, sharpness, color) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("value", "letter"),
    [
        (100.0, "S"),
        (90.0, "S"),
        (89.99, "A"),
        (80.0, "A"),
        (79.99, "B"),
        (70.0, "B"),
        (69.99, "C"),
        (0.0, "C"),
    ],
)
def test_grade(value: float, letter: str) -> None:
    assert grade(value) == letter


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_was_not_measured_has_no_grade(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        grade(value)


@pytest.mark.parametrize("module", ["metrics", "scoring.frechet", "scoring.frames"])
def test_pure_modules_import_no_torch(module: str) -> None:
    code = (
        f"import sys, pytest_wanlora.{module}; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'open_clip')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
