from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.balance import (
    Draw,
    apportion,
    check_shares,
    draw,
    outcomes,
    parse_shares,
    raised,
)
from pytest_wanlora.verdict.judgement import ItemId, Judgement, Verdict
from tests.unit.reports.records import run_record, suite_card
from tests.unit.training_data.sets import prompts, survey, write_csv, write_prompts

SHARES = parse_shares("urban=0.3,nature=0.3,action=0.2,other=0.2")
FOUR = ("action", "urban", "nature", "other")


def test_shares_are_exact() -> None:
    assert parse_shares(" urban = 0.1, nature=1/3 ,other=17/30") == {
        "urban": Fraction(1, 10),
        "nature": Fraction(1, 3),
        "other": Fraction(17, 30),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("urban", ["'urban' is not CATEGORY=SHARE"]),
        ("", ["is not CATEGORY=SHARE"]),
        ("=0.5", ["is not CATEGORY=SHARE"]),
        ("urban=a lot", ["'a lot' for urban"]),
        ("urban=nan", ["'nan' for urban"]),
        ("urban=inf", ["'inf'"]),
        ("urban=1/0", ["'1/0'"]),
        ("urban=-0.1", ["-0.1 for urban is not from 0 to 1"]),
        ("urban=30", ["30 for urban is not from 0 to 1"]),
        ("urban=0.5,urban=0.5", ["named twice"]),
    ],
)
def test_bad_shares_are_refused(text: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        parse_shares(text)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("urban=0.5,nature=0.4", ["sum to 0.9", "next: --share urban=5/9,nature=4/9"]),
        ("urban=0.33,nature=0.33,action=0.33", ["sum to 0.99", "1/3"]),
        ("urban=0.8,nature=0.8", ["sum to 1.6", "next: --share urban=1/2,nature=1/2"]),
        (
            "urban=0.5,forest=0.5",
            ["no category 'forest'", "action, urban, nature, other", "--share action=1/4"],
        ),
        ("urban=0", ["sum to 0", "next: --share action=1/4,urban=1/4,nature=1/4,other=1/4"]),
    ],
)
def test_shares_that_do_not_sum_to_1_are_refused(text: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        check_shares(parse_shares(text), FOUR)
    assert all(word in str(caught.value) for word in words)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any),
    st.integers(0, 5_000),
)
def test_counts_are_whole_and_within_one_of_the_share(weights: list[int], samples: int) -> None:
    shares = {str(number): Fraction(weight, sum(weights)) for number, weight in enumerate(weights)}
    counts = apportion(shares, samples)
    assert sum(counts.values()) == samples
    for name, share in shares.items():
        assert abs(counts[name] - share * samples) < 1
        assert counts[name] == 0 or share > 0


def test_remainders_are_broken_by_the_larger_share_then_by_order() -> None:
    third = dict.fromkeys("abc", Fraction(1, 3))
    assert apportion(third, 100) == {"a": 34, "b": 33, "c": 33}
    assert apportion({"a": Fraction(1, 4), "b": Fraction(3, 4)}, 2) == {"a": 0, "b": 2}


def drawn(path: Path, shares: dict[str, Fraction], samples: int, **options: object) -> Draw:
    found = survey(path)
    return draw(found, shares, samples, **{"seed": 0, **options})  # type: ignore[arg-type]  # by test


def test_a_draw_has_the_exact_counts_and_no_repeats(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", prompts(urban=80, nature=40, action=20, other=20))
    found = survey(path)
    result = draw(found, SHARES, 100, seed=3)
    counted = found.counts(np.isin(np.arange(len(found)), result.rows))
    assert counted == {"action": 20, "urban": 30, "nature": 30, "other": 20}
    assert len(set(result.rows)) == len(result.rows) == 100
    assert result.repeated == {}


def test_the_same_seed_draws_the_same_rows_whatever_their_order(tmp_path: Path) -> None:
    texts = prompts(urban=40, nature=40, action=40, other=40)
    rows = [(f"{number}.mp4", text) for number, text in enumerate(texts)]
    order = np.random.default_rng(5).permutation(len(rows))
    first = write_csv(tmp_path / "a.csv", rows)
    second = write_csv(tmp_path / "b.csv", [rows[place] for place in order])

    def names(path: Path, seed: int) -> list[str | None]:
        found = survey(path)
        result = draw(found, SHARES, 60, seed=seed)
        records = found.records(result.rows)
        return [records[row].video for row in result.rows]

    assert names(first, 0) == names(second, 0)
    assert set(names(first, 0)) != set(names(first, 1))
    assert names(first, -1) == names(first, 2**64 - 1)


def test_a_draw_is_the_same_on_every_machine(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", prompts(urban=12, nature=12, action=12, other=12))
    assert drawn(path, SHARES, 10, seed=0).rows == GOLDEN


GOLDEN = (15, 14, 42, 2, 4, 33, 29, 20, 3, 46)


def test_what_is_short_is_said_with_by_how_much_and_what_would_do(tmp_path: Path) -> None:
    texts = prompts(urban=50, nature=10, action=50, other=15)
    path = write_prompts(tmp_path / "m.csv", [*texts, texts[50], ""])
    with pytest.raises(DataError) as caught:
        drawn(path, SHARES, 100)
    message = str(caught.value)
    assert "too few rows of nature, other; nothing was written" in message
    assert "nature: 30 wanted, 10 there, 20 short" in message
    assert "other: 20 wanted, 15 there, 5 short" in message
    assert "left out before: 1 without a prompt, 1 exact duplicates" in message
    most = int(message.split("next: --samples ")[1])
    assert f"allowed: --samples up to {most} with these shares; --repeat, which takes rows several" in message
    drawn(path, SHARES, most)
    with pytest.raises(DataError, match="too few"):
        drawn(path, SHARES, most + 1)


def test_a_category_without_a_row_is_short_even_with_repeats(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", prompts(urban=50, nature=50))
    with pytest.raises(DataError, match=r"next: --samples 2$"):
        drawn(path, SHARES, 10)
    with pytest.raises(DataError, match="action: 2 wanted, 0 there, 2 short"):
        drawn(path, SHARES, 10, repeat=True)


def test_repeats_are_even_and_stated(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", prompts(urban=30, nature=8, action=20, other=20))
    result = drawn(path, SHARES, 100, repeat=True)
    times = np.unique(np.array(result.rows), return_counts=True)[1]
    assert sorted(times[times > 1]) == [3, 3, 4, 4, 4, 4, 4, 4]
    assert result.repeated == {"nature": (3, 4)}
    assert result.distinct["nature"] == 8
    assert len(result.rows) == 100
    # every row stands once before any stands twice
    assert len(set(result.rows[:78])) == 78


@pytest.mark.parametrize(("drop", "usable"), [("near", 11), ("exact", 12), ("none", 13)])
def test_repeated_prompts_are_left_out_as_asked(tmp_path: Path, drop: str, usable: int) -> None:
    texts = prompts(urban=11)
    path = write_prompts(tmp_path / "m.csv", [*texts, texts[0], texts[0].upper() + "!"])
    result = drawn(path, {"urban": Fraction(1)}, 5, drop=drop)
    assert result.available["urban"] == usable


def test_rows_without_a_video_are_left_out_and_their_repeats_stay(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"x")
    text = prompts(urban=1)[0]
    path = write_csv(tmp_path / "m.csv", [("gone.mp4", text), ("there.mp4", text), ("gone.mp4", text + "!")])
    found = survey(path, check_videos=True)
    result = draw(found, {"urban": Fraction(1)}, 1, seed=0)
    assert result.rows == (1,)
    assert result.dropped == {"without a usable video": 2}


@pytest.mark.parametrize("samples", [0, -3])
def test_no_samples_are_refused(tmp_path: Path, samples: int) -> None:
    path = write_prompts(tmp_path / "m.csv", prompts(urban=3))
    with pytest.raises(DataError, match="not 1 or more"):
        drawn(path, {"urban": Fraction(1)}, samples)


EQUAL = dict.fromkeys(["urban", "nature", "action", "other"], Fraction(1, 4))


def test_failing_categories_double_and_warning_ones_grow_by_half() -> None:
    found = raised(
        EQUAL,
        [
            ("nature", "warn"),
            ("nature", "fail"),
            ("nature", "pass"),
            ("action", "warn"),
            ("urban", "better"),
        ],
    )
    assert found == {
        "urban": Fraction(2, 11),
        "nature": Fraction(4, 11),
        "action": Fraction(3, 11),
        "other": Fraction(2, 11),
    }
    assert sum(found.values()) == 1


def test_what_is_undecided_counts_like_a_warning() -> None:
    assert raised(EQUAL, [("nature", "undecided")]) == raised(EQUAL, [("nature", "warn")])


@pytest.mark.parametrize(
    "verdict", ["pass", "better", "error", "incomparable", "missing_baseline", "degenerate"]
)
def test_nothing_is_raised_by_what_did_not_regress(verdict: str) -> None:
    with pytest.raises(DataError, match="no comparison of the run fails, warns or is undecided"):
        raised(EQUAL, [("nature", verdict)])


@pytest.mark.parametrize("category", ["space", "other"])
def test_a_category_without_a_share_cannot_be_raised(category: str) -> None:
    shares = {"urban": Fraction(1), "other": Fraction(0)}
    with pytest.raises(DataError, match=f"{category} regressed but have no share"):
        raised(shares, [(category, "fail")])


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
    expected = [("nature", "fail"), ("urban", "pass")]
    assert outcomes(tmp_path) == outcomes(tmp_path / "results.json", "epoch-0") == expected


def test_several_candidates_need_a_name(tmp_path: Path) -> None:
    path = write_run(
        tmp_path / "results.json", candidates=("epoch-0", "epoch-1"), nature="fail", urban="pass"
    )
    with pytest.raises(DataError, match=r"names one: epoch-0, epoch-1\nnext: --candidate epoch-0$"):
        outcomes(path)
    with pytest.raises(DataError, match=r"no candidate 'epoch-7'; there are .*\nnext: --candidate epoch-0$"):
        outcomes(path, "epoch-7")
    assert outcomes(path, "epoch-1") == [("nature", "fail"), ("urban", "pass")]
