"""What became of every test of a gate run: the items of the gate, the project tests, and what else failed.

A project test is a test of the user's project that uses a `wanlora_*` fixture. What was judged is compared
with what the suite demands: what pytest selected, or reports as passed, proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_wanlora import workers
from pytest_wanlora.errors import JobError
from pytest_wanlora.gate_tests import HEADLINE, PROPERTY
from pytest_wanlora.hooks.collection import PREFIX, subject
from pytest_wanlora.results.parts import Part, Storing
from pytest_wanlora.verdict.judgement import ItemId, ItemOutcome, Judgement, PytestOutcome

if TYPE_CHECKING:
    from pytest_wanlora.run.session import Gate

_LONGEST: Final = 300
_LF: Final = "--last-failed"
_PHASES: Final = ("setup", "call", "teardown")
#: Of several reports of one test the worst counts, so a test that was run again until it passed has failed.
_WORST: Final = (
    PytestOutcome.PASSED,
    PytestOutcome.XFAILED,
    PytestOutcome.SKIPPED,
    PytestOutcome.FAILED,
    PytestOutcome.ERROR,
    PytestOutcome.LOST,
)
_MARKED: pytest.StashKey[bool] = pytest.StashKey()

Fate = tuple[PytestOutcome, str]
"""An outcome, and its reason in one line."""


@dataclass
class Collected:
    """What the processes that collect tests know about them; plain data, which a worker writes to a file.

    Attributes:
        items: Node id of each collected item of the gate to the item's name.
        tests: Node id of each collected project test to the checkpoint that it is about, None for all.
        dropped: Node id of each of both that is not run to the outcome and its reason.
    """

    items: dict[str, str] = field(default_factory=dict)
    tests: dict[str, str | None] = field(default_factory=dict)
    dropped: dict[str, list[str]] = field(default_factory=dict)


def mark_project_test(item: pytest.Item) -> str | None:
    """Have the reports of a project test say that it belongs to the verdict of a checkpoint.

    Args:
        item: A test that uses a `wanlora_*` fixture; once is enough.

    Returns:
        Name of the checkpoint that it is parametrised with; None: it is about all of them.
    """
    callspec = getattr(item, "callspec", None)
    candidate: str | None = None if callspec is None else callspec.params.get("wanlora_candidate")
    if not item.stash.get(_MARKED, False):
        item.stash[_MARKED] = True
        item.user_properties += [
            (PROPERTY, json.dumps({"project_test": candidate})),
            (f"{PROPERTY}_candidate", candidate or "all"),
        ]
    return candidate


class Outcomes:
    """Follows the tests of a session from their collection to their last report.

    Args:
        config: pytest's configuration.
        gate: The run.
        controller: xdist's hooks; None without workers, and in a worker.
        named: Whether the command line names items of the gate.
    """

    def __init__(
        self, config: pytest.Config, gate: Gate, controller: workers.Controller | None, *, named: bool
    ) -> None:
        self.config = config
        self.gate = gate
        self.controller = controller
        self.named = named
        self.judged: list[Judgement] = []
        self.stored: list[dict[str, Any]] = []
        self._not_stored: dict[str, Any] = {}
        self._worker = workers.is_worker(config)
        self._collected = Collected()
        self._fates: dict[str, Fate] = {}
        # a dictionary for its order
        self._failed: dict[str, None] = {}
        self._stopped: str | None = None
        #: Whether any report of pytest's own says that something failed.
        self.red = False

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note an item of the gate or a project test, whether or not it will be run."""
        self._note(item)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note what is not run, and which options select."""
        for item in items:
            self._collected.dropped[item.nodeid] = list(self._deselected(item.nodeid))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what was dropped without a word, and tell the controller."""
        known = self._collected
        for item in session.items:
            self._note(item)
        kept = {item.nodeid for item in session.items}
        for nodeid in {*known.items, *known.tests} - kept - known.dropped.keys():
            known.dropped[nodeid] = [PytestOutcome.REMOVED, ""]
        known.dropped = {
            nodeid: why
            for nodeid, why in known.dropped.items()
            if nodeid not in kept and (nodeid in known.items or nodeid in known.tests)
        }
        if self._worker:
            try:
                self.gate.board.note_collected(asdict(known))
            except JobError as error:
                raise pytest.UsageError(str(error)) from error

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note that a project test raised, in case another plugin reports that it passed."""
        if call.excinfo is not None and item.stash.get(_MARKED, False):
            raised = {"when": call.when, "words": one_line(call.excinfo.exconly())}
            item.user_properties.append((PROPERTY, json.dumps({"raised": raised})))
        report = yield
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None and HEADLINE in item.stash:
            # what pytest's short summary shows behind the test's id
            crash.message = item.stash[HEADLINE]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what tests tell; under xdist it arrives here from the workers."""
        if self._worker:
            return
        told = [json.loads(str(value)) for name, value in report.user_properties if name == PROPERTY]
        # it has arrived; other reports, such as JUnit's, are for people and show the rest
        report.user_properties = [each for each in report.user_properties if each[0] != PROPERTY]
        raised = ""
        for each in told:
            if "judgement" in each and report.when == "call":
                self._take(report.nodeid, each["judgement"])
            elif "stored" in each and report.when == "call":
                self.stored.append(each["stored"])
            elif "not_stored" in each and report.when == "call":
                self._not_stored = each["not_stored"]
            elif "project_test" in each:
                self._collected.tests.setdefault(report.nodeid, each["project_test"])
            elif "raised" in each and each["raised"]["when"] == report.when:
                raised = each["raised"]["words"]
        if report.failed:
            self._failed[report.nodeid] = None
            self.red = True
        fate = _fate(report, raised)
        if fate is not None:
            known = self._fates.setdefault(report.nodeid, fate)
            if _WORST.index(fate[0]) > _WORST.index(known[0]):
                self._fates[report.nodeid] = fate

    def _take(self, nodeid: str, told: dict[str, Any]) -> None:
        """Take a judgement in; one that passes must be on the bytes that this process has read."""
        for judged in Part.model_validate(told["judgements"]).judgements:
            if judged.verdict.fails or told["identity"] == self.gate.identity(judged.candidate):
                self.judged.append(judged)
            else:
                self._failed[nodeid] = None
                self._fates[nodeid] = PytestOutcome.FAILED, "judged on other inputs than the run began with"

    def judge_again(self, changed: Callable[[str], Judgement | None]) -> None:
        """Take back that a checkpoint passed whose file has changed since.

        Args:
            changed: The judgement on a candidate whose file has changed; None if it has not.
        """
        self.judged = [
            (each.kind == "checkpoint" and not each.verdict.fails and changed(each.candidate)) or each
            for each in self.judged
        ]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that could not be collected: its tests are not known."""
        if report.failed:
            self._failed[report.nodeid or "collection"] = None
            self.red = True
        if report.skipped and self._names_our_fixtures(report.nodeid):
            # pytest.skip or importorskip outside a test: it hides every test of the file
            self._collected.tests[report.nodeid] = None
            self._collected.dropped[report.nodeid] = [PytestOutcome.SKIPPED, _words(report)]

    def _names_our_fixtures(self, nodeid: str) -> bool:
        try:
            text = (self.config.rootpath / nodeid.partition("::")[0]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        return f"{PREFIX}_" in text

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that the run was stopped by hand or by `pytest.exit`, whatever its exit code says."""
        self._stopped = one_line(str(excinfo.value)) or excinfo.typename

    def stop(self, why: str) -> None:
        """Note what ended the run before its items were collected."""
        self._stopped = one_line(why)

    def end(self, session: pytest.Session) -> None:
        """Take in what the workers collected, and whether the run was stopped early."""
        if self.controller is not None:
            found = self.gate.board.collected()
            if found is not None:
                tests = self._collected.tests
                self._collected = Collected(**found)
                self._collected.tests |= tests
        for stop in (session.shouldstop, session.shouldfail):
            if self._stopped is None and stop:
                self._stopped = one_line(stop) if isinstance(stop, str) else ""

    @property
    def left_out(self) -> tuple[ItemOutcome, ...]:
        """What was to be judged or stored and was not, and why, in the gate's order."""
        judged = {each.item for each in self.judged}
        missing = [(str(item), item.candidate) for item in self.gate.items if item not in judged]
        stored = {each["candidate"] for each in self.stored}
        missing += [(f"test_baseline[{name}]", name) for name in self.gate.stored if name not in stored]
        nodeids = {name: nodeid for nodeid, name in self._collected.items.items()}
        return tuple(
            ItemOutcome(as_unicode(name), candidate, *self._left_out(nodeids.get(name)))
            for name, candidate in missing
        )

    @property
    def storing(self) -> Storing | None:
        """What came of the baseline that the run was to store; None for a gate."""
        name = self.gate.settings.update_target
        told = {} if self.stored else self._not_stored
        known = {"name": name, "stored": bool(self.stored), **told}
        return None if name is None else Storing.model_validate(known)

    def _left_out(self, nodeid: str | None) -> Fate:
        if nodeid is None:
            if self._stopped is not None and not self._collected.items:
                return PytestOutcome.STOPPED, self._stopped
            if self.named:
                return PytestOutcome.NOT_NAMED, ""
            if self.died:
                return self._lost()
            # it takes items out while they are collected, and tells no hook
            last_failed = self.config.getoption("lf", False)
            return (PytestOutcome.DESELECTED, _LF) if last_failed else (PytestOutcome.NOT_COLLECTED, "")
        outcome, detail = self._fate_of(nodeid)
        return (PytestOutcome.NOT_JUDGED if outcome is PytestOutcome.PASSED else outcome), detail

    @property
    def project_tests(self) -> tuple[ItemOutcome, ...]:
        """Outcomes of the project tests; those that did not pass come first."""
        found = [
            ItemOutcome(as_unicode(nodeid), candidate, *self._fate_of(nodeid))
            for nodeid, candidate in self._collected.tests.items()
        ]
        return tuple(sorted(found, key=lambda test: test.passed))

    @property
    def other_failures(self) -> tuple[str, ...]:
        """What failed and is neither a project test nor an item that was judged to fail, or not judged."""
        passing = {str(each.item) for each in self.judged if not each.verdict.fails}
        blamed = {nodeid for nodeid, name in self._collected.items.items() if name not in passing}
        explained = blamed | self._collected.tests.keys()
        return tuple(as_unicode(nodeid) for nodeid in self._failed if nodeid not in explained)

    @property
    def died(self) -> tuple[str, ...]:
        """Names of the workers that died."""
        return () if self.controller is None else tuple(self.controller.died)

    def _fate_of(self, nodeid: str) -> Fate:
        if nodeid in self._fates:
            return self._fates[nodeid]
        if nodeid in self._collected.dropped:
            outcome, detail = self._collected.dropped[nodeid]
            return PytestOutcome(outcome), detail
        if self._stopped is not None:
            return PytestOutcome.STOPPED, self._stopped
        return self._lost() if self.died else (PytestOutcome.NOT_RUN, "")

    def _lost(self) -> Fate:
        return PytestOutcome.LOST, f"worker {', '.join(self.died)} died"

    def _note(self, item: pytest.Item) -> None:
        about = subject(item)
        if about is not None:
            name = str(about) if isinstance(about, ItemId) else f"test_baseline[{about}]"
            self._collected.items[item.nodeid] = name
        elif any(name.startswith(f"{PREFIX}_") for name in getattr(item, "fixturenames", ())):
            self._collected.tests[item.nodeid] = mark_project_test(item)

    def _deselected(self, nodeid: str) -> Fate:
        """The options that may have deselected a test; without any it was a plugin or a `conftest.py`."""
        option = self.config.getoption
        prefixes = [prefix for prefix in option("deselect", None) or () if nodeid.startswith(prefix)]
        expressions = {"k": "keyword", "m": "markexpr"}
        flags = {"lf": _LF, "stepwise": "--stepwise"}
        selecting = [
            *(f"--deselect {prefix}" for prefix in prefixes[:1]),
            *(f"-{flag} {text!r}" for flag, name in expressions.items() if (text := option(name, ""))),
            *(flag for name, flag in flags.items() if option(name, False)),
        ]
        if not selecting:
            return PytestOutcome.REMOVED, ""
        return PytestOutcome.DESELECTED, one_line(", ".join(selecting))


def _fate(report: pytest.TestReport, raised: str) -> Fate | None:
    """What a report says about its test; None for a phase that says nothing.

    Args:
        report: Of one phase.
        raised: What the phase raised, as far as that is known whatever the report says.
    """
    if report.when not in _PHASES:
        # xdist's report of a test over which a worker died
        return PytestOutcome.LOST, _words(report)
    if report.skipped:
        if hasattr(report, "wasxfail"):
            return PytestOutcome.XFAILED, one_line(str(report.wasxfail))
        return PytestOutcome.SKIPPED, _words(report)
    if report.failed:
        if report.when == "call":
            return PytestOutcome.FAILED, _words(report)
        return PytestOutcome.ERROR, one_line(f"{report.when}: {_words(report)}")
    if not report.passed:
        # plugins that run a test again report the attempt that failed with an outcome of their own
        return PytestOutcome.FAILED, one_line(f"an attempt was reported as {report.outcome!r}")
    if raised:
        return PytestOutcome.FAILED, one_line(f"{raised}; a plugin or a conftest.py reported it as passed")
    return (PytestOutcome.PASSED, "") if report.when == "call" else None


def _words(report: pytest.CollectReport | pytest.TestReport) -> str:
    """Why a test failed or was skipped, in one line."""
    told: object = report.longrepr
    if isinstance(told, tuple) and len(told) == 3:
        return one_line(str(told[2]).removeprefix("Skipped: "))
    if isinstance(told, str):
        return one_line(told)
    crash = getattr(told, "reprcrash", None)
    return one_line(str(getattr(crash, "message", "")) or report.longreprtext)


def one_line(text: str) -> str:
    """The first line that says anything, without what cannot be printed, cut where it is long."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    line = as_unicode("".join(letter if letter.isprintable() else " " for letter in first).strip())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def as_unicode(text: object) -> str:
    """Text that a file can hold: names of files may be no Unicode."""
    return str(text).encode("utf-8", errors="backslashreplace").decode()
