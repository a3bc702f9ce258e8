"""A module that is imported for good, and the garbage collector."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wanlora.studio.imports import import_for_good

SOURCE = "import gc\nCOLLECTING = gc.isenabled()\nOBJECTS = [[number] for number in range(1000)]\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "large_module.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "large_module"
    sys.modules.pop("large_module", None)
    gc.unfreeze()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_meanwhile_and_never_looks_at_it(module: str, enabled: bool) -> None:
    before, frozen = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        import_for_good(module)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert not sys.modules[module].COLLECTING
    assert gc.get_freeze_count() >= frozen + 1000
    assert not any(each is sys.modules[module].OBJECTS for each in gc.get_objects())


def test_what_is_there_already_is_left_alone(module: str) -> None:
    import_for_good(module)
    gc.unfreeze()
    import_for_good(module)
    assert gc.get_freeze_count() == 0


def test_an_import_that_fails_leaves_the_collector_as_it_was() -> None:
    frozen = gc.get_freeze_count()
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError):
        import_for_good("no_such_module_anywhere")
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
