from __future__ import annotations

import csv
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.training_data.rules import LANGUAGES, fold, packaged_rules
from pytest_wanlora.training_data.word_finder import WordFinder
from tests.unit.training_data.sets import CAPTIONS


def found(language: str, words: list[str], text: str) -> set[str]:
    indexes = WordFinder({language: words}).find(fold(text)).get(language, {})
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
    assert found("en", [*listed, "boy"], text) == words


def test_a_listed_plural_keeps_its_own_entry() -> None:
    assert found("en", ["leaf", "leaves", "run", "runs"], "leaves run runs") == {
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
    assert found("ko", ["산", "바다", "산책", "^거리", "길거리", "도시", "도시락"], text) == words


def test_a_korean_word_that_ends_there_may_have_a_particle_and_no_digit_before() -> None:
    words = ["흰 개^", "^개가"]
    assert found("ko", words, "흰 개") == found("ko", words, "흰 개는 뛴다") == {"흰 개^"}
    assert found("ko", words, "흰 개나리") == found("ko", words, "의자 3개가") == set()
    assert found("ko", words, "큰 개가 짖는다") == {"^개가"}


def test_korean_that_macos_took_apart_is_found() -> None:
    assert found("ko", ["바다"], unicodedata.normalize("NFD", "푸른 바다")) == {"바다"}


def test_the_longest_chinese_word_wins() -> None:
    words = ["海", "上海", "马路", "马"]
    assert found("zh", words, "上海的马路") == {"上海", "马路"}
    assert found("zh", words, "一匹马在海边") == {"马", "海"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_words_find_nothing(language: str) -> None:
    assert found(language, [], "a city 도시 城市") == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_packaged_word_finds_itself(language: str) -> None:
    words = list(packaged_rules().words[language])
    finder = WordFinder({language: words})
    assert len(words) > 900
    lost = [
        word
        for index, word in enumerate(words)
        if list(finder.find(word.strip("*^")).get(language, ())) != [index]
    ]
    assert lost == []


HANGUL = re.compile("[가-힣]")
PARTICLES = ["", "이", "을", "에", "은", "의", "와", "에서", "까지", "위에"]


def one_by_one(words: list[str], text: str, *, korean: bool) -> set[str]:
    """The rule of the lists in its plainest form: at every place try every word, the longest first."""
    text, found, at = text.replace("-", " "), set[str](), 0

    def stands(word: str) -> bool:
        form = word.removeprefix("^")
        if not text.startswith(form, at):
            return False
        begins = at == 0 or not HANGUL.match(text[at - 1])
        if not korean or not (word.startswith("^") or len(form) == 1):
            return True
        if word.startswith("^") and len(form) > 1:
            return begins
        rest = text[at + len(form) :]
        ends = [rest.removeprefix(particle) for particle in PARTICLES if rest.startswith(particle)]
        return begins and any(not HANGUL.match(end) for end in ends)

    anywhere = (word for word in words if word.removeprefix("^") in text)
    longest_first = sorted(anywhere, key=lambda word: len(word.removeprefix("^")), reverse=True)
    while at < len(text):
        word = next((word for word in longest_first if stands(word)), None)
        found |= set() if word is None else {word}
        at += 1 if word is None else len(word.removeprefix("^"))
    return found


KOREAN = ["산", "강", "산책", "^거리", "길거리", "도시", "도시락", "도시 전망", "케이팝", "^눈", "눈사람"]
CHINESE = ["海", "上海", "马路", "马", "海边", "水花四溅", "水"]
SYLLABLES = ["산", "강", "책", "거리", "길", "도시", "락", "전망", "눈", "사람", "에서", "이", "위에"]
BITS = [*SYLLABLES, " ", "-", ", ", "a city"]
LETTERS = ["海", "上", "马", "路", "边", "水", "花", "四", "溅", ",", " ", "a", "\U00020000"]


@given(st.lists(st.lists(st.sampled_from(BITS), max_size=9).map("".join), max_size=5))
def test_korean_words_are_found_as_one_by_one(texts: list[str]) -> None:
    folded = [fold(text) for text in texts]
    assert [found("ko", KOREAN, text) for text in folded] == [
        one_by_one(KOREAN, text, korean=True) for text in folded
    ]


@given(
    st.sets(st.sampled_from([*CHINESE, "4k"])).map(sorted),
    st.lists(st.lists(st.sampled_from([*LETTERS, "4k"]), max_size=9).map("".join), max_size=5),
)
def test_chinese_words_are_found_as_one_by_one(words: list[str], texts: list[str]) -> None:
    folded = [fold(text) for text in texts]
    assert [found("zh", words, text) for text in folded] == [
        one_by_one(words, text, korean=False) for text in folded
    ]


@pytest.mark.parametrize("language", ["ko", "zh"])
def test_the_packaged_words_are_found_in_the_captions_as_one_by_one(language: str) -> None:
    words = list(packaged_rules().words[language])
    with CAPTIONS.open(encoding="utf-8", newline="") as file:
        captions = [
            fold(row["prompt"]) for row in csv.DictReader(file) if row["language"] in ("en", language)
        ]
    finder = WordFinder({language: words})
    found = [{words[index] for index in finder.find(text).get(language, ())} for text in captions]
    assert sum(map(bool, found)) > 100
    assert found == [one_by_one(words, caption, korean=language == "ko") for caption in captions]
