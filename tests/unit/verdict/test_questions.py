"""The maths of what is asked of a LoRA, and the figures that were measured by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.evidence import Contrast, Floats, interval, p_worse
from pytest_wanlora.verdict.judgement import Evidence, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.questions import (
    Question,
    bleed,
    collapse,
    gain,
    judge_gain,
    judge_question,
    likeness,
    spread,
)
from pytest_wanlora.verdict.sequential import assess
from tests.unit.verdict.paired import PLAN, scores

BANK = Path(__file__).parents[3] / "benchmarks/evidence/bank-16.safetensors"
BLANK = Judgement("question", "good", "s0", "bleed", Verdict.ERROR, "")


def drawn(seed: int, n: int = 8, dim: int = 6) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, dim))


def ratio(candidate: Floats, stored: Floats, warn: float = 1.0) -> float:
    found = bleed(candidate, stored, warn)
    return float(found.candidate / found.baseline)


@pytest.mark.parametrize(
    ("name", "pairs", "by_hand"),
    [
        # 4 pairs of each, and 8 where the gate took that look; all 8 seeds of the baseline are the unit
        ("epoch-2", (4, 4, 4), (5.17, 0.28, 0.48)),
        ("epoch-0", (4, 8, 4), (4.35, 0.92, 1.92)),
    ],
)
def test_the_examples_have_the_figures_that_were_measured_by_hand(
    name: str, pairs: tuple[int, ...], by_hand: tuple[float, ...]
) -> None:
    bank = load_file(BANK)
    found = [
        ratio(bank[f"{name}/{place}/features"][:n], bank[f"base/{place}/features"][:8])
        for n, place in zip(pairs, ("test1_korean_city", "test2_nature", "test3_action"), strict=True)
    ]
    assert [round(each, 2) for each in found] == list(by_hand)


@given(st.integers(0, 1000), st.floats(0.1, 100), st.floats(-50, 50))
def test_the_unit_of_the_features_does_not_matter(seed: int, scale: float, shift: float) -> None:
    stored, own = drawn(seed), drawn(seed + 1)[:4]
    assert ratio(own * scale + shift, stored * scale + shift) == pytest.approx(ratio(own, stored), rel=1e-6)


@given(st.integers(0, 1000), st.floats(0, 5), st.floats(0.01, 5))
def test_a_video_that_moves_further_bleeds_more(seed: int, moved: float, more: float) -> None:
    stored = drawn(seed)
    way = drawn(seed + 1)
    assert ratio(stored + moved * way, stored) < ratio(stored + (moved + more) * way, stored)


def test_equal_videos_do_not_bleed_and_another_seed_counts_as_one() -> None:
    stored = drawn(1, 400, 64)
    assert ratio(stored[:8], stored) == 0.0
    assert ratio(drawn(2, 400, 64), stored) == pytest.approx(1.0, rel=0.02)


@given(st.integers(0, 1000), st.integers(3, 9))
def test_the_spread_is_the_mean_over_pairs_and_its_jackknife(seed: int, n: int) -> None:
    rows = drawn(seed, n)

    def mean_distance(of: Floats) -> float:
        return float(np.mean([np.linalg.norm(a - b) for i, a in enumerate(of) for b in of[:i]]))

    found, influence = spread(rows)
    assert found == pytest.approx(mean_distance(rows))
    if n > 3:
        without = np.array([mean_distance(np.delete(rows, left_out, axis=0)) for left_out in range(n)])
        assert influence == pytest.approx((n - 1.0) * (without.mean() - without))
    assert influence.sum() == pytest.approx(0.0, abs=1e-9)


def test_a_spread_of_two_videos_is_refused() -> None:
    with pytest.raises(ValueError, match="of 2 videos has no jackknife; allowed: 3 or more"):
        spread(drawn(0, 2))


def test_the_interval_holds_what_it_promises() -> None:
    """Of 1000 gates at most 8 % leave out the truth on each side, as `evidence.interval` says of scores."""
    rng = np.random.default_rng(4)
    base = rng.standard_normal((4000, 16))
    moved = base + 0.4 * rng.standard_normal((4000, 16))
    truth = ratio(moved, base)
    missed = np.zeros(2)
    for start in range(0, 4000, 8):
        low, high = interval(bleed(moved[start : start + 8], base[start : start + 8], 1.0), 0.05)
        missed += (low > truth, high < truth)
    assert np.all(missed / 500 <= 0.08)


def test_a_few_seeds_that_move_far_do_not_hide_that_all_move() -> None:
    """Distances of a deviation of 0.7 of their mean, 2.5 times the value that is tested against, and 1."""
    rng = np.random.default_rng(5)
    skewed = rng.lognormal(-0.2, 0.63, (2000, 16)) / np.exp(0.63**2 / 2 - 0.2)

    def p_values(moved: Floats, *, logarithmic: bool) -> Floats:
        mean, variance = moved.mean(axis=1), moved.var(axis=1, ddof=1) / 16
        nothing = np.zeros((len(moved), 1))
        found = Contrast(mean, np.ones(len(moved)), variance[:, None], nothing, nothing, pairs=(16,))
        return p_worse(found, higher_is_better=False, logarithmic=logarithmic)

    level = 0.002
    far, none = 2.5 * skewed[:500], skewed
    assert np.mean(p_values(far, logarithmic=True) < level) > 0.97
    assert np.mean(p_values(far, logarithmic=False) < level) < 0.9
    assert np.mean(p_values(none, logarithmic=True) < 5 * level) <= 5 * level
    # no distance at all has no logarithm, and is not worse
    assert p_values(np.zeros((1, 16)), logarithmic=True) == 1.0


def asked(moved: float, *, first: int = 16) -> tuple[Question, dict[str, Evidence], tuple[str, ...]]:
    """A gate of harmless scores whose scenario s0 is asked for bleed, at its last look or an earlier one."""
    stored = drawn(3, 16, 32)
    own = stored + moved * drawn(5, 16, 32)
    question = Question(METRICS["bleed"], 0.5, 0.75, lambda n: bleed(own[:n], stored, 0.5))
    pairs = scores(seed=1, correlation=0.99)
    found = replace(pairs.first(dict.fromkeys(pairs.candidate, first)), questions={("s0", "bleed"): question})
    told = assess(found, DEFAULT_TOLERANCES, PLAN)
    return (
        question,
        {metric: of for (place, metric), of in told.evidence.items() if place == "s0"},
        told.unsettled,
    )


@pytest.mark.parametrize(
    ("moved", "verdict", "code"),
    [
        (0.3, Verdict.PASS, ReasonCode.KEEPS_THE_REST),
        (0.9, Verdict.WARN, ReasonCode.BLEEDS_SLIGHTLY),
        (1.4, Verdict.FAIL, ReasonCode.BLEEDS),
        (5.0, Verdict.FAIL, ReasonCode.BLEEDS),
    ],
)
def test_a_bleed_is_judged_by_its_bands(moved: float, verdict: Verdict, code: ReasonCode) -> None:
    question, evidence, _ = asked(moved)
    judged = judge_question(BLANK, question, evidence["bleed"], undecided="block")
    assert (judged.verdict, judged.code) == (verdict, code)
    told = judged.evidence
    assert told is not None
    assert told.low is not None
    assert told.high is not None
    assert judged.value is not None
    assert told.low < judged.value < told.high
    assert judged.value == pytest.approx(moved / np.sqrt(2), rel=0.15)
    assert f"{judged.value:.2f} of what another seed changes" in judged.reason


@pytest.mark.parametrize(("undecided", "verdict"), [("block", Verdict.UNDECIDED), ("warn", Verdict.WARN)])
def test_a_bleed_that_is_not_proven_is_undecided(undecided: str, verdict: Verdict) -> None:
    question, evidence, _ = asked(4.0)
    unproven = replace(evidence["bleed"], significant=False, seconded=False)
    judged = judge_question(BLANK, question, unproven, undecided=undecided)  # type: ignore[arg-type]  # both are
    assert (judged.verdict, judged.code) == (verdict, ReasonCode.BLEED_UNPROVEN)


@pytest.mark.parametrize(
    ("shared", "n_enough", "english", "korean"),
    [
        (14, 9, "not proven; the 14 items of the run share the 5 %", "항목 14개가 오경보 확률 5%"),
        (14, 9, "; about 5 more seeds may decide it (--wanlora-seeds)", "시드를 약 5개 늘리면"),
        (
            1,
            None,
            "which is not proven; more seeds may decide it (--wanlora-seeds)",
            "않았습니다. 시드를 늘리면",
        ),
        (None, 9, "which is not proven", "입증되지 않았습니다."),
    ],
)
def test_what_is_not_proven_says_with_how_many_it_shares_the_budget(
    shared: int | None, n_enough: int | None, english: str, korean: str
) -> None:
    question, evidence, _ = asked(4.0)
    unproven = replace(evidence["bleed"], significant=False, seconded=False, n=4, n_enough=n_enough)
    # records of before do not know it
    blank = replace(BLANK, details={} if shared is None else {"shared": shared})
    judged = judge_question(blank, question, unproven, undecided="block")
    said = reasons.reason(judged, "en"), reasons.reason(judged, "ko")
    assert judged.reason == said[0]
    assert english in said[0]
    assert korean in said[1]
    if shared is None:
        assert (said[0].endswith(english), said[1].endswith(korean)) == (True, True)


def test_a_base_without_spread_gives_no_answer() -> None:
    question, evidence, _ = asked(1.0)
    nothing = replace(evidence["bleed"], change=float("inf"), low=None, high=None)
    judged = judge_question(BLANK, question, nothing, undecided="block")
    assert (judged.verdict, judged.code) == (Verdict.ERROR, ReasonCode.NO_SPREAD)


def test_an_open_bleed_asks_for_more_videos_and_a_clear_one_does_not() -> None:
    assert asked(0.05, first=4)[2] == ()
    assert asked(1.1, first=4)[2] == ("s0",)


def test_all_items_of_a_gate_share_one_budget() -> None:
    """A second question that may fail by chance takes its share of it from the first."""
    stored = drawn(3, 4, 32)
    own = stored + 1.4 * drawn(5, 4, 32)
    question = Question(METRICS["bleed"], 0.5, 0.75, lambda n: bleed(own[:n], stored, 0.5))
    pairs = scores(seed=1, correlation=0.99, pairs=4)
    adjusted = []
    for places in (("s0",), ("s0", "s1", "s2")):
        found = replace(pairs, questions={(place, "bleed"): question for place in places})
        adjusted.append(assess(found, DEFAULT_TOLERANCES, PLAN).evidence["s0", "bleed"].p_adjusted)
    assert adjusted[0] is not None
    assert adjusted[1] is not None
    assert adjusted[1] > adjusted[0]


def unit(seed: int, n: int, dim: int = 8) -> Floats:
    rows = drawn(seed, n, dim)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@given(st.integers(0, 1000), st.floats(0.01, 3))
def test_collapse_is_the_share_of_the_spread(seed: int, share: float) -> None:
    stored = drawn(seed)
    found = collapse(stored.mean(axis=0) + share * (stored - stored.mean(axis=0)), stored, 0.5)
    assert float(found.candidate / found.baseline) * 0.5 == pytest.approx(share)


@given(st.integers(0, 1000), st.floats(-0.5, 0.9), st.floats(0, 0.5))
def test_gain_is_a_difference_and_its_interval_is_paired(seed: int, gained: float, wanted: float) -> None:
    stored = np.random.default_rng(seed).uniform(-1, 0, 8)
    found = gain(stored + gained, stored, wanted)
    question = Question(METRICS["likeness"], wanted, wanted, lambda _: found, offset=1.0)
    share = float(found.candidate / found.baseline)
    assert question.value(1.0 - share) == pytest.approx(gained, abs=1e-9)
    low, high = interval(found, 0.05, logarithmic=False)
    assert [float(low), float(high)] == pytest.approx([share, share])


@given(st.integers(0, 1000))
def test_likeness_is_the_mean_cosine(seed: int) -> None:
    frames, references = drawn(seed, 5, 8), drawn(seed + 1, 3, 8)
    by_hand = [np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in references]) for a in frames]
    assert likeness(frames, references) == pytest.approx(by_hand)
    assert likeness(frames[:1], frames[:1])[0] == pytest.approx(1.0)


def learned(
    by: float, *, wanted: float = 0.1, scatter: float = 0.05, first: int = 16
) -> tuple[Judgement, bool]:
    rng = np.random.default_rng(7)
    base = rng.normal(0.3, 0.05, 16)
    noise = rng.standard_normal(16)
    own = base + by + scatter * (noise - noise.mean())
    question = Question(
        METRICS["likeness"], wanted, wanted, lambda n: gain(own[:n], base, wanted), offset=1.0, demanded=True
    )
    pairs = scores(seed=1, correlation=0.99)
    found = replace(
        pairs.first(dict.fromkeys(pairs.candidate, first)), questions={("s0", "likeness"): question}
    )
    told = assess(found, DEFAULT_TOLERANCES, PLAN)
    blank = replace(BLANK, metric="likeness")
    judged = judge_gain(
        blank,
        question,
        told.evidence["s0", "likeness"],
        last=first == 16,
        sides=(0.3, 0.3 + by),
        details={"first": 0.3, "last": 0.3},
    )
    return judged, "s0" in told.unsettled


@pytest.mark.parametrize(
    ("by", "scatter", "verdict", "code"),
    [
        (0.3, 0.05, Verdict.PASS, ReasonCode.LEARNED),
        (0.15, 0.05, Verdict.PASS, ReasonCode.LEARNED),
        (0.0, 0.05, Verdict.FAIL, ReasonCode.LEARNED_NOT),
        (-0.2, 0.05, Verdict.FAIL, ReasonCode.LEARNED_NOT),
        (0.05, 0.5, Verdict.FAIL, ReasonCode.LEARNED_UNPROVEN),
        (0.3, 1.0, Verdict.FAIL, ReasonCode.LEARNED_UNPROVEN),
    ],
)
def test_a_gain_must_be_reached_and_proven(
    by: float, scatter: float, verdict: Verdict, code: ReasonCode
) -> None:
    judged, _ = learned(by, scatter=scatter)
    assert (judged.verdict, judged.code) == (verdict, code)


def test_a_gain_that_is_open_is_looked_at_again() -> None:
    judged, more = learned(0.12, scatter=0.3, first=4)
    assert more
    assert judged.code is ReasonCode.LEARNED_OPEN
    assert judged.verdict is Verdict.UNDECIDED
    assert not learned(0.5, first=4)[1]
