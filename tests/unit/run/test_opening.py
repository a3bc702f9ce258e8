"""Opening a run, before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_wanlora.run.opening import new_run_folder


def test_two_runs_of_one_second_have_two_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = set()
    for process in (41, 42):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        name = new_run_folder(tmp_path, ()).name
        assert f"-{process}-" in name
        names.add(name)
    assert len(names) == 2
