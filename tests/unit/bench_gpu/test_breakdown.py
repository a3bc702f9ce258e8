from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu.breakdown import OTHER, exclusive, read, rendering


def event(category: str, begin: float, end: float, *jobs: str, main: bool = True) -> dict[str, object]:
    return {"category": category, "begin": begin, "end": end, "main": main, "jobs": list(jobs)}


def write(folder: Path, worker: str, *events: dict[str, object]) -> None:
    note = {"worker": worker, "began": 1.0, "ended": 20.0, "events": events, "missing": []}
    (folder / f"{worker}.json").write_text(json.dumps(note), encoding="utf-8")


def test_what_happens_within_something_counts_for_itself_alone(tmp_path: Path) -> None:
    write(
        tmp_path,
        "main",
        event("deciding", 2.0, 15.0),
        event("imports", 3.0, 5.0),
        event("rendering", 5.0, 9.0, "a"),
        event("LoRA on and off", 5.0, 6.0),
        event("rendering", 9.0, 12.0, "b"),
        event("reporting", 16.0, 17.0),
        event("scoring", 9.0, 11.0, main=False),
    )
    (process,) = read(tmp_path)
    spent = exclusive(process, 0.0, 20.0)
    assert spent == {
        OTHER: 6.0,
        "rendering": 6.0,
        "deciding": 4.0,
        "imports": 2.0,
        "LoRA on and off": 1.0,
        "reporting": 1.0,
    }
    assert sum(spent.values()) == pytest.approx(20.0)


def test_each_gpu_is_looked_at_until_the_last_one_is_done(tmp_path: Path) -> None:
    write(tmp_path, "gw0", event("rendering", 2.0, 4.0, "a", "b"), event("rendering", 5.0, 7.0, "c", "d"))
    write(tmp_path, "gw1", event("rendering", 3.0, 10.0, "e", "a"))
    write(tmp_path, "main", event("reporting", 11.0, 12.0))
    found = rendering(read(tmp_path))
    assert found["span"] == 8.0
    assert found["busy"] == 11.0
    assert found["jobs"] == 5
    assert found["twice"] == 1
    assert found["gpus"] == {
        "gw0": {"videos": 4, "busy": 4.0, "begins": 0.0, "between": 1.0, "at_the_end": 3.0},
        "gw1": {"videos": 2, "busy": 7.0, "begins": 1.0, "between": 0.0, "at_the_end": 0.0},
    }


def test_a_run_that_rendered_nothing(tmp_path: Path) -> None:
    write(tmp_path, "main", event("reporting", 11.0, 12.0))
    assert rendering(read(tmp_path))["jobs"] == 0
