"""How likely other seeds would end otherwise; docs/evidence.md compares it with gates of other seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from scipy import stats

from pytest_wanlora.verdict.judgement import ALL, Judgement, Kind, Verdict
from pytest_wanlora.verdict.other_seeds import Lean, chance_to_fail, disagreement
from tests.unit.reports import gated

#: As good as known exactly.
SURE = 1e6
# 1,000 draws are off by 0.016 on average where half of them fail
NEAR = 0.05
LOOKS = (3, 4, 6, 8)


def lean(gap: float, **fields: object) -> Lean:
    given = Lean("s1", "clip", gap, error=1.0, degrees=SURE, pairs=8, moves={})
    return replace(given, **fields)  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize("gap", [-3.0, -1.0, 0.0, 1.0, 3.0])
def test_the_errors_of_both_gates_count(gap: float) -> None:
    """Both estimates scatter around the truth, so their difference has the deviation 2 ** 0.5."""
    expected = stats.norm.cdf(gap / math.sqrt(2.0))
    assert chance_to_fail([lean(gap)], (8,)) == pytest.approx(expected, abs=NEAR)


@pytest.mark.parametrize("gap", [-2.0, 0.0, 2.0])
def test_an_estimate_far_out_is_partly_luck(gap: float) -> None:
    """Where changes usually are as large as the error, the truth is half as far from none as it seems.

    And half of its variance is left.
    """
    band = 1.0 / 0.7
    expected = stats.norm.cdf((-band + 0.5 * (gap + band)) / math.sqrt(1.5))
    assert chance_to_fail([lean(gap, band=band)], (8,)) == pytest.approx(expected, abs=NEAR)


def test_a_gate_may_have_nothing_but_items_that_pool_scenarios() -> None:
    assert chance_to_fail([lean(0.0, scenario=ALL, asks=False)], LOOKS) == pytest.approx(0.5, abs=NEAR)


def test_few_pairs_make_the_error_uncertain_too() -> None:
    expected = stats.t.cdf(-3.0 / math.sqrt(2.0), 2.0)
    assert chance_to_fail([lean(-3.0, degrees=2.0)], (8,)) == pytest.approx(expected, abs=NEAR)
    assert expected > 2.0 * stats.norm.cdf(-3.0 / math.sqrt(2.0))


def test_items_that_move_together_fail_together() -> None:
    moves = {0: -1.0, 1: 0.0, 2: 1.0}
    other = {seed: -move for seed, move in moves.items()}
    alone = [lean(0.0, metric=name) for name in ("clip", "color")]
    together, apart = ([lean(0.0, moves=moves), lean(0.0, moves=each)] for each in (moves, other))
    assert chance_to_fail(together, (8,)) == pytest.approx(0.5, abs=NEAR)
    assert chance_to_fail(alone, (8,)) == pytest.approx(0.75, abs=NEAR)
    assert chance_to_fail(apart, (8,)) == 1.0


def test_what_pools_scenarios_moves_with_them_where_its_own_moves_are_not_known() -> None:
    parts = [lean(0.0, scenario=name, metric="fvd") for name in ("s1", "s2")]
    pooled = lean(0.0, scenario=ALL, metric="fvd")
    # above 0 only where a part is
    assert chance_to_fail([*parts, pooled], (8,)) == pytest.approx(0.75, abs=NEAR)
    stranger = replace(pooled, metric="kvd")
    assert chance_to_fail([*parts, stranger], (8,)) == pytest.approx(0.875, abs=NEAR)


def test_later_looks_pass_what_is_beyond_its_band_by_luck() -> None:
    inside = lean(-2.5, band=4.0)
    assert chance_to_fail([inside], LOOKS) < chance_to_fail([replace(inside, pairs=8)], (3,))
    assert chance_to_fail([lean(20.0)], LOOKS) == 1.0
    assert chance_to_fail([lean(-20.0)], LOOKS) == 0.0


def test_a_limit_asks_for_no_videos() -> None:
    """It is broken or not by those that the comparisons took: here those of the first look."""
    settled, limit = lean(-50.0), lean(-1.0, metric="fvd", pairs=3, asks=False)
    expected = stats.norm.cdf(-1.0 / math.sqrt(2.0))
    assert chance_to_fail([settled, limit], (3, 1000)) == pytest.approx(expected, abs=NEAR)
    # a comparison as open as that has only the first gate's error left after many more
    longer = chance_to_fail([settled, replace(limit, asks=True)], (3, 1000))
    assert longer < expected - NEAR


@pytest.mark.parametrize(("broken", "pairs"), [(1, 4), (1, 8), (3, 8)])
def test_of_seeds_with_a_broken_video_others_draw_as_from_an_urn(broken: int, pairs: int) -> None:
    """Each seed that is drawn is put back twice, so what was seen by luck may be rarer or more common."""
    none = math.prod((pairs - broken + at) / (pairs + at) for at in range(pairs))
    found = chance_to_fail([lean(-50.0, pairs=pairs)], (pairs,), broken=broken)
    assert found == pytest.approx(1.0 - none, abs=NEAR)


EVIDENCE = replace(
    gated.EVIDENCE, n=8, looks=(4, 8), change=0.02, low=0.0, level=0.9, p_value=0.5, p_adjusted=1.0
)
VALUES = {("s1", "clip"): {seed: 1.0 + 0.01 * (seed % 3) for seed in range(8)}}
BOTH = {**VALUES, ("s1", "sharpness"): VALUES[("s1", "clip")]}


def judged(kind: Kind = "regression", **fields: object) -> Judgement:
    given = Judgement(kind, "epoch-2", "s1", "clip", Verdict.PASS, "", n=8)
    if kind == "regression":
        given = replace(given, fail=0.05, evidence=EVIDENCE)
    return replace(given, **fields)  # type: ignore[arg-type]  # any field


def told(*judgements: Judgement, values: Mapping[tuple[str, str], dict[int, float]] = VALUES) -> float | None:
    return disagreement(judgements, values, {}, ("s1",), LOOKS)


def test_a_gate_that_fails_is_contradicted_by_one_that_passes() -> None:
    passes = told(judged())
    assert passes is not None
    assert 0.0 < passes < 0.5
    # the same figures, of which the verdict says otherwise
    fails = told(judged(verdict=Verdict.FAIL))
    assert fails == pytest.approx(1.0 - passes)
    assert told(judged()) == passes


def test_a_gate_of_the_same_videos_ends_like_any_other() -> None:
    same = disagreement([judged(), judged(metric="sharpness")], BOTH, BOTH, ("s1",), LOOKS)
    assert same == 0.0


def test_a_wider_interval_and_a_change_nearer_to_the_band_are_less_certain() -> None:
    near = judged(evidence=replace(EVIDENCE, change=0.045, low=0.025, high=0.065))
    wide = judged(evidence=replace(EVIDENCE, low=-0.06, high=0.10))
    usual = told(judged()) or 0.0
    for other in (near, wide):
        assert (told(other) or 0.0) > usual + 0.05
    # a distance whose n cannot tell so little is judged by a wider band
    assert (told(judged(evidence=replace(near.evidence or EVIDENCE, band=0.5))) or 0.0) < usual + 0.02


@pytest.mark.parametrize(
    ("minimum", "maximum", "expected"),
    [(0.5, None, 0.0), (1.5, None, 1.0), (None, 1.5, 0.0), (0.5, 1.5, 0.0), (None, 1.01, 0.5)],
)
def test_limits_belong_to_the_verdict(minimum: float | None, maximum: float | None, expected: float) -> None:
    limit = judged("limit", value=1.01, minimum=minimum, maximum=maximum)
    sure = judged(evidence=replace(EVIDENCE, change=0.0, low=-1e-4, high=1e-4))
    assert told(sure, limit) == pytest.approx(expected, abs=NEAR)


def test_of_a_limit_on_a_distance_its_interval_tells() -> None:
    sure = judged(evidence=replace(EVIDENCE, change=0.0, low=-1e-4, high=1e-4))
    limit = judged("limit", metric="fvd", value=100.0, maximum=100.0, details={"low": 90.0, "high": 110.0})
    assert told(sure, limit) == pytest.approx(0.5, abs=NEAR)
    assert told(sure, replace(limit, details={})) is None


def test_a_broken_video_is_counted_by_its_seed() -> None:
    sure = judged(evidence=replace(EVIDENCE, change=0.0, low=-1e-4, high=1e-4))
    details = {"broken": (("s1", 3, "clip 0.1 < 0.2"),)}
    broken = judged("videos", metric="", verdict=Verdict.FAIL, details=details)
    # one of eight: of ten gates, which render three of each scenario, seven have none
    assert told(sure, broken) == pytest.approx(0.7, abs=NEAR)


@pytest.mark.parametrize(
    "other",
    [
        judged("checkpoint", verdict=Verdict.FAIL),
        judged(verdict=Verdict.ERROR),
        judged(evidence=None),
        judged(evidence=replace(EVIDENCE, high=None)),
        judged("limit", value=1.0, minimum=0.5, n=1),
        judged("question", metric="bleed"),
    ],
    ids=["the file fails", "not measured", "no evidence", "no interval", "one video", "not answered"],
)
def test_nothing_is_said_where_the_verdict_is_not_the_seeds_or_too_little_is_known(other: Judgement) -> None:
    assert told(judged(), other) is None


def test_a_question_is_judged_in_its_own_unit() -> None:
    sure = judged(evidence=replace(EVIDENCE, change=0.0, low=-1e-4, high=1e-4))
    answer = replace(EVIDENCE, change=0.4, low=0.3, high=0.5, method="jackknife, t")
    bleeds = judged("question", metric="bleed", evidence=answer, fail=0.4)
    assert told(sure, bleeds) == pytest.approx(0.5, abs=NEAR)
    # of collapse less is worse
    collapse = replace(bleeds, metric="collapse", fail=0.1)
    assert (told(sure, collapse) or 0.0) < 0.05


def test_a_likeness_counts_only_where_a_gain_is_demanded() -> None:
    sure = judged(evidence=replace(EVIDENCE, change=0.0, low=-1e-4, high=1e-4))
    answer = replace(EVIDENCE, change=0.1, low=0.0, high=0.2, method="jackknife, t")
    likeness = judged("question", metric="likeness", evidence=answer, fail=0.1)
    assert told(sure, likeness) == pytest.approx(0.5, abs=NEAR)
    assert told(sure, replace(likeness, fail=0.0, verdict=Verdict.WARN)) == told(sure)
