"""What the record of a run says, of a project in which no value is the usual one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.run.record import Ending, build
from pytest_wanlora.run.session import Gate
from pytest_wanlora.verdict.judgement import ALL, ItemOutcome, Judgement, PytestOutcome
from tests import unusual
from tests.unit.conftest import OpenGate
from tests.unusual import CAPTIONS, CITY, CPU, NATURE, PROMPTS, SCALE


def _judge_all(gate: Gate) -> list[Judgement]:
    gate.select(gate.items)
    return [gate.judge.judgement(item) for item in gate.items]


def _built(gate: Gate, judgements: list[Judgement], **changes: Any) -> RunRecord:  # noqa: ANN401 - any field
    known = {
        "command": ("pytest", "--lora", "good.safetensors"),
        "started": 1e9,
        "finished": 1e9 + 60,
        "exit_status": 0,
        "left_out": (),
        "project_tests": (),
        "other_failures": (),
        "notes": ("a note",),
    }
    return build(gate, gate.judge, judgements, Ending(**{**known, **changes}))


def test_it_tells_what_was_demanded_and_how_it_was_rendered(open_gate: OpenGate) -> None:
    gate = open_gate()
    record = _built(gate, _judge_all(gate))
    suite = record.suite
    assert (suite.looks, suite.weak, suite.sha256) == ((3, 4, 6, 8, 12), "fail", gate.suite.sha256)
    assert {name: (each.prompt, each.caption) for name, each in suite.prompts.items()} == {
        name: (PROMPTS[name], CAPTIONS[name]) for name in PROMPTS
    }
    assert [(each["metric"], each["scenario"], each["min"], each["max"]) for each in suite.limits] == [
        ("clip", "each", 0.3, None),
        ("clip", NATURE, 0.59, None),
        ("clip", ALL, 0.1, 2.0),
        ("fvd", CITY, None, 5000.0),
        ("fvd", ALL, None, 4000.0),
    ]
    assert suite.tolerances["sharpness"] == {"warn": 0.03, "fail": 0.3, "better": 0.2}
    assert record.environment == CPU.record()
    assert (record.started, record.finished) == ("2001-09-09T01:46:40+00:00", "2001-09-09T01:47:40+00:00")
    assert (record.expected, record.notes, record.partial) == (gate.items, ("a note",), False)
    (card,) = record.candidates
    assert (card.name, card.scale, card.publishable, card.runs) == ("good", SCALE, True, 1)
    assert record.baseline is not None
    assert (record.baseline.name, record.baseline.differences) == ("base", ())


def test_it_has_the_videos_of_both_sides_and_their_distances(open_gate: OpenGate) -> None:
    gate = open_gate()
    record = _built(gate, _judge_all(gate))
    pairs = [(name, seed) for name in (CITY, NATURE) for seed in (5, 6, 7)]
    for role in ("candidate", "baseline"):
        seen = [(video.scenario, video.seed) for video in record.videos if video.role == role]
        assert seen == pairs
        sets = {each.scenario: (each.n, each.reference_n) for each in record.sets if each.role == role}
        assert sets == {CITY: (3, 40), NATURE: (3, 48), ALL: (6, 88)}
    judged = {(each.scenario, each.metric): each for each in record.judgements if each.kind == "limit"}
    own = {each.scenario: each.scores["fvd"] for each in record.sets if each.role == "candidate"}
    assert own[CITY] == judged[CITY, "fvd"].details["raw"]
    assert own[ALL] == judged[ALL, "fvd"].details["raw"]
    # one video of the base was rendered too; it belongs to no candidate
    assert (record.totals.rendered, record.totals.reused) == (6, 0)


@pytest.mark.parametrize("outcome", list(PytestOutcome))
def test_what_was_left_out_publishes_nothing(open_gate: OpenGate, outcome: PytestOutcome) -> None:
    gate = open_gate()
    *judgements, _ = _judge_all(gate)
    left_out = (ItemOutcome(str(gate.items[-1]), "good", outcome, ""),)
    record = _built(gate, judgements, left_out=left_out, exit_status=1)
    assert record.partial
    assert record.left_out == left_out
    assert not record.candidates[0].publishable


def test_a_part_of_the_scenarios_publishes_nothing(open_gate: OpenGate) -> None:
    gate = open_gate(scenarios=(NATURE,))
    record = _built(gate, _judge_all(gate), exit_status=1)
    assert record.partial
    assert not record.candidates[0].publishable


def test_a_degenerate_video_is_told_and_has_no_distance(open_gate: OpenGate) -> None:
    def black(job: Job, made: Produced) -> Produced:
        if (job.candidate, job.scenario, job.seed) == ("good", CITY, 6):
            return dataclasses.replace(made, scores={}, degenerate="it is black")
        return made

    gate = open_gate(black)
    record = _built(gate, _judge_all(gate), exit_status=1)
    assert [(v.scenario, v.seed) for v in record.videos if v.degenerate == "it is black"] == [(CITY, 6)]
    own = {each.scenario for each in record.sets if each.role == "candidate"}
    assert own == {NATURE}
    assert [v.seed for v in record.videos if v.role == "baseline" and v.scenario == CITY] == [5, 7]


def test_who_measures_the_base_compares_and_publishes_nothing(open_gate: OpenGate) -> None:
    gate = open_gate(bare=True, update_baselines=True)
    gate.select(gate.stored)
    gate.results(gate.pool)
    record = _built(gate, [])
    assert (record.baseline, record.partial, record.candidates[0].publishable) == (None, True, False)
    assert record.candidates[0].scale == 0.0
    assert sorted({video.seed for video in record.videos}) == list(range(5, 17))
    assert len(unusual.made(gate)) == 24
