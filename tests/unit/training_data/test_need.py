from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from pytest_wanlora.baseline.store import Prompt
from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.need import Outcome, equal_shares, outcomes, raised
from pytest_wanlora.verdict.judgement import ItemId, Judgement, Verdict
from tests.unit.reports.records import run_record, suite_card

EQUAL = equal_shares(["urban", "nature", "action", "other"])


def outcome(category: str, verdict: str) -> Outcome:
    return Outcome(f"test_{category}", category, verdict)


def test_failing_categories_double_and_warning_ones_grow_by_half() -> None:
    found = raised(
        EQUAL,
        [
            outcome("nature", "warn"),
            outcome("nature", "fail"),
            outcome("nature", "pass"),
            outcome("action", "warn"),
            outcome("urban", "better"),
        ],
    )
    assert found == {
        "urban": Fraction(2, 11),
        "nature": Fraction(4, 11),
        "action": Fraction(3, 11),
        "other": Fraction(2, 11),
    }
    assert sum(found.values()) == 1


@pytest.mark.parametrize(
    "verdict", ["pass", "better", "error", "incomparable", "missing_baseline", "degenerate"]
)
def test_nothing_is_raised_by_what_did_not_regress(verdict: str) -> None:
    with pytest.raises(DataError, match="no comparison of the run warns or fails"):
        raised(EQUAL, [outcome("nature", verdict)])


@pytest.mark.parametrize("category", ["space", "other"])
def test_a_category_without_a_share_cannot_be_raised(category: str) -> None:
    shares = {"urban": Fraction(1), "other": Fraction(0)}
    with pytest.raises(DataError, match=f"{category} regressed but have no share"):
        raised(shares, [outcome(category, "fail")])


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--toward: .*cannot be read.*a run's folder or its results.json"):
        outcomes(tmp_path)


def judged(item: ItemId, verdict: str) -> Judgement:
    return Judgement(item.kind, item.candidate, item.scenario, item.metric, Verdict(verdict), "a reason")


def write_run(path: Path, *, candidates: tuple[str, ...] = ("epoch-0",), **verdicts: str) -> Path:
    """Write a run record whose one comparison a category has this verdict."""
    items = [
        ItemId("regression", name, f"test_{category}", "sharpness")
        for name in candidates
        for category in verdicts
    ]
    pooled = [ItemId("regression", name, "all", "fvd") for name in candidates]
    limits = [ItemId("limit", name, "test_urban", "clip") for name in candidates]
    # neither the pooled item nor a limit says which category needs more
    judgements = [
        *(judged(item, verdicts[item.scenario.removeprefix("test_")]) for item in items),
        *(judged(item, "fail") for item in (*pooled, *limits)),
    ]
    prompts = {
        f"test_{name}": Prompt(category=name, prompt="a prompt", caption="a caption") for name in verdicts
    }
    record = run_record(judgements, names=candidates, suite=suite_card(prompts=prompts))
    path.write_text(record.to_json(), encoding="utf-8")
    return path


def test_the_comparisons_of_a_run_with_their_categories(tmp_path: Path) -> None:
    write_run(tmp_path / "results.json", nature="fail", urban="pass")
    expected = [outcome("nature", "fail"), outcome("urban", "pass")]
    assert outcomes(tmp_path) == outcomes(tmp_path / "results.json", "epoch-0") == expected


def test_several_candidates_need_a_name(tmp_path: Path) -> None:
    path = write_run(tmp_path / "results.json", candidates=("epoch-0", "epoch-1"), nature="fail")
    with pytest.raises(DataError, match="2 candidates: epoch-0, epoch-1\nnext: name one with --candidate"):
        outcomes(path)
    with pytest.raises(DataError, match="no candidate 'epoch-7'"):
        outcomes(path, "epoch-7")
    assert outcomes(path, "epoch-1") == [outcome("nature", "fail")]
