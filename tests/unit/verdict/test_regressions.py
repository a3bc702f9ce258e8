from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports.summary import seeds_to_decide
from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.judgement import ALL, Evidence, Judgement, ReasonCode, Verdict, Worst
from pytest_wanlora.verdict.pairs import PairedScores
from pytest_wanlora.verdict.regressions import judge_regression, judge_set, without_call
from pytest_wanlora.verdict.sequential import assess

SHARP = METRICS["sharpness"]
BAND = DEFAULT_TOLERANCES["sharpness"]
Scores = dict[str, dict[int, float]]


def regression(scores: Scores, baseline: Scores, metric: str = "sharpness", **more: object) -> Judgement:
    return judge_regression(
        METRICS[metric],
        candidate="epoch-0",
        scenario=ALL if len(scores) > 1 else next(iter(scores), "s1"),
        scores=scores,
        baseline=baseline,
        tolerance=DEFAULT_TOLERANCES[metric],
        **more,  # type: ignore[arg-type]  # each test passes what it is about
    )


def set_judgement(value: float | None, baseline: float | None, **more: object) -> Judgement:
    known: dict[str, object] = {"n": 4, "baseline_n": 4, "reference_n": 512, **more}
    return judge_set(
        METRICS["fvd"],
        candidate="epoch-0",
        scenario="s1",
        value=value,
        baseline=baseline,
        tolerance=DEFAULT_TOLERANCES["fvd"],
        **known,  # type: ignore[arg-type]  # each test passes what it is about
    )


def test_a_loss_is_told_with_its_numbers() -> None:
    judged = regression({"s1": {0: 300.0, 1: 200.0}}, {"s1": {0: 400.0, 1: 600.0, 2: 1.0}})
    assert judged.verdict is Verdict.FAIL
    assert (judged.baseline, judged.value, judged.change, judged.n) == (500.0, 250.0, 0.5, 2)
    assert judged.worst == Worst("s1", 1, 200.0, 600.0)
    assert judged.reason == (
        "500.0 -> 250.0, 50.0% worse (band: warn from 2.00%, fail beyond 15.00%); the band alone decides"
    )


def test_a_gate_without_evidence_calls_no_loss_a_failure() -> None:
    lost = regression({"s1": {0: 300.0}}, {"s1": {0: 400.0}})
    called = without_call(lost, "block")
    assert (lost.verdict, called.verdict) == (Verdict.FAIL, Verdict.UNDECIDED)
    assert called.code is ReasonCode.TOO_FEW_PAIRS
    assert called.reason.endswith("; n = 1; not proven: that takes 3 or more videos of a scenario")
    assert "band alone" not in called.reason
    assert without_call(lost, "warn").verdict is Verdict.WARN
    # no number of videos proves what has no test
    kernel = without_call(replace(lost, metric="kvd", n=24), "block")
    assert kernel.reason.endswith("; n = 24; not proven: no test of it is known")
    assert seeds_to_decide(kernel, 3) is None
    assert seeds_to_decide(called, 3) == 3
    kept = regression({"s1": {0: 400.0}}, {"s1": {0: 400.0}})
    assert without_call(kept, "block") is kept


def test_one_seed_is_decided_by_the_band_and_says_so() -> None:
    judged = regression({"s1": {0: 100.0}}, {"s1": {0: 100.0}})
    assert judged.verdict is Verdict.PASS
    assert "no change" in judged.reason
    assert judged.reason.endswith("one seed: the band alone decides")


def test_the_pooled_item_is_the_mean_of_the_scenarios_means() -> None:
    scores = {"s1": {0: 100.0, 1: 100.0, 2: 100.0}, "s2": {0: 50.0}}
    judged = regression(scores, {"s1": dict.fromkeys(range(3), 100.0), "s2": {0: 100.0}})
    assert judged.value == 75.0
    assert judged.baseline == 100.0
    assert judged.worst == Worst("s2", 0, 50.0, 100.0)


@pytest.mark.parametrize(
    ("scores", "baseline", "verdict", "words"),
    [
        ({}, {}, Verdict.ERROR, "no video of all was measured"),
        ({"s1": {}}, {"s1": {0: 1.0}}, Verdict.ERROR, "no video of s1 was measured"),
        ({"s1": {0: 1.0}}, {}, Verdict.MISSING_BASELINE, "the baseline has no Sharpness of s1 seed 0"),
        (
            {"s1": dict.fromkeys(range(5), 1.0)},
            {"s1": {0: 1.0}},
            Verdict.MISSING_BASELINE,
            "s1 seed 1, s1 seed 2, s1 seed 3 and 1 more",
        ),
        ({"s1": {0: math.nan}}, {"s1": {0: 1.0}}, Verdict.DEGENERATE, "not finite: s1 seed 0: nan"),
        ({"s1": {0: math.inf}}, {"s1": {0: 1.0}}, Verdict.DEGENERATE, "not finite: s1 seed 0: inf"),
        ({"s1": {0: 1.0}}, {"s1": {0: math.nan}}, Verdict.ERROR, "not finite: s1 seed 0: nan"),
    ],
)
def test_what_was_not_measured_does_not_pass(
    scores: Scores, baseline: Scores, verdict: Verdict, words: str
) -> None:
    judged = regression(scores, baseline)
    assert judged.verdict is verdict
    assert judged.verdict.fails
    assert words in judged.reason
    assert judged.value is None


def test_a_degenerate_video_is_not_averaged_away() -> None:
    black = {("s1", 1): "it is black"}
    for judged in (
        regression({"s1": {0: 500.0}}, {"s1": {0: 500.0, 1: 500.0}}, degenerate=black),
        set_judgement(10.0, 10.0, degenerate=black),
    ):
        assert judged.verdict is Verdict.DEGENERATE
        assert judged.reason == "s1 seed 1: it is black"


def test_a_video_that_stands_still_is_degenerate() -> None:
    judged = regression({"s1": {0: 0.01, 1: 1.4}}, {"s1": {0: 1.0, 1: 1.0}}, metric="motion")
    assert judged.verdict is Verdict.DEGENERATE
    assert judged.reason.endswith("the video stands still in s1 seed 0 while the baseline's moves")
    calm = regression({"s1": {0: 0.01}}, {"s1": {0: 0.01}}, metric="motion")
    assert calm.verdict is Verdict.PASS


def test_a_suspicious_rise_is_told_in_words() -> None:
    judged = regression({"s1": {0: 700.0}}, {"s1": {0: 500.0}})
    assert judged.verdict is Verdict.WARN
    assert "40.0% higher" in judged.reason
    assert "noise and ringing raise sharpness" in judged.reason


def test_a_baseline_of_zero_gives_no_relative_change_and_no_pass() -> None:
    judged = regression({"s1": {0: 0.0}}, {"s1": {0: 0.0}}, metric="clip")
    assert judged.verdict is Verdict.PASS
    judged = regression({"s1": {0: -1.0}}, {"s1": {0: 0.0}}, metric="clip")
    assert judged.verdict is Verdict.FAIL
    assert judged.change is None
    assert "infinitely worse" in judged.reason


def gathered(candidate: Scores, baseline: Scores) -> Evidence:
    """Evidence for one metric, as the gate would get it."""
    rows = [
        {name: np.array([[of[seed] for seed in sorted(of)]]) for name, of in side.items()}
        for side in (candidate, baseline)
    ]
    scores = PairedScores((SHARP,), rows[0], rows[1])
    return assess(scores, DEFAULT_TOLERANCES, Plan.between(4, 16)).evidence["s1", "sharpness"]


def test_evidence_and_means_agree() -> None:
    generator = np.random.default_rng(0)
    baseline = {"s1": dict(enumerate(generator.uniform(400, 600, 16).tolist()))}
    candidate = {"s1": {seed: 0.5 * value for seed, value in baseline["s1"].items()}}
    evidence = gathered(candidate, baseline)
    judged = regression(candidate, baseline, evidence=evidence)
    assert judged.change == pytest.approx(evidence.change, rel=1e-12)
    assert judged.verdict is Verdict.FAIL
    assert "90% interval 47.1% to 52.7% worse, n = 16" in judged.reason


def test_weak_evidence_is_marked_with_what_would_have_been_enough() -> None:
    generator = np.random.default_rng(1)
    baseline = {"s1": dict(enumerate(generator.lognormal(6, 0.5, 16).tolist()))}
    candidate = {"s1": dict(enumerate((0.75 * generator.lognormal(6, 0.5, 16)).tolist()))}
    evidence = gathered(candidate, baseline)
    judged = regression(candidate, baseline, evidence=evidence)
    assert evidence.weak
    assert evidence.n_enough is not None
    assert (judged.verdict, judged.code) == (Verdict.UNDECIDED, ReasonCode.UNDECIDED)
    assert f"not proven, about {evidence.n_enough - 16} more seeds may decide" in judged.reason
    assert regression(candidate, baseline, evidence=evidence, undecided="warn").verdict is Verdict.WARN


def test_what_more_seeds_would_say_is_told_where_the_interval_leaves_it_open() -> None:
    # four pairs that scatter by a third: the interval reaches beyond the band of 15 %, the estimate is a gain
    baseline = {"s1": {0: 400.0, 1: 500.0, 2: 450.0, 3: 550.0}}
    candidate = {"s1": {0: 700.0, 1: 400.0, 2: 500.0, 3: 480.0}}
    evidence = gathered(candidate, baseline)
    assert not evidence.decisive
    assert evidence.chance_to_fail is not None
    judged = regression(candidate, baseline, evidence=evidence)
    assert (
        f"with all seeds of the suite it would fail with a chance of {evidence.chance_to_fail:.0%}"
        in judged.reason
    )


def test_distances_are_compared_at_equal_n_only() -> None:
    judged = set_judgement(80.0, 80.0, baseline_n=16)
    assert judged.verdict is Verdict.INCOMPARABLE
    assert judged.reason == "FVD of 4 and of 16 videos; allowed: equal numbers"


@pytest.mark.parametrize(
    ("value", "baseline", "verdict"),
    [
        (None, 80.0, Verdict.ERROR),
        (80.0, None, Verdict.MISSING_BASELINE),
        (math.nan, 80.0, Verdict.DEGENERATE),
        (80.0, math.inf, Verdict.DEGENERATE),
        (80.0, 80.0, Verdict.PASS),
        (101.0, 80.0, Verdict.FAIL),
        (60.0, 80.0, Verdict.BETTER),
    ],
)
def test_distances_without_evidence_are_judged_by_the_band(
    value: float | None, baseline: float | None, verdict: Verdict
) -> None:
    assert set_judgement(value, baseline).verdict is verdict


def test_with_evidence_a_distance_is_judged_above_its_floor() -> None:
    evidence = Evidence(
        n=16,
        looks=(4, 8, 16),
        change=0.4,
        low=0.3,
        high=0.5,
        level=0.93,
        decisive=True,
        p_value=1e-4,
        p_adjusted=1e-3,
        tested=True,
        significant=True,
        seconded=False,
        weak=False,
        n_enough=None,
        method="jackknife, label swap",
        baseline_floor=500.0,
        value_floor=520.0,
    )
    judged = set_judgement(660.0, 600.0, n=16, baseline_n=16, evidence=evidence)
    assert judged.verdict is Verdict.FAIL
    assert judged.change == 0.4
    assert judged.reason.startswith(
        "600.00 -> 660.00 at n = 16 (reference 512); above the floor 100.00 -> 140.00, 40.0% worse"
    )
    beside = replace(evidence, significant=False, seconded=True)
    assert (
        "has failed for certain" in set_judgement(660.0, 600.0, n=16, baseline_n=16, evidence=beside).reason
    )


@given(
    st.lists(st.tuples(st.floats(1, 1000), st.floats(1, 1000)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_order_of_seeds_does_not_matter(pairs: list[tuple[float, float]], random: object) -> None:
    scores = {"s1": {seed: value for seed, (value, _) in enumerate(pairs)}}
    baseline = {"s1": {seed: value for seed, (_, value) in enumerate(pairs)}}
    turned = [{"s1": dict(reversed(list(side["s1"].items())))} for side in (scores, baseline)]
    assert regression(scores, baseline) == regression(turned[0], turned[1])
