"""What a run says of itself while a test holds the process and its standard output."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_wanlora.hooks import progress
from pytest_wanlora.jobs.board import Board, Progress

_RUN = """
import os, sys, tempfile, time
from pytest_wanlora.hooks import progress
progress._LINE_SECONDS = progress._POLL_SECONDS = 0.05
live = progress.Live("reading")
with tempfile.TemporaryFile() as captured:
    terminal = os.dup(1)
    os.dup2(captured.fileno(), 1)  # as pytest's capture does while a test runs
    print("of a library", flush=True)
    time.sleep(0.4)
    os.dup2(terminal, 1)
live.stop()
"""


def test_lines_reach_the_terminal_past_the_capture() -> None:
    done = subprocess.run([sys.executable, "-c", _RUN], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) >= 3
    assert set(lines) == {"wanlora: reading, 0 s so far"}


def test_a_long_run_prints_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, at = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            at.append(clock.now)
            return len(text)

    def wait(_: float) -> bool:
        clock.now += 0.25
        return bool(clock.now >= 3600)

    with contextlib.redirect_stdout(Out()):
        live = progress.Live("reading")
    live.stop()
    clock.now = 0.0
    monkeypatch.setattr(live, "_last", 0.0)
    monkeypatch.setattr(live, "_began", 0.0)
    monkeypatch.setattr(live, "_stop", SimpleNamespace(wait=wait))
    at.clear()
    live._follow()
    assert at[0] <= 3
    assert max(later - earlier for earlier, later in pairwise(at) if later < 60) <= 3
    assert 100 < len(at) < 200


def test_it_counts_the_videos_and_begins_a_line_of_its_own() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        live = progress.Live("reading")
    reporter: Any = SimpleNamespace(currentfspath="wanlora")
    live.reporter = reporter
    live.show(Progress(9, 0, 0, 0, (), None, "compiling the denoiser"))
    live.show(None)
    live.stop()
    assert out.getvalue() == (
        "\nwanlora: 0 of 9 videos, compiling the denoiser\nwanlora: reading, 0 s so far\n"
    )
    assert reporter.currentfspath is None


def test_a_terminal_that_has_gone_ends_no_run() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        live = progress.Live("reading")
    out.close()
    live.show(None)
    live.stop()


def test_a_process_that_renders_says_what_it_does(tmp_path: Path) -> None:
    ours, theirs = Board(tmp_path), Board(tmp_path, who="gw0")
    ours.announce(["a", "b"], reused=0)
    theirs.say("loading the model")
    told = ours.progress()
    assert told is not None
    assert told.stage == "loading the model"
    (tmp_path / "file").touch()
    Board(tmp_path / "file").say("rendering")  # a full disk is the concern of what stores videos


def test_the_estimate_counts_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, now = Board(tmp_path), time.time()
    board.announce(["a", "b", "c"], reused=0)
    board.finish(SimpleNamespace(key="a", label="a"), 10.0)  # type: ignore[arg-type]
    left = []
    for later in (0.0, 4.0, 30.0):
        monkeypatch.setattr("pytest_wanlora.jobs.board.time.time", lambda later=later: now + later)
        told = board.progress()
        assert told is not None
        left.append(told.remaining)
    assert left == pytest.approx([20.0, 16.0, 10.0], abs=0.5)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            Progress(12, 0, 0, 0, ("a",), None),
            "wanlora: 0 of 12 videos, loading the model",
        ),
        (
            Progress(12, 0, 0, 0, ("a", "b"), None, "compiling the denoiser"),
            "wanlora: 0 of 12 videos, 2 being rendered, compiling the denoiser",
        ),
        (
            Progress(12, 0, 9, 0, ("a",), 0.0, "rendering, step 3 of 20"),
            "wanlora: 9 of 12 videos, rendering, step 3 of 20",
        ),
        (
            Progress(12, 3, 2, 0, ("a", "b"), 14.2),
            "wanlora: 5 of 12 videos (3 reused), 2 being rendered, about 14 s left",
        ),
        (Progress(12, 0, 11, 1, (), 0.0), "wanlora: 11 of 12 videos, 1 failed, judging"),
        (Progress(4, 4, 0, 0, (), None), "wanlora: 4 of 4 videos (4 reused), judging"),
    ],
)
def test_a_line_says_how_far_the_videos_are(found: Progress, line: str) -> None:
    assert progress.progress_line(found) == line
