"""What a run demands and renders, of a project in which no value is the usual one."""

from __future__ import annotations

from pathlib import Path

from pytest_wanlora.verdict.judgement import ItemId
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


def test_a_baseline_of_the_bare_model_may_have_more_seeds_than_a_gate(open_gate: OpenGate) -> None:
    for bare, seeds in ((True, 14), (False, 12)):
        gate = open_gate(bare=bare, update_baselines=True)
        gate.suite = gate.suite.model_copy(
            update={"seeds": gate.suite.seeds.model_copy(update={"baseline": 14})}
        )
        assert gate.first_look == gate.last_look == tuple(range(5, 5 + seeds))
        assert open_gate().last_look == tuple(range(5, 17))


def test_candidates_have_the_strength_that_was_asked_for_and_the_base_has_none(open_gate: OpenGate) -> None:
    gate = open_gate()
    base, own = gate.probes(gate.candidates[0])
    assert (own.candidate, own.scale, own.seed) == ("good", SCALE, 5)
    assert (base.candidate, base.scale, base.seed) == ("base", 0.0, 5)


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


def test_an_input_image_that_cannot_be_read_is_found_before_anything_is_rendered(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    image = tmp_path / unusual.IMAGES[NATURE]
    image.unlink()
    image.mkdir()
    gate = unusual.gate_of(unusual.settings_of(tmp_path))
    found = [each for each in gate.examine().findings if each.what.endswith("input_image")]
    assert "nature.png: a folder; allowed: a file" in found[0].message
    assert gate.blocked[0] == found[0]
