"""Figures that a source states, against what the scores give."""

from __future__ import annotations

import pytest

from pytest_wanlora.reports.stated import MEAN, Figure, Stated, disagreements
from pytest_wanlora.verdict.judgement import ALL
from tests.unit.reports.records import SCENARIOS, compared, run_record

CITY, NATURE, ACTION = SCENARIOS
RECORD = run_record(
    [
        *(compared(scenario, "clip", 0.6, 0.5) for scenario in SCENARIOS),
        compared(ALL, "clip", 0.6, 0.5),
        compared(CITY, "fvd", 0.0, 50.0),
    ]
)


@pytest.mark.parametrize(
    ("scenario", "metric", "figure", "text"),
    [
        (CITY, "clip", "value", "0.5"),
        (CITY, "clip", "difference", "-0.1"),
        (CITY, "clip", "percent", "-16.7"),
        (CITY, "clip", "percent", "-17"),
        (CITY, "clip", "mark", "fail"),
        (MEAN, "clip", "mark", "fail"),
        (MEAN, "clip", "baseline", "0.60"),
        # at the very edge of the rounding either way is right
        (CITY, "clip", "value", "0"),
        (CITY, "clip", "value", "1"),
    ],
)
def test_what_agrees(scenario: str, metric: str, figure: Figure, text: str) -> None:
    assert disagreements(RECORD, "epoch-0", [Stated(scenario, metric, figure, text)]) == ()


@pytest.mark.parametrize(
    ("scenario", "metric", "figure", "text", "computed"),
    [
        (CITY, "clip", "value", "0.51", "0.5000"),
        (CITY, "clip", "percent", "-16.6", "-16.667"),
        (CITY, "clip", "percent", "16.7", "-16.667"),
        (CITY, "clip", "mark", "warn", "fail"),
        (CITY, "fvd", "percent", "50", ""),  # from a baseline of 0
        (NATURE, "fvd", "value", "50", ""),  # not measured
        (NATURE, "fvd", "mark", "pass", ""),
        (MEAN, "fvd", "value", "50", ""),  # two of three scenarios are missing
        (MEAN, "motion", "value", "50", ""),
        (MEAN, "clip", "share", "200", ""),  # no limit
        (CITY, "overall", "formula", "90.0", ""),  # no videos
    ],
)
def test_what_does_not(scenario: str, metric: str, figure: Figure, text: str, computed: str) -> None:
    stated = Stated(scenario, metric, figure, text)
    found = disagreements(RECORD, "epoch-0", [stated])
    assert [(each.stated, each.computed) for each in found] == [(stated, computed)]
