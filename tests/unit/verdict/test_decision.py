from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.decision import decide
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, Verdict

GATED = sorted(DEFAULT_TOLERANCES)


def judgement(item: ItemId, verdict: Verdict = Verdict.PASS) -> Judgement:
    return Judgement(item.kind, item.candidate, item.scenario, item.metric, verdict, "because")


ITEMS = [
    ItemId("regression", "epoch-2", scenario, metric)
    for scenario in ("s1", "s2", ALL)
    for metric in GATED[:3]
]


def test_everything_measured_and_nothing_failing_is_publishable() -> None:
    decision = decide([judgement(item) for item in ITEMS], ITEMS)
    assert decision.publishable
    assert decision.reason == "all 9 items pass"


@given(
    verdicts=st.lists(st.sampled_from(list(Verdict)), min_size=len(ITEMS), max_size=len(ITEMS)),
    order=st.permutations(range(len(ITEMS))),
    left_out=st.sets(st.sampled_from(range(len(ITEMS)))),
)
def test_one_failing_or_missing_item_is_enough(
    verdicts: list[Verdict], order: list[int], left_out: set[int]
) -> None:
    judged = [judgement(ITEMS[i], verdicts[i]) for i in range(len(ITEMS)) if i not in left_out]
    shuffled = [judgement(ITEMS[i], verdicts[i]) for i in order if i not in left_out]
    decision = decide(judged, ITEMS)
    assert decision == decide(shuffled, ITEMS)
    assert decision.publishable == (not left_out and not any(v.fails for v in verdicts))
    assert len(decision.unmeasured) == len(left_out)


def test_nothing_expected_is_not_publishable() -> None:
    assert not decide([], []).publishable


def test_an_item_judged_twice_is_not_publishable() -> None:
    twice = [*map(judgement, ITEMS), judgement(ITEMS[0])]
    assert not decide(twice, ITEMS).publishable


def test_the_reason_names_where_and_what_fails() -> None:
    failing = ItemId("regression", "epoch-0", "test2_nature", "sharpness")
    other = ItemId("limit", "epoch-0", "test2_nature", "clip")
    reason = decide([judgement(failing, Verdict.FAIL)], [failing, other]).reason
    assert reason == (
        "1 of 2 items fail in test2_nature (sharpness); 1 of 2 were not measured, the first "
        "test_limit[epoch-0-test2_nature-clip]"
    )
