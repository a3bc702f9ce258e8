"""`show` and `compare` on the command line: plain, as JSON, and their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_wanlora import cli, results
from pytest_wanlora.results.run_record import RunRecord
from tests.unit.reports import gated


def store(folder: Path, name: str, record: RunRecord) -> Path:
    path = folder / name / "results.json"
    results.write(record.model_copy(update={"run_id": name}), path)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    store(tmp_path, "good", gated.record())
    store(tmp_path, "bad", gated.failing())
    return tmp_path


class TestShow:
    def test_the_terminals_report_again(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["show", str(runs / "good")]) == 0
        assert "epoch-2 may be published: all 13 items pass" in capsys.readouterr().out
        assert cli.main(["show", str(runs / "bad" / "results.json")]) == 1
        assert "epoch-2 may not be published" in capsys.readouterr().out

    def test_the_newest_by_default(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        os.utime(runs / "good" / "results.json", (1, 1))
        assert cli.main(["show", "--runs", str(runs)]) == 1
        os.utime(runs / "bad" / "results.json", (0, 0))
        assert cli.main(["show", "--runs", str(runs)]) == 0
        capsys.readouterr()

    def test_json_is_the_record(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["show", "--json", str(runs / "good")]) == 0
        printed = capsys.readouterr().out
        assert RunRecord.from_json(printed) == results.load(runs / "good")


class TestCompare:
    def test_plain(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["compare", str(runs / "good"), str(runs / "bad")]) == 0
        printed = capsys.readouterr().out
        for words in ("run 1: good", "run 2: bad", "epoch-2 #1", "250.0 FAIL", "Publish epoch-2 #1"):
            assert words in printed

    def test_json(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["compare", "--json", str(runs / "good"), str(runs / "bad")]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["best"]["checkpoint"] == "epoch-2 #1"
        assert len(found["trend"]) == 9

    def test_none_that_may_be_published_is_1(self, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["compare", str(runs / "bad")]) == 1
        assert "The only checkpoint, epoch-2, may not be published" in capsys.readouterr().out

    def test_without_a_run_is_4(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["compare"]) == 4
        assert cli.main(["compare", str(tmp_path / "none")]) == 4
        assert "none: cannot be read" in capsys.readouterr().err


def test_names_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = gated.card(reason="all \x1b[2J pass\u202e")
    path = store(tmp_path, "one", gated.record(candidates=(card,)))
    for command in ("show", "compare"):
        assert cli.main([command, str(path)]) == 0
        printed = capsys.readouterr().out
        assert "\x1b" not in printed
        assert "\u202e" not in printed


def test_letters_that_the_terminal_has_not_are_no_crash(runs: Path) -> None:
    card = gated.card(reason="모두 통과 🎬")
    store(runs, "korean", gated.record(candidates=(card,)))
    for more in ([], ["--json"]):
        command = [sys.executable, "-m", "pytest_wanlora", "show", *more, str(runs / "korean")]
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, env=environment, check=True, capture_output=True)
        assert done.stderr == b""


def test_a_reader_that_leaves_early_is_no_traceback(runs: Path) -> None:
    command = f"{sys.executable} -m pytest_wanlora show --json {runs / 'good'} | head -c 1"
    done = subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert done.stderr == b""
