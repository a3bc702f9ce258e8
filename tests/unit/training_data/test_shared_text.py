from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.training_data.categories import Categorizer
from pytest_wanlora.training_data.rules import fold, packaged_rules
from pytest_wanlora.training_data.shared_text import SharedText, find
from tests.unit.training_data.sets import CAPTIONS, prompts, survey, write_prompts
from tests.unit.training_data.test_categories import CATEGORIZER, ROWS

TEXTS = [row["prompt"] for row in ROWS]


def shared(texts: list[str], *triggers: str) -> SharedText:
    return find([fold(text) for text in texts], says_something=CATEGORIZER.knows, triggers=triggers)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("3D animated cartoon style. {}", "3d animated cartoon style"),
        ("qqvv_dancer, {}", "qqvv_dancer"),
        ("a city at night in the rain with neon signs: {}", "a city at night in the rain with neon signs"),
        (
            "{}, in the style of a mountain landscape painting",
            "in the style of a mountain landscape painting",
        ),
        ("水墨画风格，{}", "水 墨 画 风 格"),  # noqa: RUF001
        ("춤추는 사람 그림체, {}", "춤추는 사람 그림체"),
    ],
)
def test_a_constant_header_changes_no_decision_of_the_captions(header: str, told: str) -> None:
    texts = [header.format(text) for text in TEXTS]
    found = shared(texts)
    assert found.shares == {told: 1.0}
    plain, ours = Categorizer(packaged_rules()), Categorizer(packaged_rules(), found)
    changed = [
        text
        for text, whole in zip(TEXTS, texts, strict=True)
        if plain.decide(text).category != ours.decide(whole).category
    ]
    # languages are told by the whole text, which may change what CLIP is asked about
    assert len(changed) <= 0.03 * len(TEXTS)


def test_what_nine_of_ten_share_is_left_out_of_those_and_told() -> None:
    texts = [f"qqvv, {text}" if place % 20 else text for place, text in enumerate(TEXTS)]
    found = shared(texts)
    assert found.notes == ("ignored in 95% of rows: 'qqvv'",)
    assert found.without("qqvv, a tram") == "a tram"
    assert found.without("a tram, qqvv") == "a tram, qqvv"


def test_a_word_of_the_lists_that_nearly_every_prompt_has_is_left_out() -> None:
    texts = [f"{text[:12]} dancer {text[12:]}" for text in TEXTS]
    assert shared(texts).shares == {"dancer": 1.0}


def test_a_trigger_is_left_out_wherever_it_stands() -> None:
    found = shared(["a tram", "a sks dancer in a city", "a lake"], "sks dancer")
    assert found.without("a sks dancer in a city") == "a   in a city"
    assert found.notes == ("ignored in 33% of rows: 'sks dancer'",)


@pytest.mark.parametrize(
    "texts", [[], ["a tram"], ["a tram", "a lake"], ["a tram at night", "a tram at day"], TEXTS]
)
def test_what_differs_is_not_shared(texts: list[str]) -> None:
    assert shared(texts).shares == {}


def test_of_few_prompts_whole_clauses_count() -> None:
    found = shared(["qqvv, ink drawing, wide lens, a teapot", "qqvv, ink drawing, wide lens, a tiger"])
    assert found.without("qqvv, ink drawing, wide lens, a tiger") == "a tiger"
    assert shared(["an old man mends a net", "an old man mends a net, 4k, cinematic"]).shares == {}


@given(st.lists(st.text(max_size=20), max_size=30))
def test_a_prompt_with_a_letter_keeps_one(texts: list[str]) -> None:
    found = shared(texts)
    for text in map(fold, texts):
        left = found.without(text)
        assert left in text
        assert any(each.isalpha() for each in left) or left == text


def test_a_subject_that_all_prompts_share_is_no_header(tmp_path: Path) -> None:
    found = survey(write_prompts(tmp_path / "m.csv", prompts(urban=40)))
    assert found.counts()["urban"] == 40
    assert found.shared.shares == {}


def test_a_survey_of_prompts_with_a_header_says_so(tmp_path: Path) -> None:
    texts = [f"qqvv_dancer, {text}" for text in TEXTS]
    found = survey(write_prompts(tmp_path / "m.csv", texts))
    assert "ignored in 100% of rows: 'qqvv_dancer'" in found.notes
    assert found.counts() == survey(CAPTIONS).counts()
