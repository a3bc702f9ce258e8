"""The words of both languages: nothing is missing, and both say the same with the same fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any, get_args

import pytest

from pytest_wanlora.phrases import LANGUAGES, Language, Phrase
from pytest_wanlora.reports import i18n
from pytest_wanlora.reports.next_steps import StepKey
from pytest_wanlora.reports.race import CAUSES, RACE
from pytest_wanlora.reports.summary import OutcomeKind
from pytest_wanlora.reports.trend import BestReason, Direction
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.reports.words_steps import STEPS
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.judgement import PytestOutcome, Verdict
from pytest_wanlora.verdict.race import Objective
from tests.unit.reports.markdown_reading import parse

TABLES: dict[str, Mapping[Any, Phrase]] = {
    "verdict": i18n.VERDICTS,
    "outcome": i18n.OUTCOMES,
    "run outcome": i18n.RUN_OUTCOMES,
    "test": i18n.TESTS,
    "direction": i18n.DIRECTIONS,
    "best": i18n.BEST,
    "step": STEPS,
    "race": RACE,
    "cause": CAUSES,
    "objective": i18n.OBJECTIVES,
}
PHRASES: dict[str, Phrase] = {
    **{f"page {key}": page.value for key, page in Page.__members__.items()},
    **{f"html {key}": page.value for key, page in Html.__members__.items()},
    **{f"{table} {key}": phrase for table, of in TABLES.items() for key, phrase in of.items()},
}
#: What reads the same in Korean: signs, fields alone, terms that Korean engineers write in English.
SAME = {
    "page NONE",
    "page POINTS",
    "page P_VALUE",
    "page SIZE_OF",
    "page WHERE",
    "page SUSPICION_LOSS",
}


def fields(text: str) -> list[tuple[str, str]]:
    found = {(name, spec or "") for _, name, spec, _ in Formatter().parse(text) if name is not None}
    # the ending of a plural, which Korean has none of
    return sorted((name, spec) for name, spec in found if spec != "s")


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        (i18n.VERDICTS, set(Verdict)),
        (i18n.MARKS, set(Verdict)),
        (i18n.OUTCOMES, set(get_args(OutcomeKind))),
        (i18n.RUN_OUTCOMES, set(RunOutcome)),
        (i18n.TESTS, set(PytestOutcome)),
        (i18n.DIRECTIONS, set(get_args(Direction))),
        (i18n.BEST, set(get_args(BestReason))),
        (STEPS, set(get_args(StepKey))),
        (i18n.OBJECTIVES, set(get_args(Objective))),
    ],
)
def test_every_key_has_its_words(table: dict[str, object], keys: set[str]) -> None:
    assert set(table) == keys


@pytest.mark.parametrize("key", PHRASES)
def test_both_languages_have_the_same_fields(key: str) -> None:
    phrase = PHRASES[key]
    assert phrase.en
    assert phrase.ko
    assert fields(phrase.en) == fields(phrase.ko)
    assert all(name.isidentifier() for name, _ in fields(phrase.en))


@pytest.mark.parametrize("key", [key for key in PHRASES if key not in SAME])
def test_korean_is_korean_and_english_is_not(key: str) -> None:
    phrase = PHRASES[key]
    assert re.search("[가-힣]", phrase.ko)
    assert not re.search("[가-힣]", phrase.en)


@pytest.mark.parametrize("key", PHRASES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_phrases_are_plain_text(key: str, language: Language) -> None:
    text = getattr(PHRASES[key], language)
    tokens = parse(f"x {text}")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for token in tokens for child in token.children or []} == {"text"}
    assert not set(text) & set("|`<>&")


@pytest.mark.parametrize("key", PHRASES)
def test_no_korean_particle_hangs_on_a_field(key: str) -> None:
    # whether 은 or 는 follows depends on how a name is read, which nobody knows; a percentage ends in a vowel
    assert not re.search(r"\{[^}%]*\}(은|는|이|가|을|를|과|와|으로|로|아|야)(?![가-힣])", PHRASES[key].ko)


def test_a_metric_that_nobody_knows_has_no_name() -> None:
    assert i18n.metric_name("<b>", "en") == ""
    assert i18n.metric_names(("clip", "<b>", "fvd"), "ko") == "CLIP Score, FVD"
