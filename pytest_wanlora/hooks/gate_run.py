"""The hooks of a gate run: its folder, progress, the reports that come in, the record at its end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wanlora import results, workers
from pytest_wanlora.errors import JobError, SettingsError, WanloraError
from pytest_wanlora.gate import NOT_MEASURED, PROPERTY
from pytest_wanlora.hooks import actions
from pytest_wanlora.hooks.collection import PREFIX, GatePlugin, take_selection, unknown_ids
from pytest_wanlora.hooks.parametrization import node_names
from pytest_wanlora.hooks.progress import Live
from pytest_wanlora.reports import signing, terminal, writing
from pytest_wanlora.results.parts import Part
from pytest_wanlora.run.build_record import Ending, build
from pytest_wanlora.run.estimate import plan_lines
from pytest_wanlora.run.session import Gate, open_gate
from pytest_wanlora.verdict.judgement import ItemId, Judgement

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.jobs.job import Producer
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.settings import Settings
    from pytest_wanlora.suite import Suite

__all__ = ["Run", "switch_on"]


def switch_on(config: pytest.Config, settings: Settings) -> Gate:
    """Build the gate of this process and register its hooks.

    Raises:
        WanloraError: Anything that was named is wrong.
    """
    selection = take_selection(config)
    orders = workers.take_orders(config)

    def make_producer(suite: Suite, environment: Environment) -> Producer:
        producer: Producer = config.hook.pytest_wanlora_producer(
            suite=suite,
            settings=settings,
            environment=environment,
            workers=1 if orders is None else orders.workers,
        )
        return producer

    gate = open_gate(
        settings,
        make_producer=make_producer,
        run_folder=None if orders is None else orders.run_folder,
        who="main" if orders is None else orders.worker,
    )
    dry = settings.plan or bool(config.getoption("collectonly"))
    if orders is None and not dry and settings.sign_key is not None:
        # before hours of rendering: a run that was asked to sign and cannot does not begin
        signing.check_key(settings.sign_key)
    planned = workers.planned(config)
    if orders is None and not config.getoption("collectonly"):
        gate.examine()
        if settings.plan or gate.blocked:
            # nothing is rendered, so no worker has anything to do
            workers.distribute_nothing(config)
    known = [f"{PREFIX}::{name}" for name in node_names(gate)]
    if unknown := unknown_ids(selection.ids, known):
        raise SettingsError(
            f"not found: {unknown[0]}; this run has {len(known)} items, the first is {known[0]}",
            next_command="pytest --collect-only -q, with the same options",
        )
    controller = None
    if workers.is_controller(config):
        gpus = workers.Gpus.visible() if settings.device in ("auto", "cuda") else workers.Gpus(())
        controller = workers.Controller(gate.run_folder, gpus)
        config.pluginmanager.register(controller, "wanlora-controller")
    config.pluginmanager.register(GatePlugin(selection, node_names(gate)), "wanlora-collection")
    config.pluginmanager.register(Run(config, gate, controller, planned), "wanlora-run")
    return gate


class Run:
    """What happens in a gate run besides its tests.

    Args:
        config: pytest's configuration.
        gate: The run.
        controller: xdist's hooks; None without workers, and in a worker.
        planned: How many processes render, if any do.
    """

    def __init__(
        self, config: pytest.Config, gate: Gate, controller: workers.Controller | None, planned: int = 1
    ) -> None:
        self.config = config
        self.gate = gate
        self.controller = controller
        self.planned = planned
        self.worker = workers.is_worker(config)
        #: Nothing is judged: the run lists its items, or prints its plan.
        self.dry = gate.settings.plan or bool(config.getoption("collectonly"))
        self.started = time.time()
        self.selected: tuple[str, ...] = ()
        self.ended: set[str] = set()
        self.judged: list[Judgement] = []
        self.stored: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.annotations: list[str] = []
        self.live: Live | None = None

    def pytest_sessionstart(self) -> None:
        """Make the run's folder and prove that results can be kept, before anything is rendered."""
        if self.dry or self.worker:
            return
        try:
            self.gate.prepare()
        except JobError as error:
            raise pytest.UsageError(str(error)) from error
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self.config.get_verbosity() >= 0:
            self.live = Live(reporter, self.config.pluginmanager.get_plugin("capturemanager"))
            self.gate.on_progress = self.live.show
            if self.controller is not None:
                self.live.watch(self.gate.board)

    def pytest_report_header(self) -> list[str]:
        """Say what is gated on what."""
        gate = self.gate
        names = ", ".join(candidate.name for candidate in gate.candidates)
        lines = [f"wanlora: {names} on suite {gate.suite.name}, {gate.environment.device_name}"]
        if gate.settings.partial:
            lines.append(
                f"wanlora: partial run: {', '.join(scenario.id for scenario in gate.scenarios)} only"
            )
        if gate.preflight is not None and gate.preflight.downloads and not gate.blocked:
            lines += [f"wanlora: to be fetched: {each.words}" for each in gate.preflight.downloads]
        return lines

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Find out which jobs the selected items need."""
        chosen = [(item.nodeid, about) for item in session.items if (about := _argument(item)) is not None]
        self.selected = tuple(nodeid for nodeid, _ in chosen)
        if self.config.getoption("collectonly") or self.controller is not None:
            return
        try:
            self.gate.select((about for _, about in chosen), announce=not self.dry)
        except JobError as error:
            raise pytest.UsageError(str(error)) from error

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        """Run no test where only the plan was asked for."""
        if not self.gate.settings.plan:
            return None
        self.lines = plan_lines(self.gate, self.planned)
        return True

    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Count an item whose cause is printed once for all as not measured, instead of repeating it."""
        told = dict(getattr(report, "user_properties", ()))
        if report.when == "call" and report.failed and NOT_MEASURED in told:
            return "not measured", "N", ("NOT MEASURED", {"red": True})
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what items tell; under xdist it arrives here from the workers."""
        if not report.nodeid.startswith(f"{PREFIX}::"):
            return
        told = [json.loads(str(value)) for name, value in report.user_properties if name == PROPERTY]
        if not self.worker:
            # it has arrived; other reports, such as JUnit's, are for people and show the rest
            report.user_properties = [each for each in report.user_properties if each[0] != PROPERTY]
        if report.when == "teardown" or report.failed:
            self.ended.add(report.nodeid)
        if report.when != "call":
            return
        for each in told:
            if "judgement" in each:
                self.judged += Part.model_validate(each["judgement"]).judgements
            else:
                self.stored.append(each["stored"])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the record once, and never let a run end well from which a result is missing."""
        if self.live is not None:
            self.live.stop()
        if self.dry or self.worker:
            return
        if self.controller is not None:
            self.selected = tuple(each for each in self.controller.expected if each.startswith(f"{PREFIX}::"))
        stopped = bool(session.shouldstop or session.shouldfail) or exitstatus == pytest.ExitCode.INTERRUPTED
        lost = () if stopped else tuple(sorted(set(self.selected) - self.ended))
        if lost:
            _fail(session)
        if self.selected:
            self._record(session, stopped=stopped, lost=lost)
        else:
            self.gate.discard()

    def _record(self, session: pytest.Session, *, stopped: bool, lost: Sequence[str]) -> None:
        notes = [f"{nodeid}: no result arrived" for nodeid in lost]
        if self.controller is not None:
            notes += [f"worker {name} died" for name in self.controller.died]
        ids = {f"{PREFIX}::{name}": item for name, item in node_names(self.gate).items()}
        items = [ids[nodeid] for nodeid in self.selected if nodeid in ids]
        ending = Ending(
            command=("pytest", *map(_unicode, self.config.invocation_params.args)),
            started=self.started,
            finished=time.time(),
            exit_status=int(session.exitstatus),
            selected=tuple(item for item in items if isinstance(item, ItemId)),
            stopped=stopped,
            notes=tuple(notes),
        )
        path = self.gate.run_folder / "results.json"
        try:
            record = build(self.gate, self.gate.judge, self.judged, ending)
            if alone := self._part_that_passed(record):
                _fail(session)
                record = record.model_copy(update={"exit_status": int(session.exitstatus)})
            results.write(record, path)
        except WanloraError as error:
            self.lines = [f"no record was written: {error}"]
            _fail(session)
            return
        self.lines = terminal.summary(record, os.path.relpath(path), causes=self._causes())
        if alone:
            self.lines.append(alone)
        for stored in self.stored:
            self.lines += ["", *terminal.stored_lines(stored["place"], stored["changes"], stored["notes"])]
        self._report(session, record)
        self.gate.close()

    def _causes(self) -> list[str]:
        """What kept everything from being measured, a paragraph each."""
        preflight = self.gate.preflight
        return (
            [] if preflight is None else list(preflight.lines(self.gate.blocked)) if self.gate.blocked else []
        )

    def _part_that_passed(self, record: RunRecord) -> str:
        """What to say of a run that would end well although it publishes nothing; empty for any other.

        Exit code 0 means publishable. A selection that someone left in a command or an ini file must not look
        like the whole gate.
        """
        publishable = all(card.publishable for card in record.candidates)
        if self.gate.settings.update_baselines or record.exit_status or publishable:
            return ""
        return "a part of the gate passes; the exit code is 1, for 0 means that a checkpoint may be published"

    def _report(self, session: pytest.Session, record: RunRecord) -> None:
        """Write the reports; whatever becomes of them, the record is there already."""
        written = writing.write_all(record, self.gate.run_folder, sign_key=self.gate.settings.sign_key)
        if written.paths:
            first, *others = written.paths
            beside = f", and beside it {', '.join(path.name for path in others)}" if others else ""
            self.lines.append(f"reports: {os.path.relpath(first)}{beside}")
        self.lines += written.problems
        if written.unsigned:
            self.lines.append("the receipt was to be signed and is not there: nothing can be published by it")
            _fail(session)
        self.annotations = actions.say(record, self.gate.run_folder, os.environ)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        if self.lines and self.config.get_verbosity() >= -1:
            terminalreporter.write_sep("=", "wanlora")
            for line in self.lines:
                terminalreporter.write_line(line)
        for line in self.annotations:
            terminalreporter.write_line(line)


def _fail(session: pytest.Session) -> None:
    """Let a run that would end well end with 1."""
    if session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unicode(argument: object) -> str:
    """An argument of the command line that a file can hold: names of files may be no Unicode."""
    return str(argument).encode("utf-8", errors="backslashreplace").decode()


def _argument(item: pytest.Item) -> ItemId | str | None:
    """What one of the gate's own items is about; None for any other item."""
    marker = item.get_closest_marker("wanlora")
    return marker.args[0] if marker is not None and marker.args else None
