"""Progress of a gate on the terminal."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

from pytest_wanlora.durations import duration
from pytest_wanlora.hooks.github_actions import escaped
from pytest_wanlora.phrases import number_of

if TYPE_CHECKING:
    import pytest

    from pytest_wanlora.jobs.board import Progress

_POLL_SECONDS: Final = 0.25
_LINE_SECONDS: Final = 2.5
#: A line whenever the run has grown by 3 % after its first minute: some 150 lines in the first hour.
_SHARE_OF_THE_RUN: Final = 0.03


class Live:
    """Prints from a thread what the run does, as whole lines at intervals, so that logs stay readable.

    To a stream of its own: while a test runs, pytest's capture has the process' standard output, and what
    other libraries print is redirected.

    Args:
        doing: What is done before there are videos to count.

    Attributes:
        doing: What is done while there are no videos to count; it may be changed at any time.
        progress: How far the videos are; None before and after there are any to count.
        reporter: pytest's terminal, once there is one.
    """

    def __init__(self, doing: str) -> None:
        self.doing = doing
        self.progress: Callable[[], Progress | None] = lambda: None
        self.reporter: pytest.TerminalReporter | None = None
        self._own: TextIO | None = None
        with contextlib.suppress(OSError):  # io.UnsupportedOperation is one
            self._own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
        # one in memory is out of reach for the capture of file descriptors
        self._stream = self._own or sys.stdout
        self._began = time.monotonic()
        self._last = self._began
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="wanlora-progress", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            now = time.monotonic()
            if now - self._last >= max(_LINE_SECONDS, (now - self._began) * _SHARE_OF_THE_RUN):
                self.show(self.progress())

    def show(self, progress: Progress | None) -> None:
        """Print a line now."""
        with self._lock:
            self._last = now = time.monotonic()
            if progress is None:
                line = f"wanlora: {self.doing}, {duration(now - self._began)} so far"
            else:
                line = progress_line(progress)
            begun = self.reporter is not None and bool(self.reporter.currentfspath)
            if self.reporter is not None:
                self.reporter.currentfspath = None
            try:
                self._stream.write("\n" * begun + escaped(line, os.environ) + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._last = math.inf  # nobody reads the terminal any more; pytest reports that itself

    def stop(self) -> None:
        """Print nothing more."""
        self._stop.set()
        self._thread.join()
        if self._own is not None:
            with contextlib.suppress(OSError):
                self._own.close()


def progress_line(progress: Progress) -> str:
    """How far the videos are, with an estimate once one is finished.

    Example:
        `wanlora: 5 of 12 videos (3 reused), 2 being rendered, about 14 s left`
    """
    done = progress.reused + progress.rendered
    words = [f"wanlora: {done} of {number_of(progress.total, 'video')}"]
    if progress.reused:
        words[0] += f" ({progress.reused} reused)"
    if progress.failed:
        words.append(f"{progress.failed} failed")
    if len(progress.running) > 1:
        words.append(f"{len(progress.running)} being rendered")
    if progress.left:
        known = progress.remaining
        # an estimate that has run out is none: something else than usual is being done
        waits = progress.stage or "loading the model"
        words.append(waits if known is None or known < 1 else f"about {duration(known)} left")
    else:
        words.append("judging")
    if progress.nodes:
        words.append(f"nodes: {progress.nodes}")
    return ", ".join(words)
