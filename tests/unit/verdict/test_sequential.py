from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_wanlora.scoring.metric import METRICS
from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.evidence import Floats, Plan
from pytest_wanlora.verdict.fvd_evidence import ReferenceSet, Videos
from pytest_wanlora.verdict.judgement import ALL, Verdict
from pytest_wanlora.verdict.replay import run_gate
from pytest_wanlora.verdict.sequential import PairedScores, PairedSets, assess

NAMES = ("clip", "temporal", "sharpness", "color", "motion", "overall")
MEANS = np.array([0.6, 98.0, 500.0, 80.0, 1.5, 88.0])
# deviations of scores over seeds, of the size that small suites show
DEVIATIONS = np.array([0.02, 0.003, 0.10, 0.04, 0.15, 0.02])
METRICS_USED = tuple(METRICS[name] for name in NAMES)
PLAN = Plan.doubling(4, 16)
DIM = 32


def scores(
    *,
    seed: int,
    losses: Mapping[tuple[str, str], float] | None = None,
    correlation: float = 0.5,
    shape: str = "skewed",
    noise: float = 1.0,
    scenarios: int = 3,
    pairs: int = 16,
) -> PairedScores:
    """A candidate that loses given shares of given scores, else equal in distribution to the baseline."""
    generator = np.random.default_rng(seed)
    sides: list[dict[str, Floats]] = [{}, {}]
    for number in range(scenarios):
        shared, *own = generator.standard_normal((3, len(NAMES), pairs))
        for side, z in zip(sides, own, strict=True):
            mixed = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * z
            if shape == "two kinds":
                mixed = np.where(mixed < -0.5, -1.5, 0.7) + 0.05 * z
            side[f"s{number}"] = MEANS[:, None] * np.exp(noise * DEVIATIONS[:, None] * mixed)
    candidate, baseline = sides
    for (scenario, metric), loss in (losses or {}).items():
        candidate[scenario][NAMES.index(metric)] *= 1.0 - loss
    return PairedScores(METRICS_USED, candidate, baseline)


@pytest.fixture(scope="module")
def reference() -> ReferenceSet:
    return ReferenceSet.of(np.random.default_rng(0).standard_normal((256, DIM)))


def with_features(found: PairedScores, reference: ReferenceSet, *, seed: int, shift: float) -> PairedScores:
    """The same with features; those of the candidate's s1 lie further out by `shift`."""
    generator = np.random.default_rng(seed)
    features: list[Floats] = []
    candidate: dict[str, NDArray[np.intp]] = {}
    baseline: dict[str, NDArray[np.intp]] = {}
    for number, (name, values) in enumerate(found.candidate.items()):
        n = values.shape[1]
        centre = np.random.default_rng(100 + number).standard_normal(DIM)
        for rows, out in ((candidate, shift if name == "s1" else 0.0), (baseline, 0.0)):
            rows[name] = np.arange(n) + n * len(features)
            features.append((1.0 + out) * centre + 0.35 * generator.standard_normal((n, DIM)))
    videos = Videos.of(np.concatenate(features), reference)
    return replace(found, sets=PairedSets({ALL: videos}, candidate, baseline))


def fails(gates: int, **wanted: object) -> float:
    found = [
        run_gate(scores(seed=seed, **wanted), DEFAULT_TOLERANCES, PLAN).fails  # type: ignore[arg-type]  # passed on
        for seed in range(gates)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("shape", ["skewed", "two kinds"])
@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_a_model_against_itself_fails_in_at_most_one_of_twenty_gates(shape: str, noise: float) -> None:
    # 150 gates of 24 items at three looks, candidate and baseline with unrelated noise, which is the hardest
    # case. 5 % of 150 is 7.5 with a deviation of 2.7; the rule aims well below, so the bound needs no room
    assert fails(150, shape=shape, noise=noise, correlation=0.0) <= 0.05


@pytest.mark.parametrize("metric", NAMES)
def test_a_loss_of_one_and_a_half_bands_is_caught(metric: str) -> None:
    loss = 1.5 * DEFAULT_TOLERANCES[metric].fail
    # at least 80 % is demanded; 40 gates of a true 95 % fall below 34 in 1 of 100 cases
    assert fails(40, losses={("s1", metric): loss}) >= 0.85


def test_a_loss_like_the_reports_is_always_caught(reference: ReferenceSet) -> None:
    losses = {("s1", "sharpness"): 0.45, ("s1", "color"): 0.33, ("s1", "overall"): 0.229}
    for seed in range(20):
        found = with_features(scores(seed=seed, losses=losses), reference, seed=seed, shift=0.8)
        result = run_gate(found, DEFAULT_TOLERANCES, PLAN)
        for metric in ("sharpness", "color", "overall", "fvd"):
            assert result.verdicts["s1", metric] is Verdict.FAIL
        assert not any(
            verdict.fails for (name, _), verdict in result.verdicts.items() if name in ("s0", "s2")
        )


def test_fewer_videos_are_rendered_than_the_most() -> None:
    used = [
        np.mean(list(run_gate(scores(seed=seed, correlation=0.8), DEFAULT_TOLERANCES, PLAN).pairs.values()))
        for seed in range(40)
    ]
    assert np.mean(used) <= 8.0


def test_a_candidate_that_is_the_baseline_passes_at_the_first_look(reference: ReferenceSet) -> None:
    found = scores(seed=0)
    found = with_features(replace(found, candidate=found.baseline), reference, seed=0, shift=0.0)
    assert found.sets is not None
    found = replace(found, sets=replace(found.sets, candidate=found.sets.baseline))
    result = run_gate(found, DEFAULT_TOLERANCES, PLAN)
    assert set(result.verdicts.values()) == {Verdict.PASS}
    assert set(result.pairs.values()) == {4}


def test_only_open_scenarios_get_more_videos() -> None:
    found = scores(seed=1, correlation=0.99, noise=0.2)
    rough = scores(seed=2, correlation=0.0, noise=3.0)
    found.candidate["s1"][:], found.baseline["s1"][:] = rough.candidate["s1"], rough.baseline["s1"]
    result = run_gate(found, DEFAULT_TOLERANCES, PLAN)
    assert result.pairs == {"s0": 4, "s1": 16, "s2": 4}


@given(
    seed=st.integers(0, 10_000), metric=st.sampled_from(NAMES), loss=st.floats(0, 0.6), more=st.floats(0, 0.3)
)
@settings(max_examples=40, deadline=None)
def test_a_worse_candidate_never_gets_a_better_verdict(
    seed: int, metric: str, loss: float, more: float
) -> None:
    # at the last look with all pairs, so that both have the same evidence
    base = scores(seed=seed)
    index = NAMES.index(metric)
    verdicts = []
    for lost in (loss, loss + more):
        lower = {**base.candidate, "s1": base.candidate["s1"].copy()}
        # the same loss in every pair leaves the scatter as it is
        lower["s1"][index] -= lost * MEANS[index]
        found = assess(replace(base, candidate=lower), DEFAULT_TOLERANCES, PLAN).evidence["s1", metric]
        verdicts.append((found.change, found.p_value or 0.0, found.significant))
    assert verdicts[1][0] >= verdicts[0][0]
    assert verdicts[1][1] <= verdicts[0][1] + 1e-12
    assert verdicts[1][2] >= verdicts[0][2]


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_scenarios_does_not_matter(seed: int) -> None:
    found = scores(seed=seed, noise=2.0)
    turned = PairedScores(
        found.metrics,
        dict(reversed(list(found.candidate.items()))),
        dict(reversed(list(found.baseline.items()))),
    )
    one, other = (assess(each, DEFAULT_TOLERANCES, PLAN) for each in (found, turned))
    assert set(one.unsettled) == set(other.unsettled)
    for item, evidence in one.evidence.items():
        assert other.evidence[item].p_value == pytest.approx(evidence.p_value, rel=1e-9)
        assert other.evidence[item].decisive is evidence.decisive


def test_what_was_certain_at_one_look_stays_certain() -> None:
    found = scores(seed=5, losses={("s1", "sharpness"): 0.5}, correlation=0.9)
    first = assess(found.first({"s0": 4, "s1": 8, "s2": 4}), DEFAULT_TOLERANCES, PLAN)
    assert first.evidence["s1", "sharpness"].significant
    later = assess(found, DEFAULT_TOLERANCES, PLAN)
    early, late = (each.evidence["s1", "sharpness"].p_value for each in (first, later))
    assert early is not None
    assert late is not None
    assert late <= early


def test_four_pairs_never_prove_a_loss_of_a_plan_that_has_more() -> None:
    found = scores(seed=6, losses={("s1", "sharpness"): 0.6}, correlation=0.99)
    early = assess(found.first(dict.fromkeys(found.candidate, 4)), DEFAULT_TOLERANCES, PLAN)
    evidence = early.evidence["s1", "sharpness"]
    assert evidence.decisive
    assert not evidence.significant
    assert "sharpness" in early.open_items["s1"]
    assert early.unsettled == ("s1",)


def test_with_few_seeds_the_band_alone_decides() -> None:
    found = scores(seed=7, losses={("s1", "sharpness"): 0.3}, pairs=4)
    result = run_gate(found, DEFAULT_TOLERANCES, Plan.doubling(4, 4))
    assert result.verdicts["s1", "sharpness"] is Verdict.FAIL
    assessment = assess(found, DEFAULT_TOLERANCES, Plan.doubling(4, 4))
    evidence = assessment.evidence["s1", "sharpness"]
    assert not evidence.tested
    assert evidence.p_value is None
    assert assessment.unsettled == ()


def test_one_pair_gives_no_evidence_and_asks_for_more() -> None:
    found = scores(seed=8, pairs=1)
    assert assess(found, DEFAULT_TOLERANCES, Plan.doubling(1, 1)).evidence == {}
    assert set(assess(found, DEFAULT_TOLERANCES, Plan.doubling(1, 16)).unsettled) == {"s0", "s1", "s2"}


def test_weak_evidence_says_how_many_would_have_been_enough() -> None:
    found = scores(seed=9, losses={("s1", "sharpness"): 0.16}, correlation=0.0, noise=3.0)
    evidence = assess(found, DEFAULT_TOLERANCES, PLAN).evidence["s1", "sharpness"]
    assert evidence.weak
    assert not evidence.decisive
    assert evidence.n_enough is not None
    assert evidence.n_enough > 16


def test_a_suite_may_fail_weak_evidence() -> None:
    found = scores(seed=3, losses={("s1", "sharpness"): 0.2}, correlation=0.0, noise=3.0)
    lax = run_gate(found, DEFAULT_TOLERANCES, PLAN)
    strict = run_gate(found, DEFAULT_TOLERANCES, PLAN, weak="fail")
    assert lax.verdicts["s1", "sharpness"] is Verdict.WARN
    assert strict.verdicts["s1", "sharpness"] is Verdict.FAIL


def test_stopping_at_a_failure_renders_no_more() -> None:
    found = scores(seed=5, losses={("s1", "sharpness"): 0.5}, correlation=0.9)
    # another item of the scenario stays open to the end
    rough = scores(seed=2, correlation=0.0, noise=8.0)
    for side, other in ((found.candidate, rough.candidate), (found.baseline, rough.baseline)):
        side["s1"][NAMES.index("clip")] = other["s1"][NAMES.index("clip")]
    patient = replace(PLAN, futility=0.0)
    stopped = run_gate(found, DEFAULT_TOLERANCES, patient)
    assert stopped.fails
    assert stopped.pairs["s1"] == 8
    whole = run_gate(found, DEFAULT_TOLERANCES, replace(patient, stop_at_failure=False))
    assert whole.fails
    assert whole.pairs["s1"] == 16


@given(seed=st.integers(0, 10_000), loss=st.floats(0, 0.6))
@settings(max_examples=20, deadline=None)
def test_stopping_at_a_failure_changes_no_gates_verdict(seed: int, loss: float) -> None:
    # without sets: a pooled distance sees other pairs
    found = scores(seed=seed, losses={("s0", "sharpness"): loss}, scenarios=1)
    stopped, whole = (
        run_gate(found, DEFAULT_TOLERANCES, replace(PLAN, stop_at_failure=stop)) for stop in (True, False)
    )
    assert sum(stopped.pairs.values()) <= sum(whole.pairs.values())
    if whole.fails:
        assert stopped.fails


def hopeless() -> PairedScores:
    """Pairs whose s1 scatters so much in CLIPScore that no 16 of them could prove a loss."""
    found = scores(seed=1, correlation=0.99, noise=0.2)
    rough = scores(seed=2, correlation=0.0, noise=8.0)
    clip = NAMES.index("clip")
    for side, other in ((found.candidate, rough.candidate), (found.baseline, rough.baseline)):
        side["s1"][clip] = other["s1"][clip]
    return found


def test_no_more_is_rendered_where_the_last_look_could_prove_nothing() -> None:
    found = hopeless()
    eager = run_gate(found, DEFAULT_TOLERANCES, replace(PLAN, futility=0.0))
    assert eager.pairs == {"s0": 4, "s1": 16, "s2": 4}
    assert not eager.fails
    stopped = run_gate(found, DEFAULT_TOLERANCES, PLAN)
    assert stopped.pairs["s1"] < 16
    assert not stopped.fails
    evidence = stopped.assessment.evidence["s1", "clip"]
    # its interval is not within the band; what settles it is what the last look would say
    assert not evidence.decisive
    assert not evidence.weak
    assert evidence.chance_to_fail is not None
    assert evidence.chance_to_fail <= PLAN.futility


def test_where_weak_evidence_fails_the_band_alone_says_what_is_hopeless() -> None:
    found = hopeless().first({"s0": 4, "s1": 4, "s2": 4})
    lax, strict = (
        assess(found, DEFAULT_TOLERANCES, PLAN, weak=weak).evidence["s1", "clip"].chance_to_fail
        for weak in ("warn", "fail")
    )
    assert lax is not None
    assert strict is not None
    assert strict > lax


def test_there_is_no_chance_after_the_last_look() -> None:
    found = scores(seed=1)
    for evidence in assess(found, DEFAULT_TOLERANCES, PLAN).evidence.values():
        assert evidence.chance_to_fail is None
    early = assess(found.first(dict.fromkeys(found.candidate, 8)), DEFAULT_TOLERANCES, PLAN)
    for (scenario, _), evidence in early.evidence.items():
        assert (evidence.chance_to_fail is None) is (scenario == ALL)


def test_swapping_few_labels_proves_nothing_so_no_more_are_rendered_for_it(reference: ReferenceSet) -> None:
    # 24 items that scatter as much as their bands: of 8 pairs, 1 in 256 is not rare enough for so many
    found = scores(seed=4, correlation=0.0, noise=8.0)
    found = with_features(found, reference, seed=4, shift=0.1).first(dict.fromkeys(found.candidate, 4))
    chances = {
        most: assess(found, DEFAULT_TOLERANCES, Plan.doubling(4, most)).evidence["s1", "fvd"].chance_to_fail
        for most in (8, 16)
    }
    assert chances[8] == 0.0
    assert chances[16] != 0.0


def test_looking_for_longer_fails_hardly_less() -> None:
    # a loss of 1.2 bands under a heavy scatter: half of the gates are close; without the prediction all are
    # rendered to the end
    wanted = {("s1", "sharpness"): 0.18}
    counts = {}
    for futility in (0.0, PLAN.futility):
        plan = replace(PLAN, futility=futility)
        results = [
            run_gate(scores(seed=seed, losses=wanted, noise=2.0), DEFAULT_TOLERANCES, plan)
            for seed in range(60)
        ]
        counts[futility] = (
            sum(result.fails for result in results),
            sum(sum(result.pairs.values()) for result in results),
        )
    # at most one stop in ten was wrong, and not every gate is stopped: three of 60
    assert counts[PLAN.futility][0] >= counts[0.0][0] - 3
    assert counts[PLAN.futility][1] < 0.9 * counts[0.0][1]


def test_a_bank_without_enough_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: at least 16"):
        run_gate(scores(seed=0, pairs=8), DEFAULT_TOLERANCES, PLAN)


def test_the_pooled_distance_takes_the_same_seeds_of_every_scenario(reference: ReferenceSet) -> None:
    found = with_features(scores(seed=1), reference, seed=1, shift=0.0)
    evidence = assess(found.first({"s0": 4, "s1": 16, "s2": 8}), DEFAULT_TOLERANCES, PLAN).evidence
    assert evidence[ALL, "fvd"].n == 12
    assert evidence["s1", "fvd"].n == 16
    assert evidence[ALL, "clip"].n == 28


def test_a_scenario_may_have_a_reference_of_its_own(reference: ReferenceSet) -> None:
    found = with_features(scores(seed=1), reference, seed=1, shift=0.0)
    assert found.sets is not None
    other = ReferenceSet.of(np.random.default_rng(5).standard_normal((128, DIM)) + 1.0)
    features = np.random.default_rng(6).standard_normal((96, DIM))
    own = replace(found.sets, videos={**found.sets.videos, "s1": Videos.of(features, other)})
    changed = assess(replace(found, sets=own), DEFAULT_TOLERANCES, PLAN).evidence
    before = assess(found, DEFAULT_TOLERANCES, PLAN).evidence
    assert changed["s1", "fvd"].change != before["s1", "fvd"].change
    assert changed["s0", "fvd"].change == before["s0", "fvd"].change
