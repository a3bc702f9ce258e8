from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pytest_wanlora.training_data.attribution import LEVEL, is_rare, suspect
from pytest_wanlora.verdict.judgement import Judgement, Verdict

SHARES = {"urban": 0.8, "nature": 0.08, "action": 0.1, "other": 0.02}
CATEGORIES = {"city": "urban", "blossoms": "nature", "dance": "action"}


def item(
    scenario: str,
    verdict: str = "fail",
    change: float | None = 0.5,
    metric: str = "sharpness",
    kind: Literal["regression", "limit"] = "regression",
    fail: float | None = 0.15,
) -> Judgement:
    return Judgement(kind, "x", scenario, metric, Verdict(verdict), "", change=change, fail=fail)


def test_a_regressed_scenario_of_a_rare_category_is_named_with_its_numbers() -> None:
    found = suspect(
        "x",
        SHARES,
        [
            item("city", "better", -0.2),
            item("blossoms", "fail", 0.451),
            item("blossoms", "fail", 2.56, "fvd", fail=0.25),
            item("dance", "warn", 0.1),
        ],
        CATEGORIES,
    )
    assert len(found[0]) == 1
    only = found[0][0]
    assert (only.scenario, only.category, only.metric, only.commonest) == (
        "blossoms",
        "nature",
        "fvd",
        "urban",
    )
    assert only.against == ()
    assert (only.change, only.share, only.commonest_share) == (2.56, 0.08, 0.8)
    assert found[1] is None


def test_a_rarer_category_that_held_speaks_against_it() -> None:
    found = suspect(
        "x", {**SHARES, "action": 0.05}, [item("blossoms"), item("dance", "pass", 0.0)], CATEGORIES
    )
    assert found[0][0].against == ("dance",)


@pytest.mark.parametrize("verdict", ["error", "incomparable", "degenerate", "missing_baseline"])
def test_what_was_not_measured_speaks_against_nothing(verdict: str) -> None:
    items = [item("blossoms"), item("dance", "pass", 0.0), item("dance", verdict, None, "motion")]
    assert suspect("x", {**SHARES, "action": 0.05}, items, CATEGORIES)[0][0].against == ()


@pytest.mark.parametrize(
    "items",
    [
        [item("city")],
        [item("blossoms", "warn")],
        [item("blossoms", "incomparable")],
        [item("blossoms", kind="limit")],
        [item("all")],
        [item("unknown")],
        [],
    ],
)
def test_nothing_is_said_where_the_numbers_do_not_carry_it(items: list[Judgement]) -> None:
    assert suspect("x", SHARES, items, CATEGORIES)[0] == ()


@pytest.mark.parametrize(("share", "said"), [(0.24, True), (0.26, False)])
def test_rare_is_below_an_equal_share_and_half_of_the_largest(share: float, said: bool) -> None:
    shares = {"urban": 0.5, "nature": share, "action": 0.25, "other": 0.25 - share}
    assert bool(suspect("x", shares, [item("blossoms")], CATEGORIES)[0]) is said
    even = {"urban": 0.4, "nature": share, "action": 0.4 - share, "other": 0.2}
    assert suspect("x", even, [item("blossoms")], CATEGORIES)[0] == ()


def test_a_category_that_the_data_does_not_have_is_the_rarest() -> None:
    found = suspect("x", {"urban": 0.9, "other": 0.1}, [item("blossoms")], CATEGORIES)
    assert found[0][0].share == 0


def test_an_undefined_change_is_none() -> None:
    found = suspect("x", SHARES, [item("blossoms", change=None)], CATEGORIES)
    assert (found[0][0].metric, found[0][0].change) == ("sharpness", None)


@pytest.mark.parametrize(("undecided", "said"), [(0.0, True), (0.16, True), (0.18, False)])
def test_a_category_is_rare_only_if_it_still_were_with_all_undecided_prompts(
    undecided: float, said: bool
) -> None:
    found = suspect("x", SHARES, [item("blossoms")], CATEGORIES, undecided=undecided)
    assert bool(found[0]) is said
    assert is_rare("nature", SHARES, undecided=undecided) is said


def test_no_shares_no_suspicion() -> None:
    assert suspect("x", {}, [item("blossoms")], CATEGORIES)[0] == ()


SIX = {f"s{number}": f"c{number // 2}" for number in range(12)}


def test_rank_correlation_over_scenarios_with_its_chance() -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    items = [item(name, change=0.1 * number) for number, name in enumerate(SIX)]
    _, found = suspect("x", shares, items, SIX)
    assert found is not None
    truth = spearmanr([shares[SIX[name]] for name in SIX], [0.1 * number for number in range(12)]).statistic
    assert found.rho == pytest.approx(truth)
    assert (found.scenarios, found.categories) == (12, 6)
    # of 720 arrangements of six shares none is as low but the one that was seen
    assert found.p_value == pytest.approx(1 / 720)


def test_what_chance_would_do_is_called_chance() -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    items = [item(name, change=0.1 * (number * 5 % 12)) for number, name in enumerate(SIX)]
    _, found = suspect("x", shares, items, SIX)
    assert found is not None
    assert found.p_value > LEVEL


def test_many_categories_are_permuted_by_sampling_the_same_way_each_time() -> None:
    categories = {f"s{number}": f"c{number}" for number in range(9)}
    shares = {f"c{number}": 0.2 - 0.02 * number for number in range(9)}
    items = [item(name, change=0.1 * number) for number, name in enumerate(categories)]
    first, second = (suspect("x", shares, items, categories)[1] for _ in range(2))
    assert first == second
    assert first is not None
    assert first.rho == pytest.approx(-1)
    assert 1e-4 <= first.p_value < 0.01


@pytest.mark.parametrize(
    ("scenarios", "shares"),
    [
        (4, {"c0": 0.5, "c1": 0.3, "c2": 0.2}),
        (6, {"c0": 0.5, "c1": 0.25, "c2": 0.25}),
    ],
)
def test_too_few_scenarios_or_shares_have_no_correlation(scenarios: int, shares: dict[str, float]) -> None:
    items = [item(f"s{number}", change=number / 10) for number in range(scenarios)]
    assert suspect("x", shares, items, {f"s{n}": f"c{n % 3}" for n in range(6)})[1] is None


def test_no_difference_has_no_correlation() -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    assert suspect("x", shares, [item(name, change=0.1) for name in SIX], SIX)[1] is None


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(12)))
def test_the_correlation_does_not_depend_on_the_order(order: list[int]) -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    items = [item(f"s{number}", change=0.1 * (number * 7 % 12)) for number in range(12)]
    expected = suspect("x", shares, items, SIX)[1]
    assert suspect("x", shares, [items[place] for place in order], SIX)[1] == expected
