"""A report that fails."""

from __future__ import annotations

from pathlib import Path

from pytest_wanlora import Report, RunRecord


def write(record: RunRecord, folder: Path) -> list[Path]:
    """Fail as a server does that does not answer."""
    raise ConnectionError("the dashboard does not answer")


DASHBOARD = Report(write=write)
