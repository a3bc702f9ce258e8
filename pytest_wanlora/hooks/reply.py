"""Tells who started this pytest, `gate` or a watch, where the record is or why there is none."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from pytest_wanlora.errors import WanloraError
from pytest_wanlora.files import write_json
from pytest_wanlora.jobs.cache import CLAIM, is_locked
from pytest_wanlora.results.folders import REPLY

PLACE: pytest.StashKey[str | None] = pytest.StashKey()
LOCK: pytest.StashKey[FileLock] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Take the file's name out of the environment: a pytest that a test starts must not answer."""
    config.stash[PLACE] = os.environ.pop(REPLY, None)
    if (claim := os.environ.pop(CLAIM, None)) is not None:
        locks = json.loads(claim)
        config.stash[LOCK] = FileLock(locks["running"])
        try:
            config.stash[LOCK].acquire(blocking=False)
        except Timeout as error:
            raise pytest.UsageError("another gate of this checkpoint is at work") from error
        if not is_locked(Path(locks["claim"])):
            # it died before this lock was held, and another watcher may have begun the same gate
            raise pytest.UsageError("the watch that started this gate has ended")


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    """Pass on the error that stops a run before it begins."""
    try:
        return (yield)
    except pytest.UsageError as error:
        cause = error.__cause__
        if isinstance(cause, WanloraError):
            kind = type(cause).__name__
            answer = {"kind": kind, "message": cause.message, "next_command": cause.next_command}
            _reply(config, {"error": answer, "options": cause.options})
        raise


def pytest_unconfigure(config: pytest.Config) -> None:
    """Pass on the folder of the run, if it has a record."""
    from pytest_wanlora.hooks.session import RUN

    run = config.stash.get(RUN, None)
    if run is not None and run.recording.record is not None:
        _reply(config, {"folder": str(run.gate.run_folder.absolute())})


def _reply(config: pytest.Config, answer: dict[str, Any]) -> None:
    place = config.stash.get(PLACE, None)
    if place is not None:
        write_json(Path(place), answer)
