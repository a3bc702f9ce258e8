from __future__ import annotations

import io

import pytest

from pytest_wanlora.hooks.github_actions import annotate_once, escape_output, escaped

ON, OFF = {"GITHUB_ACTIONS": "true"}, {"GITHUB_ACTIONS": "false"}


@pytest.mark.parametrize("text", ["##[error]x", "a ##[group]x", "\x1b[1m##[endgroup]", "####[[warning]"])
def test_no_old_command_is_left_in_what_a_runner_reads(text: str) -> None:
    assert "##[" not in escaped(text, ON)
    assert escaped(text, OFF) == escaped(text, {}) == text


def test_all_that_pytest_prints_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from _pytest._io import TerminalWriter

    for environ, expected in ((ON, "## [error]x \n"), (OFF, "##[error]x \n")):
        stream = io.StringIO()
        writer = TerminalWriter(stream)
        escape_output(writer, environ)
        writer.write("##[error]x ")
        writer.line("")
        assert stream.getvalue() == expected


def test_the_gate_s_items_are_annotated_once() -> None:
    """pytest-github-actions-annotate-failures keeps the tests that are not ours."""
    told: list[str] = []

    class Annotates:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            told.append(report.nodeid)

    plugins = pytest.PytestPluginManager()
    annotate_once(plugins, "wanlora::")
    plugins.register(Annotates(), "annotate_errors")
    annotate_once(plugins, "wanlora::")
    for nodeid in ("wanlora::test_limit[x-all-fvd]", "test_own.py::test_strict"):
        report = pytest.TestReport(nodeid, ("", 0, ""), {}, "failed", None, "call")
        plugins.hook.pytest_runtest_logreport(report=report)
    assert told == ["test_own.py::test_strict"]
