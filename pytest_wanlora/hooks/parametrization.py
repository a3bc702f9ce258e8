"""What the gate's tests, and users' tests with its fixtures, run over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_wanlora.metrics import METRICS

if TYPE_CHECKING:
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.verdict.judgement import ItemId

GATE_MODULE = "pytest_wanlora.gate_tests"


def generate(metafunc: pytest.Metafunc, gate: Gate) -> None:
    """Parametrise one test function.

    The gate's own functions get the items of their kind, which their marker `wanlora` carries too. Users'
    functions run over whichever of candidate, scenario and metric they ask for.
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


def node_names(gate: Gate) -> dict[str, ItemId | str]:
    r"""What pytest calls the items of the gate, `test_limit[x-all-fvd]`, in their order.

    pytest writes what is not ASCII as escapes, `test_checkpoint[\uc5d0]`, unless its ini file forbids that:
    such a name is there in both forms.
    """
    named: dict[str, ItemId | str] = {str(item): item for item in gate.items}
    named |= {f"test_baseline[{name}]": name for name in gate.stored}
    return {form: item for name, item in named.items() for form in (_escaped(name), name)}


def _escaped(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii").replace("\x7f", "\\x7f")


def _bracket(item: ItemId | str) -> str:
    return item if isinstance(item, str) else str(item).partition("[")[2].removesuffix("]")
