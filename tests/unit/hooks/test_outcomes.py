"""What the reports of one test say became of it."""

from __future__ import annotations

from typing import Literal

import pytest

from pytest_wanlora.hooks.outcomes import _fate
from pytest_wanlora.verdict.judgement import PytestOutcome


@pytest.mark.parametrize(
    ("when", "outcome", "expected"),
    [
        ("setup", "passed", None),
        ("call", "passed", PytestOutcome.PASSED),
        ("teardown", "passed", None),
        ("setup", "failed", PytestOutcome.ERROR),
        ("call", "failed", PytestOutcome.FAILED),
        ("teardown", "failed", PytestOutcome.ERROR),
        ("setup", "skipped", PytestOutcome.SKIPPED),
    ],
)
def test_only_the_call_says_that_a_test_passed(
    when: Literal["setup", "call", "teardown"],
    outcome: Literal["passed", "failed", "skipped"],
    expected: PytestOutcome | None,
) -> None:
    report = pytest.TestReport("test_a.py::test", ("test_a.py", 1, "test"), {}, outcome, "said", when)
    fate = _fate(report, "")
    assert (None if fate is None else fate[0]) is expected
