"""How a session ends: never well without a record, or with a checkpoint that may not be published."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_wanlora.errors import RecordError
from pytest_wanlora.hooks import session
from pytest_wanlora.reports.writing import Written
from pytest_wanlora.run.session import Gate
from tests.unit.conftest import OpenGate


def _run(gate: Gate) -> session.Run:
    """A run in which every test passed and nothing was left out."""
    config: Any = SimpleNamespace(
        getoption=lambda *_: False,
        get_verbosity=lambda: 0,
        invocation_params=SimpleNamespace(args=("--lora", "good.safetensors")),
    )
    outcomes: Any = SimpleNamespace(
        left_out=(),
        storing=None,
        project_tests=(),
        other_failures=(),
        judged=[],
        stored=[],
        died="",
        end=lambda _: None,
        judge_again=lambda _: None,
    )
    return session.Run(config, gate, None, outcomes)


def _end(run: session.Run) -> int:
    """End a session that would end well; its exit code."""
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    finish = run.pytest_sessionfinish(session)
    next(finish)
    with pytest.raises(StopIteration):
        next(finish)
    return int(session.exitstatus)


def test_a_run_without_a_record_never_ends_well(open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch) -> None:
    def contradict(*_: object) -> None:
        raise RecordError("two workers contradict each other")

    monkeypatch.setattr("pytest_wanlora.run.record.build", contradict)
    run = _run(open_gate())
    assert _end(run) == pytest.ExitCode.TESTS_FAILED
    assert run.lines == ["no record was written: two workers contradict each other"]


@pytest.mark.parametrize(
    ("publishable", "code"), [((True, True), 0), ((True, False), 1), ((False, True), 1), ((False, False), 1)]
)
def test_a_run_is_good_only_if_every_candidate_is(
    open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch, publishable: tuple[bool, ...], code: int
) -> None:
    cards = [SimpleNamespace(publishable=each) for each in publishable]
    record: Any = SimpleNamespace(candidates=cards, exit_status=0)
    record.ended = lambda _: record
    monkeypatch.setattr("pytest_wanlora.run.record.build", lambda *_: record)
    monkeypatch.setattr("pytest_wanlora.results.write", lambda *_: None)
    monkeypatch.setattr("pytest_wanlora.reports.terminal.summary", lambda *_, **__: [])
    monkeypatch.setattr("pytest_wanlora.reports.writing.remove_receipts", lambda *_: None)
    monkeypatch.setattr("pytest_wanlora.reports.writing.write_all", lambda *_, **__: Written((), (), False))
    assert _end(_run(open_gate())) == code
