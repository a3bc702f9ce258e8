"""Job summary, annotations and outputs for GitHub Actions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter

    from pytest_wanlora.results.run_record import RunRecord

SUMMARY_LIMIT: Final = 2**20
"""Bytes of one step's summary; GitHub drops all of a larger one."""


def escaped(text: str, environ: Mapping[str, str]) -> str:
    """A text that a runner of GitHub does not obey: its old commands may stand anywhere in a line.

    Args:
        text: What is to be printed, with names of files in it.
        environ: Environment variables; without `GITHUB_ACTIONS=true` the text stays as it is.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return text
    return text.replace("##[", "## [")


def escape_output(writer: TerminalWriter, environ: Mapping[str, str]) -> None:
    """Escape everything that pytest prints, node ids and failures included."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    real = writer.write

    def write(msg: str, *, flush: bool = False, **markup: bool) -> None:
        real(escaped(msg, environ), flush=flush, **markup)

    writer.write = write  # type: ignore[method-assign]  # pytest has no hook for what it prints


def annotate_once(plugins: pytest.PytestPluginManager, prefix: str) -> None:
    """Let pytest-github-actions-annotate-failures leave the gate's own items to us.

    It would annotate each a second time, at a line of this package.

    Args:
        plugins: Of the session, all configured.
        prefix: What the node ids of the gate begin with.
    """
    other = plugins.get_plugin("annotate_errors")
    if other is None or not hasattr(other, "pytest_runtest_logreport"):
        return
    told = other.pytest_runtest_logreport

    class Others:
        @staticmethod
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_logreport(report: pytest.TestReport) -> None:
            if not report.nodeid.startswith(prefix):
                told(report)

    plugins.unregister(other)
    plugins.register(Others(), "annotate_errors")


def say(record: RunRecord, folder: Path, environ: Mapping[str, str]) -> list[str]:
    """Append the run to the job's summary, and its folder to the step's outputs as `wanlora_run`.

    Args:
        record: The run.
        folder: Of the run.
        environ: Environment variables; without `GITHUB_ACTIONS=true` nothing is done.

    Returns:
        Lines to print: the annotations, which GitHub reads from the log, and what went wrong.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return []
    lines: list[str] = []
    # a report that fails must cost the run nothing else, whatever the mistake
    try:
        from pytest_wanlora.reports import github

        lines += github.annotations(record)
        if outputs := environ.get("GITHUB_OUTPUT"):
            with Path(outputs).open("a", encoding="utf-8") as file:
                file.write(f"wanlora_run={folder.absolute()}\n")
        if summary := environ.get("GITHUB_STEP_SUMMARY"):
            _append(record, Path(summary))
    except Exception as error:  # noqa: BLE001
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.strerror:
            why = f"{error.strerror}: {error.filename}"
        lines.append(f"wanlora: the job summary was not written: {why}")
    return lines


def _append(record: RunRecord, path: Path) -> None:
    from pytest_wanlora.reports import github

    # other steps' tools may have written to it before
    held = path.stat().st_size if path.exists() else 0
    text = github.summary(record, min(github.LIMIT, SUMMARY_LIMIT - held - 1))
    with path.open("a", encoding="utf-8") as file:
        # theirs may have ended within a line
        file.write(f"\n{text}" if held else text)
