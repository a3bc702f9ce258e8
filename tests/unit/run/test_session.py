"""What a run demands and renders, of a project in which no value is the usual one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_wanlora import testing
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run.session import new_run_folder, read_candidates
from pytest_wanlora.verdict.judgement import ALL, ItemId
from tests import unusual
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, NATURE, SCALE


def test_seeds_begin_where_the_suite_says(open_gate: OpenGate) -> None:
    assert open_gate().seeds(4) == (5, 6, 7, 8)
    assert open_gate().first_look == (5, 6, 7)


def test_who_stores_a_baseline_renders_all_seeds_at_once(open_gate: OpenGate) -> None:
    gate = open_gate(update_baselines=True)
    assert gate.first_look == tuple(range(5, 17))
    assert gate.stored == ("good",)
    assert len(gate.needs("good")) == 2 * 12
    assert not [item for item in gate.items if item.kind == "regression"]


def test_candidates_have_the_strength_that_was_asked_for_and_the_base_has_none(open_gate: OpenGate) -> None:
    gate = open_gate()
    base, own = gate.probes(gate.candidates[0])
    assert (own.candidate, own.scale, own.seed) == ("good", SCALE, 5)
    assert (base.candidate, base.scale, base.seed) == ("base", 0.0, 5)


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


def test_the_pool_is_what_the_chosen_items_need_and_grows_look_by_look(open_gate: OpenGate) -> None:
    gate = open_gate()
    gate.select([ItemId("limit", "good", CITY, "clip"), ItemId("regression", "good", CITY, "clip")])
    assert [(job.scenario, job.seed) for job in gate.pool] == [(CITY, 5), (CITY, 6), (CITY, 7)]
    further = gate.jobs(gate.candidates[0], gate.scenarios[:1], gate.seeds(6))
    gate.extend(further)
    assert [job.seed for job in gate.pool] == [5, 6, 7, 8, 9, 10]
    progress = gate.board.progress()
    assert progress is not None
    assert (progress.total, progress.reused) == (6, 0)


def test_a_file_called_base_is_not_taken_for_the_model_without_lora(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    path = testing.write_lora(tmp_path / "base.safetensors")
    (found,) = read_candidates(unusual.settings_of(tmp_path, (path,)))
    assert found.name == "base-lora"
    assert found.checkpoint is not None


def test_an_input_image_that_cannot_be_read_is_found_before_anything_is_rendered(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    image = tmp_path / unusual.IMAGES[NATURE]
    image.unlink()
    image.mkdir()
    gate = unusual.gate_of(unusual.settings_of(tmp_path))
    found = [each for each in gate.examine().findings if each.what.endswith("input_image")]
    assert "nature.png: not a picture that can be read" in found[0].message
    assert gate.blocked[0] == found[0]


def test_two_runs_of_one_second_have_two_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = set()
    for process in (41, 42):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        name = new_run_folder(tmp_path, ()).name
        assert f"-{process}-" in name
        names.add(name)
    assert len(names) == 2


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
