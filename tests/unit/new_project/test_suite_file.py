"""The text of a new suite: what it says, and that nothing else of the packaged one changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora import suite as suites
from pytest_wanlora.errors import SettingsError, SuiteError
from pytest_wanlora.new_project import first_frames, scenarios, suite_file
from pytest_wanlora.new_project.scenarios import NewScenario

STREET = NewScenario("street", "urban", "a street in Seoul at night")
LONG = NewScenario("long", "old town", "one: two # three, " * 20 + "비", "a street")


def framed(model: str, *given: NewScenario) -> list[NewScenario]:
    """Scenarios with the first frames that a model needs."""
    suite = suites.load(model)
    if not first_frames.are_needed(suite):
        return list(given)
    pairs = [text.split("=") for text in first_frames.examples(given, suite)[1::2]]
    return first_frames.with_first_frames(given, dict(pairs), suite, Path("/gate"))


def made(model: str, *given: NewScenario, name: str = "mine", folder: Path = Path("/gate")) -> suites.Suite:
    text = suite_file.compose(model, name, framed(model, *given))
    return suite_file.load_text(text, folder / "suites" / f"{name}.yaml", baselines=folder / "baselines")


@pytest.mark.parametrize("model", sorted(suites.packaged()))
class TestCompose:
    def test_all_but_name_scenarios_and_reference_set_is_the_packaged_suites(self, model: str) -> None:
        new, packaged = made(model, STREET, LONG), suites.load(model)
        other = {"name", "scenarios", "scoring"}
        assert new.model_dump(exclude=other) == packaged.model_dump(exclude=other)
        reference = {"reference", "reference_sha256"}
        assert new.scoring.model_dump(exclude=reference) == packaged.scoring.model_dump(exclude=reference)
        assert new.name == "mine"
        assert new.scoring.reference == "/gate/baselines/mine/reference.safetensors"
        assert new.scoring.reference_sha256 == ""

    def test_the_scenarios_are_the_given_ones(self, model: str) -> None:
        found = made(model, STREET, LONG).scenarios
        assert [(each.id, each.category, each.prompt, each.caption) for each in found] == [
            (STREET.id, STREET.category, STREET.prompt, None),
            (LONG.id, LONG.category, scenarios.plain(LONG.prompt), LONG.caption),
        ]

    def test_comments_stay_and_lines_can_be_read(self, model: str) -> None:
        text = suite_file.compose(model, "mine", framed(model, STREET, LONG))
        packaged = suites.packaged()[model].read_text(encoding="utf-8")
        comments = [
            line for line in packaged.partition("\nscenarios:")[0].splitlines() if line.startswith("#")
        ]
        assert len(comments) > 3
        assert [line for line in comments if line not in text.splitlines()] == []
        # the name of a file of the hub cannot be broken
        assert max(len(line) for line in text.splitlines() if ": hub:" not in line) <= 120
        assert text.endswith("\n")

    def test_only_the_reference_set_is_missing(self, model: str) -> None:
        new = made(model, STREET)
        suites.check_digests(new, skip=["scoring.reference"])
        with pytest.raises(SuiteError) as caught:
            suites.check_digests(new)
        assert caught.value.message.count("\n") == 0
        assert "scoring.reference" in caught.value.message


def test_a_suite_that_is_refused_names_where_it_would_be() -> None:
    with pytest.raises(SettingsError, match="nothing was written") as caught:
        made("tiny", NewScenario("each", "urban", "x"))
    assert "/gate/suites/mine.yaml:" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=160), min_size=1, max_size=3), st.text(min_size=1, max_size=20))
def test_every_text_that_is_allowed_comes_back(texts: list[str], category: str) -> None:
    clip = suites.load("tiny").scoring.clip
    given_ = [
        NewScenario(f"s{number}", category.strip(), scenarios.plain(text), "a street")
        for number, text in enumerate(texts)
    ]
    if scenarios.check(given_, clip):
        return
    found = made("tiny", *given_).scenarios
    assert [(each.category, each.prompt) for each in found] == [
        (each.category, each.prompt) for each in given_
    ]


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "True",
        "1e3",
        "~",
        "0x10",
        "no",
        "- a",
        "a: b",
        "a # b",
        "'",
        '"',
        "#a",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a",
        "?",
        "{a}",
        "[a]",
        "|",
        ">",
        "a\\b",
        ".inf",
        "22:30",
    ],
)
def test_texts_that_mean_something_in_yaml_stay_texts(text: str) -> None:
    (found,) = made("tiny", NewScenario("a", "urban", text, f"caption {text}")).scenarios
    assert (found.prompt, found.caption) == (text, f"caption {text}")
