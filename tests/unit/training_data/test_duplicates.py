from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora.training_data.duplicates import Duplicates
from tests.unit.training_data.sets import prompts, survey, write_prompts

LONG = "A yellow tram climbs a steep street of the old town in the evening light, people wait at the corner"


def duplicates(
    tmp_path: Path, texts: Sequence[str], *, near: bool = True, threshold: float = 0.8
) -> Duplicates:
    with survey(write_prompts(tmp_path / "m.csv", texts), near=near) as found:
        return found.duplicates(threshold=threshold)


def test_equal_prompts_are_exact_and_alike_ones_near(tmp_path: Path) -> None:
    texts = [
        LONG,
        f"  {LONG}  ",
        LONG.upper() + "!",
        LONG.replace("yellow", "red"),
        "a quite different caption about a forest",
        LONG,
    ]
    found = duplicates(tmp_path, texts)
    kept = int(found.kept[0])
    assert [int(row) for row in found.kept[[0, 1, 2, 3, 5]]] == [kept] * 5
    assert found.kept[4] == 4
    assert found.exact_count + found.near_count == 4
    assert [(row, len(repeats)) for row, repeats in found.groups()] == [(kept, 4)]


def test_exact_only_where_near_ones_are_not_looked_for(tmp_path: Path) -> None:
    found = duplicates(tmp_path, [LONG, LONG + "!", LONG], near=False)
    assert (found.exact_count, found.near_count) == (1, 0)


def test_the_threshold_decides(tmp_path: Path) -> None:
    texts = [LONG, LONG.replace("yellow", "red")]
    assert duplicates(tmp_path, texts, threshold=0.8).near_count == 1
    assert duplicates(tmp_path, texts, threshold=0.95).near_count == 0


def test_short_captions_with_another_word_are_no_duplicates(tmp_path: Path) -> None:
    texts = ["a red car", "a blue car", "고양이가 잔다", "강아지가 잔다", "一只猫在睡觉", "一只狗在睡觉"]
    assert duplicates(tmp_path, texts).near_count == 0


def test_which_row_is_kept_does_not_depend_on_the_order(tmp_path: Path) -> None:
    texts = [LONG, LONG.replace("yellow", "red"), LONG + " slowly", *prompts(urban=30), LONG]
    rows = [(f"{number}.mp4", text) for number, text in enumerate(texts)]
    kept = set()
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(rows))
        shuffled = [rows[place] for place in order]
        path = tmp_path / f"{seed}.csv"
        path.write_text("video,prompt\n" + "".join(f'{video},"{text}"\n' for video, text in shuffled))
        with survey(path) as found:
            repeats = found.duplicates()
        own = np.flatnonzero(repeats.kept == np.arange(len(rows)))
        kept.add(frozenset(shuffled[row][0] for row in own))
        assert len(own) == 31
    assert len(kept) == 1


def test_every_dropped_row_has_a_kept_one_that_is_kept(tmp_path: Path) -> None:
    words = LONG.split()
    chain = [" ".join(words[number:] + words[:number]) for number in range(len(words))]
    found = duplicates(tmp_path, [*chain, *chain])
    assert np.array_equal(found.kept[found.kept], found.kept)


def test_only_rows_that_count_stand_for_others(tmp_path: Path) -> None:
    with survey(write_prompts(tmp_path / "m.csv", [LONG, LONG, LONG + "!"])) as found:
        everything = found.duplicates()
        kept = int(everything.kept[0])
        among = np.arange(3) != kept
        rest = found.duplicates(among=among)
    assert rest.kept[kept] == kept
    assert len({int(row) for row in rest.kept[among]}) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_rows_without_a_prompt_repeat_nothing(tmp_path: Path, count: int) -> None:
    found = duplicates(tmp_path, [""] * count)
    assert (found.exact_count, found.near_count) == (0, 0)
    assert list(found.groups()) == []


def test_more_alike_prompts_than_a_bucket_keeps_are_still_dropped(tmp_path: Path) -> None:
    texts = [f"{LONG} {number}" for number in range(300)]
    found = duplicates(tmp_path, texts)
    # a pair this similar meets in no band once in 600 times
    assert found.near_count >= 296
