from __future__ import annotations

from pathlib import Path

from benchmarks.gpu.record import Record


def test_figures_are_kept_as_they_come(tmp_path: Path) -> None:
    record = Record(tmp_path / "deep" / "bench.json")
    assert record.read() == {}
    with record.step("one"):
        record.note("one", best=1.5)
        assert record.read()["one"] == {"status": "running", "best": 1.5}
        record.add("one", "lines", "a", {"x": 1})
        record.add("one", "lines", "b", {"x": 2})
    found = record.read()["one"]
    assert found["status"] == "done"
    assert found["lines"] == {"a": {"x": 1}, "b": {"x": 2}}


def fail() -> None:
    raise RuntimeError("the GPU is gone")


def test_a_step_that_fails_keeps_its_figures_and_stops_nothing(tmp_path: Path) -> None:
    record = Record(tmp_path / "bench.json")
    with record.step("one"):
        record.note("one", best=1.5)
        fail()
    with record.step("two"):
        pass
    found = record.read()
    assert found["one"]["status"] == "failed"
    assert found["one"]["error"] == "RuntimeError: the GPU is gone"
    assert found["one"]["best"] == 1.5
    assert found["two"]["status"] == "done"


def test_a_step_that_is_done_again_forgets_its_error(tmp_path: Path) -> None:
    record = Record(tmp_path / "bench.json")
    with record.step("one"):
        record.note("one", best=1.5)
        fail()
    with record.step("one"):
        pass
    found = record.read()["one"]
    assert (found["status"], found["best"]) == ("done", 1.5)
    assert "error" not in found
