from __future__ import annotations

import pytest

from pytest_wanlora.durations import duration, seconds_of


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3725, "1 h 2 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_duration_in_korean_has_no_english_unit() -> None:
    assert [duration(seconds, "ko") for seconds in (7, 68, 3725)] == ["7초", "1분 8초", "1시간 2분"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("40m", 2400), ("1.5h", 5400), ("99999s", 99999), ("0s", 0), ("0.001s", 0.001)],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text, most_digits=5) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "m", "-1s", "1d", "1.s", ".5h", "1.2345s", "100000s", "1 m", "1m\n", "1e3s"]
)
def test_another_text_is_no_time(text: str) -> None:
    assert seconds_of(text, most_digits=5) == 0
