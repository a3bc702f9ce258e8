"""Collect the packaged gate wherever pytest runs, and choose among its items by id."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_wanlora.verdict.judgement import ItemId

#: First part of the gate's node ids, as if its items were in a module of that name in the root folder.
PREFIX = "wanlora"


@dataclass(frozen=True)
class Selection:
    """What the command line names.

    Attributes:
        ids: Node ids of the gate, `wanlora::test_limit[...]` or `wanlora::test_limit`; empty for all of it.
        gate: Whether the gate is collected.
        others: Whether anything else is: only paths given on the command line are.
    """

    ids: tuple[str, ...]
    gate: bool
    others: bool


def take_selection(config: pytest.Config) -> Selection:
    """Take the gate's node ids out of the arguments, which pytest would look for as files.

    Without arguments the gate alone is collected, so that `pytest --lora X` in a repository does not run its
    test suite. Paths on the command line are collected beside it; ids of the gate replace the whole of it.
    """
    typed = config.args_source is pytest.Config.ArgsSource.ARGS
    ids = tuple(arg for arg in config.args if arg.startswith(f"{PREFIX}::")) if typed else ()
    config.args[:] = [arg for arg in config.args if arg not in ids]
    others = typed and bool(config.args)
    return Selection(ids=ids, gate=True, others=others)


def matches(nodeid: str, chosen: str) -> bool:
    """Whether a chosen id names an item: itself, or the function of which it is a parametrisation."""
    return nodeid == chosen or nodeid.startswith(f"{chosen}[")


def unknown_ids(ids: Sequence[str], known: Collection[str]) -> list[str]:
    """The chosen ids that name no item."""
    return [chosen for chosen in ids if not any(matches(nodeid, chosen) for nodeid in known)]


def subject(item: pytest.Item) -> ItemId | str | None:
    """What one of the gate's own items is about; None for any other test."""
    marker = item.get_closest_marker("wanlora")
    about: ItemId | str | None = marker.args[0] if marker is not None and marker.args else None
    return about if item.nodeid.startswith(f"{PREFIX}::") else None


class GateModule(pytest.Module):
    """The package's test functions under the root folder's node ids.

    Its path need not exist: it gives the items their ids, in any root folder the same.
    """

    selection: Selection
    names: frozenset[str]

    def funcnamefilter(self, name: str) -> bool:
        """The gate's functions that have items in this run, whatever `python_functions` says."""
        return name in self.names

    def classnamefilter(self, name: str) -> bool:
        """No classes."""
        return False

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The chosen items, in the gate's own order."""
        items = super().collect()
        ids = self.selection.ids
        return [item for item in items if not ids or any(matches(item.nodeid, chosen) for chosen in ids)]


class GatePlugin:
    """Hooks that put the gate into the collection; registered only while the gate is on.

    Args:
        selection: What the command line names.
        names: Of all items of the gate in this run.
    """

    def __init__(self, selection: Selection, names: Iterable[str]) -> None:
        self.selection = selection
        self.names = frozenset(name.partition("[")[0] for name in names)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the gate to what the session collects."""
        report = yield
        if isinstance(collector, pytest.Session):
            others = report.result if self.selection.others else []
            report.result = [self._module(collector), *others]
        elif isinstance(collector, GateModule) and report.passed and not report.result:
            # --last-failed passes over modules whose file has no failure; the gate has no file there
            report.result = list(collector.collect())
        return report

    def _module(self, session: pytest.Session) -> GateModule:
        from pytest_wanlora import gate

        module: GateModule = GateModule.from_parent(
            session, path=session.config.rootpath / PREFIX, name=PREFIX
        )
        module.obj = gate
        module.selection = self.selection
        module.names = self.names
        return module
