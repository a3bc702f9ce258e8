"""The folders that runs leave: `latest`, and what `clean` deletes, during a run and after it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self

import pytest

from pytest_wanlora import cli
from pytest_wanlora.run import opening
from tests.integration.conftest import Project

#: Waits at the last video of the first look until the test has cleaned.
WAITING = """
def waiting(job):
    note(job)
    if job.scenario == "test2_nature" and job.seed == 1:
        (HERE / "reached").touch()
        while not (HERE / "go-on").exists():
            time.sleep(0.02)
"""


def runs_of(project: Project) -> Path:
    return project.path / ".wanlora" / "runs"


def clean(project: Project, *arguments: str) -> int:
    folders = ("--cache-dir", str(project.path / ".wanlora" / "cache"), "--runs", str(runs_of(project)))
    return cli.main(["clean", *folders, *arguments])


class TestLatest:
    def test_points_to_the_newest_run_and_counts_nowhere(
        self, based: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        latest = runs_of(based) / "latest"
        for number, name in enumerate(("good", "bad", "good"), start=1):
            based.run("--lora", f"{name}.safetensors")
            newest = based.records()[-1].parent
            assert latest.is_symlink()
            assert latest.resolve() == newest
            assert latest.readlink() == Path(newest.name)
            assert len(based.records()) == number
        receipt = json.loads((latest / "receipt.json").read_bytes())["predicate"]
        assert (receipt["runs"], receipt["verdict"]["publishable"]) == (1, True)
        # nothing temporary is left
        assert sorted(path.name for path in runs_of(based).iterdir() if path.name != "latest") == sorted(
            path.parent.name for path in based.records()
        )
        capsys.readouterr()
        assert cli.main(["show", "--runs", str(runs_of(based))]) == 0
        by_default = capsys.readouterr().out
        assert cli.main(["show", str(latest / "results.json")]) == 0
        assert capsys.readouterr().out.replace("latest", newest.name) == by_default

    def test_a_run_without_a_record_changes_nothing(self, based: Project) -> None:
        based.run("--lora", "good.safetensors")
        before = (runs_of(based) / "latest").readlink()
        based.run("--lora", "good.safetensors", "--collect-only")
        based.run("--lora", "good.safetensors", "--wanlora-suite", "nowhere.yaml")
        assert (runs_of(based) / "latest").readlink() == before

    @pytest.mark.parametrize("forbidden", ["symlink", "replace"])
    def test_where_links_cannot_be_made_the_gate_is_the_same(self, based: Project, forbidden: str) -> None:
        based.producer(
            extra=f"""
real = os.{forbidden}

def refuse(source, target, *args, **kwargs):
    if "latest" in str(target):
        raise OSError(1, "Operation not permitted")
    return real(source, target, *args, **kwargs)

@pytest.fixture(autouse=True, scope="session")
def no_links():
    os.{forbidden} = refuse

def pytest_unconfigure():
    os.{forbidden} = real
"""
        )
        result = based.run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        assert [path.name for path in runs_of(based).iterdir()] == [based.records()[0].parent.name]
        assert "latest" not in result.stdout.str()

    def test_a_folder_of_that_name_stays_and_the_gate_is_the_same(self, based: Project) -> None:
        mine = runs_of(based) / "latest" / "mine.txt"
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
        assert based.run("--lora", "good.safetensors").ret == pytest.ExitCode.OK
        assert mine.read_text() == "mine"


class SameSecond(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 11, 29, 1, 30, 0, tzinfo=tz)


def test_runs_of_one_process_in_one_second_do_not_share_a_folder(
    based: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "datetime", SameSecond)
    for _ in range(3):
        based.run("--lora", "good.safetensors")
    assert len({record.parent for record in based.records()}) == 3


class TestClean:
    def test_everything_that_a_run_writes_is_recognised_and_goes(
        self, based: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        based.run("--lora", "good.safetensors")
        based.run("--lora", ".")
        assert clean(based, "--keep-size", "0", "--keep-runs", "0") == 0
        assert "left alone" not in capsys.readouterr().out
        assert list(runs_of(based).iterdir()) == []
        assert [path.name for path in (based.path / ".wanlora" / "cache").iterdir()] == [".locks"]
        assert based.run("--lora", "good.safetensors").ret == pytest.ExitCode.OK

    def test_a_run_in_progress_loses_nothing(
        self, based: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Not even to a command that does not know where this run keeps its record."""
        based.run("--lora", "bad.safetensors")
        old = {path.parent.name for path in (based.path / ".wanlora" / "cache").glob("*/result.json")}
        for name in old:
            # as if it had been rendered long ago
            _age(based.path / ".wanlora" / "cache" / name)
        based.forget()
        based.producer(before="waiting", extra=WAITING)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--wanlora-suite", "fake.yaml"]
        command += [
            "--lora",
            "good.safetensors",
            "--wanlora-output-dir",
            str(tmp_path / "elsewhere" / "runs"),
        ]
        gate = subprocess.Popen(command, cwd=based.path, stdout=subprocess.PIPE, text=True)
        try:
            _wait_for(based.path / "reached", gate)
            used = {path.parent.name for path in (based.path / ".wanlora" / "cache").glob("*/result.json")}
            # nothing fits, and what the run in progress rendered or read stays
            assert clean(based, "--keep-size", "0", "--keep-runs", "0") == 1
            assert "in use by a run" in capsys.readouterr().err
            left = {path.parent.name for path in (based.path / ".wanlora" / "cache").glob("*/result.json")}
            assert used - old <= left
            assert len(left) < len(used)
        finally:
            (based.path / "go-on").touch()
            printed, _ = gate.communicate(timeout=60)
        assert gate.returncode == pytest.ExitCode.OK, printed
        rendered = based.rendered()
        assert sorted(rendered) == sorted(set(rendered))
        # and after its end all of it may go
        assert clean(based, "--keep-size", "0") == 0

    def test_the_command_that_it_prints_works(
        self, based: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        based.run("--lora", "good.safetensors")
        assert clean(based) == 0
        *_, last = capsys.readouterr().out.splitlines()
        words = shlex.split(last.removeprefix("next: "))
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd="/", capture_output=True, text=True, check=True
        )
        assert "would delete 0 runs" in done.stdout


def _age(path: Path) -> None:
    os.utime(path, (time.time() - 1e6,) * 2)


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.02)
