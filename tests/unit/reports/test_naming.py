"""Names of files: one for each checkpoint, safe on every file system."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.reports.commands import file_name, names_of
from tests.unit.reports import gated


def test_one_checkpoint_needs_no_name() -> None:
    assert file_name(gated.record(), "epoch-2", "receipt", ".json") == "receipt.json"


def test_several_have_theirs() -> None:
    record = gated.several("epoch-1", "epoch-2")
    assert file_name(record, "epoch-1", "receipt", ".json") == "receipt-epoch-1.json"


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a b",
        "에포크-2",
        "x" * 300,
        ".hidden",
        "CON.",
        "tab\there",
        "half \udcff of it",
        "🎬",
        "",
    ],
)
def test_what_is_no_plain_name_gets_a_digest(name: str) -> None:
    card = gated.card(publishable=False).model_copy(update={"name": name})
    found = names_of(gated.record(candidates=(card,)))
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*-[0-9a-f]{8}|[0-9a-f]{8}", found[name])
    assert len(found[name]) < 100


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
def test_no_two_are_alike_whatever_the_case(names: list[str]) -> None:
    cards = tuple(gated.card(publishable=False).model_copy(update={"name": name}) for name in names)
    found = names_of(gated.record(candidates=cards))
    assert len({name.casefold() for name in found.values()}) == len(names)
    assert not any(set(name) & set('/\\:*?"<>|') for name in found.values())
