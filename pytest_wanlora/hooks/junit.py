"""A test case in pytest's JUnit file for what ends a run before any of its tests is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from pytest_wanlora.hooks.collection import PREFIX
from pytest_wanlora.reports import race

if TYPE_CHECKING:
    from pytest_wanlora.results.race import RaceCard

#: Of the plugin behind `--junitxml`, which has no public name.
_MODULE: Final = "_pytest.junitxml"


def tell_race(session: pytest.Session, card: RaceCard | None, error: BaseException, *, whole: bool) -> None:
    """Write why a race stopped as an error of collection: a file without a test case is taken for a good end.

    Args:
        session: Of the run.
        card: What is known of the race; None of one that could not begin.
        error: What stopped it.
        whole: Whether pytest ends the session without telling its plugins that it began and ended, as it does
            before xdist's workers have started.
    """
    why = [str(error)]
    if card is not None:
        why = [*race.lines(card, "en", str, str), f"next: {card.next_command}"]
    manager = session.config.pluginmanager
    # the terminal has said it, and `--lf` must not look for it
    others = [plugin for plugin in manager.get_plugins() if type(plugin).__module__ != _MODULE]
    report = pytest.CollectReport(f"{PREFIX}::race", "failed", "\n".join(why), [])
    if whole:
        manager.subset_hook_caller("pytest_sessionstart", others)(session=session)
    manager.subset_hook_caller("pytest_collectreport", others)(report=report)
    if whole:
        finish = manager.subset_hook_caller("pytest_sessionfinish", others)
        finish(session=session, exitstatus=session.exitstatus)
