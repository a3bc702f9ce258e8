from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.training_data.fingerprints import (
    BANDS,
    ROWS,
    digest,
    minhash,
    similarity,
    units,
)
from pytest_wanlora.training_data.rules import fold

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)


def test_a_digest_is_the_same_everywhere() -> None:
    # a stored draw must come out again on another machine
    assert digest("도시") == 11_702_808_089_693_818_443
    assert digest("") != digest(" ")


@given(TEXT)
def test_a_text_is_wholly_similar_to_itself(text: str) -> None:
    found = units(fold(text))
    assert found
    assert similarity(found, found) == 1


@given(TEXT, TEXT)
def test_similarity_is_symmetric_and_from_0_to_1(first: str, second: str) -> None:
    a, b = units(fold(first)), units(fold(second))
    assert 0 <= similarity(a, b) <= 1
    if a[0] not in b[1:] and b[0] not in a[1:]:
        assert similarity(a, b) == pytest.approx(similarity(b, a)) or max(a + b) >= "가"


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ("an old fisherman mends a net on the pier", "an old fisherman mends a net on the dock", 5 / 6),
        ("a chef slices bread in a kitchen", "a chef slices cheese in a kitchen", 4 / 5),
        ("a chef slices bread in a kitchen", "a dog slices bread in a kitchen", 3 / 6),
        ("a red car", "a blue car", 1 / 4),
        ("a tall old man in a red coat walks a dog", "a tall old man in a red coat feeds a horse", 5 / 10),
        ("老渔夫在码头上补渔网", "老渔夫在码头边补渔网", 7 / 8),
        ("여자가 양파를 썬다", "남자가 양파를 썬다", 4 / 5.25),
        ("늙은 어부가 그물을 고치고 있다", "늙은 어부가 그물을 고치고 있습니다", 1),
    ],
)
def test_similarity_of_known_pairs(first: str, second: str, value: float) -> None:
    assert similarity(units(first), units(second)) == pytest.approx(value)


def test_blanks_case_and_punctuation_do_not_count() -> None:
    keys, sketches, _ = minhash([fold("A City, at night!"), fold("a city at  NIGHT")])
    assert np.array_equal(keys[0], keys[1])
    assert np.array_equal(sketches[0], sketches[1])


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_a_signature_does_not_depend_on_the_neighbours(texts: list[str]) -> None:
    folded = [fold(text) for text in texts]
    keys, sketches, sizes = minhash(folded)
    for row, text in enumerate(folded):
        alone, sketch, size = minhash([text])
        assert np.array_equal(keys[row], alone[0])
        assert np.array_equal(sketches[row], sketch[0])
        assert sizes[row] == size[0] == len(units(text))


@pytest.mark.parametrize("changed", [1, 3, 6])
def test_bands_and_sketches_follow_the_theory(changed: int) -> None:
    generator = random.Random(7)  # noqa: S311  no secret, the same texts every time
    words = ["".join(generator.choices("abcdefghijklmnop", k=6)) for _ in range(3_000)]
    first, second = [], []
    for _ in range(1_500):
        sentence = generator.choices(words, k=20)
        other = list(sentence)
        for place in generator.sample(range(20), changed):
            other[place] = generator.choice(words)
        first.append(" ".join(sentence))
        second.append(" ".join(other))
    truth = np.array(
        [len({*a} & {*b}) / len({*a, *b}) for a, b in zip(map(units, first), map(units, second), strict=True)]
    )
    (keys, sketches, _), (other_keys, other_sketches, _) = minhash(first), minhash(second)
    met = float(np.mean((keys == other_keys).any(axis=1)))
    # the standard error of 1,500 pairs is below 0.013
    assert met == pytest.approx(float(np.mean(1 - (1 - truth**ROWS) ** BANDS)), abs=0.05)
    assert float(np.mean(sketches == other_sketches)) == pytest.approx(float(truth.mean()), abs=0.03)
