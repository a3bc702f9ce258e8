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


def _run(gate: Gate, told: list[str]) -> session.Run:
    """A run in which every test passed and nothing was left out; `told` gets the lines for JUnit's file."""

    def caller(hook: str, _: object) -> Any:  # noqa: ANN401 - a hook of any signature
        return lambda **given: told.append(given["report"].longrepr if "report" in given else hook)

    config: Any = SimpleNamespace(
        pluginmanager=SimpleNamespace(get_plugins=lambda: (), subset_hook_caller=caller),
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
        red=False,
        end=lambda _: None,
        judge_again=lambda _: None,
    )
    return session.Run(config, gate, None, outcomes)


def _end(run: session.Run) -> int:
    """End a session that would end well; its exit code."""
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK, config=run.config)
    finish = run.pytest_sessionfinish(session)
    next(finish)
    with pytest.raises(StopIteration):
        next(finish)
    return int(session.exitstatus)


def test_a_run_without_a_record_never_ends_well(open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch) -> None:
    def contradict(*_: object) -> None:
        raise RecordError("two workers contradict each other")

    monkeypatch.setattr("pytest_wanlora.run.record.build", contradict)
    told: list[str] = []
    run = _run(open_gate(), told)
    assert _end(run) == pytest.ExitCode.TESTS_FAILED
    assert run.lines == ["no record was written: two workers contradict each other"]
    # no test failed, so the file that has the tests alone would read like a pass
    assert told == [f"{run.lines[0]}\npytest ended with exit code 1", "pytest_sessionfinish"]


@pytest.mark.parametrize(
    ("publishable", "code"), [((True, True), 0), ((True, False), 1), ((False, True), 1), ((False, False), 1)]
)
def test_a_run_is_good_only_if_every_candidate_is(
    open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch, publishable: tuple[bool, ...], code: int
) -> None:
    cards = [SimpleNamespace(publishable=each, name="epoch", reason="it fails") for each in publishable]
    record: Any = SimpleNamespace(candidates=cards, exit_status=0, storing=None)
    record.ended = lambda _: record
    monkeypatch.setattr("pytest_wanlora.run.record.build", lambda *_: record)
    monkeypatch.setattr("pytest_wanlora.results.write", lambda *_: None)
    monkeypatch.setattr("pytest_wanlora.reports.terminal.summary", lambda *_, **__: [])
    monkeypatch.setattr("pytest_wanlora.reports.writing.remove_receipts", lambda *_: None)
    monkeypatch.setattr("pytest_wanlora.reports.writing.write_all", lambda *_, **__: Written((), (), False))
    told: list[str] = []
    assert _end(_run(open_gate(), told)) == code
    assert bool(told) is bool(code)
    assert all("epoch may not be published: it fails" in each for each in told[:1])
