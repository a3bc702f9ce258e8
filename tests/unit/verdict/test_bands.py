from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.evidence.bands import band
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import DEFAULT_TOLERANCES, Tolerance
from pytest_wanlora.verdict.bands import frozen, rule
from pytest_wanlora.verdict.judgement import Evidence, ReasonCode, Verdict

REPORT = Path(__file__).parents[2] / "data" / "report-2025-11-11.yaml"
GATED = sorted(DEFAULT_TOLERANCES)
scores = st.floats(1e-3, 1e4)


def report_marks() -> list[Any]:
    report = yaml.safe_load(REPORT.read_text(encoding="utf-8"))["scenarios"]
    return [
        pytest.param(name, sides["base"][metric], sides["lora"][metric], mark, id=f"{place}-{name}")
        for place, sides in report.items()
        for name, mark in sides["marks"].items()
        for metric in [name]
    ]


CERTAIN = Evidence(
    n=16,
    looks=(4, 8, 16),
    change=0.3,
    low=0.29,
    high=0.31,
    level=0.93,
    decisive=True,
    p_value=1e-6,
    p_adjusted=1e-5,
    tested=True,
    significant=True,
    seconded=False,
    weak=False,
    n_enough=None,
    method="paired-t",
)
BETTER = replace(CERTAIN, change=-0.3, low=-0.31, high=-0.29, significant=False)


@pytest.mark.parametrize(("metric", "baseline", "value", "mark"), report_marks())
def test_the_bands_give_back_every_mark_of_the_report(
    metric: str, baseline: float, value: float, mark: str
) -> None:
    assert band(METRICS[metric], baseline, value, DEFAULT_TOLERANCES[metric])[1] == Verdict(mark)


def test_the_report_has_all_its_marks() -> None:
    assert len(report_marks()) == 24


@given(metric=st.sampled_from(GATED), value=scores)
def test_the_same_value_passes(metric: str, value: float) -> None:
    assert band(METRICS[metric], value, value, DEFAULT_TOLERANCES[metric]) == (0.0, Verdict.PASS)


@given(metric=st.sampled_from(GATED), baseline=scores, values=st.tuples(scores, scores))
def test_a_worse_value_never_gets_a_better_verdict(
    metric: str, baseline: float, values: tuple[float, float]
) -> None:
    known, tolerance = METRICS[metric], DEFAULT_TOLERANCES[metric]
    worse, better = sorted(values) if known.higher_is_better else sorted(values, reverse=True)
    if known.two_sided and better > baseline:
        return  # a suspicious rise is a warning on purpose
    assert (
        band(known, baseline, worse, tolerance)[1].severity
        >= band(known, baseline, better, tolerance)[1].severity
    )


@given(metric=st.sampled_from(GATED), baseline=scores, value=scores, factor=st.floats(1e-2, 1e2))
def test_the_unit_does_not_matter(metric: str, baseline: float, value: float, factor: float) -> None:
    known, tolerance = METRICS[metric], DEFAULT_TOLERANCES[metric]
    change = band(known, baseline, value, tolerance)[0]
    # one rounding of each product and one of the quotient, relative to the ratio
    room = 1e-12 * (1.0 + abs(change))
    assert band(known, factor * baseline, factor * value, tolerance)[0] == pytest.approx(change, abs=room)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", GATED)
def test_what_is_not_finite_never_passes(metric: str, bad: float) -> None:
    known, tolerance = METRICS[metric], DEFAULT_TOLERANCES[metric]
    change, verdict = band(known, 1.0, bad, tolerance)
    assert verdict is Verdict.DEGENERATE
    assert math.isnan(change)
    assert band(known, bad, 1.0, tolerance)[1] is Verdict.ERROR
    assert rule(known, math.nan, tolerance)[0].fails


@pytest.mark.parametrize(
    ("baseline", "value", "verdict"),
    [
        (1.0, 0.991, Verdict.PASS),
        (1.0, 0.99, Verdict.WARN),  # from the warn band on
        (1.0, 0.95, Verdict.WARN),  # 1 - 0.95 is a rounding above 0.05
        (1.0, 0.9499, Verdict.FAIL),
        (1.0, 1.2, Verdict.BETTER),
        (0.0, 0.0, Verdict.PASS),
        (0.0, 0.5, Verdict.WARN),  # no relative change can be told
        (0.5, 0.0, Verdict.FAIL),
        (0.0, -0.5, Verdict.FAIL),
    ],
)
def test_the_edges_of_a_band(baseline: float, value: float, verdict: Verdict) -> None:
    assert band(METRICS["clip"], baseline, value, Tolerance(warn=0.01, fail=0.05))[1] is verdict


def test_no_warn_band_does_not_warn_of_no_change() -> None:
    tolerance = Tolerance(warn=0.0, fail=0.05)
    assert band(METRICS["clip"], 0.6, 0.6, tolerance)[1] is Verdict.PASS
    assert band(METRICS["clip"], 0.6, 0.599, tolerance)[1] is Verdict.WARN


@pytest.mark.parametrize("metric", ["temporal", "sharpness", "color", "motion"])
def test_a_rise_beyond_the_fail_band_is_suspicious(metric: str) -> None:
    tolerance = DEFAULT_TOLERANCES[metric]
    found = rule(METRICS[metric], -1.01 * tolerance.fail, tolerance)
    assert found == (Verdict.WARN, ReasonCode.SUSPICIOUS_RISE)


def test_an_improvement_while_motion_falls_is_suspicious() -> None:
    metric, tolerance, still = METRICS["color"], DEFAULT_TOLERANCES["color"], DEFAULT_TOLERANCES["motion"]
    assert rule(metric, -0.22, tolerance)[0] is Verdict.BETTER
    found = rule(metric, -0.22, tolerance, motion_change=0.3, motion_tolerance=still)
    assert found == (Verdict.WARN, ReasonCode.RISE_WITH_LESS_MOTION)


def test_better_is_said_only_when_it_is_certain() -> None:
    metric, tolerance = METRICS["clip"], DEFAULT_TOLERANCES["clip"]
    assert rule(metric, -0.3, tolerance, BETTER)[0] is Verdict.BETTER
    found = rule(metric, -0.3, tolerance, replace(BETTER, high=0.02))
    assert found == (Verdict.PASS, ReasonCode.BETTER_UNCERTAIN)
    assert rule(metric, -0.3, tolerance, replace(BETTER, low=None, high=None))[0] is Verdict.PASS


UNPROVEN = replace(CERTAIN, significant=False, weak=True)


@pytest.mark.parametrize(
    ("found", "undecided", "expected"),
    [
        (CERTAIN, "block", (Verdict.FAIL, ReasonCode.BEYOND_BAND)),
        (CERTAIN, "warn", (Verdict.FAIL, ReasonCode.BEYOND_BAND)),
        (UNPROVEN, "block", (Verdict.UNDECIDED, ReasonCode.UNDECIDED)),
        (UNPROVEN, "warn", (Verdict.WARN, ReasonCode.BEYOND_BAND_WEAK)),
        (replace(UNPROVEN, seconded=True), "block", (Verdict.FAIL, ReasonCode.FAILED_WITH_SIBLING)),
        (replace(UNPROVEN, tested=False), "block", (Verdict.UNDECIDED, ReasonCode.TOO_FEW_PAIRS)),
        (replace(UNPROVEN, tested=False), "warn", (Verdict.WARN, ReasonCode.TOO_FEW_PAIRS)),
        (None, "block", (Verdict.FAIL, ReasonCode.BEYOND_BAND)),
    ],
)
def test_beyond_the_band_the_evidence_decides(
    found: Evidence | None, undecided: Literal["block", "warn"], expected: tuple[Verdict, ReasonCode]
) -> None:
    assert rule(METRICS["clip"], 0.3, DEFAULT_TOLERANCES["clip"], found, undecided=undecided) == expected


@pytest.mark.parametrize(
    ("band", "verdict"), [(None, Verdict.FAIL), (0.35, Verdict.WARN), (0.1, Verdict.FAIL)]
)
def test_a_band_that_so_few_videos_cannot_see_is_widened_and_never_narrowed(
    band: float | None, verdict: Verdict
) -> None:
    known = replace(CERTAIN, change=0.3, band=band)
    assert rule(METRICS["fvd"], 0.3, DEFAULT_TOLERANCES["fvd"], known)[0] is verdict


@given(change=st.floats(-2, 0.05), metric=st.sampled_from(GATED))
def test_evidence_never_fails_what_lies_within_the_band(change: float, metric: str) -> None:
    tolerance = Tolerance(warn=0.01, fail=0.05)
    assert not rule(METRICS[metric], change, tolerance, replace(CERTAIN, change=change))[0].fails


def test_frozen_is_told_from_calm() -> None:
    baseline = {0: 1.0, 1: 1.0, 2: 0.01, 3: 1.0, 5: 0.2}
    assert frozen({0: 0.05, 1: 0.5, 2: 0.0, 4: 0.0, 5: 0.01}, baseline) == (0, 5)
