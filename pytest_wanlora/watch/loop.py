"""The watch itself: looks, gates one checkpoint at a time in a process of its own, shows what came of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, TextIO

from pytest_wanlora.files import from_here
from pytest_wanlora.text_table import columns
from pytest_wanlora.watch.folders import Folders, Found, Look
from pytest_wanlora.watch.gates import Answer, Gates, ended
from pytest_wanlora.watch.view import History

#: How long a gate that was interrupted may take to keep what it has rendered.
_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Ends:
    """What ends a watch, besides Ctrl-C.

    Attributes:
        lives: Whether the trainer does; None: nobody asks.
        idle: Seconds without a new file.
        until_worse: So many of the last epochs are certainly worse than an earlier one.
    """

    lives: Callable[[], bool] | None = None
    idle: float | None = None
    until_worse: int | None = None


class Screen:
    """Lines that stay, and below them a table that is drawn over where there is a terminal.

    Args:
        stream: Where to.
        shown: Makes a line fit for the stream's encoding.
    """

    def __init__(self, stream: TextIO, shown: Callable[[str, str], str]) -> None:
        self._stream, self._shown = stream, shown
        self._live = stream.isatty()
        self._table: list[str] = []
        self._drawn = 0

    def say(self, line: str) -> None:
        """Print a line above the table."""
        self._erase()
        self._write(line)
        self._draw()

    def table(self, lines: Sequence[str], *, last: bool = False) -> None:
        """Show the table; where there is no terminal, the last one alone."""
        if self._live or last:
            self._erase()
            self._table = list(lines)
            self._draw()

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        width = max(20, shutil.get_terminal_size().columns - 1)
        for line in self._table:
            # a line that goes on in the next one could not be drawn over
            self._write(_cut(line, width) if self._live else line)
        self._drawn = len(self._table) if self._live else 0
        if not self._live:
            self._table = []

    def _write(self, line: str) -> None:
        self._stream.write(self._shown(line, self._stream.encoding or "utf-8") + "\n")
        self._stream.flush()


def _cut(line: str, width: int) -> str:
    while columns(line) > width:
        line = line[:-1]
    return line


class Watch:
    """Looks, gates what is finished, and shows what came of it.

    Args:
        folders: Where the trainer writes.
        gates: What was gated.
        ends: What ends it.
        screen: Where it is shown.
        every: Seconds between two looks.
        again: The command of the same watch with a suite that is named.
    """

    def __init__(
        self,
        folders: Folders,
        gates: Gates,
        ends: Ends,
        screen: Screen,
        *,
        every: float = 5.0,
        again: Callable[[str], str] = "--wanlora-suite {}".format,
    ) -> None:
        self.folders, self.gates, self.ends, self.screen, self.every = folders, gates, ends, screen, every
        self.again = again
        self.page = gates.folder / "history.html"
        self._began = time.time()
        self._gate: tuple[Found, subprocess.Popen[bytes], ExitStack] | None = None
        # of gates without an answer, and of those that an earlier watch could not measure
        self._failed: dict[str, str] = {}
        self._again: set[str] = set()
        self._told: set[str] = set()
        self._paged: object = None
        self._looked: object = None
        self._changed = time.monotonic()
        self._ended_looks = 0

    def run(self) -> bool:
        """Watch to the end; whether everything that was there was measured, and something was."""
        self.screen.say(f"watching {', '.join(map(str, self.folders.places))}; page: {from_here(self.page)}")
        for place in self.folders.places:
            if not place.is_dir():
                self.screen.say(f"{place} is not there yet; what is written to it later is gated")
        why, asked = "stopped by hand", False
        look = Look((), (), {}, (), {})
        try:
            while True:
                look = self._look()
                self._collect()
                history = self._history()
                self._show(history, look)
                if self.ends.until_worse is not None and (said := history.worse(self.ends.until_worse)):
                    why, asked = said, True
                    break
                if self._gate is None:
                    self._begin(history, look)
                if (over := self._over(history, look)) is not None:
                    why = over
                    break
                time.sleep(self._pause())
        except KeyboardInterrupt:
            pass
        self._interrupt()
        return self._end(look, why, asked=asked)

    def _look(self) -> Look:
        # asked first: what is looked at behind the trainer's end is all there will be
        self._ended_looks += self.ends.lives is not None and not self.ends.lives()
        look = self.folders.look()
        for found in look.found:
            self.gates.note(found)
        for path, why in look.ignored.items():
            self._tell(f"ignored: {path}: {why}")
        seen = (look.found, look.growing, look.alone)
        if seen != self._looked:
            self._looked, self._changed = seen, time.monotonic()
        return look

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self.screen.say(line)

    def _answer(self, digest: str) -> Answer | None:
        found = self.gates.answer(digest)
        if found is None and digest in self._failed:
            return Answer(None, self._failed[digest], 0.0)
        # what another watch could not measure before this one began is tried once more
        if found is not None and found.problem and found.at < self._began and digest not in self._again:
            return None
        return found

    def _history(self) -> History:
        working = frozenset() if self._gate is None else frozenset({self._gate[0].digest})
        return History([(job, self._answer(job.digest)) for job in self.gates.jobs()], working)

    def _begin(self, history: History, look: Look) -> None:
        there = {found.digest: found for found in look.found}
        for job, answer in history.answers:
            if answer is not None or job.digest not in there:
                continue
            claims = ExitStack()
            if not claims.enter_context(self.gates.claim(job.digest)) or self._answer(job.digest) is not None:
                # another watch gates it, or has just done so, or its gate has outlived its watch
                claims.close()
                continue
            self._again.add(job.digest)
            self.gates.forget(job.digest)
            self._gate = (job, self._start(there[job.digest]), claims)
            return

    def _start(self, found: Found) -> subprocess.Popen[bytes]:
        with self.gates.log(found.digest).open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - pytest, with the user's options
                [sys.executable, "-m", "pytest", f"--lora={found.argument}", *self.gates.options],
                env=self.gates.environment(found.digest),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is the watch's, which hands it on once
                start_new_session=True,
            )

    def _collect(self) -> None:
        if self._gate is None or self._gate[1].poll() is None:
            return
        found, process, claims = self._gate
        self._gate = None
        if self.gates.answer(found.digest) is None and not self.gates.running(found.digest):
            log = self.gates.log(found.digest)
            self._failed[found.digest] = f"{ended(process.returncode, log)}; see {from_here(log)}"
        claims.close()

    def _show(self, history: History, look: Look) -> None:
        for line in history.lines():
            self._tell(line)
        # of several suites the first is as good as any: the next gate refuses what does not fit
        for suite in [answer.suite for _, answer in history.answers if answer is not None and answer.suite][
            :1
        ]:
            self._tell(f"next: {self.again(suite)}")
        measured = [answer for _, answer in history.answers if answer is not None]
        if measured != self._paged:
            self._paged = measured
            history.page(self.page)
        self.screen.table(history.table(self._waiting(history, look)))

    def _waiting(self, history: History, look: Look) -> dict[str, str]:
        """What is not to be gated now, and why."""
        gone = "it was deleted or replaced before it was gated"
        return {**_unready(look), **dict.fromkeys(self._gone(history, look), gone)}

    def _gone(self, history: History, look: Look) -> list[str]:
        """Names of checkpoints that were in the folders and will never be gated."""
        there = {found.digest for found in look.found}
        return [
            job.name
            for job, answer in history.answers
            if answer is None
            and job.digest not in (there | history.working)
            and not look.growing
            and not self.gates.running(job.digest)
        ]

    def _over(self, history: History, look: Look) -> str | None:
        """Why the watch ends; None if it goes on."""
        there = {found.digest for found in look.found}
        open_ = [
            job.digest
            for job, answer in history.answers
            if answer is None and (job.digest in there or self.gates.running(job.digest))
        ]
        if look.growing or open_ or self._gate is not None:
            return None
        if self._ended_looks > 1:
            return "the trainer has ended"
        quiet = time.monotonic() - self._changed
        if self.ends.idle is not None and quiet >= self.ends.idle:
            return f"no new file for {self.ends.idle:g} s"
        return None

    def _pause(self) -> float:
        """Seconds to the next look: no longer than until the folders count as idle."""
        if self.ends.idle is None:
            return self.every
        left = self.ends.idle - (time.monotonic() - self._changed)
        return min(self.every, left) if left > 0.0 else self.every

    def _interrupt(self) -> None:
        """End the gate that is at work; what it has rendered is in the cache."""
        if self._gate is None:
            return
        _, process, claims = self._gate
        with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
            process.wait(_PATIENCE)
        process.kill()
        process.wait()
        self._gate = None
        claims.close()

    def _end(self, look: Look, why: str, *, asked: bool) -> bool:
        history = self._history()
        history.page(self.page)
        self.screen.table(history.table(self._waiting(history, look)), last=True)
        answers = [answer for _, answer in history.answers]
        gated = sum(each is not None and not each.problem for each in answers)
        problems = sum(each is not None and bool(each.problem) for each in answers)
        left = sum(each is None for each in answers)
        files = len(_unready(look).keys() - set(self._gone(history, look)))
        self.screen.say(
            f"the watch ended: {why}; {gated} gated, {problems} not measured, {left} not gated, "
            f"{files} other file{'s' * (files != 1)} in part or alone"
        )
        return gated > 0 and not problems and (asked or (not left and not files))


def _unready(look: Look) -> dict[str, str]:
    """Files that are there and are no checkpoint yet, and why."""
    return {
        **{path.name: "being written" for path in look.growing},
        **{path.name: why for path, why in look.unfinished.items()},
        **{path.name: "its other half is not there" for path in look.alone},
    }
