"""A test case in pytest's JUnit file for why a run does not end well, where no test of it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    if whole:
        _junit(session, "pytest_sessionstart")(session=session)
    _tell(session, "race", why)
    if whole:
        _write(session)


def tell_end(session: pytest.Session, why: Iterable[str]) -> None:
    """Write why a run does not end well although no test case says so, into the file that has been written.

    Args:
        session: Of the run.
        why: What the terminal says of it, a line each.
    """
    _tell(session, "run", [*why, f"pytest ended with exit code {int(session.exitstatus)}"])
    # only now is it known with which exit code the run ends
    _write(session)


def _tell(session: pytest.Session, name: str, why: Iterable[str]) -> None:
    report = pytest.CollectReport(f"{PREFIX}::{name}", "failed", "\n".join(why), [])
    _junit(session, "pytest_collectreport")(report=report)


def _write(session: pytest.Session) -> None:
    _junit(session, "pytest_sessionfinish")(session=session, exitstatus=session.exitstatus)


def _junit(session: pytest.Session, hook: str) -> Callable[..., object]:
    """A hook of the plugin behind `--junitxml` alone."""
    # the terminal has said it, and `--lf` must not look for it
    manager = session.config.pluginmanager
    others = [plugin for plugin in manager.get_plugins() if type(plugin).__module__ != _MODULE]
    return manager.subset_hook_caller(hook, others)
