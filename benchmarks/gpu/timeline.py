"""A pytest plugin that notes when what happened in a gate run: `-p benchmarks.gpu.timeline`.

Each process writes `$WANLORA_TIMELINE/<pid>.json`: when it began and ended, the intervals of imports and of
the functions below. They are wrapped from outside: nothing in the package is there for a benchmark.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

__all__ = ["FOLDER_VARIABLE", "WRAPPED"]

FOLDER_VARIABLE = "WANLORA_TIMELINE"
_IMPORTS = (builtins.__import__, importlib.import_module)
_SHORTEST_IMPORT = 0.02  # seconds; shorter ones are many and small

#: Module, name in it, category. What is not there is noted as missing.
WRAPPED: tuple[tuple[str, str, str], ...] = (
    ("pytest_wanlora.checkpoint", "read", "reading LoRAs"),
    ("pytest_wanlora.suite", "check_digests", "digests"),
    ("pytest_wanlora.studio.loading", "Loader.prepare", "imports"),
    ("pytest_wanlora.studio.loading", "Loader.embeddings", "prompts"),
    ("pytest_wanlora.studio.loading", "Loader.pipeline", "loading"),
    ("pytest_wanlora.studio.acceleration", "Accelerator.__init__", "loading"),
    ("pytest_wanlora.studio.acceleration", "Accelerator.warm_up", "compiling"),
    ("pytest_wanlora.studio.pipeline", "Studio.prepare", "loading"),
    ("pytest_wanlora.studio.pipeline", "Studio.load", "loading"),
    ("pytest_wanlora.studio.pipeline", "Studio._put_on", "LoRA on and off"),
    ("pytest_wanlora.studio.pipeline", "Studio.render_many", "rendering"),
    ("pytest_wanlora.scoring.scorer", "Scorer.__init__", "loading"),
    ("pytest_wanlora.scoring.scorer", "Scorer.score", "scoring"),
    ("pytest_wanlora.studio.producer", "write_preview", "previews"),
    ("pytest_wanlora.jobs.cache", "Cache.store", "keeping results"),
    ("pytest_wanlora.run.session", "Gate.jobs", "planning"),
    ("pytest_wanlora.run.judge", "Judge.judgement", "deciding"),
    ("pytest_wanlora.hooks.session", "Run._record", "reporting"),
)
# from here on the compiler works, which must not meet a wrapped import
_LAST_IMPORT = "Accelerator.__init__"


class _Timeline:
    """The intervals of this process.

    Attributes:
        events: Category, name, begin, end (seconds since the epoch), thread, and how many jobs it was about.
    """

    def __init__(self) -> None:
        self.began = time.time()
        self.events: list[dict[str, Any]] = []
        self.wrapped: set[tuple[str, str]] = set()
        self._importing = threading.local()

    def install(self) -> None:
        """Watch imports, and wrap each function as soon as its module is there."""
        builtins.__import__ = self._watched(_IMPORTS[0])
        importlib.import_module = self._watched(_IMPORTS[1])

    def stop_watching(self) -> None:
        """Leave imports alone from now on, and wrap what is there."""
        self._wrap_all()
        builtins.__import__, importlib.import_module = _IMPORTS

    def note(self, category: str, name: str, began: float, jobs: list[str]) -> None:
        """Keep an interval that ends now."""
        main = threading.current_thread() is threading.main_thread()
        self.events.append(
            {
                "category": category,
                "name": name,
                "begin": began,
                "end": time.time(),
                "main": main,
                "jobs": jobs,
            }
        )

    def _watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def watched(name: str, *rest: Any, **named: Any) -> Any:  # noqa: ANN401 - as the real one
            if getattr(self._importing, "depth", 0):
                return real(name, *rest, **named)
            self._importing.depth = 1
            began = time.time()
            try:
                return real(name, *rest, **named)
            finally:
                self._importing.depth = 0
                if time.time() - began > _SHORTEST_IMPORT:
                    self.note("imports", name, began, [])
                    self._wrap_all()
                elif name.startswith("pytest_wanlora"):
                    self._wrap_all()

        return watched

    def _wrap_all(self) -> None:
        for module_name, path, category in WRAPPED:
            module = sys.modules.get(module_name)
            if (module_name, path) not in self.wrapped and module is not None:
                self._wrap(module, path, category)

    def _wrap(self, module: ModuleType, path: str, category: str) -> None:
        *owners, name = path.split(".")
        owner: Any = module
        for each in owners:
            owner = getattr(owner, each, None)
        real = getattr(owner, name, None)
        if real is None:
            return  # not there, or its module is still being imported
        self.wrapped.add((module.__name__, path))

        @functools.wraps(real)
        def timed(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - as the real one
            if path == _LAST_IMPORT:
                self.stop_watching()
            began = time.time()
            try:
                return real(*given, **named)
            finally:
                self.note(category, path, began, _jobs(given))

        setattr(owner, name, timed)

    def write(self, folder: Path, worker: str) -> None:
        """Write what was seen."""
        missing = [f"{module}:{path}" for module, path, _ in WRAPPED if (module, path) not in self.wrapped]
        note = {
            "pid": os.getpid(),
            "worker": worker,
            "began": self.began,
            "ended": time.time(),
            "events": self.events,
            "missing": missing,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{os.getpid()}.json").write_text(json.dumps(note), encoding="utf-8")


def _jobs(given: tuple[Any, ...]) -> list[str]:
    """Keys of the jobs among a call's arguments."""
    found = []
    for each in given:
        for one in each if isinstance(each, (list, tuple)) else (each,):
            key = getattr(one, "key", None)
            if isinstance(key, str):
                found.append(key)
    return found


_TIMELINE = _Timeline()
_TIMELINE.install()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Write a worker's intervals before it tells the controller that it is done: then it may be ended."""
    yield
    workerinput = getattr(session.config, "workerinput", None)
    if workerinput is not None:
        _write(str(workerinput["workerid"]))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the intervals of a process that is no worker, reports and all."""
    if not hasattr(config, "workerinput"):
        _write("main")


def _write(worker: str) -> None:
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        _TIMELINE.write(Path(folder), worker)
