"""What a benchmark run has found so far: one JSON file that every process of the run adds to."""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_wanlora.files import write_whole

__all__ = ["Record"]


@dataclass(frozen=True)
class Record:
    """The file, written whole at every change, so that a run that is cut off leaves what it had measured.

    Attributes:
        path: `{"<step>": {"status": ..., "seconds": ..., "<figure>": ...}}`.
    """

    path: Path

    def read(self) -> dict[str, dict[str, Any]]:
        """All steps so far."""
        try:
            found: dict[str, dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def note(self, step: str, **figures: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Add figures to a step; one of the same name is replaced."""
        self._write(step, figures)
        for name, figure in figures.items():
            say(f"{step}: {name}: {json.dumps(figure)}")

    def add(self, step: str, table: str, name: str, figures: Any) -> None:  # noqa: ANN401
        """Add a line to a table of a step."""
        lines = {**self.read().get(step, {}).get(table, {}), name: figures}
        self._write(step, {table: lines})
        say(f"{step}: {table}: {name}: {json.dumps(figures)}")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step and note how it ended; what goes wrong in it does not stop the steps after it."""
        say(f"--- {name}")
        began = time.perf_counter()
        # one that is done again loses what went wrong before
        self._write(name, {"status": "running"}, without="error")
        try:
            yield
        # a benchmark's other steps are worth having whatever one of them fails of
        except Exception as error:  # noqa: BLE001
            say(traceback.format_exc())
            self.note(name, status="failed", error=f"{type(error).__name__}: {error}")
        else:
            self.note(name, status="done")
        finally:
            self.note(name, seconds=round(time.perf_counter() - began, 1))

    def _write(self, step: str, figures: Mapping[str, Any], *, without: str = "") -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            steps = self.read()
            kept = {name: figure for name, figure in steps.get(step, {}).items() if name != without}
            steps[step] = {**kept, **figures}
            write_whole(self.path, json.dumps(steps, indent=1).encode())


def say(line: str) -> None:
    """Print at once, whoever reads the other end."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)
