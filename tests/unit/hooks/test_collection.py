"""Which items an id names, and what is collected where pytest passes over the gate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_wanlora.hooks.collection import GateModule, GatePlugin, Selection, matches


@pytest.mark.parametrize(
    ("nodeid", "chosen", "named"),
    [
        ("wanlora::test_limit[a-all-fvd]", "wanlora::test_limit[a-all-fvd]", True),
        ("wanlora::test_limit[a-all-fvd]", "wanlora::test_limit", True),
        ("wanlora::test_limit[a-all-fvd]", "wanlora::test_li", False),
        ("wanlora::test_limits[a]", "wanlora::test_limit", False),
        ("wanlora::test_limit[a-all-fvd]", "wanlora::test_limit[a-all", False),
        # as pytest writes it, and as an ini file may have it written
        (r"wanlora::test_limit[gr\xf6\xdfe]", "wanlora::test_limit[größe]", True),
        ("wanlora::test_limit[에]", r"wanlora::test_limit[\uc5d0]", True),
        ("wanlora::test_limit[größe]", "wanlora::test_limit[größe]", True),
        (r"wanlora::test_limit[\uc5d0]", r"wanlora::test_limit[\uc5d0]", True),
        (r"wanlora::test_limit[gr\xf6\xdfe]", "wanlora::test_limit[grosse]", False),
    ],
)
def test_an_id_names_an_item_or_all_of_a_function(nodeid: str, chosen: str, named: bool) -> None:
    assert matches(nodeid, chosen) is named


@pytest.mark.parametrize(
    ("outcome", "found", "result"),
    [("passed", [], ["an item"]), ("passed", ["kept"], ["kept"]), ("failed", [], [])],
)
def test_a_gate_that_was_passed_over_is_collected_all_the_same(
    outcome: str, found: list[str], result: list[str]
) -> None:
    """`--last-failed` passes over modules whose file has no failure, and the gate has no file."""
    gate: Any = GateModule.__new__(GateModule)
    gate.collect = lambda: ["an item"]
    report: Any = SimpleNamespace(passed=outcome == "passed", failed=outcome == "failed", result=found)
    hook = GatePlugin(Selection((), gate=True, others=False), ()).pytest_make_collect_report(gate)
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(report)
    assert report.result == result
