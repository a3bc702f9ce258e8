from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora.errors import DataError
from pytest_wanlora.suite import load
from pytest_wanlora.training_data.categories import Categorizer
from pytest_wanlora.training_data.rules import extended, from_file, of_suite, packaged_rules, with_subjects


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


@pytest.mark.parametrize(
    ("categories", "prompt", "reason"),
    [
        # a packaged word that cuts across, ends in, or is around an own word
        ({"panda": {"zh": ["熊猫"]}}, "一只熊猫", "panda: 熊猫"),
        ({"panda": {"zh": ["猫熊"]}}, "猫熊猫", "nature: 猫; panda: 猫熊"),
        ({"dog": {"zh": ["狗"]}}, "小狗", "dog: 狗"),
        ({"cat": {"ko": ["고양이"]}}, "길고양이", "cat: 고양이"),
        ({"kit": {"en": ["kitten"]}}, "two kittens", "kit: kitten"),
        ({"sled": {"en": ["sled"]}}, "a sled dog", "nature: dog; sled: sled"),
        # but not one that means something else, and not a longer own one
        ({"horse": {"zh": ["马"]}}, "马路", "urban: 马路"),
        ({"dog": {"en": ["dog"]}}, "a dog house", "no word of the lists"),
        ({"dog": {"en": ["dog", "big dog"]}}, "a big dog", "dog: big dog"),
        ({"neutral": {"en": ["oak city"]}, "urban": {}}, "oak city center", "no word of the lists"),
        # that there are animals, and not which
        ({"cat": {"ko": ["고양이"]}}, "고양이 두 마리", "cat: 고양이"),
        ({"cat": {"en": ["tabby"]}}, "a herd of tabbies", "cat: tabby"),
        ({"cat": {"ko": ["고양이"]}}, "두 마리", "nature: 두 마리"),
    ],
)
def test_own_words_win_against_the_packaged_ones(
    categories: dict[str, Any], prompt: str, reason: str
) -> None:
    names = [*categories, *packaged_rules().names]
    rules = extended(packaged_rules(), categories, names=[name for name in names if name != "neutral"])
    assert Categorizer(rules).decide(prompt).reason == reason


def test_the_subjects_of_a_suite_take_no_word_of_a_file() -> None:
    rules = with_subjects(extended(packaged_rules(), {"fruit": {"en": ["apple"]}}), ["food"])
    assert [rules.words["en"][word][0] for word in ("apple", "banana")] == ["fruit", "food"]


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
        ("", "words.yaml: it is empty; allowed: categories, neutral, of_people"),
        ("words: {}", "unknown key 'words'"),
        ("{1: {}, b: {}}", "unknown key 1"),
        ("categories: 3", "3 is not a mapping; allowed: words by category"),
        ("categories:", "categories: it is empty; allowed: words by category"),
        ("categories: {space: }", r"\.space: it is empty; allowed: words by language \(en, ko, zh\)"),
        ("categories: {on: {en: [x]}}", "the category True is not a text; quote it"),
        ("categories:\n  a: {en: [x]}\n  a: {en: [y]}", "line 3: not YAML: the key 'a' is written twice"),
        ("categories: {a: {en: [x]}, b: {en: [x]}}", "b.en: 'x' is in .*a.en too; allowed: each word in one"),
        *(
            (
                f"categories: {{a: {{en: {words}}}}}",
                rf"words\.yaml\.a\.en: '{entry}': 'x y' is in it twice; all",
            )
            for words, entry in (
                ("[x y, x y]", "x y"),
                ("[x y, X-Y]", "X-Y"),
                ("[x y=1, x y=900]", "x y=900"),
                ("[x y, x y?]", r"x y\?"),
                ("{1: [x y], 2: [x  y]}", "x  y"),
            )
        ),
        *(
            (f"categories: {{{names}}}", f"words.yaml: the category '{name}' differs from '{other}' in upper")
            for names, name, other in (
                ("Urban: {en: [x]}", "Urban", "urban"),
                ("' urban': {en: [x]}", " urban", "urban"),
                ("OTHER: {en: [x]}", "OTHER", "other"),
                ("Neutral: {en: [x]}", "Neutral", "neutral"),
                ("a: {en: [x]}, A: {en: [y]}", "A", "a"),
            )
        ),
        ("{neutral: {en: [x]}, categories: {neutral: {en: [y]}}}", "neutral: it stands in categories too"),
        ("categories: {a: {en: [2024-13-45]}}", "not YAML: month must be in 1..12"),
        ("\0", "not YAML: "),
        ("[" * 3000, "line 1: not YAML: exceeded maximum nesting depth"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=word) as raised:
        from_file(path)
    assert "such as categories: {" in raised.value.message
    assert raised.value.next_command == f"cat {path}"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml: the word lists cannot be read: No such file or dir"):
        from_file(tmp_path / "none.yaml")
    (tmp_path / "old.yaml").write_bytes("neutral:\n  zh: [熊猫]".encode("gb18030"))
    with pytest.raises(DataError, match=r"old\.yaml is not UTF-8: byte 0xd0 at offset \d+, line 2"):
        from_file(tmp_path / "old.yaml")


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
            "of_places: ['a'] says nothing without of_people; allowed: of_people beside it",
        ),
        ("of_places: [urban]", "of_places: ['urban'] says nothing without of_people"),
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
        ("一块牛肉", "food"),
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
