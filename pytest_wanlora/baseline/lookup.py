"""Find the baseline that a suite's candidates are compared with: the user's own, or the packaged one."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora import suite as suites
from pytest_wanlora.baseline import store

if TYPE_CHECKING:
    from pytest_wanlora.baseline.contents import Baseline
    from pytest_wanlora.errors import BaselineError
    from pytest_wanlora.suite import Suite


def baseline_place(folder: Path, suite: str, name: str) -> tuple[Path, str]:
    """Find the root folder of a baseline: the user's own, or the package's where the user has none.

    Returns:
        The root folder to load it from, and in words where that is.
    """
    own = store.folder(folder, suite, name)
    # a link to nothing is the user's own too
    if not os.path.lexists(own) and store.folder(_shipped(), suite, name).is_dir():
        return _shipped(), "the one that comes with the package"
    return folder, str(own)


def load_baseline(suite: Suite, folder: Path, name: str) -> Baseline:
    """Load what candidates are compared with, by its name in a folder or by its own absolute folder."""
    if Path(name).is_absolute():
        return store.load_folder(Path(name), suite.name, name=Path(name).name)
    return store.load(
        baseline_place(folder, suite.name, name)[0],
        suite.name,
        name,
        suite_option=suites.option_value(suite),
        others=store.stored(_shipped(), suite.name),
    )


def compared_with(name: str, error: BaselineError, again: Callable[[str], str]) -> str:
    """The next command of a baseline that cannot be loaded: one that measures the base, or names another.

    Args:
        name: The baseline that was asked for.
        error: Why it cannot be.
        again: What was typed, with another baseline's name.
    """
    if name == "base" or Path(name).is_absolute():
        return error.next_command or ""
    return again(str(error.options.get("--wanlora-baseline", "base")))


def _shipped() -> Path:
    return Path(str(resources.files("pytest_wanlora"))) / "baselines"


def stored_seeds(baseline: Baseline, suite: Suite, scenario: str) -> int:
    """How many of a suite's seeds, from the first on, a baseline has for a scenario."""
    stored = set(baseline.seeds(scenario))
    count = 0
    while suite.seeds.start + count in stored:
        count += 1
    return count
