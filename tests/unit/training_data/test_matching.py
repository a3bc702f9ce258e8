from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

import pytest

from pytest_wanlora.training_data.matching import (
    Matcher,
    compile_chinese,
    compile_english,
    compile_korean,
    fold,
)
from pytest_wanlora.training_data.rules import packaged_rules

Compiler = Callable[[Iterable[str]], Matcher]
COMPILERS: dict[str, Compiler] = {"en": compile_english, "ko": compile_korean, "zh": compile_chinese}


def found(compile_: Compiler, words: list[str], text: str) -> set[str]:
    (indexes,) = compile_(words).find([fold(text)])
    return {words[index] for index in indexes}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A City at night", {"city"}),
        ("two cities, one CITY", {"city"}),
        ("a scarcity of water", set()),
        ("city-hall", {"city hall"}),
        ("the city  hall\nat noon", {"city hall"}),
        ("city 8k", {"city"}),
        ("city8k", set()),
        ("skateboarding skateboarders", {"skateboard*"}),
        ("buses and churches", {"bus", "church"}),
        ("a bird's-eye view, one bird", {"bird's eye", "bird"}),
        ("a bird\N{RIGHT SINGLE QUOTATION MARK}s eye view", {"bird's eye"}),
        ("hot dog", {"hot dog"}),
        ("hot dogs", {"hot dog"}),
        ("hot, dog", {"dog"}),
        ("boys", {"boy"}),
        ("", set()),
    ],
)
def test_english_words_are_whole_with_plural_phrase_and_any_ending(text: str, words: set[str]) -> None:
    listed = ["city", "city hall", "skateboard*", "bus", "church", "bird's eye", "bird", "hot dog", "dog"]
    assert found(compile_english, [*listed, "boy"], text) == words


def test_a_listed_plural_keeps_its_own_entry() -> None:
    assert found(compile_english, ["leaf", "leaves", "run", "runs"], "leaves run runs") == {
        "leaves",
        "run",
        "runs",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("산을 오른다", {"산"}),
        ("산, 그리고 바다", {"산", "바다"}),
        ("눈 덮인 산", {"산"}),
        ("산에서 내려다본", {"산"}),
        ("부산 등산 산책", {"산책"}),
        ("산업", set()),
        ("거리를 걷는다", {"^거리"}),
        ("밤의 거리", {"^거리"}),
        ("반짝거리는 불빛", set()),
        ("길거리", {"길거리"}),
        ("도시락을 먹는 도시", {"도시락", "도시"}),
        ("푸른바다를", {"바다"}),
        ("", set()),
    ],
)
def test_korean_words_stand_anywhere_but_single_syllables_alone(text: str, words: set[str]) -> None:
    assert found(compile_korean, ["산", "바다", "산책", "^거리", "길거리", "도시", "도시락"], text) == words


def test_korean_that_macos_took_apart_is_found() -> None:
    assert found(compile_korean, ["바다"], unicodedata.normalize("NFD", "푸른 바다")) == {"바다"}


def test_the_longest_chinese_word_wins() -> None:
    words = ["海", "上海", "马路", "马"]
    assert found(compile_chinese, words, "上海的马路") == {"上海", "马路"}
    assert found(compile_chinese, words, "一匹马在海边") == {"马", "海"}


@pytest.mark.parametrize("compile_", COMPILERS.values())
def test_no_words_find_nothing(compile_: Compiler) -> None:
    assert found(compile_, [], "a city 도시 城市") == set()


@pytest.mark.parametrize("language", COMPILERS)
def test_every_packaged_word_finds_itself(language: str) -> None:
    words = list(packaged_rules().words[language])
    matcher = COMPILERS[language](words)
    assert len(words) > 900
    lost = [word for index, word in enumerate(words) if matcher.find([word.strip("*^")]) != [{index}]]
    assert lost == []
