"""Find the baseline that a suite's candidates are compared with: the user's own, or the packaged one."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora import suite as suites
from pytest_wanlora.baseline import store

if TYPE_CHECKING:
    from pytest_wanlora.baseline.contents import Baseline
    from pytest_wanlora.suite import Suite


def baseline_place(folder: Path, suite: str, name: str) -> tuple[Path, str]:
    """Find the root folder of a baseline: the user's own, or the package's where the user has none.

    Returns:
        The root folder to load it from, and in words where that is.
    """
    shipped = Path(str(resources.files("pytest_wanlora"))) / "baselines"
    own = store.folder(folder, suite, name)
    if not own.exists() and store.folder(shipped, suite, name).is_dir():
        return shipped, "the one that comes with the package"
    return folder, str(own)


def load_baseline(suite: Suite, folder: Path, name: str) -> Baseline:
    """Load what candidates are compared with, by its name in a folder or by its own absolute folder."""
    option = suites.option_value(suite)
    if Path(name).is_absolute():
        return store.load_folder(Path(name), suite.name, name=Path(name).name, suite_option=option)
    return store.load(baseline_place(folder, suite.name, name)[0], suite.name, name, suite_option=option)


def stored_seeds(baseline: Baseline, suite: Suite, scenario: str) -> int:
    """How many of a suite's seeds, from the first on, a baseline has for a scenario."""
    stored = set(baseline.seeds(scenario))
    count = 0
    while suite.seeds.start + count in stored:
        count += 1
    return count
