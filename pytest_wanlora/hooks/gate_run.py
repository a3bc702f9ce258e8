"""The hooks of a gate run: its folder, progress, the reports that come in, the record at its end."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wanlora import results, workers
from pytest_wanlora.errors import JobError, SettingsError, WanloraError
from pytest_wanlora.gate import PROPERTY
from pytest_wanlora.hooks import actions
from pytest_wanlora.hooks.collection import PREFIX, GatePlugin, take_selection, unknown_ids
from pytest_wanlora.hooks.parametrization import node_names
from pytest_wanlora.reports import signing, terminal, writing
from pytest_wanlora.results.parts import Part
from pytest_wanlora.run.build_record import Ending, build
from pytest_wanlora.run.session import Gate, open_gate
from pytest_wanlora.verdict.judgement import ItemId, Judgement

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.jobs.board import Board, Progress
    from pytest_wanlora.jobs.job import Producer
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.settings import Settings
    from pytest_wanlora.suite import Suite

__all__ = ["Live", "Run", "switch_on"]

_POLL_SECONDS = 1.0
_LINE_SECONDS = 5.0


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
    gate.check()
    if settings.sign_key is not None and orders is None and not config.getoption("collectonly"):
        # before hours of rendering: a run that was asked to sign and cannot does not begin
        signing.check_key(settings.sign_key)
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
    config.pluginmanager.register(Run(config, gate, controller), "wanlora-run")
    return gate


class Run:
    """What happens in a gate run besides its tests.

    Args:
        config: pytest's configuration.
        gate: The run.
        controller: xdist's hooks; None without workers, and in a worker.
    """

    def __init__(self, config: pytest.Config, gate: Gate, controller: workers.Controller | None) -> None:
        self.config = config
        self.gate = gate
        self.controller = controller
        self.worker = workers.is_worker(config)
        self.dry = bool(config.getoption("collectonly"))
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
        return lines

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Find out which jobs the selected items need."""
        chosen = [(item.nodeid, about) for item in session.items if (about := _argument(item)) is not None]
        self.selected = tuple(nodeid for nodeid, _ in chosen)
        if self.dry or self.controller is not None:
            return
        try:
            self.gate.select(about for _, about in chosen)
        except JobError as error:
            raise pytest.UsageError(str(error)) from error

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
        self.lines = terminal.summary(record, os.path.relpath(path))
        if alone:
            self.lines.append(alone)
        for stored in self.stored:
            self.lines += ["", *terminal.stored_lines(stored["place"], stored["changes"], stored["notes"])]
        self._report(session, record)
        self.gate.board.clear()

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


class Live:
    """Says how far the rendering is, now and then, in whole lines that a log can keep.

    Args:
        reporter: pytest's terminal.
        capture: pytest's capture, which would take the lines for a test's own output; None without.
    """

    def __init__(self, reporter: pytest.TerminalReporter, capture: Any) -> None:  # noqa: ANN401 - not exported
        self.reporter = reporter
        self.capture = capture
        self._last_line = ""
        self._last_time = -math.inf
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def show(self, progress: Progress) -> None:
        """Print a line if the last one was some seconds ago."""
        now = time.monotonic()
        line = terminal.progress_line(progress)
        if now - self._last_time < _LINE_SECONDS or line == self._last_line:
            return
        self._last_line, self._last_time = line, now
        shown = nullcontext() if self.capture is None else self.capture.global_and_fixture_disabled()
        with shown:
            self.reporter.ensure_newline()
            self.reporter.write_line(line)
            self.reporter.flush()

    def watch(self, board: Board) -> None:
        """Follow the notes of other processes until `stop`: the controller renders nothing itself."""

        def follow() -> None:
            while not self._stop.wait(_POLL_SECONDS):
                progress = board.progress()
                if progress is not None and progress.left:
                    self.show(progress)

        self._thread = threading.Thread(target=follow, name="wanlora-progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Print nothing more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
