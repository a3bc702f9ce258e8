"""Candidates: their names, their strengths and what is demanded of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wanlora import testing
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run.candidates import Candidate, distinct, read_candidates
from pytest_wanlora.verdict.judgement import ALL, ItemId
from tests import unusual
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, NATURE


def test_every_limit_is_demanded_where_it_is_in_force_and_once(open_gate: OpenGate) -> None:
    gate = open_gate()
    limits = [(item.scenario, item.metric) for item in gate.items if item.kind == "limit"]
    assert limits == [(CITY, "clip"), (NATURE, "clip"), (ALL, "clip"), (CITY, "fvd"), (ALL, "fvd")]
    compared = [(item.scenario, item.metric) for item in gate.items if item.kind == "regression"]
    metrics = [metric for metric in METRICS if metric in gate.suite.tolerances]
    assert "kvd" in metrics
    assert compared == [(place, metric) for place in (CITY, NATURE, ALL) for metric in metrics]
    assert gate.items[0] == ItemId("checkpoint", "good", "", "")


def test_a_part_of_the_scenarios_demands_nothing_of_the_others(open_gate: OpenGate) -> None:
    gate = open_gate(scenarios=(NATURE,))
    assert {item.scenario for item in gate.items} == {"", NATURE, ALL}


def test_a_file_called_base_is_not_taken_for_the_model_without_lora(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    path = testing.write_lora(tmp_path / "base.safetensors")
    (found,) = read_candidates(unusual.settings_of(tmp_path, (path,)))
    assert found.name == "base-lora"
    assert found.checkpoint is not None


def test_each_file_at_each_strength_is_a_candidate_and_is_read_once(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    paths = tuple(testing.write_lora(tmp_path / f"epoch-{i}.safetensors", seed=i) for i in (1, 2))
    found = read_candidates(unusual.settings_of(tmp_path, paths, scales=(0.6, 1.0)))
    assert [(each.name, each.scale) for each in found] == [
        ("epoch-1@0.6", 0.6),
        ("epoch-1@1", 1.0),
        ("epoch-2@0.6", 0.6),
        ("epoch-2@1", 1.0),
    ]
    assert found[0].checkpoint is found[1].checkpoint
    (one,) = read_candidates(unusual.settings_of(tmp_path, paths[:1], scales=(0.6,)))
    assert one.name == "epoch-1"


@pytest.mark.parametrize(
    ("names", "scenarios", "expected"),
    [
        (("x", "x-y"), ("y-z", "z"), ("x", "x-y-2")),
        (("x-y", "x"), ("y-z", "z"), ("x-y", "x-2")),
        (("base-lora", "base-lora"), ("s",), ("base-lora", "base-lora-2")),
        (("a", "a-all"), ("s",), ("a", "a-all")),
        (("a", "a-s"), ("all-t", "s-all", "t"), ("a", "a-s-2")),
        (("a", "a-2", "a"), ("s",), ("a", "a-2", "a-3")),
        (("a", "b"), ("s", "t"), ("a", "b")),
    ],
)
def test_no_two_items_have_one_id(
    names: tuple[str, ...], scenarios: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    found = [each.name for each in distinct([Candidate(name, None) for name in names], scenarios)]
    assert tuple(found) == expected
    ids = [str(ItemId("limit", name, place, "clip")) for name in found for place in (*scenarios, "all")]
    assert len(ids) == len(set(ids))
