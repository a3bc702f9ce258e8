from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import Limit
from pytest_wanlora.verdict.fvd import SetDistance
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict
from pytest_wanlora.verdict.limits import judge_limit, judge_set_limit

CLIP_LIMIT = Limit(metric="clip", min=0.3)
FVD_LIMIT = Limit(metric="fvd", max=1140)
Scores = dict[str, dict[int, float]]


def limit(scores: Scores, **more: object) -> Judgement:
    return judge_limit(
        METRICS["clip"],
        candidate="epoch-0",
        scenario="s1",
        limit=CLIP_LIMIT,
        scores=scores,
        **more,  # type: ignore[arg-type]  # each test passes what it is about
    )


def test_a_limit_does_not_average_a_degenerate_video_away() -> None:
    judged = limit({"s1": {0: 0.6}}, degenerate={("s1", 1): "it is black"})
    assert judged.verdict is Verdict.DEGENERATE
    assert judged.reason == "s1 seed 1: it is black"


@pytest.mark.parametrize(("value", "verdict"), [(0.3, Verdict.PASS), (0.299, Verdict.FAIL)])
def test_a_limit_is_judged_on_the_candidate_alone(value: float, verdict: Verdict) -> None:
    judged = limit({"s1": {0: value, 1: value}})
    assert judged.verdict is verdict
    assert judged.reason == f"{value:.4f} (n = 2), limit: >= 0.3 (cosine 0.12)"
    assert (judged.minimum, judged.maximum, judged.baseline) == (0.3, None, None)


@pytest.mark.parametrize("scores", [{}, {"s1": {}}, {"s1": {0: math.nan}}, {"s1": {0: math.inf}}])
def test_a_limit_on_nothing_is_not_kept(scores: Scores) -> None:
    assert limit(scores).verdict.fails


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 0.5))
def test_a_worse_candidate_never_keeps_a_limit_better(values: list[float], loss: float) -> None:
    better = limit({"s1": dict(enumerate(values))})
    worse = limit({"s1": {seed: value - loss for seed, value in enumerate(values)}})
    assert worse.verdict.severity >= better.verdict.severity


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (1140.0, Verdict.PASS),
        (1140.1, Verdict.FAIL),
        (None, Verdict.ERROR),
        (math.nan, Verdict.DEGENERATE),
        (-math.inf, Verdict.DEGENERATE),
    ],
)
def test_a_limit_on_a_set_always_tells_both_counts(value: float | None, verdict: Verdict) -> None:
    judged = judge_set_limit(
        METRICS["fvd"],
        candidate="epoch-0",
        scenario=ALL,
        limit=FVD_LIMIT,
        value=value,
        n=12,
        reference_n=512,
    )
    assert judged.verdict is verdict
    assert (judged.n, judged.reference_n) == (12, 512)
    if value is not None and math.isfinite(value):
        assert "(n = 12, reference 512), limit: <= 1140" in judged.reason


@pytest.mark.parametrize(("floor", "verdict"), [(259.0, Verdict.FAIL), (260.0, Verdict.PASS)])
def test_a_limit_on_a_distance_is_put_on_what_lies_above_its_floor(floor: float, verdict: Verdict) -> None:
    judged = judge_set_limit(
        METRICS["fvd"],
        candidate="epoch-0",
        scenario=ALL,
        limit=FVD_LIMIT,
        value=1400.0,
        n=12,
        reference_n=1536,
        told=SetDistance(distance=1400.0, floor=floor, low=900.0, high=1400.0),
    )
    assert judged.verdict is verdict
    assert judged.value == 1400.0 - floor
    assert f"1400.00 as it is, of which {floor:.2f} is the floor of 12 videos" in judged.reason
    assert "90% interval 900.00 to 1400.00" in judged.reason
