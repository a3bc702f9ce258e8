from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.evidence import Plan, p_worse, paired
from pytest_wanlora.verdict.fvd import ReferenceSet, Videos
from pytest_wanlora.verdict.items import FVD, at_band, rows
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.multiplicity import chance_significant, needed
from pytest_wanlora.verdict.pairs import PairedScores
from pytest_wanlora.verdict.sequential import assess
from tests.unit.verdict.paired import DIM, MEANS, METRICS_USED, NAMES, PLAN, hopeless, scores, with_features


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


def test_a_certain_failure_ends_the_rendering_of_every_scenario() -> None:
    found = scores(seed=6, losses={("s1", "sharpness"): 0.6}, correlation=0.99)
    rough = scores(seed=4, correlation=0.0, noise=3.0)
    found.candidate["s0"][:], found.baseline["s0"][:] = rough.candidate["s1"], rough.baseline["s1"]
    early = found.first(dict.fromkeys(found.candidate, 4))
    evidence = assess(early, DEFAULT_TOLERANCES, PLAN).evidence["s1", "sharpness"]
    assert evidence.decisive
    assert evidence.significant
    assert assess(early, DEFAULT_TOLERANCES, PLAN).unsettled == ()
    patient = assess(early, DEFAULT_TOLERANCES, replace(PLAN, stop_at_failure=False))
    assert patient.unsettled == ("s0",)


def test_a_scenario_that_will_probably_fail_goes_on_alone() -> None:
    found = scores(seed=8, losses={("s1", "sharpness"): 0.25}, correlation=0.6)
    rough = scores(seed=4, correlation=0.0, noise=3.0)
    found.candidate["s0"][:], found.baseline["s0"][:] = rough.candidate["s1"], rough.baseline["s1"]
    early = found.first(dict.fromkeys(found.candidate, 4))
    told = assess(early, DEFAULT_TOLERANCES, PLAN)
    chances = {item: each.chance_to_fail or 0.0 for item, each in told.evidence.items()}
    likely = max(chances, key=lambda item: chances[item])
    assert likely[0] == "s1"
    assert chances[likely] > 0.5
    assert told.unsettled == ("s1",)
    # where a failure ends nothing, all go on
    patient = assess(early, DEFAULT_TOLERANCES, replace(PLAN, stop_at_failure=False))
    assert set(patient.unsettled) >= {"s0", "s1"}


def test_a_pooled_item_that_is_not_proven_renders_on_where_least_was(reference: ReferenceSet) -> None:
    found = with_features(scores(seed=1, correlation=0.99, noise=0.1), reference, seed=6, shift=0.5)
    # s1 has failed for certain, which is to end nothing here
    patient = replace(PLAN, stop_at_failure=False)
    told = assess(found.first({"s0": 4, "s1": 16, "s2": 6}), DEFAULT_TOLERANCES, patient)
    pooled_fvd = told.evidence["all", "fvd"]
    assert pooled_fvd.change > DEFAULT_TOLERANCES["fvd"].fail
    assert pooled_fvd.weak
    assert told.unsettled == ("s0",)


def test_what_lies_beyond_its_band_and_is_not_proven_is_never_given_up() -> None:
    found = hopeless(4)
    beyond = 0
    for pairs in PLAN.looks[:-1]:
        early = assess(found.first(dict.fromkeys(found.candidate, pairs)), DEFAULT_TOLERANCES, PLAN)
        evidence = early.evidence["s1", "clip"]
        assert evidence.chance_to_fail is not None
        if evidence.change > DEFAULT_TOLERANCES["clip"].fail:
            beyond += evidence.chance_to_fail <= PLAN.futility
            assert "s1" in early.unsettled
    # by its chance of a failure it would have been given up
    assert beyond


def test_one_pair_gives_no_evidence_and_asks_for_more() -> None:
    found = scores(seed=8, pairs=1)
    assert assess(found, DEFAULT_TOLERANCES, Plan.between(1, 1)).evidence == {}
    assert set(assess(found, DEFAULT_TOLERANCES, Plan.between(1, 16)).unsettled) == {"s0", "s1", "s2"}


def test_weak_evidence_says_how_many_would_have_been_enough() -> None:
    found = scores(seed=9, losses={("s1", "sharpness"): 0.16}, correlation=0.0, noise=3.0)
    evidence = assess(found, DEFAULT_TOLERANCES, PLAN).evidence["s1", "sharpness"]
    assert evidence.weak
    assert not evidence.decisive
    assert evidence.n_enough is not None
    assert evidence.n_enough > 16


def test_there_is_no_chance_after_the_last_look_nor_of_all_scenarios_together() -> None:
    found = scores(seed=1)
    for evidence in assess(found, DEFAULT_TOLERANCES, PLAN).evidence.values():
        assert evidence.chance_to_fail is None
    # all together have fewer pairs than one scenario will have
    early = assess(found.first(dict.fromkeys(found.candidate, 4)), DEFAULT_TOLERANCES, PLAN)
    for (scenario, _), evidence in early.evidence.items():
        assert (evidence.chance_to_fail is None) is (scenario == ALL)


def test_swapping_few_labels_proves_nothing_so_no_more_are_rendered_for_it(reference: ReferenceSet) -> None:
    # 24 items that scatter as much as their bands: of 8 pairs, 1 in 256 is not rare enough for so many
    found = scores(seed=4, correlation=0.0, noise=8.0)
    found = with_features(found, reference, seed=4, shift=0.1).first(dict.fromkeys(found.candidate, 4))
    chances = {
        most: assess(found, DEFAULT_TOLERANCES, Plan.between(4, most)).evidence["s1", "fvd"].chance_to_fail
        for most in (8, 16)
    }
    assert chances[8] == 0.0
    assert chances[16] != 0.0


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


def test_a_certain_loss_within_its_band_is_no_claim() -> None:
    found = scores(seed=5, losses={("s1", "clip"): 0.03}, correlation=0.99)
    evidence = assess(found, DEFAULT_TOLERANCES, PLAN).evidence["s1", "clip"]
    assert (evidence.p_value or 0.0) < 1e-6
    assert (evidence.p_adjusted, evidence.significant) == (1.0, False)


def test_a_loss_that_may_lie_within_its_band_has_not_failed_for_certain() -> None:
    found = scores(seed=5, losses={("s1", "sharpness"): 0.18}, correlation=0.9)
    told = assess(found, DEFAULT_TOLERANCES, PLAN)
    evidence = told.evidence["s1", "sharpness"]
    assert evidence.change > DEFAULT_TOLERANCES["sharpness"].fail
    assert (evidence.significant, evidence.decisive, told.failed) == (True, False, frozenset())


def test_within_the_band_it_is_the_level_of_futility_that_spares() -> None:
    found = scores(seed=0, noise=2.0)
    for name in found.candidate:
        # nothing else is open
        found.candidate[name][1:] = found.baseline[name][1:]
    early = assess(found.first(dict.fromkeys(found.candidate, 4)), DEFAULT_TOLERANCES, PLAN)
    evidence = early.evidence["s0", "clip"]
    assert evidence.change < DEFAULT_TOLERANCES["clip"].fail
    assert PLAN.futility < (evidence.chance_to_fail or 0.0) < 2 * PLAN.futility
    assert evidence.weak
    assert "s0" in early.unsettled


def test_what_is_beyond_its_band_in_all_fails_beside_one_scenario_that_has_failed() -> None:
    found = scores(seed=3, losses={("s1", "sharpness"): 0.35}, correlation=0.999, noise=0.2)
    rough = scores(seed=7, correlation=0.3, noise=10.0)
    clip = NAMES.index("clip")
    for name in found.candidate:
        found.candidate[name][clip] = 0.7 * rough.candidate[name][clip]
        found.baseline[name][clip] = rough.baseline[name][clip]
    early = assess(found.first(dict.fromkeys(found.candidate, 4)), DEFAULT_TOLERANCES, PLAN)
    assert early.failed == {"s1"}
    evidence = early.evidence[ALL, "clip"]
    assert (evidence.significant, evidence.decisive, evidence.seconded) == (False, True, True)


def test_the_chance_to_fail_is_that_at_the_last_looks_own_share() -> None:
    plan = Plan(looks=(4, 15, 16))
    whole = scores(seed=2, losses={("s0", "sharpness"): 0.5}, noise=4.0, scenarios=1)
    place = NAMES.index("sharpness")
    one = slice(place, place + 1)
    candidate, baseline = ({"s0": side["s0"][one]} for side in (whole.candidate, whole.baseline))
    found = PairedScores(whole.metrics[one], candidate, baseline).first({"s0": 4})
    row = rows(found, "s0", plan, DEFAULT_TOLERANCES)[0]
    evidence = assess(found, DEFAULT_TOLERANCES, plan).evidence["s0", "sharpness"]
    last = plan.alpha * plan.shares()[-1]
    most = chance_significant(row.statistic, pairs=4, most=16, level=last)
    assert evidence.chance_to_fail is not None
    assert 0.8 < evidence.chance_to_fail <= most < 0.85
    # so are the pairs that are enough: 12, where 8 would be if that look had all of it (there are two items)
    error = float(row.contrast.spread(1.0)[0] / row.contrast.baseline)
    enough = [needed(evidence.change, error, 4, 0.5 * tail) for tail in (last, plan.alpha)]
    assert [evidence.n_enough, 8] == enough == [12, 8]


def test_a_p_value_counts_for_the_share_of_its_look(reference: ReferenceSet) -> None:
    found = scores(seed=2, losses={("s1", "clip"): 0.03})
    found = with_features(found, reference, seed=2, shift=0.2).first(dict.fromkeys(found.candidate, 4))
    told = assess(found, DEFAULT_TOLERANCES, PLAN).evidence
    (share, *_) = PLAN.shares()
    clip = NAMES.index("clip")
    contrast = paired(found.candidate["s1"][clip], found.baseline["s1"][clip], found.baseline["s1"][clip])
    plain = float(p_worse(contrast, True))
    assert told["s1", "clip"].p_value == pytest.approx(min(plain / share, 1.0))
    assert plain / share < 1.0
    # of four pairs no swap of labels is rarer than 1 in 16, which is the share of this look
    assert told["s1", "fvd"].p_value == 1.0


def test_the_fail_band_lies_on_the_worse_side() -> None:
    assert at_band(METRICS_USED[0], 0.05) == 0.95
    assert at_band(FVD, 0.25) == 1.25


def test_what_would_be_enough_is_never_fewer_than_the_swaps_of_labels_can_prove(
    reference: ReferenceSet,
) -> None:
    found = scores(seed=4, correlation=0.0, noise=8.0)
    found = with_features(found, reference, seed=4, shift=2.5).first(dict.fromkeys(found.candidate, 4))
    few = Plan.between(4, 8)
    told = assess(found, DEFAULT_TOLERANCES, few).evidence["s1", FVD.id]
    assert told.change > DEFAULT_TOLERANCES[FVD.id].fail
    # 8 pairs cannot fail it, so it must not be said that they decide it
    assert told.chance_to_fail == 0.0
    assert told.n_enough is not None
    assert told.n_enough > few.looks[-1]
