"""Collect and parametrize the tests of the gate, in any root folder, and select them by id."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports.commands import pytest_name

if TYPE_CHECKING:
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.verdict.judgement import ItemId

#: First part of the gate's node ids, as if its items were in a module of that name in the root folder.
PREFIX = "wanlora"
GATE_MODULE = "pytest_wanlora.gate_tests"


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
    # an ini file may have pytest leave names as they are, so each of both may have either form
    asked = {chosen, pytest_name(chosen)}
    forms = (nodeid, pytest_name(nodeid))
    return any(form == each or form.startswith(f"{each}[") for form in forms for each in asked)


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

    Its node id is the same in any root folder, which stands in for the file that it does not have.
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
        from pytest_wanlora import gate_tests

        # a path that exists: plugins look at its time, --new-first among them
        module: GateModule = GateModule.from_parent(
            session, path=session.config.rootpath, name=PREFIX, nodeid=PREFIX
        )
        module.obj = gate_tests
        module.selection = self.selection
        module.names = self.names
        return module


def generate(metafunc: pytest.Metafunc, gate: Gate) -> None:
    """Parametrize one test function.

    The gate's own functions get the items of their kind, which their marker `wanlora` carries too. Users'
    functions are parametrized by each of candidate, scenario and metric that they request.
    """
    if metafunc.module.__name__ == GATE_MODULE:
        kind = metafunc.function.__name__.removeprefix("test_")
        judged: list[ItemId | str] = [item for item in gate.items if item.kind == kind]
        chosen = list(gate.stored) if kind == "baseline" else judged
        values = [pytest.param(item, id=_bracket(item), marks=pytest.mark.wanlora(item)) for item in chosen]
        metafunc.parametrize("wanlora_item", values, indirect=True)
        return
    for fixture, names in (
        ("wanlora_candidate", [candidate.name for candidate in gate.candidates]),
        ("wanlora_scenario", [scenario.id for scenario in gate.scenarios]),
        ("wanlora_metric", [name for name in gate.suite.tolerances if METRICS[name].level == "video"]),
    ):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, names, indirect=True)


def node_names(gate: Gate) -> list[str]:
    """What pytest calls the items of the gate, `test_limit[x-all-fvd]`, in their order."""
    names = [*map(str, gate.items), *(f"test_baseline[{name}]" for name in gate.stored)]
    return list(map(pytest_name, names))


def _bracket(item: ItemId | str) -> str:
    return item if isinstance(item, str) else str(item).partition("[")[2].removesuffix("]")
