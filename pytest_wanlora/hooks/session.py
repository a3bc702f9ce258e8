"""The hooks of a gate run: its folder, progress, the reports that come in, the record at its end."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import options, workers
from pytest_wanlora import suite as suites
from pytest_wanlora.errors import JobError, WanloraError
from pytest_wanlora.gate_tests import NOT_MEASURED
from pytest_wanlora.hooks import github_actions, junit
from pytest_wanlora.hooks.collection import PREFIX, subject
from pytest_wanlora.hooks.outcomes import Outcomes, as_unicode
from pytest_wanlora.hooks.progress import Live
from pytest_wanlora.hooks.recording import Recording
from pytest_wanlora.run.candidates import apart
from pytest_wanlora.run.handover import notes, packed
from pytest_wanlora.run.race import Course, beyond_budget, plan_line
from pytest_wanlora.run.session import Gate

if TYPE_CHECKING:
    from pytest_wanlora.run.record import Ending

RUN: pytest.StashKey[Run] = pytest.StashKey()


class Run:
    """The hooks of a gate run other than its tests.

    Args:
        config: pytest's configuration.
        gate: The run.
        controller: xdist's hooks; None without workers, and in a worker.
        outcomes: Of the tests.
        planned: How many processes render, if any do.
        live: Prints what the run does; None where nothing is to be printed.
    """

    def __init__(
        self,
        config: pytest.Config,
        gate: Gate,
        controller: workers.Controller | None,
        outcomes: Outcomes,
        planned: int = 1,
        live: Live | None = None,
    ) -> None:
        self.config = config
        self.gate = gate
        self.controller = controller
        self.outcomes = outcomes
        self.planned = planned
        self.worker = workers.is_worker(config)
        listing = options.listing(config)
        #: Nothing is judged: the run lists its items, or prints its plan.
        self.dry = bool(listing)
        self.warnings = (
            *suites.contradicting_names(gate.suite),
            *(() if gate.preflight is None else gate.preflight.warnings),
            *gate.repeated,
            *apart(gate.settings, gate.candidates),
            *checkpoints.left_out(gate.settings.lora),
        )
        self.started = time.time()
        self.began = False
        self.recording = Recording(config, gate, outcomes)
        self.lines: list[str] = []
        if listing and not gate.settings.plan:
            does = "lists the items" if listing == "--collect-only" else "runs no item"
            self.lines = [f"nothing was judged: {listing} {does} of the gate"]
        self._prepared = False
        self.live = live

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Make the run's folder and prove that results can be kept, before anything is rendered."""
        self.began = True
        if self.dry or self.worker:
            return
        try:
            self.gate.prepare()
        except JobError as error:
            raise pytest.UsageError(str(error)) from error
        # every plugin has been configured by now
        github_actions.annotate_once(self.config.pluginmanager, f"{PREFIX}::")
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            github_actions.escape_output(self.config.get_terminal_writer(), os.environ)
        if self.live is not None:
            self.live.reporter, self.live.progress = reporter, self.gate.progress
            self.live.doing = "collecting" if self.controller is None else f"starting {self.planned} workers"
        if self.controller is not None:
            # before the workers start: they are told of the winner alone
            try:
                self._race(session)
            except (pytest.UsageError, KeyboardInterrupt, pytest.exit.Exception) as error:
                # pytest ends a session that has not begun without its `pytest_sessionfinish`
                usage = isinstance(error, pytest.UsageError)
                session.exitstatus = pytest.ExitCode.USAGE_ERROR if usage else pytest.ExitCode.INTERRUPTED
                self.gate.finish()
                self._finish(session)
                self.stop()
                raise
            self.controller.handover = packed(self.gate)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Race the candidates, before the items of the winner are collected."""
        if self.controller is None and not self.dry and not self.worker:
            self._race(session)

    @property
    def _races(self) -> bool:
        gate = self.gate
        return gate.settings.race and not gate.blocked and len(gate.candidates) > 1

    def _race(self, session: pytest.Session) -> None:
        gate = self.gate
        if not self._races:
            return
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")

        def say(line: str) -> None:
            if reporter is not None and self.config.get_verbosity() >= 0:
                reporter.write_line(f"wanlora: {line}")

        say(plan_line(gate))
        course = None
        try:
            course = Course(gate, say)
            gate.narrow(course.run())
        except (WanloraError, KeyboardInterrupt, pytest.exit.Exception) as error:
            if course is not None:
                gate.narrow(course.ended(error))
            junit.tell_race(session, gate.race, error, whole=self.controller is not None)
            self.outcomes.red = True
            if not isinstance(error, WanloraError):
                raise
            self.outcomes.stop(error.message)
            raise pytest.UsageError(str(error)) from error

    def pytest_report_header(self) -> list[str]:
        """Say what is gated on what."""
        gate = self.gate
        names = ", ".join(candidate.name for candidate in gate.candidates)
        lines = [f"wanlora: {names} on suite {gate.suite.name}, {_device(gate)}"]
        if gate.cluster is not None:
            lines.append(f"wanlora: rendered by Ray at {gate.cluster.address}: {gate.cluster.words}")
        lines += [f"wanlora: warning: {line}" for line in self.warnings]
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
        if self.controller is not None or (self.dry and not self.gate.settings.plan):
            return
        chosen = [about for item in session.items if (about := subject(item)) is not None]
        try:
            self.gate.select(chosen, announce=not self.dry)
        except JobError as error:
            raise pytest.UsageError(str(error)) from error
        progress = None if self.dry else self.gate.progress()
        if self.live is not None and progress is not None and progress.left:
            self.live.show(progress)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run no test where only the plan was requested."""
        if not self.gate.settings.plan:
            return None
        from pytest_wanlora.run.estimate import broken, plan_lines

        self.lines = plan_lines(self.gate, self.planned)
        if self.config.get_verbosity() < 0:
            # there is no header, which says them
            self.lines += [f"note: {line}" for line in self.warnings]
        # the run would end so
        if (error := beyond_budget(self.gate)) is not None:
            raise pytest.UsageError(str(error))
        try:
            if self._races:
                Course(self.gate, self.lines.append)
        except WanloraError as error:
            raise pytest.UsageError(str(error)) from error
        # as the run would: a race goes on with those that are left
        count, left = len(broken(self.gate)), self.gate.settings.race and len(self.gate.candidates)
        session.testsfailed = 0 if count < left else count
        return True

    def pytest_runtest_logstart(self) -> None:
        """Import what the record and the reports need while the workers render, not when they have."""
        if self.controller is None or self._prepared:
            return
        self._prepared = True
        # what cannot be imported is told where it is needed
        with contextlib.suppress(Exception):
            for name in ("scipy.special", "pytest_wanlora.run.record", "pytest_wanlora.publishing.verify"):
                importlib.import_module(name)
            importlib.import_module("pytest_wanlora.reports.writing").prepare()

    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Count an item whose cause is printed once for all as not measured, instead of repeating it."""
        told = dict(getattr(report, "user_properties", ()))
        if report.when == "call" and report.failed and NOT_MEASURED in told:
            return "not measured", "N", ("NOT MEASURED", {"red": True})
        return None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the record once, and never let a run end well from which a result is missing.

        Behind every other hook, since they may still change the exit code, and before the terminal's summary.
        """
        if self.live is not None:
            self.live.progress = lambda: None
            self.live.doing = "ending the tests"
        try:
            result = yield
            if not self.dry and not self.worker:
                if self.live is not None:
                    self.live.doing = "writing the record and the reports"
                self.outcomes.end(session)
                self._finish(session)
        finally:
            self.stop()
        return result

    def stop(self) -> None:
        """Print nothing more of what the run does."""
        if self.live is not None:
            self.live.stop()

    def _finish(self, session: pytest.Session) -> None:
        from pytest_wanlora.reports import terminal
        from pytest_wanlora.run.record import Ending

        outcomes, gate = self.outcomes, self.gate
        if not gate.settings.update_baselines:
            outcomes.judge_again(gate.judge.files.changed)
        left_out, tests, others = outcomes.left_out, outcomes.project_tests, outcomes.other_failures
        failing = any(judged.verdict.fails for judged in outcomes.judged)
        # a run that stores a baseline decides on nothing that project tests could be about
        demanded = () if gate.settings.update_baselines else tests
        nobody = gate.race is not None and not gate.race.gated
        part = bool(left_out) or gate.settings.partial or nobody
        idle = sum(not test.outcome.ran for test in demanded)
        if part or idle or others or failing or not all(test.passed for test in demanded):
            _fail(session)
        refused = outcomes.storing is not None and outcomes.storing.why
        told = {f"test_baseline[{name}]" for name in gate.stored} if refused else ()
        # also of a run in which nothing was judged: `latest` must not lead to an earlier run's receipt
        ending = Ending(
            command=("pytest", *map(as_unicode, self.config.invocation_params.args)),
            started=self.started,
            finished=time.time(),
            exit_status=int(session.exitstatus),
            # an item that says why it failed was not left out
            left_out=tuple(each for each in left_out if each.name not in told),
            project_tests=tests,
            other_failures=others,
            storing=outcomes.storing,
            notes=(
                *self.warnings,
                *notes(gate),
                *(f"worker {name} died" for name in outcomes.died),
                *(each["insisted"] for each in outcomes.stored if each["insisted"]),
            ),
        )
        self._record(session, ending)
        if part or idle:
            self.lines.append(
                terminal.only_part(
                    int(session.exitstatus),
                    nothing=not outcomes.judged and not outcomes.stored,
                    storing=outcomes.storing,
                    tests=0 if part else idle,
                )
            )
        if session.exitstatus and not outcomes.red:
            # the file without a failing test case is all that some readers have of the run
            junit.tell_end(session, [*self._undone(ending), *(self.lines[-1:] if part else ())])

    def _undone(self, ending: Ending) -> Iterator[str]:
        """What was to be judged or to pass, and was not."""
        from pytest_wanlora.reports import sentences, terminal

        record = self.recording.record
        if record is None:
            yield from self.lines
            return
        if record.storing is None:
            refused = (card for card in record.candidates if not card.publishable)
            yield from (f"{card.name} may not be published: {card.reason}" for card in refused)
        yield from terminal.left_out_lines(ending.left_out, self.gate.items)
        yield from (sentences.project_test_line(each) for each in ending.project_tests if not each.passed)

    def _record(self, session: pytest.Session, ending: Ending) -> None:
        try:
            lines = self.recording.write(ending)
            if session.exitstatus == pytest.ExitCode.OK and not self.recording.whole:
                _fail(session)
                lines = self.recording.write_again(int(session.exitstatus))
        except WanloraError as error:
            self.lines = [f"no record was written: {error}"]
            _fail(session)
            return
        self.lines = lines
        self.gate.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        lines, self.lines = self.lines, []
        if lines and self.config.get_verbosity() >= -1:
            terminalreporter.write_sep("=", "wanlora")
            for line in lines:
                terminalreporter.write_line(line, **getattr(line, "markup", {}))

    def settle(self, exit_status: int) -> int:
        """Hold the record and the receipts to the exit code with which pytest ends.

        Hooks of other plugins may change it after the record was written; and what ends with 0 must be a gate
        whose record says so.

        Args:
            exit_status: pytest's exit code.

        Returns:
            The exit code to end with.
        """
        if self.dry or self.worker:
            # a plan judges nothing, so it ends well even where the selection leaves nothing to plan
            planned = self.gate.settings.plan and exit_status == pytest.ExitCode.NO_TESTS_COLLECTED
            return int(pytest.ExitCode.OK) if planned else exit_status
        record = self.recording.record
        if record is not None:
            ends = exit_status or record.exit_status
            if ends != record.exit_status:
                self.lines += self._ended_otherwise(ends)
        elif exit_status:
            ends = exit_status
        else:
            from pytest_wanlora.reports import terminal

            ends = int(pytest.ExitCode.TESTS_FAILED)
            self.lines.append(terminal.only_part(ends, nothing=True, storing=self.outcomes.storing))
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        annotations = [] if record is None else github_actions.say(record, self.gate.run_folder, os.environ)
        if reporter is not None:
            # none are left where the terminal's summary has printed them
            self.pytest_terminal_summary(reporter)
            for line in annotations:
                reporter.write_line(line)
        return ends

    def _ended_otherwise(self, exit_status: int) -> list[str]:
        try:
            lines = self.recording.write_again(exit_status)
        except WanloraError as error:
            return [f"no record was written: {error}"]
        return [
            f"the exit code changed to {exit_status} after the record was written; it was written again",
            *lines,
        ]


def _device(gate: Gate) -> str:
    """On what is rendered and why: `cpu, named by the suite`."""
    shown, source = gate.environment.device_name, gate.device.source
    if gate.cluster is not None:
        return shown
    if gate.device.name != "auto":
        return f"{shown}, named by {source}"
    why = "the first GPU" if gate.environment.device == "cuda" else "no GPU is visible"
    return f"{shown}, {why} ({source}: auto)" if source else f"{shown}, {why}"


def _fail(session: pytest.Session) -> None:
    """Let a run that would end well end with 1."""
    if session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
