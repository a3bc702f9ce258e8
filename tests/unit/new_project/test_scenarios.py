"""Prompts from options and files, and what is refused of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_wanlora import suite as suites
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.new_project import scenarios
from pytest_wanlora.new_project.scenarios import NewScenario

BIG = suites.load("wan2.2-ti2v-5b").scoring.clip
TINY = suites.load("tiny").scoring.clip
STREET = NewScenario("street", "urban", "a street in Seoul at night")


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("street=urban: a street", NewScenario("street", "urban", "a street")),
            (" street = urban :  a \n street ", NewScenario("street", "urban", "a street")),
            ("t1=한옥: a: b = c", NewScenario("t1", "한옥", "a: b = c")),
            ("t1=old town: x", NewScenario("t1", "old town", "x")),
        ],
    )
    def test_a_prompt(self, text: str, expected: NewScenario) -> None:
        assert scenarios.parse_prompt(text) == expected

    @pytest.mark.parametrize("text", ["", "a street at night", "street=a street at night", "urban: a street"])
    def test_another_form_is_refused_with_the_form(self, text: str) -> None:
        with pytest.raises(SettingsError, match="allowed: 'ID=CATEGORY: TEXT'") as caught:
            scenarios.parse_prompt(text)
        words = str(caught.value.next_command).removeprefix("--prompt ").strip("'")
        assert scenarios.parse_prompt(words).category == "urban"

    def test_a_caption_may_hold_any_sign(self) -> None:
        assert scenarios.parse_caption("street=a man: he = runs") == ("street", "a man: he = runs")
        with pytest.raises(SettingsError, match="allowed: 'ID=TEXT'"):
            scenarios.parse_caption("a street")

    def test_captions_find_their_scenario(self) -> None:
        (found,) = scenarios.with_captions([STREET], [("street", "night")])
        assert found.caption == "night"
        with pytest.raises(SettingsError, match="'road' is no scenario; allowed: street"):
            scenarios.with_captions([STREET], [("road", "night")])
        with pytest.raises(SettingsError, match="'street' has two"):
            scenarios.with_captions([STREET], [("street", "night"), ("street", "day")])


class TestFile:
    def test_a_list_as_in_a_suite(self, tmp_path: Path) -> None:
        path = tmp_path / "prompts.yaml"
        path.write_text(
            "scenarios:\n- id: a\n  category: urban\n  prompt: >-\n    two\n    lines\n"
            "- {id: b, category: rain, prompt: 비, caption: rain}\n",
            encoding="utf-8",
        )
        assert scenarios.read_file(path) == [
            NewScenario("a", "urban", "two lines"),
            NewScenario("b", "rain", "비", "rain"),
        ]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "empty"),
            ("- a\n", "not a mapping"),
            ("prompts: []\n", "scenarios is nothing"),
            ("scenarios: []\n", "scenarios is a list of 0"),
            ("scenarios: [street]\n", r"prompts.yaml:1: scenarios\[0\]: 'street'; allowed: a mapping"),
            ("scenarios:\n- {id: a, category: b, promt: c}\n", r":2: scenarios\[0\]: unknown key 'promt'"),
            ("scenarios:\n- {id: a, category: b}\n", "prompt is nothing"),
            ("scenarios:\n- {id: 7, category: b, prompt: c}\n", "id is 7; allowed: text"),
            ("scenarios:\n- {id: a, id: b, category: b, prompt: c}\n", "written twice"),
        ],
    )
    def test_anything_else_is_refused_with_its_place(self, tmp_path: Path, text: str, words: str) -> None:
        path = tmp_path / "prompts.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=words) as caught:
            scenarios.read_file(path)
        assert all(line.startswith("--prompts: ") for line in caught.value.message.splitlines())

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="no such file"):
            scenarios.read_file(tmp_path / "prompts.yaml")


LONG = "a runner " * 26
MANY_TOKENS = "anticonstitutionnellement " * 14


class TestCheck:
    def test_a_short_english_prompt_is_its_own_caption(self) -> None:
        assert scenarios.check([STREET], BIG) == []

    @pytest.mark.parametrize(
        ("scenario", "words"),
        [
            (NewScenario("", "urban", "x"), "this id is not allowed"),
            (NewScenario("-a", "urban", "x"), "this id is not allowed"),
            (NewScenario("a" * 65, "urban", "x"), "this id is not allowed"),
            (NewScenario("each", "urban", "x"), "this id is not allowed; .*and not 'all' or 'each'"),
            (NewScenario("a", "", "x"), "category '' is not allowed"),
            (NewScenario("a", "all", "x"), "category 'all' is not allowed; .*and not 'all'"),
            (NewScenario("a", "../up", "x"), "category '../up' is not allowed"),
            (NewScenario("a", ".hidden", "x"), "category '.hidden' is not allowed"),
            (NewScenario("a", "urban", ""), "the prompt is empty"),
            (NewScenario("a", "urban", "x", ""), "the caption is empty"),
            (NewScenario("a", "urban", "bell \a"), r"the character '\\x07'"),
            (NewScenario("a", "urban", "half \udcff"), r"the character '\\udcff'"),
            (
                NewScenario("a", "urban", "비 내리는 숲"),
                "has the letter '비', not a Latin one, so CLIP needs a caption",
            ),
            (
                NewScenario("a", "urban", LONG),
                "has 52 words and CLIP reads about 50, so CLIP needs a caption",
            ),
            (NewScenario("a", "urban", MANY_TOKENS), "tokens and CLIP reads 75.*so CLIP needs a caption"),
            (NewScenario("a", "urban", "비", "빗속의 숲"), "the caption '빗속의 숲' has the letter '빗'"),
            (NewScenario("a", "urban", "비", LONG), "the caption .* has 52 words"),
        ],
    )
    def test_what_is_wrong_is_named(self, scenario: NewScenario, words: str) -> None:
        (problem,) = scenarios.check([scenario], BIG)
        assert re.search(words, problem), problem
        assert "allowed: " in problem

    def test_tokens_are_those_of_the_suites_own_clip(self) -> None:
        text = "a cherry tree with pink blossoms at day, many petals falling to the left " * 2
        assert scenarios.check([NewScenario("a", "nature", text.strip())], BIG) == []
        (problem,) = scenarios.check([NewScenario("a", "nature", text.strip())], TINY)
        assert "tokens and CLIP reads 110" in problem

    def test_ids_differ_in_more_than_case(self) -> None:
        other = NewScenario("Street", "urban", "a road")
        (problem,) = scenarios.check([STREET, other], BIG)
        assert "2 scenarios have it" in problem

    def test_only_what_a_caption_can_mend_lacks_one(self) -> None:
        assert scenarios.lacks_caption(NewScenario("a", "b", "비"), BIG)
        assert not scenarios.lacks_caption(STREET, BIG)
        assert not scenarios.lacks_caption(NewScenario("a b", "b", "비"), BIG)


class TestTrigger:
    def test_it_stands_in_the_prompt_and_not_in_the_caption(self) -> None:
        found = STREET.with_trigger("ohwx style")
        assert found.prompt == "ohwx style, a street in Seoul at night"
        assert found.caption == "a street in Seoul at night"

    def test_a_prompt_that_has_it_stays_as_it_is(self) -> None:
        given = NewScenario("a", "b", "a street in OHWX style")
        assert given.with_trigger("ohwx style") is given
