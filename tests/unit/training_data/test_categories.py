from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.training_data.categories import (
    COLUMNS,
    LANGUAGES,
    Categorizer,
    Means,
    decisions,
    languages_of,
)
from pytest_wanlora.training_data.metadata import Metadata
from pytest_wanlora.training_data.rules import fold, packaged_rules
from tests.unit.training_data.sets import CAPTIONS, prompts, write_prompts
from tests.unit.training_data.test_survey import Nearest

CATEGORIZER = Categorizer(packaged_rules())
ROWS = list(csv.DictReader(CAPTIONS.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("A runner in a city street", "action"),
        ("A park in the city, trees and a lawn with a pond", "nature"),
        ("A skyline with birds over it", "urban"),
        ("Cheetahs running", "nature"),
        ("A portrait of a woman in a city street", "other"),
        ("도시락을 싸는 손", "other"),
        ("반짝거리는 별", "nature"),
        ("불꽃놀이가 터지는 도심", "urban"),
        ("马路上的汽车", "urban"),
        ("马拉松", "action"),
    ],
)
def test_hard_ones(prompt: str, category: str) -> None:
    assert CATEGORIZER.decide(prompt).category == category


def test_a_decision_says_why_how_surely_and_in_what_language() -> None:
    decision = CATEGORIZER.decide("A tram in the old town, rain and fog")
    assert (decision.category, decision.means, decision.language) == ("urban", Means.WORDS, "en")
    assert decision.reason == "urban: tram, old town; nature: fog, rain"
    assert 0.9 < decision.confidence < 0.95


def test_the_first_in_order_wins_a_tie() -> None:
    decision = CATEGORIZER.decide("a volcano and a skyline")
    assert (decision.category, decision.means) == ("urban", Means.TIE)
    assert 0.45 < decision.confidence < 0.5


def test_no_word_is_other() -> None:
    decision = CATEGORIZER.decide("lorem ipsum dolor")
    assert (decision.category, decision.means, decision.confidence) == ("other", Means.NOTHING, 0.635)


def test_neutral_words_alone_decide_nothing() -> None:
    assert CATEGORIZER.decide("depth of field").means == Means.NOTHING


def test_a_word_counts_once_and_less_after_the_first_sentence() -> None:
    once = CATEGORIZER.decide("a waterfall near a skyline and a tram")
    often = CATEGORIZER.decide("a waterfall, a waterfall, waterfalls near a skyline and a tram")
    assert once.category == often.category == "urban"
    later = CATEGORIZER.decide("a waterfall in the evening light. a skyline and a tram")
    assert later.category == "nature"
    assert 0.78 < later.confidence < 0.9


def test_words_of_another_language_count_too() -> None:
    assert CATEGORIZER.decide("서울 cyberpunk").reason == "urban: cyberpunk, 서울"


@given(st.lists(st.sampled_from([row["prompt"] for row in ROWS]), min_size=1, max_size=5))
def test_many_are_decided_as_one(prompts: list[str]) -> None:
    alone = [(decision.category, decision.means) for decision in map(CATEGORIZER.decide, prompts)]
    assert CATEGORIZER.decide_many([fold(prompt) for prompt in prompts]) == alone


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("검은 승용차", "urban"),
        ("검은 커튼 앞의 꽃병", "other"),
        ("갈색 개 두 마리", "nature"),
        ("개 다섯 마리가 뛴다", "nature"),
        ("양 세 마리가 서 있다", "nature"),
        ("사과 세 개", "other"),
        ("검을 휘두르는 무사", "action"),
        ("一匹马在草地上", "nature"),
        ("一辆黑色的汽车", "urban"),
    ],
)
def test_homographs(prompt: str, category: str) -> None:
    assert CATEGORIZER.decide(prompt).category == category


@pytest.mark.parametrize(
    ("people", "animals"),
    [
        ("a girl runs along the beach", "a dog runs along the beach"),
        ("a man jumps over a hurdle", "a horse jumps over a hurdle"),
        ("한 소녀가 해변을 달리고 있다", "한 마리 개가 해변을 달리고 있다"),
        ("一个男孩在沙滩上奔跑", "一只狗在沙滩上奔跑"),
    ],
)
def test_what_moves_are_people_or_animals(people: str, animals: str) -> None:
    assert CATEGORIZER.decide(people).category == "action"
    assert CATEGORIZER.decide(animals).category == "nature"


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("a man fills a form beside the lake", "other"),
        ("a man stands beside the lake", "nature"),
        ("a woman counts letters in the village", "other"),
        ("a woman walks through the village", "urban"),
        ("a person swims in the lake, a dolphin jumps nearby", "action"),
        ("a dolphin jumps nearby, a person swims in the lake", "nature"),
        ("a girl feeding a deer", "other"),
        ("a boy and a deer", "nature"),
    ],
)
def test_what_people_do_comes_before_the_place(prompt: str, category: str) -> None:
    assert CATEGORIZER.decide(prompt).category == category


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("a yellow car", "other"),
        ("a yellow car in a street", "urban"),
        ("a red block beside a blue pyramid", "other"),
        ("a boy rides a bike in a street", "action"),
        ("有一个男孩在街上骑自行车", "action"),
        ("한 소년이 거리에서 자전거를 타고 있다", "action"),
        ("a man holding a basketball jersey", "other"),
    ],
)
def test_things_and_what_is_done_with_them(prompt: str, category: str) -> None:
    assert CATEGORIZER.decide(prompt).category == category


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("a cube made of lava", "other"),
        ("a black soccer hat", "other"),
        ("a vase with a painting of foxes", "other"),
        ("a close-up of a fox in a museum", "nature"),
        ("a pan across a museum, revealing a painting", "other"),
        ("an ox wearing a crown", "nature"),
    ],
)
def test_the_subject_comes_before_what_it_is_made_of_or_has(prompt: str, category: str) -> None:
    assert CATEGORIZER.decide(prompt).category == category


def test_without_categories_of_people_it_does_not_matter_who_moves() -> None:
    rules = replace(packaged_rules(), of_people=frozenset())
    assert Categorizer(rules).decide("a girl runs through a forest").category == "nature"
    assert CATEGORIZER.decide("a girl runs through a forest").category == "action"
    plain = Categorizer(replace(packaged_rules(), of_places=frozenset()))
    assert plain.decide("a man fills a form beside the lake").category == "nature"


@pytest.mark.parametrize("prompt", ["검", "차", "a bat", "a court"])
def test_a_lone_ambiguous_word_decides_with_little_confidence(prompt: str) -> None:
    assert CATEGORIZER.decide(prompt).confidence < 0.5


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("A video in the style of qqvv animation. A tram crosses a wide avenue.", "urban"),
        ("3D animated cartoon style. A herd of deer drinks from a mountain lake.", "nature"),
        ("Sunrise time, soft lighting, aerial shot, wide shot. A potter shapes a bowl.", "other"),
        ("日落时间，柔和光线，航拍镜头，一位陶艺师在作坊里", "other"),  # noqa: RUF001
        ("수묵화 스타일, 도시의 거리", "urban"),
        ("qqvv_dancer, a bowl of soup on a table", "other"),
        ("a neon_sign in the rain", "urban"),
    ],
)
def test_how_it_is_filmed_and_names_decide_nothing(prompt: str, category: str) -> None:
    assert CATEGORIZER.decide(prompt).category == category


def test_a_word_of_no_language_counts_once() -> None:
    assert CATEGORIZER.decide("a 3d cat").reason == "nature: cat; other: 3d"


@given(st.text())
def test_any_text_is_decided(text: str) -> None:
    decision = CATEGORIZER.decide(text)
    assert decision.category in CATEGORIZER.rules.names
    assert 0 <= decision.confidence <= 1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("A city", "en"),
        ("ein Café am Fluß", "en"),
        ("서울의 거리 4K cinematic", "ko"),
        ("城市の夜景, cinematic lighting in the rain", "en"),
        ("雨夜的上海の外滩霓虹灯", "zh"),
        ("東京の夜、ネオンが光る", "ja"),
        ("123 !?", "und"),
        ("", "und"),
        ("улица", "und"),
        ("🏙️🌃", "und"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert LANGUAGES[languages_of([fold(text)])[0]] == language


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_the_language_of_a_text_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    folded = [fold(text) for text in texts]
    assert list(languages_of(folded)) == [languages_of([text])[0] for text in folded]


def test_the_captions_are_what_their_note_says() -> None:
    assert len(ROWS) >= 330
    assert len({row["prompt"] for row in ROWS}) == len(ROWS)
    per_language = Counter(row["language"] for row in ROWS)
    assert set(per_language) == {"en", "ko", "zh"}
    assert min(per_language.values()) >= 110
    per_label = Counter((row["language"], row["label"]) for row in ROWS)
    assert len(per_label) == 12
    assert min(per_label.values()) >= 25
    for row in ROWS:
        number = int.from_bytes(hashlib.sha256(row["prompt"].encode()).digest()[:8], "big")
        assert row["split"] == ("dev" if number % 3 else "held_out")


@pytest.mark.parametrize("split", ["dev", "held_out"])
def test_nine_of_ten_captions_are_decided_as_people_would(split: str) -> None:
    rows = [row for row in ROWS if row["split"] == split]
    said = [CATEGORIZER.decide(row["prompt"]) for row in rows]
    right = Counter(
        row["language"] for row, decision in zip(rows, said, strict=True) if decision.category == row["label"]
    )
    of = Counter(row["language"] for row in rows)
    assert sum(right.values()) / len(rows) >= 0.9
    assert all(right[language] / of[language] >= 0.9 for language in of)
    languages = [row["language"] for row, decision in zip(rows, said, strict=True)]
    assert [decision.language for decision in said] == languages


@pytest.mark.parametrize("page", ["tests/data/captions.md", "docs/training-data.md"])
def test_the_tables_of_the_pages_are_what_the_lists_say(page: str) -> None:
    lines = (CAPTIONS.parents[2] / page).read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    names = CATEGORIZER.rules.names
    head = next(place for place, row in enumerate(table) if row[1:] == list(names))
    printed = {row[0]: [int(cell) for cell in row[1:]] for row in table[head + 2 :][: len(names)]}
    held_out = [row for row in ROWS if row["split"] == "held_out"]
    said = Counter((row["label"], CATEGORIZER.decide(row["prompt"]).category) for row in held_out)
    assert printed == {label: [said[label, name] for name in names] for label in names}
    for place, split in enumerate(("dev", "held_out"), start=1):
        of = [row for row in ROWS if row["split"] == split]
        right = [row for row in of if CATEGORIZER.decide(row["prompt"]).category == row["label"]]
        start = next(number for number, row in enumerate(table) if row[1:] == ["right", "en", "ko", "zh"])
        per_language = [
            f"{sum(row['language'] == language for row in right)} of "
            f"{sum(row['language'] == language for row in of)}"
            for language in ("en", "ko", "zh")
        ]
        assert table[start + 1 + place][1].startswith(f"{len(right)} of {len(of)}")
        assert table[start + 1 + place][2:] == per_language


def test_every_row_has_its_category_reason_and_confidence(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", ["A tram in the fog", "", "lorem ipsum"])
    with Metadata(path) as metadata:
        first, second, third = decisions(metadata, packaged_rules())
    assert first == {
        "line": 2,
        "video": "clips/0.mp4",
        "prompt": "A tram in the fog",
        "category": "urban",
        "decided_by": "words",
        "confidence": 0.892,
        "language": "en",
        "reason": "urban: tram; nature: fog",
    }
    assert (second["category"], second["decided_by"], second["reason"]) == ("other", "nothing", "no prompt")
    assert (third["decided_by"], third["confidence"]) == ("nothing", 0.635)
    assert list(first)[3:] == list(COLUMNS)


def test_similarity_gives_its_own_reason(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.json", ["lorem ipsum", "a tram", ""])
    nearest = Nearest()
    with Metadata(path) as metadata:
        first, second, third = decisions(metadata, packaged_rules(), nearest)
    assert nearest.asked == ["lorem ipsum"]
    assert (first["category"], first["decided_by"], first["record"]) == ("urban", "similarity", 1)
    assert first["reason"].startswith("nearest to 'a city: streets")
    assert second["decided_by"] == "words"
    assert third["decided_by"] == "nothing"


def test_more_rows_than_a_chunk(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.jsonl", prompts(urban=300, nature=300))
    with Metadata(path) as metadata:
        said = [row["category"] for row in decisions(metadata, packaged_rules())]
    assert said == ["urban"] * 300 + ["nature"] * 300
