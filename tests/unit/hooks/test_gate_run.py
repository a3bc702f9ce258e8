"""How a session ends: never well from which a result, or the record, is missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import pytest

from pytest_wanlora import results
from pytest_wanlora.errors import RecordError
from pytest_wanlora.hooks import gate_run
from pytest_wanlora.run.session import Gate
from pytest_wanlora.verdict.judgement import Verdict
from tests.unit.conftest import OpenGate

CHECKPOINT, BASELINE = "wanlora::test_checkpoint[good]", "wanlora::test_baseline[good]"


def _run(gate: Gate, *selected: str) -> gate_run.Run:
    config: Any = SimpleNamespace(
        getoption=lambda _: False, invocation_params=SimpleNamespace(args=("--lora", "good.safetensors"))
    )
    run = gate_run.Run(config, gate, None)
    run.selected = selected
    return run


def _end(run: gate_run.Run, *, stopped: bool = False) -> int:
    """End a session in which every test passed; its exit code."""
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK, shouldstop=stopped, shouldfail=False)
    run.pytest_sessionfinish(session, pytest.ExitCode.OK)
    return int(session.exitstatus)


def _report(nodeid: str, when: Literal["setup", "call", "teardown"], outcome: Any = "passed") -> Any:  # noqa: ANN401
    return pytest.TestReport(nodeid, ("", None, ""), {}, outcome, None, when)


def test_a_result_that_never_arrived_is_told_and_fails_its_item(open_gate: OpenGate) -> None:
    gate = open_gate()
    assert _end(_run(gate, CHECKPOINT)) == pytest.ExitCode.TESTS_FAILED
    record = results.load(gate.run_folder)
    assert record.notes == (f"{CHECKPOINT}: no result arrived",)
    assert [judged.verdict for judged in record.judgements] == [Verdict.ERROR]
    assert record.exit_status == pytest.ExitCode.TESTS_FAILED


def test_a_baseline_that_was_lost_never_ends_well(open_gate: OpenGate) -> None:
    gate = open_gate(update_baselines=True)
    assert _end(_run(gate, BASELINE)) == pytest.ExitCode.TESTS_FAILED
    assert results.load(gate.run_folder).notes == (f"{BASELINE}: no result arrived",)


def test_what_was_stopped_early_is_not_lost(open_gate: OpenGate) -> None:
    gate = open_gate()
    _end(_run(gate, CHECKPOINT), stopped=True)
    record = results.load(gate.run_folder)
    assert (record.notes, record.judgements, record.partial) == ((), (), True)


@pytest.mark.parametrize(
    ("reports", "ended"),
    [
        ([_report(CHECKPOINT, "setup")], False),
        ([_report(CHECKPOINT, "setup"), _report(CHECKPOINT, "call")], False),
        ([_report(CHECKPOINT, "setup", "failed")], True),
        ([_report(CHECKPOINT, "call", "failed")], True),
        ([_report(CHECKPOINT, "teardown")], True),
        ([_report("test_own.py::test_it", "teardown")], False),
    ],
)
def test_an_item_has_ended_when_it_was_torn_down_or_failed(
    open_gate: OpenGate, reports: list[pytest.TestReport], ended: bool
) -> None:
    run = _run(open_gate(), CHECKPOINT)
    for report in reports:
        run.pytest_runtest_logreport(report)
    assert (CHECKPOINT in run.ended) is ended


def test_a_run_without_a_record_never_ends_well(open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch) -> None:
    def contradict(*_: object) -> None:
        raise RecordError("two workers contradict each other")

    monkeypatch.setattr(gate_run, "build", contradict)
    run = _run(open_gate(), CHECKPOINT)
    run.ended.add(CHECKPOINT)
    assert _end(run) == pytest.ExitCode.TESTS_FAILED
    assert run.lines == ["no record was written: two workers contradict each other"]


@pytest.mark.parametrize(
    ("publishable", "told"), [((True, True), False), ((True, False), True), ((False, False), True)]
)
def test_a_run_is_good_only_if_every_candidate_is(
    open_gate: OpenGate, publishable: tuple[bool, ...], told: bool
) -> None:
    cards = [SimpleNamespace(publishable=each) for each in publishable]
    record: Any = SimpleNamespace(candidates=cards, exit_status=0)
    assert bool(_run(open_gate())._part_that_passed(record)) is told
