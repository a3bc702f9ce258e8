"""Progress of a gate on the terminal."""

from __future__ import annotations

import math
import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wanlora.reports import terminal

if TYPE_CHECKING:
    from pytest_wanlora.jobs.board import Board, Progress

_POLL_SECONDS = 1.0
_LINE_SECONDS = 5.0


class Live:
    """Prints the progress of rendering as whole lines, at intervals, so that logs stay readable.

    Args:
        reporter: pytest's terminal.
        capture: pytest's capture manager, suspended while a line is printed; None without.
    """

    def __init__(self, reporter: pytest.TerminalReporter, capture: Any) -> None:  # noqa: ANN401 - not exported
        self.reporter = reporter
        self.capture = capture
        self._last_line = ""
        self._last_time = -math.inf
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def show(self, progress: Progress) -> None:
        """Print a line if the last one was some seconds ago."""
        now = time.monotonic()
        line = terminal.progress_line(progress)
        if now - self._last_time < _LINE_SECONDS or line == self._last_line:
            return
        self._last_line, self._last_time = line, now
        shown = nullcontext() if self.capture is None else self.capture.global_and_fixture_disabled()
        with shown:
            self.reporter.ensure_newline()
            self.reporter.write_line(line)
            self.reporter.flush()

    def watch(self, board: Board) -> None:
        """Show the progress of other processes until `stop`, from a thread."""

        def follow() -> None:
            while not self._stop.wait(_POLL_SECONDS):
                progress = board.progress()
                if progress is not None and progress.left:
                    self.show(progress)

        self._thread = threading.Thread(target=follow, name="wanlora-progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Print nothing more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
