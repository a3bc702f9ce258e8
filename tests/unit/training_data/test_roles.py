from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.training_data.roles import Role, roles


@pytest.mark.parametrize(
    ("text", "nouns", "word", "role"),
    [
        ("a baseball hat", "hat", "baseball", Role.MODIFIER),
        ("a baseball hat", "hat", "hat", Role.SUBJECT),
        ("red brick weathers to pink", "brick", "brick", Role.SUBJECT),
        ("five owls soar over a lake", "owls lake", "owls", Role.SUBJECT),
        ("five owls soar over a lake", "owls lake", "lake", Role.PLACE),
        ("a close-up of a fox", "fox", "fox", Role.SUBJECT),
        ("a pan across a lake", "lake", "lake", Role.SUBJECT),
        ("a herd of cows", "cows", "cows", Role.SUBJECT),
        ("a bowl of soup", "bowl soup", "soup", Role.OF),
        ("a cube made out of grass", "cube grass", "grass", Role.MADE),
        ("a cat that looks like a cloud", "cat cloud", "cloud", Role.MADE),
        ("a boy with a dog", "boy dog", "dog", Role.WITH),
        ("a cat wearing a hat", "cat hat", "hat", Role.HAS),
        ("in a forest, a fox sleeps", "forest fox", "forest", Role.LEAD),
        ("in a forest, a fox sleeps", "forest fox", "fox", Role.SUBJECT),
        ("under a tree there is a table", "tree table", "table", Role.SUBJECT),
        ("a man pushes the stone", "man stone", "stone", Role.REST),
        ("a man pushes the stone", "man stone", "man", Role.SUBJECT),
        ('the words "green grass"', "words grass", "grass", Role.QUOTE),
    ],
)
def test_what_a_word_is(text: str, nouns: str, word: str, role: Role) -> None:
    spans = [(text.index(noun), text.index(noun) + len(noun)) for noun in nouns.split()]
    assert roles(text, spans)(text.index(word) + len(word)) is role


@given(st.text(), st.integers(min_value=0, max_value=200))
def test_every_place_of_any_text_has_a_role(text: str, place: int) -> None:
    assert roles(text, [])(place) in Role
