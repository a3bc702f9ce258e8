"""Whether a baseline was measured as a run measures."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.baseline.comparable import differing, require_comparable
from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.environment import Environment
from pytest_wanlora.errors import IncomparableError
from tests.unit.baseline.test_store import FINGERPRINT, HERE, PROMPT, measured

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def comparable(
    *,
    fingerprint: dict[str, Any] = FINGERPRINT,
    prompt: Prompt = PROMPT,
    here: Environment = HERE,
    allowed: bool = False,
) -> tuple[str, ...]:
    return require_comparable(
        measured(),
        fingerprint=fingerprint,
        prompts={"s1": prompt, "unmeasured": prompt},
        environment=here,
        other_environment=allowed,
    )


def test_the_same_setting_is_comparable() -> None:
    assert comparable() == ()


def test_another_fingerprint_is_told_key_by_key() -> None:
    other = {"sampling": {"steps": 50, "shift": 5.0}, "scoring": {}}
    with pytest.raises(IncomparableError) as refused:
        comparable(fingerprint=other)
    assert refused.value.message == (
        "the baseline 'base' of suite 'tiny' was measured with another suite:\n"
        "  sampling.steps: baseline 20, here 50\n"
        '  scoring.clip: baseline "abc", here nothing'
    )
    assert refused.value.next_command == "pytest --wanlora-suite tiny --update-baselines"


def test_another_prompt_is_another_baseline() -> None:
    with pytest.raises(
        IncomparableError, match=r'scenarios\.s1\.prompt: baseline "cherry trees", here "plum"'
    ):
        comparable(prompt=PROMPT.model_copy(update={"prompt": "plum"}))


def test_another_environment_needs_the_users_word() -> None:
    other = replace(HERE, device="cuda", device_name="NVIDIA H100")
    with pytest.raises(IncomparableError, match="device_name: baseline cpu, here NVIDIA H100"):
        comparable(here=other)
    assert comparable(here=other, allowed=True) == (
        "device: baseline cpu, here cuda",
        "device_name: baseline cpu, here NVIDIA H100",
    )


def test_another_library_version_is_told_and_let_pass() -> None:
    assert comparable(here=replace(HERE, torch="2.15.0")) == ("torch: baseline 2.14.1, here 2.15.0",)


@given(json_values, json_values)
def test_differences_are_found_if_and_only_if_there_are_any(one: object, other: object) -> None:
    assert list(differing(one, one)) == []
    assert bool(list(differing(one, other))) == (
        json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)
    )


def test_a_tuple_in_a_fingerprint_is_the_list_it_becomes() -> None:
    assert list(differing({"files": ["a"]}, {"files": ("a",)})) == []


def test_a_key_that_only_one_side_has_is_a_difference() -> None:
    assert list(differing({"a": 1}, {"a": 1, "b": 2})) == ["b: baseline nothing, here 2"]
    assert list(differing({"a": 1, "b": 2}, {"a": 1})) == ["b: baseline 2, here nothing"]


def test_a_key_that_is_left_out_for_its_default_is_told_by_it() -> None:
    whole = {"scoring": {"clip": {"frame": "whole"}}, "sampling": {"batch": 4}}
    assert list(differing(whole, {"scoring": {"clip": {}}, "sampling": {}})) == [
        "sampling.batch: baseline 4, here 1",
        'scoring.clip.frame: baseline "whole", here "middle"',
    ]
