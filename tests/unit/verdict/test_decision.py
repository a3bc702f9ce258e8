from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.suite import DEFAULT_TOLERANCES
from pytest_wanlora.verdict.decision import RunOutcome, causes, decide, run_problem, told_alike
from pytest_wanlora.verdict.judgement import ALL, ItemId, ItemOutcome, Judgement, PytestOutcome, Verdict

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
        "1 of 2 items fails in test2_nature (sharpness); 1 of 2 was not measured, "
        "test_limit[epoch-0-test2_nature-clip]"
    )
    assert decide([], [failing, other]).reason == f"2 of 2 were not measured, the first {other}"
    both = [judgement(each, Verdict.UNDECIDED) for each in (failing, other)]
    assert decide(both, [failing, other]).reason.startswith("2 of 2 items are undecided in test2_nature")
    warned = decide([judgement(ITEMS[0], Verdict.WARN), *map(judgement, ITEMS[1:])], ITEMS)
    assert warned.reason == "no item fails: 8 items pass, 1 warns"


def project_test(outcome: PytestOutcome, number: int = 0) -> ItemOutcome:
    return ItemOutcome(f"test_own.py::test_{number}", "epoch-0", outcome, "because")


@given(
    outcomes=st.lists(st.sampled_from(list(PytestOutcome)), max_size=5),
    partial=st.booleans(),
    problem=st.sampled_from(["", "the pytest run ended with exit code 2: it was interrupted"]),
)
def test_every_project_test_must_pass_and_the_whole_run_count(
    outcomes: list[PytestOutcome], partial: bool, problem: str
) -> None:
    tests = [project_test(outcome, number) for number, outcome in enumerate(outcomes)]
    made = decide([*map(judgement, ITEMS)], ITEMS, tests, partial=partial, run_problem=problem)
    failed = [test for test in tests if test.outcome is not PytestOutcome.PASSED]
    assert made.publishable == (not failed and not partial and not problem)
    assert list(made.tests) == failed
    assert bool(failed) == ("project tests did not pass" in made.reason)
    assert problem in made.reason
    # whatever is publishable by its items alone and is not says why
    assert made.publishable == (made.reason.startswith("all 9 items") and made.reason.endswith(" pass"))


def test_the_reason_names_the_first_project_test_that_did_not_pass() -> None:
    tests = [project_test(PytestOutcome.PASSED, 1), project_test(PytestOutcome.NOT_RUN, 2)]
    reason = decide([*map(judgement, ITEMS)], ITEMS, tests).reason
    assert reason == "1 of 2 project tests did not pass, the first test_own.py::test_2 (not run)"
    assert decide([*map(judgement, ITEMS)], ITEMS, tests[:1]).reason == "all 9 items and 1 project test pass"


@pytest.mark.parametrize(
    ("exit_status", "others", "explained", "words"),
    [
        (0, (), False, ""),
        (1, (), True, ""),
        (1, (), False, "exit code 1: for a reason outside the gate"),
        (1, ("t.py::a",), True, "exit code 1: 1 other test failed, t.py::a"),
        (1, ("t.py::a", "t.py::b"), True, "exit code 1: 2 other tests failed, the first t.py::a"),
        # another plugin may say that failures do not matter
        (0, ("t.py::a",), False, "exit code 0: 1 other test failed, t.py::a"),
        (2, (), True, "exit code 2: it was interrupted"),
        (3, (), True, "exit code 3: an internal error"),
        (6, (), True, "exit code 6: for a reason outside the gate"),
        # a record of a version that did not know
        (1, None, False, ""),
    ],
)
def test_what_the_run_has_against_every_checkpoint(
    exit_status: int, others: tuple[str, ...] | None, explained: bool, words: str
) -> None:
    found = run_problem(exit_status, others, explained=explained)
    assert found == (f"the pytest run ended with {words}" if words else "")


def _test(outcome: PytestOutcome) -> ItemOutcome:
    return ItemOutcome("test_own.py::test_1", None, outcome)


@pytest.mark.parametrize(
    ("verdicts", "tests", "partial", "outcome"),
    [
        ([Verdict.PASS], [], False, RunOutcome.PASSED),
        ([Verdict.PASS], [PytestOutcome.PASSED], False, RunOutcome.PASSED),
        ([Verdict.WARN], [], True, RunOutcome.PARTIAL),
        ([None], [], True, RunOutcome.PARTIAL),
        ([Verdict.PASS], [PytestOutcome.SKIPPED], False, RunOutcome.PARTIAL),
        ([Verdict.ERROR, None], [], True, RunOutcome.NOT_MEASURED),
        ([Verdict.MISSING_BASELINE], [PytestOutcome.SKIPPED], False, RunOutcome.NOT_MEASURED),
        ([Verdict.INCOMPARABLE], [PytestOutcome.FAILED], False, RunOutcome.FAILED),
        ([Verdict.ERROR, Verdict.FAIL], [], True, RunOutcome.FAILED),
        ([Verdict.DEGENERATE], [], False, RunOutcome.FAILED),
        ([Verdict.PASS], [PytestOutcome.ERROR], False, RunOutcome.FAILED),
    ],
)
def test_the_outcome_is_the_first_that_applies(
    verdicts: list[Verdict | None], tests: list[PytestOutcome], partial: bool, outcome: RunOutcome
) -> None:
    items = [ItemId("regression", "epoch-0", f"s{number}", "clip") for number in range(len(verdicts))]
    judged = [judgement(item, each) for item, each in zip(items, verdicts, strict=True) if each is not None]
    assert decide(judged, items, [*map(_test, tests)], partial=partial).outcome is outcome


def test_an_exit_code_that_nothing_explains_is_no_pass() -> None:
    item = ItemId("regression", "epoch-0", "s0", "clip")
    made = decide([judgement(item, Verdict.PASS)], [item], run_problem="exit code 3")
    assert made.outcome is RunOutcome.PARTIAL


def test_the_order_of_outcomes() -> None:
    order = ["failed", "not_measured", "undecided", "partial", "passed"]
    assert list(RunOutcome) == order
    assert RunOutcome.first([]) is RunOutcome.PASSED
    for at, name in enumerate(order):
        assert RunOutcome.first(map(RunOutcome, reversed(order[at:]))) == name


def test_a_cause_of_many_videos_has_the_text_of_the_first() -> None:
    def lost(place: str, why: str, video: str) -> Judgement:
        item = ItemId("limit", "epoch-0", place, "clip")
        details = {"message": why, "video": video}
        return replace(judgement(item, Verdict.ERROR), reason=why, details=details, next_command="nvidia-smi")

    told = told_alike(
        [
            lost("s1", "memory ran out\n3 GiB free", "epoch-0, s1, seed 4"),
            lost("s0", "memory ran out\n2 GiB free", "epoch-0, s0, seed 4"),
            lost("s2", "no such layer", "epoch-0, s2, seed 4"),
            lost("s3", "memory ran out\nof the disk", ""),
        ]
    )
    assert [each.details["message"] for each in told] == [each.reason for each in told]
    assert [(cause.reason, len(cause.judgements), cause.videos) for cause in causes(told)] == [
        ("memory ran out\n2 GiB free", 2, ("epoch-0, s0, seed 4", "epoch-0, s1, seed 4")),
        ("no such layer", 1, ("epoch-0, s2, seed 4",)),
        ("memory ran out\nof the disk", 1, ()),
    ]


def test_equal_causes_stand_once() -> None:
    items = [ItemId("limit", "epoch-0", f"s{number}", "clip") for number in range(5)]
    lost = [
        replace(judgement(item, Verdict.ERROR), reason="lost", next_command="again") for item in items[:2]
    ]
    both = replace(
        judgement(items[2], Verdict.ERROR),
        details={"causes": (("lost", 0, "again"), ("no\nfile", 0, "fetch it"))},
    )
    rest = [judgement(items[3], Verdict.PASS), judgement(items[4], Verdict.FAIL)]
    found = decide([*lost, both, *rest], items).causes
    assert [(cause.sentence, len(cause.judgements)) for cause in found] == [
        ("lost; next: again", 3),
        ("no; file; next: fetch it", 1),
    ]
