from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


OF_KIND: dict[type[errors.WanloraError], dict[str, Any]] = {
    errors.EncodingError: {"file": Path("a b.csv"), "encoding": "CP949"},
    errors.PackedError: {"archive": Path("a.zip"), "folder": Path("a")},
}
NAMES = {kind.__name__ for kind in KINDS}


def test_every_error_has_the_one_root() -> None:
    assert all(issubclass(kind, errors.WanloraError) for kind in KINDS)


def test_every_error_stands_in_the_tree_of_the_module_docstring() -> None:
    tree = inspect.getdoc(errors) or ""
    parents = {}
    levels: list[str] = []
    for line in tree.splitlines():
        name = line.strip().partition(" ")[0]
        if name not in NAMES:
            continue
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        levels[depth:] = [name]
        parents[name] = levels[depth - 1] if depth else "Exception"
    assert parents == {kind.__name__: kind.__base__.__name__ for kind in KINDS if kind.__base__}


def test_the_next_command_is_the_last_line() -> None:
    error = errors.SuiteError("a.yaml:3: wrong\ndetail", next_command="vi a.yaml")
    assert str(error) == "a.yaml:3: wrong\ndetail\nnext: vi a.yaml"
    assert (error.message, error.next_command) == ("a.yaml:3: wrong\ndetail", "vi a.yaml")


def test_without_a_next_command_only_the_message_is_said() -> None:
    assert str(errors.JobError("broken")) == "broken"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_the_way_between_processes(kind: type[errors.WanloraError]) -> None:
    more = OF_KIND.get(kind, {})
    error = pickle.loads(pickle.dumps(kind("what", next_command="how", **more)))  # noqa: S301 - our own bytes
    assert type(error) is kind
    assert str(error) == "what\nnext: how"
    assert error.args == ("what",)
    assert {name: getattr(error, name) for name in more} == more


@pytest.mark.parametrize("message", ["x" * 10**6, "\n".join(["y" * 9000] * 3), "\n".join(["z"] * 10**5)])
def test_no_message_is_endless(message: str) -> None:
    found = errors.WanloraError(message, next_command="ls")
    assert len(found.message) <= 2000
    assert str(found).endswith("\nnext: ls")
    assert errors.WanloraError("as it was\n  and so on").message == "as it was\n  and so on"
