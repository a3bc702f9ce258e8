from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora.errors import DataError
from pytest_wanlora.suite import load
from pytest_wanlora.training_data.categories import Categorizer
from pytest_wanlora.training_data.rules import extended, from_file, of_suite, packaged_rules


def test_the_packaged_rules_have_four_categories_in_three_languages() -> None:
    rules = packaged_rules()
    assert rules.names == ("action", "urban", "nature", "other")
    assert rules.order == rules.names
    assert set(rules.words) == {"en", "ko", "zh"}
    assert all(rules.descriptions[name] != name for name in rules.names)


def test_a_suite_adds_moves_and_drops_words() -> None:
    rules = extended(
        packaged_rules(),
        {"nature": {"en": ("skyline", "quux=3"), "ko": ("콘크리트",)}, "urban": {"en": ("tram=0",)}},
        names=["urban", "nature", "action"],
    )
    words = rules.words["en"]
    assert [words["skyline"], words["quux"]] == [("nature", 10), ("nature", 3)]
    assert "tram" not in rules.words["en"]
    assert rules.names == ("action", "urban", "nature", "other")
    decide = Categorizer(rules).decide
    assert decide("a skyline").category == "nature"
    assert decide("콘크리트").category == "nature"
    assert decide("a tram").reason == "no word of the lists"


def test_categories_that_a_suite_does_not_have_count_as_other() -> None:
    rules = extended(packaged_rules(), {}, names=["urban"])
    assert rules.names == ("urban", "other")
    decide = Categorizer(rules).decide
    assert decide("a ballerina in a city street").category == "other"
    assert decide("a city street").category == "urban"


def test_a_suite_brings_its_own_category() -> None:
    rules = extended(
        packaged_rules(), {"food": {"en": ("pancake", "ramen")}, "neutral": {"en": ("city of angels",)}}
    )
    assert rules.names == ("food", "other")
    assert rules.descriptions["food"] == "food"
    decide = Categorizer(rules).decide
    assert decide("pancakes and ramen").category == "food"
    assert decide("city of angels").means == "nothing"


def test_a_file_adds_words_weights_descriptions_and_neutral_ones(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(
        "neutral: {ko: [도시농부]}\n"
        "categories:\n  space:\n    description: stars and planets\n"
        "    words: {en: {30: [galaxy], 1: [dark]}}\n",
        encoding="utf-8",
    )
    rules = from_file(path)
    assert rules.names == ("space", "action", "urban", "nature", "other")
    assert rules.descriptions["space"] == "stars and planets"
    assert [rules.words["en"]["galaxy"], rules.words["ko"]["도시농부"]] == [("space", 30), (None, 10)]


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        ({"urban": ["city"]}, ["categories.urban", "not a mapping"]),
        ({"urban": {"fr": ["ville"]}}, ["unknown language 'fr'", "en, ko, zh"]),
        ({"urban": {"en": "city"}}, ["categories.urban.en", "not a list"]),
        ({"urban": {"en": [True]}}, ["True is not a text", "quote it"]),
        ({"urban": {"en": {"much": ["city"]}}}, ["weight 'much'"]),
        ({"urban": {"en": {-1: ["city"]}}}, ["weight -1", "0 to 1000"]),
        ({"urban": {"en": {True: ["city"]}}}, ["weight True"]),
        ({"urban": {"en": ["city=x"]}}, ["'city=x'", "weight after `=`"]),
        ({"urban": {"en": ["city=-3"]}}, ["weight after `=`"]),
        ({"urban": {"en": [" "]}}, ["not a word"]),
        ({"urban": {"en": ["*"]}}, ["not a word"]),
        ({"urban": {"en": ["c*ty"]}}, ["at the end"]),
        ({"urban": {"ko": ["도" * 61]}}, ["1 to 60"]),
        ({"urban": {"description": 3, "words": {}}}, ["description", "not a text"]),
    ],
)
def test_bad_words_are_refused(categories: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        extended(packaged_rules(), categories)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [", "not YAML"),
        ("- x", "not a mapping"),
        ("words: {}", "unknown key 'words'"),
        ("categories: 3", "not a mapping"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=word) as raised:
        from_file(path)
    assert "categories: {" in str(raised.value.next_command)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        from_file(tmp_path / "none.yaml")


def test_a_category_without_words_cannot_be_found_in_a_prompt() -> None:
    suite = load("tiny").model_copy(update={"categories": {"space": {"en": ("rocket",)}}})
    template = suite.scenarios[0]
    more = tuple(
        template.model_copy(update={"id": name, "category": name}) for name in ("space", "food", "nature")
    )
    rules = of_suite(suite.model_copy(update={"scenarios": more}))
    assert rules.names == ("space", "food", "nature", "other")
    assert rules.decidable == {"space", "nature", "other"}
