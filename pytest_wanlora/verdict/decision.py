"""Whether a checkpoint may be published."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.judgement import (
    ALL,
    ItemId,
    ItemOutcome,
    Judgement,
    PytestOutcome,
    Verdict,
)

#: pytest's exit codes that no failing test explains.
_EXIT_CODES: Final = MappingProxyType(
    {2: "it was interrupted", 3: "an internal error", 4: "a usage error", 5: "no test was collected"}
)


_TESTS_FAILED: Final = (PytestOutcome.FAILED, PytestOutcome.ERROR, PytestOutcome.XFAILED)


class RunOutcome(StrEnum):
    """How a run ended; of several that apply the first one counts, and only `PASSED` ends with 0."""

    FAILED = "failed"
    NOT_MEASURED = "not_measured"
    UNDECIDED = "undecided"
    PARTIAL = "partial"
    PASSED = "passed"

    @classmethod
    def first(cls, outcomes: Iterable[RunOutcome]) -> RunOutcome:
        """The first by precedence; `PASSED` of none."""
        return min(outcomes, key=list(cls).index, default=cls.PASSED)


@dataclass(frozen=True)
class Cause:
    """Why items could not be measured.

    Attributes:
        reason: In English.
        next_command: What to type or do next; empty where that is not known.
        judgements: Of the items that it concerns.
    """

    reason: str
    next_command: str
    judgements: tuple[Judgement, ...]

    @property
    def videos(self) -> tuple[str, ...]:
        """Labels of the videos that could not be rendered for it, each once."""
        return tuple(dict.fromkeys(judged.video for judged in self.judgements if judged.video))

    @property
    def sentence(self) -> str:
        """The cause on one line."""
        line = "; ".join(self.reason.splitlines())
        return f"{line}; next: {self.next_command}" if self.next_command else line


@dataclass(frozen=True)
class Decision:
    """Whether a checkpoint may be published.

    Attributes:
        publishable: Nothing fails, everything that was expected was judged, once, every project test passed,
            and nothing was left out of the run.
        failing: Judgements that keep the checkpoint from being published, worst first.
        warnings: Judgements that warn, worst first.
        unmeasured: Items that were expected and not judged.
        tests: Project tests that did not pass.
        run_problem: What the pytest run itself has against every checkpoint, empty if nothing.
        reason: One sentence.
    """

    publishable: bool
    failing: tuple[Judgement, ...]
    warnings: tuple[Judgement, ...]
    unmeasured: tuple[ItemId, ...]
    tests: tuple[ItemOutcome, ...]
    run_problem: str
    reason: str

    @property
    def outcome(self) -> RunOutcome:
        """How the checkpoint's part of the run ended."""
        undecided = self.undecided
        if any(not j.verdict.unmeasured and j not in undecided for j in self.failing) or any(
            test.outcome in _TESTS_FAILED for test in self.tests
        ):
            return RunOutcome.FAILED
        if len(self.failing) > len(undecided):
            return RunOutcome.NOT_MEASURED
        if undecided:
            return RunOutcome.UNDECIDED
        return RunOutcome.PASSED if self.publishable else RunOutcome.PARTIAL

    @property
    def undecided(self) -> tuple[Judgement, ...]:
        """Those of the failing that are neither a pass nor a fail."""
        return tuple(judged for judged in self.failing if judged.verdict is Verdict.UNDECIDED)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why something could not be measured, each cause once."""
        return causes(self.failing)


def decide(
    judgements: Iterable[Judgement],
    expected: Collection[ItemId],
    project_tests: Collection[ItemOutcome] = (),
    *,
    partial: bool = False,
    storing: str = "",
    run_problem: str = "",
) -> Decision:
    """Decide on one checkpoint; whatever was not measured did not pass.

    Args:
        judgements: In any order.
        expected: All items that the suite demands of this checkpoint.
        project_tests: The project tests that are about this checkpoint.
        partial: Whether anything was left out of the run.
        storing: What came of the baseline that the run was to store; empty for a gate.
        run_problem: See the function of that name.
    """
    ordered = sorted(judgements, key=lambda j: j.gravity)
    failing = tuple(j for j in ordered if j.verdict.fails)
    seen = [j.item for j in ordered]
    unmeasured = tuple(sorted(set(expected) - set(seen)))
    repeated = len(seen) != len(set(seen))
    tests = tuple(test for test in project_tests if not test.passed)
    parts = list(_reasons(failing, unmeasured, repeated=repeated, expected=len(expected)))
    if tests:
        first = f"{tests[0].name} ({str(tests[0].outcome).replace('_', ' ')})"
        parts.append(f"{len(tests)} of {len(project_tests)} project tests did not pass, the first {first}")
    if run_problem:
        parts.append(run_problem)
    if storing:
        parts.insert(0, storing)
    elif not parts and partial:
        parts.append("a partial run publishes nothing; what was judged passes")
    warnings = tuple(j for j in ordered if j.verdict is Verdict.WARN)
    also = f" and {len(project_tests)} project test{'s' * (len(project_tests) != 1)}" * bool(project_tests)
    passing = f"all {len(expected)} items{also} pass"
    if warnings:
        warn = f"{len(warnings)} warn{'s' * (len(warnings) == 1)}"
        passing = f"no item fails: {len(expected) - len(warnings)} items{also} pass, {warn}"
    return Decision(
        publishable=not parts,
        failing=failing,
        warnings=warnings,
        unmeasured=unmeasured,
        tests=tests,
        run_problem=run_problem,
        reason="; ".join(parts) or passing,
    )


def causes(judgements: Iterable[Judgement]) -> tuple[Cause, ...]:
    """Why something could not be measured, each cause once, with the items that it concerns."""
    found: dict[tuple[str, str], list[Judgement]] = {}
    for judged in judgements:
        if judged.verdict.unmeasured:
            for cause in judged.causes:
                found.setdefault(cause, []).append(judged)
    return tuple(Cause(*cause, tuple(of)) for cause, of in found.items())


def told_alike(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Judgements in which each cause has one text, that of the first item which it concerns."""
    told, first = [], dict[tuple[str, str], Judgement]()
    for judged in sorted(judgements, key=lambda each: each.item):
        alike = first.setdefault(judged.cause, judged) if judged.video else judged
        details = {**judged.details, **({"message": alike.details["message"]} if judged.video else {})}
        told.append(replace(judged, reason=alike.reason, details=details))
    return told


def run_problem(exit_status: int, other_failures: Collection[str] | None, *, explained: bool) -> str:
    """Say what a pytest run has against every checkpoint that it gated; empty if nothing.

    Args:
        exit_status: Of the run.
        other_failures: Node ids of what failed besides the gate's items and the project tests; None where
            that is not known, of a record that an earlier version wrote: its exit status then says nothing.
        explained: Whether something that was judged, or left out, explains an exit status of 1.
    """
    if other_failures is None:
        return ""
    ended = f"the pytest run ended with exit code {exit_status}"
    if other_failures:
        count, first = len(other_failures), next(iter(other_failures))
        return f"{ended}: {count} other test{'s' * (count > 1)} failed, {'the first ' * (count > 1)}{first}"
    if exit_status == 0 or (exit_status == 1 and explained):
        return ""
    return f"{ended}: {_EXIT_CODES.get(exit_status, 'for a reason outside the gate')}"


def _reasons(
    failing: tuple[Judgement, ...], unmeasured: tuple[ItemId, ...], *, repeated: bool, expected: int
) -> Iterable[str]:
    if not expected:
        yield "nothing was to be measured: the suite and the selection leave no item"
        return
    undecided = [j for j in failing if j.verdict is Verdict.UNDECIDED]
    lost = [j for j in failing if j.verdict.unmeasured]
    failed = [j for j in failing if j not in undecided and j not in lost]
    are = "is undecided" if len(undecided) == 1 else "are undecided"
    for found, words in ((failed, "fails" if len(failed) == 1 else "fail"), (undecided, are)):
        if found:
            scenarios = sorted({j.scenario for j in found if j.scenario not in ("", ALL)})
            metrics = [m for m in METRICS if any(j.metric == m for j in found)]
            where = f" in {', '.join(scenarios)}" if scenarios else ""
            what = f" ({', '.join(metrics)})" if metrics else ""
            yield f"{len(found)} of {expected} items {words}{where}{what}"
    if lost:
        yield f"{len(lost)} of {expected} items could not be measured"
    if unmeasured:
        were = "was not measured," if len(unmeasured) == 1 else "were not measured, the first"
        yield f"{len(unmeasured)} of {expected} {were} {unmeasured[0]}"
    if repeated:
        yield "an item was judged more than once"
