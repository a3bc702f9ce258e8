"""Single videos far outside the baseline's own seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from pytest_wanlora.metrics import METRICS, Metric
from pytest_wanlora.suite.schema import DEFAULT_TOLERANCES
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.judgement import Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.videos import Bounds, judge_videos

CLIP, SHARPNESS, DRIFT = METRICS["clip"], METRICS["sharpness"], METRICS["drift"]
STORED = (1.9, 2.0, 2.1, 2.0)


def judged(
    scores: Mapping[Metric, Mapping[int, float]],
    stored: Mapping[Metric, Sequence[float]],
    degenerate: Mapping[tuple[str, int], str] | None = None,
) -> Judgement:
    return judge_videos("epoch-1", "s1", scores, stored, DEFAULT_TOLERANCES, degenerate or {})


class TestBounds:
    @pytest.mark.parametrize(
        ("stored", "fail", "worst"),
        [
            # 8 bands of 5 % below the median of 2.0
            (STORED, 0.05, 1.2),
            # the largest loss of the base's own seeds is 0.7, and twice that is further out
            ((1.3, 2.0, 2.1, 2.0), 0.05, 0.6),
            # 8 bands of 25 % are more than all there is: 90 % of the median
            (STORED, 0.25, 0.2),
        ],
    )
    def test_a_loss_must_exceed_eight_bands_and_two_tails(
        self, stored: Sequence[float], fail: float, worst: float
    ) -> None:
        bounds = Bounds.of(CLIP, stored, fail)
        assert (bounds.median, bounds.rise) == (2.0, None)
        assert math.isclose(bounds.worst, worst)

    def test_where_lower_is_better_the_bound_lies_above(self) -> None:
        bounds = Bounds.of(DRIFT, STORED, 0.25)
        assert math.isclose(bounds.worst, 6.0)
        assert bounds.beyond(DRIFT, 6.1) == bounds.worst
        assert bounds.beyond(DRIFT, 0.0) is None

    def test_a_two_sided_metric_has_a_bound_on_either_side(self) -> None:
        bounds = Bounds.of(SHARPNESS, (100.0, 110.0, 90.0), 0.15)
        assert bounds.rise is not None
        assert math.isclose(bounds.worst, 10.0)
        assert math.isclose(bounds.rise, 900.0)
        found = [bounds.beyond(SHARPNESS, value) for value in (9.0, 50.0, 899.0, 901.0)]
        assert found == [bounds.worst, None, None, bounds.rise]


class TestJudgement:
    def test_one_broken_video_of_many_fails_and_is_named_with_its_score(self) -> None:
        scores = {CLIP: {**dict.fromkeys(range(15), 2.0), 15: 0.3}}
        found = judged(scores, {CLIP: STORED})
        assert (found.verdict, found.code, found.n) == (Verdict.FAIL, ReasonCode.VIDEOS_BROKEN, 16)
        assert found.worst is not None
        assert (found.worst.scenario, found.worst.seed, found.worst.value) == ("s1", 15, 0.3)
        assert str(found.item) == "test_videos[epoch-1-s1]"
        assert found.reason == (
            "broken, far outside the baseline's own seeds, 1 of 16 videos: "
            "s1 seed 15: clip 0.3000 < 1.2000 (base 2.0000)"
        )
        assert "s1 시드 15: clip 0.3000 < 1.2000" in reasons.reason(found, "ko")

    def test_a_score_at_the_bound_is_not_broken(self) -> None:
        bound = Bounds.of(CLIP, STORED, DEFAULT_TOLERANCES["clip"].fail).worst
        assert judged({CLIP: {0: bound}}, {CLIP: STORED}).verdict is Verdict.PASS
        assert judged({CLIP: {0: bound - 1e-9}}, {CLIP: STORED}).verdict is Verdict.FAIL

    def test_noise_is_found_by_its_sharpness_though_a_rise_is_an_improvement(self) -> None:
        found = judged({SHARPNESS: {0: 100.0, 1: 4400.0}}, {SHARPNESS: (100.0, 110.0)})
        assert found.verdict is Verdict.FAIL
        assert "seed 1: sharpness 4400.0 > 945.0" in found.reason

    @pytest.mark.parametrize(
        ("scores", "stored", "degenerate", "verdict"),
        [
            ({0: 2.0}, STORED, {("s1", 0): "black"}, Verdict.DEGENERATE),
            ({0: math.nan}, STORED, {}, Verdict.DEGENERATE),
            ({}, STORED, {}, Verdict.ERROR),
            ({0: 2.0}, (), {}, Verdict.MISSING_BASELINE),
            ({0: 2.0}, (2.0, math.nan), {}, Verdict.ERROR),
        ],
    )
    def test_what_was_not_measured_did_not_pass(
        self,
        scores: dict[int, float],
        stored: Sequence[float],
        degenerate: dict[tuple[str, int], str],
        verdict: Verdict,
    ) -> None:
        assert judged({CLIP: scores}, {CLIP: stored}, degenerate).verdict is verdict
