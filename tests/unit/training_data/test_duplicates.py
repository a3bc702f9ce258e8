from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_wanlora.training_data.duplicates import Duplicates
from pytest_wanlora.training_data.fingerprints import digest, minhash, similarity, units
from pytest_wanlora.training_data.rules import OTHER, Rules, fold
from pytest_wanlora.training_data.survey import Source, take
from tests.unit.training_data.sets import prompts, survey, write_prompts

LONG = "A yellow tram climbs a steep street of the old town in the evening light, people wait at the corner"


#: What a prompt is about says nothing of what it is like, and long lists take longer than these tests.
NO_WORDS = Rules((OTHER,), (OTHER,), {}, {})


def duplicates(
    tmp_path: Path, texts: Sequence[str], *, near: bool = True, threshold: float = 0.8
) -> Duplicates:
    path = write_prompts(tmp_path / "m.csv", texts)
    return take(Source(path, tmp_path, near=near), NO_WORDS).duplicates(threshold=threshold)


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


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "an old fisherman mends a net on the pier",
            "an old fisherman mends a net on the pier, 4k, cinematic",
        ),
        ("老渔夫在码头上补渔网", "老渔夫在码头边补渔网"),
        ("늙은 어부가 그물을 고치고 있다.", "늙은 어부가 그물을 고치고 있습니다."),
        ("a potter shapes a bowl in her workshop", "a potter shapes a vase in her workshop"),
    ],
)
def test_short_prompts_with_one_word_changed_or_film_terms_added_are_near(
    tmp_path: Path, first: str, second: str
) -> None:
    assert duplicates(tmp_path, [first, second, "a lake"]).near_count == 1


def test_what_all_prompts_share_makes_none_near(tmp_path: Path) -> None:
    style = (
        "qqvv, ink drawing with thick outlines, washed pastel palette, slow handheld camera, muted shadows"
    )
    assert duplicates(tmp_path, [f"{style}, a teapot", f"{style}, a tiger"]).near_count == 0
    things = [f"{style}, {text}" for text in prompts(urban=8, nature=8, other=8)]
    assert duplicates(tmp_path, things).near_count == 0


def test_which_row_is_kept_does_not_depend_on_the_order(tmp_path: Path) -> None:
    texts = [LONG, LONG.replace("yellow", "red"), LONG + " slowly", *prompts(urban=30), LONG]
    rows = [(f"{number}.mp4", text) for number, text in enumerate(texts)]
    kept = set()
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(rows))
        shuffled = [rows[place] for place in order]
        path = tmp_path / f"{seed}.csv"
        path.write_text("video,prompt\n" + "".join(f'{video},"{text}"\n' for video, text in shuffled))
        found = survey(path)
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
    found = survey(write_prompts(tmp_path / "m.csv", [LONG, LONG, LONG + "!"]))
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


def one_by_one(texts: Sequence[str], threshold: float) -> dict[int, int]:
    """The kept row of every dropped one, all pairs compared: what `find` says where no bucket is full."""
    folded = [fold(text) for text in texts]
    keys, sketches, sizes = minhash(folded)
    order = sorted(range(len(texts)), key=lambda row: digest(texts[row]))
    kept: list[int] = []
    found: dict[int, int] = {}
    for row in order:
        least = math.floor(sketches.shape[1] * max(threshold - (0.15 if sizes[row] > 16 else 0.4), 0.0))
        for other in kept:
            meets = (keys[row] == keys[other]).any() and (sketches[row] == sketches[other]).sum() >= least
            if meets and similarity(units(folded[row]), units(folded[other])) >= threshold:
                found[row] = other
                break
        else:
            kept.append(row)
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 19), st.integers(0, 19), st.sampled_from(["red", "blue"])),
        min_size=2,
        max_size=7,
        unique=True,
    ),
    st.sampled_from([0.6, 0.8, 0.95]),
)
def test_near_duplicates_are_those_of_all_pairs(
    tmp_path: Path, edits: list[tuple[int, int, str]], threshold: float
) -> None:
    words = LONG.split()
    texts = list(
        dict.fromkeys(
            " ".join(color if place in (first, second) else word for place, word in enumerate(words))
            for first, second, color in edits
        )
    )
    # another prompt, so that nothing is shared by all
    texts.append("lorem ipsum dolor sit amet")
    found = duplicates(tmp_path, texts, threshold=threshold)
    dropped = {row: int(to) for row, to in enumerate(found.kept) if to != row}
    assert dropped == one_by_one(texts, threshold)
