from __future__ import annotations

import re
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
        template.model_copy(update={"id": name, "category": name}) for name in ("space", "cloth", "nature")
    )
    rules = of_suite(suite.model_copy(update={"scenarios": more}))
    assert rules.names == ("space", "cloth", "nature", "other")
    assert rules.decidable == {"space", "nature", "other"}


def test_a_file_may_replace_the_packaged_lists_and_say_the_order(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("replace: true\norder: [b, a]\ncategories: {a: {en: [tram]}, b: {en: [lake]}}\n")
    rules = from_file(path)
    assert (rules.names, rules.order) == (("b", "a", "other"), ("b", "a", "other"))
    decide = Categorizer(rules).decide
    assert decide("a tram at a lake").category == "b"
    assert decide("a skyscraper").means == "nothing"
    path.write_text("order: [nature, urban]\n")
    assert from_file(path).names == ("nature", "urban", "action", "other")
    assert Categorizer(from_file(path)).decide("a volcano and a skyline").category == "nature"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("order: [animal]", "order: there is no category 'animal'; there are action"),
        ("order: urban", "order: 'urban' is not a list"),
        ("order: [urban, urban]", "each named once"),
        ("of_people: [animal]", "of_people: there is no category 'animal'; there are action"),
        ("of_places: [animal]", "of_places: there is no category 'animal'; there are action"),
        (
            "{replace: true, of_places: [a], categories: {a: {en: [x]}}}",
            "of_places: says nothing without of_people",
        ),
        ("replace: 1", "replace: 1; allowed: true, false"),
        ("replace: true", "categories: missing"),
        ("categories: {a: {word: {en: [x]}}}", "unknown language 'word'"),
    ],
)
def test_what_a_file_says_wrong_of_order_and_replacing_is_refused(
    tmp_path: Path, text: str, word: str
) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(word)):
        from_file(path)


@pytest.mark.parametrize(
    ("prompt", "category"),
    [
        ("a young woman in a forest", "people"),
        ("두 남자가 걷는다", "people"),
        ("一只猫在沙发上", "animals"),
        ("a plate of spaghetti", "food"),
        ("밤거리의 승용차", "vehicles"),
        ("a cozy living room with a fireplace", "rooms"),
        ("几何图案的动态图形", "graphics"),
        ("a waterfall", "other"),
    ],
)
def test_the_lists_of_subjects(prompt: str, category: str) -> None:
    assert Categorizer(from_file(Path("subjects"))).decide(prompt).category == category


def test_a_suite_that_names_a_subject_takes_its_words() -> None:
    suite = load("tiny")
    more = suite.scenarios[0].model_copy(update={"id": "f", "category": "food"})
    rules = of_suite(suite.model_copy(update={"scenarios": (*suite.scenarios, more)}))
    assert "food" in rules.decidable
    decide = Categorizer(rules).decide
    assert decide("a bowl of ramen").category == "food"
    assert decide("a neon street").category == "urban"
