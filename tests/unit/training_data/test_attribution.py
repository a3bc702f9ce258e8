from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pytest_wanlora.training_data.attribution import LEVEL, is_rare, suspect
from pytest_wanlora.verdict.judgement import Judgement, Verdict

SHARES = {"urban": 0.8, "nature": 0.08, "action": 0.1, "other": 0.02}
CATEGORIES = {"city": "urban", "blossoms": "nature", "dance": "action"}


@dataclass(frozen=True)
class Item:
    scenario: str
    verdict: str = "fail"
    change: float | None = 0.5
    metric: str = "sharpness"
    kind: str = "regression"
    fail: float | None = 0.15


def test_a_regressed_scenario_of_a_rare_category_is_named_with_its_numbers() -> None:
    found = suspect(
        SHARES,
        [
            Item("city", "better", -0.2),
            Item("blossoms", "fail", 0.451),
            Item("blossoms", "fail", 2.56, "fvd", fail=0.25),
            Item("dance", "warn", 0.1),
        ],
        CATEGORIES,
    )
    assert len(found.scenarios) == 1
    only = found.scenarios[0]
    assert (only.scenario, only.category, only.metric, only.commonest) == (
        "blossoms",
        "nature",
        "fvd",
        "urban",
    )
    assert only.against == ()
    assert (only.change, only.share, only.commonest_share) == (2.56, 0.08, 0.8)
    assert found.correlation is None


def test_the_judgements_of_a_run_are_understood() -> None:
    judged = [
        Judgement(
            "regression",
            "epoch-0",
            "blossoms",
            "fvd",
            Verdict.FAIL,
            "a reason",
            change=2.56,
            warn=0.05,
            fail=0.25,
        ),
        Judgement("regression", "epoch-0", "city", "fvd", Verdict.BETTER, "a reason", change=-0.2, fail=0.25),
        Judgement("checkpoint", "epoch-0", "", "applied", Verdict.PASS, "a reason"),
    ]
    found = suspect(SHARES, judged, CATEGORIES)
    assert [each.scenario for each in found.scenarios] == ["blossoms"]


def test_a_rarer_category_that_held_speaks_against_it() -> None:
    found = suspect({**SHARES, "action": 0.05}, [Item("blossoms"), Item("dance", "pass", 0.0)], CATEGORIES)
    assert found.scenarios[0].against == ("dance",)


@pytest.mark.parametrize("verdict", ["error", "incomparable", "degenerate", "missing_baseline"])
def test_what_was_not_measured_speaks_against_nothing(verdict: str) -> None:
    items = [Item("blossoms"), Item("dance", "pass", 0.0), Item("dance", verdict, None, "motion")]
    assert suspect({**SHARES, "action": 0.05}, items, CATEGORIES).scenarios[0].against == ()


@pytest.mark.parametrize(
    "items",
    [
        [Item("city")],
        [Item("blossoms", "warn")],
        [Item("blossoms", "incomparable")],
        [Item("blossoms", kind="limit")],
        [Item("all")],
        [Item("unknown")],
        [],
    ],
)
def test_nothing_is_said_where_the_numbers_do_not_carry_it(items: list[Item]) -> None:
    assert suspect(SHARES, items, CATEGORIES).scenarios == ()


@pytest.mark.parametrize(("share", "said"), [(0.24, True), (0.26, False)])
def test_rare_is_below_an_equal_share_and_half_of_the_largest(share: float, said: bool) -> None:
    shares = {"urban": 0.5, "nature": share, "action": 0.25, "other": 0.25 - share}
    assert bool(suspect(shares, [Item("blossoms")], CATEGORIES).scenarios) is said
    even = {"urban": 0.4, "nature": share, "action": 0.4 - share, "other": 0.2}
    assert suspect(even, [Item("blossoms")], CATEGORIES).scenarios == ()


def test_a_category_that_the_data_does_not_have_is_the_rarest() -> None:
    found = suspect({"urban": 0.9, "other": 0.1}, [Item("blossoms")], CATEGORIES)
    assert found.scenarios[0].share == 0


def test_an_undefined_change_is_none() -> None:
    found = suspect(SHARES, [Item("blossoms", change=None)], CATEGORIES)
    assert (found.scenarios[0].metric, found.scenarios[0].change) == ("sharpness", None)


@pytest.mark.parametrize(("undecided", "said"), [(0.0, True), (0.16, True), (0.18, False)])
def test_a_category_is_rare_only_if_it_still_were_with_all_undecided_prompts(
    undecided: float, said: bool
) -> None:
    found = suspect(SHARES, [Item("blossoms")], CATEGORIES, undecided=undecided)
    assert bool(found.scenarios) is said
    assert is_rare("nature", SHARES, undecided=undecided) is said


def test_no_shares_no_suspicion() -> None:
    assert suspect({}, [Item("blossoms")], CATEGORIES).scenarios == ()


SIX = {f"s{number}": f"c{number // 2}" for number in range(12)}


def test_rank_correlation_over_scenarios_with_its_chance() -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    items = [Item(name, change=0.1 * number) for number, name in enumerate(SIX)]
    found = suspect(shares, items, SIX).correlation
    assert found is not None
    truth = spearmanr([shares[SIX[name]] for name in SIX], [0.1 * number for number in range(12)]).statistic
    assert found.rho == pytest.approx(truth)
    assert (found.scenarios, found.categories) == (12, 6)
    # of 720 arrangements of six shares none is as low but the one that was seen
    assert found.p_value == pytest.approx(1 / 720)


def test_what_chance_would_do_is_called_chance() -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    items = [Item(name, change=0.1 * (number * 5 % 12)) for number, name in enumerate(SIX)]
    found = suspect(shares, items, SIX).correlation
    assert found is not None
    assert found.p_value > LEVEL


def test_many_categories_are_permuted_by_sampling_the_same_way_each_time() -> None:
    categories = {f"s{number}": f"c{number}" for number in range(9)}
    shares = {f"c{number}": 0.2 - 0.02 * number for number in range(9)}
    items = [Item(name, change=0.1 * number) for number, name in enumerate(categories)]
    first, second = (suspect(shares, items, categories).correlation for _ in range(2))
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
    items = [Item(f"s{number}", change=number / 10) for number in range(scenarios)]
    assert suspect(shares, items, {f"s{n}": f"c{n % 3}" for n in range(6)}).correlation is None


def test_no_difference_has_no_correlation() -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    assert suspect(shares, [Item(name, change=0.1) for name in SIX], SIX).correlation is None


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(12)))
def test_the_correlation_does_not_depend_on_the_order(order: list[int]) -> None:
    shares = {f"c{number}": 0.3 - 0.05 * number for number in range(6)}
    items = [Item(f"s{number}", change=0.1 * (number * 7 % 12)) for number in range(12)]
    expected = suspect(shares, items, SIX).correlation
    assert suspect(shares, [items[place] for place in order], SIX).correlation == expected
