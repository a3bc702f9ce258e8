from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.evidence.replay import VIDEOS, run_gate
from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.fvd import ReferenceSet
from pytest_wanlora.verdict.judgement import Verdict
from tests.unit.verdict.paired import NAMES, PLAN, hopeless, scores, with_features


def fails(gates: int, **wanted: object) -> float:
    found = [
        run_gate(scores(seed=seed, **wanted), DEFAULT_TOLERANCES, PLAN).fails  # type: ignore[arg-type]  # passed on
        for seed in range(gates)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("shape", ["skewed", "two kinds"])
def test_a_model_against_itself_fails_in_at_most_one_of_twenty_gates(shape: str) -> None:
    # 150 gates of 24 items at three looks, candidate and baseline with much unrelated noise, which is the
    # hardest case. 5 % of 150 is 7.5 with a deviation of 2.7; the rule aims well below, so the bound needs no
    # room
    assert fails(150, shape=shape, noise=3.0, correlation=0.0) <= 0.05


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
    rough = scores(seed=4, correlation=0.0, noise=3.0)
    found.candidate["s1"][:], found.baseline["s1"][:] = rough.candidate["s1"], rough.baseline["s1"]
    result = run_gate(found, DEFAULT_TOLERANCES, PLAN)
    assert result.pairs == {"s0": 4, "s1": 16, "s2": 4}


@pytest.mark.parametrize("most", [1, 2])
def test_with_too_few_seeds_for_a_test_nothing_is_called_a_failure(most: int) -> None:
    found = scores(seed=7, losses={("s1", "sharpness"): 0.3}, pairs=2)
    result = run_gate(found, DEFAULT_TOLERANCES, Plan.between(1, most))
    assert result.verdicts["s1", "sharpness"] is Verdict.UNDECIDED
    assert (result.fails, result.undecided, result.passes) == (False, True, False)


def test_what_is_not_proven_at_the_last_look_is_undecided_and_a_suite_may_let_it_warn() -> None:
    found = scores(seed=1, losses={("s1", "sharpness"): 0.2}, correlation=0.0, noise=3.0)
    strict = run_gate(found, DEFAULT_TOLERANCES, PLAN)
    lax = run_gate(found, DEFAULT_TOLERANCES, PLAN, undecided="warn")
    assert strict.verdicts["s1", "sharpness"] is Verdict.UNDECIDED
    assert lax.verdicts["s1", "sharpness"] is Verdict.WARN
    assert strict.pairs["s1"] == 16


@pytest.mark.parametrize("seed", range(3))
def test_one_broken_video_of_48_fails_the_gate(seed: int) -> None:
    found = scores(seed=seed, correlation=0.9, noise=0.2)
    assert not run_gate(found, DEFAULT_TOLERANCES, PLAN).fails
    found.candidate["s2"][NAMES.index("clip"), 2] *= 0.5
    result = run_gate(found, DEFAULT_TOLERANCES, PLAN)
    assert result.verdicts["s2", VIDEOS] is Verdict.FAIL
    assert result.verdicts["s1", VIDEOS] is Verdict.PASS
    assert result.pairs == dict.fromkeys(result.pairs, 4)


def test_stopping_at_a_failure_renders_no_more() -> None:
    found = scores(seed=5, losses={("s1", "sharpness"): 0.5}, correlation=0.9)
    # another item of the scenario stays open to the end
    rough = scores(seed=2, correlation=0.0, noise=8.0)
    for side, other in ((found.candidate, rough.candidate), (found.baseline, rough.baseline)):
        side["s1"][NAMES.index("clip")] = other["s1"][NAMES.index("clip")]
    patient = replace(PLAN, futility=0.0)
    stopped = run_gate(found, DEFAULT_TOLERANCES, patient)
    assert stopped.fails
    assert stopped.pairs["s1"] == 6
    whole = run_gate(found, DEFAULT_TOLERANCES, replace(patient, stop_at_failure=False))
    assert whole.fails
    assert whole.pairs["s1"] == 12


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
    # at most one stop in ten was wrong: six of 60
    assert counts[PLAN.futility][0] >= counts[0.0][0] - 6
    assert counts[PLAN.futility][1] < 0.9 * counts[0.0][1]


def test_a_bank_without_enough_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: at least 16"):
        run_gate(scores(seed=0, pairs=8), DEFAULT_TOLERANCES, PLAN)
