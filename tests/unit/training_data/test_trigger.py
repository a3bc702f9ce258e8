from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.training_data.report import trigger_lines
from pytest_wanlora.training_data.trigger import find, trigger_uses
from tests.unit.training_data.sets import survey, write_csv, write_prompts


@pytest.mark.parametrize(
    ("trigger", "caption", "place"),
    [
        ("sks", "sks, a tram at night", "first word"),
        ("sks", '"sks" at night', "first word"),
        ("sks", "a sks-style tram crosses the town", "first third"),
        ("sks", "a tram at night, by sks", "later"),
        ("sks", "the tram at night is sks's", "later"),
        ("ohwx man", "ohwx \n man walks", "first word"),
        ("qqvv_dancer", "a qqvv_dancer turns in a large empty hall", "first third"),
        ("<sks>", "a<sks>dog in the snow at night", "first third"),
        ("sks", "안개 속에서 sks가 빛난다", "later"),
        ("뽀삐", "뽀삐에게서는 빛이 난다", "first word"),
        ("뽀삐", "눈 속의 작은 뽀삐들이 뛴다", "later"),
        ("흰 등대", "흰 등대와 바다", "first word"),
        ("小白狗", "一只小白狗在雪地里奔跑跳跃", "first third"),
        ("小白狗", "雪地里有小白狗", "later"),
        ("Ａｂｃ", "Abc at night", "first word"),  # noqa: RUF001  full-width letters
    ],
)
def test_a_trigger_is_a_word_of_its_own_at_a_place(trigger: str, caption: str, place: str) -> None:
    found = find([caption], trigger)
    assert {name: rows for name, rows in found.held.items() if rows} == {place: [0]}
    assert (found.without, found.near, found.fused) == ([], {}, {})


@pytest.mark.parametrize(
    ("trigger", "caption", "spelling"),
    [
        ("sks", "a SKS tram", "SKS"),
        ("sks", "a s-ks tram", "s-ks"),
        ("skslighthouse", "a sks-lighthouse at sea", "sks-lighthouse"),
        ("skslighthouse", "a sks_lighthouse at sea", "sks_lighthouse"),
        ("skslighthouse", "a Sks Lighthouse at sea", "Sks Lighthouse"),
        ("sks lighthouse", "skslighthouse at sea", "skslighthouse"),
        ("sks lighthouse", "sks-lighthouse at sea", "sks-lighthouse"),
        ("sks_lighthouse", "sks lighthouse at sea", "sks lighthouse"),
        ("sks_lighthouse", "SKS_LIGHTHUOSE at sea", "SKS_LIGHTHUOSE"),
        ("sks lighthouse", "skslighthuose at sea", "skslighthuose"),
        ("skslighthouse", "skslihgthouse at sea", "skslihgthouse"),
        ("skslighthouse", "skslighhouze at sea", "skslighhouze"),
        ("mochi", "a mochy cat", "mochy"),
        ("등대지기", "등데지기가 걷는다", "등데지기"),
        ("흰 등대", "흰등대가 빛난다", "흰등대"),
        ("小白狗", "一只小白 狗在跑", None),
        ("小白狗", "一只小白-狗在跑", "小白-狗"),
        ("水墨灯塔画", "海边的水墨灯搭画很美", "水墨灯搭画"),
    ],
)
def test_a_spelling_that_is_nearly_the_trigger(trigger: str, caption: str, spelling: str | None) -> None:
    found = find(["a tram", caption], trigger)
    assert found.without == [0, 1]
    assert found.near == ({} if spelling is None else {spelling: [1]})
    assert found.fused == {}


@pytest.mark.parametrize(
    ("trigger", "caption", "word"),
    [
        ("sks", "a sksdog runs", "sksdog"),
        ("sks", "a SKSdog runs", "SKSdog"),
        ("sks", "a sks_dog runs", "sks_dog"),
        ("sks", "a sks2 runs", "sks2"),
        ("skslighthouse", "myskslighthouse", "myskslighthouse"),
        ("sks dog", "sks dogs run", "sks dogs"),
        ("sks", "一只sks在海边", "只sks在"),
        ("sks", "sks강아지가 뛴다", "sks강아지가"),
        ("뽀삐", "뽀삐강아지가 뛴다", "뽀삐강아지가"),
    ],
)
def test_a_word_that_holds_the_trigger(trigger: str, caption: str, word: str) -> None:
    found = find([caption], trigger)
    assert (found.without, found.near, found.fused) == ([0], {}, {word: [0]})


@pytest.mark.parametrize(
    ("trigger", "caption"),
    [
        ("sks", "people in masks at their desks"),
        ("sks dog", "a dog in the snow"),
        ("asan", "dressed as an old man"),
        ("mochi", "a mouth of much rice"),
        ("등대", "등불이 밝다"),
    ],
)
def test_ordinary_words_are_not_meant(trigger: str, caption: str) -> None:
    found = find([caption], trigger)
    assert (found.without, found.near, found.fused) == ([0], {}, {})


def test_a_caption_counts_once_for_a_spelling() -> None:
    captions = ["skslighthouse", "sksligthouse, sksligthouse", "a skslighthouse, skslighthouse", "a tram"]
    found = find([*captions, "sks lighthouse, Sks-lighthouse, sks lighthouses"], "sks lighthouse")
    assert found.near == {"skslighthouse": [0, 2], "sksligthouse": [1], "Sks-lighthouse": [4]}
    assert found.fused == {"sks lighthouses": [4]}
    assert found.without == [0, 1, 2, 3]


PIECES = st.sampled_from(
    ["sks", "SKS", "dog", " ", "-", "_", ", ", "가", "강", "小", "sk", "\n", "İ", "e\u0301"]
)


@given(
    st.lists(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=12), max_size=12),
    st.lists(PIECES, min_size=1, max_size=4).map("".join).filter(lambda text: text.strip() != ""),
)
def test_every_caption_is_counted_once_as_with_or_without(captions: list[str], trigger: str) -> None:
    found = find([*captions, trigger], trigger)
    counted = [place for rows in found.held.values() for place in rows] + found.without
    assert sorted(counted) == list(range(len(captions) + 1))
    assert found.held["first word"][-1:] == [len(captions)]
    for rows in (*found.near.values(), *found.fused.values()):
        assert rows == sorted(set(rows))


def test_counts_are_of_an_epoch_and_examples_name_their_place(tmp_path: Path) -> None:
    for folder, caption in (("3_a", "sks, a tram"), ("2_b", "a SKS tram"), ("1_c", "a sksdog")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_bytes(b"x")
        (tmp_path / folder / "a.txt").write_text(caption)
    (use,) = trigger_uses(survey(tmp_path), ["sks", "sks"])
    assert (use.held, use.without, use.places["first word"]) == (3, 3, 3)
    assert [(each.text, each.captions) for each in (*use.near, *use.fused)] == [("SKS", 2), ("sksdog", 1)]
    assert use.search == f"grep -rnIF -e SKS -e sksdog {tmp_path}"
    lines = list(trigger_lines(use))
    assert lines[0] == "trigger 'sks': a word of its own in 3 of 6 captions, 50.0 %"
    assert any(line.startswith("  warning: 3 captions lack it") for line in lines)


def test_examples_in_a_table_name_the_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "m.csv", [("a.mp4", ""), ("b.mp4", "a tram"), ("c.mp4", "SKS")])
    (use,) = trigger_uses(survey(path), ["sks"])
    assert use.without_examples == ("line 3: a tram", "line 4: SKS")
    assert use.near[0].example == "line 4: SKS"


def test_where_all_is_well_nothing_is_warned_of(tmp_path: Path) -> None:
    (use,) = trigger_uses(
        survey(write_prompts(tmp_path / "m.csv", ["sks, a tram", "a lake and sks"])), ["sks"]
    )
    assert list(trigger_lines(use)) == [
        "trigger 'sks': a word of its own in 2 of 2 captions, 100.0 %",
        "  it stands: first word 50.0 %, first third 0.0 %, later 50.0 %",
    ]
