"""Numbers of things in sentences: one of a thing is no plural."""

from __future__ import annotations

import pytest

from pytest_wanlora.phrases import Phrase, digits, number_of, product, strength_of
from pytest_wanlora.reports.race import CAUSES, RACE


@pytest.mark.parametrize(("count", "said"), [(0, "0 videos"), (1, "1 video"), (2000, "2,000 videos")])
def test_a_number_of_things(count: int, said: str) -> None:
    assert number_of(count, "video") == said


def test_a_phrase_has_the_ending_that_its_number_takes() -> None:
    phrase = Phrase("{n} video{n:s} of {name:s}", "{name:s}의 영상 {n}개")
    assert phrase.say("en", n=1, name="a") == "1 video of a"
    assert phrase.say("en", n=3, name="a") == "3 videos of a"
    assert phrase.say("ko", n=1, name="a") == "a의 영상 1개"


def test_a_race_of_one() -> None:
    said = CAUSES["videos"].say("en", budget=1, used=0, more=6, gate=3)
    assert said.startswith("its budget is 1 video, used: 0, ")
    assert "none of 1 candidate could" in RACE["unmeasured"].say("en", count=1, gated="a")


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (1.0, "1"),
        (-10.0, "-10"),
        (0.1333333333, "0.1333333333"),
        (0.12345679, "0.12345679"),
        (1 / 3, "0.3333333333333333"),
        (1e-05, "0.00001"),
    ],
)
def test_a_strength_has_all_of_its_digits(number: float, written: str) -> None:
    assert digits(number) == strength_of(number, {}) == product(number, 1.0) == written
    assert float(written) == number
    assert strength_of(1.0, {"high": number, "low": 0.5}) == f"high {written}, low 0.5"


def test_a_product_has_no_digits_that_nobody_typed() -> None:
    assert strength_of(0.1, {"high": 0.7, "low": 1.0}) == "high 0.07 (0.7 x 0.1), low 0.1 (1 x 0.1)"
