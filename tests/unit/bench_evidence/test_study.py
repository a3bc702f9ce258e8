from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from scipy import stats

from benchmarks.evidence import futility_threshold
from benchmarks.evidence.fixtures import Ground
from benchmarks.evidence.plots import drawings
from benchmarks.evidence.scenarios import cells
from benchmarks.evidence.study import run
from benchmarks.evidence.tables import MARKS, goals, interval, page


def tally(failed: int, *, gates: int = 100, videos: int = 20) -> dict[str, Any]:
    return {"gates": gates, "failed": failed, "videos": videos * gates}


def record(failed: int, *, videos: int = 20) -> dict[str, Any]:
    """A study in which so many of 100 gates failed, of all kinds."""
    names = [
        "false alarms/base, other seeds",
        *(f"false alarms/{model}, lost nothing" for model in ("epoch-2@1", "epoch-0@1")),
        "report/test2_nature",
        *(f"real/epoch-{number}@1" for number in range(3)),
    ]
    found: dict[str, Any] = {
        name: {"designs": {"sequential": tally(failed, videos=videos)}, "model": "epoch-2@1"}
        for name in names
    }
    found["sizes/epoch-2@1 clip test2_nature 1.5"] = {
        "designs": {name: tally(failed) for name in ("sequential", "fixed", "single", "tiny", "patient")},
        "model": "epoch-2@1",
        "metric": "clip",
        "place": "test2_nature",
        "size": 1.5,
    }
    return {"cells": found, "tolerances": {"clip": 0.05}}


def met(of: dict[str, Any]) -> dict[str, str]:
    return {goal[0]: goal[3] for goal in goals(of)}


def test_a_goal_that_is_missed_says_not() -> None:
    few, many = met(record(3, videos=20)), met(record(97, videos=30))
    assert few["false alarms: base, other seeds"] == "yes"
    assert many["false alarms: base, other seeds"] == "NOT"
    assert few["a loss as large as the report's, in test2_nature"] == "NOT"
    assert many["a loss as large as the report's, in test2_nature"] == "yes"
    assert few["1.5 x a fail band in one scenario is caught, scatter of epoch-2@1"] == "NOT"
    assert many["1.5 x a fail band in one scenario is caught, scatter of epoch-2@1"] == "yes"
    assert few["mean videos a decision, the three example checkpoints"] == "yes"
    assert many["mean videos a decision, the three example checkpoints"] == "NOT"


def test_what_is_missed_stands_beside_what_more_videos_would_catch() -> None:
    of = record(60)
    of["cells"]["sizes/epoch-2@1 clip test2_nature 1.5"]["designs"]["patient"] = tally(90, videos=40)
    assert "| epoch-2@1 | clip of test2_nature | 60 % (49.7 % to 69.7 %)" in page(of)
    assert "| 20 / 20 / 40 |" in page(of)
    assert "Nothing: each loss of 1.5 bands is caught" in page(record(95))


def test_what_was_not_measured_is_not_met() -> None:
    assert set(met({"cells": {}, "tolerances": {}}).values()) == {"-"}
    assert "not measured" in page({"cells": {}, "tolerances": {}})


@pytest.mark.parametrize(("failed", "gates"), [(0, 500), (3, 500), (250, 500), (20, 20)])
def test_the_interval_is_clopper_and_pearsons(failed: int, gates: int) -> None:
    expected = stats.binomtest(failed, gates).proportion_ci(method="exact")
    assert interval(failed, gates) == pytest.approx((expected.low, expected.high))


def test_tables_go_between_the_marks() -> None:
    assert (
        MARKS.inserted(f"a\n{MARKS.begin}\nold\n{MARKS.end}\nb", "new")
        == f"a\n{MARKS.begin}\nnew\n{MARKS.end}\nb"
    )
    with pytest.raises(ValueError, match="the page has no"):
        MARKS.inserted("a page", "new")


def test_a_small_study_goes_on_where_it_stopped(ground: Ground, tmp_path: Path) -> None:
    every = {f"{cell.part}/{cell.name}": cell for cell in cells(ground)}
    chosen = [
        every[name]
        for name in (
            "false alarms/epoch-2@1, lost nothing",
            "report/test2_nature",
            "sizes/epoch-2@1 clip test2_nature 3",
            "real/epoch-2@1",
        )
    ]
    path, said = tmp_path / "study.json", list[str]()
    run(ground, path, 4, say=said.append, only=chosen[:2])
    first = json.loads(path.read_text())
    assert len(said) == 2
    whole = run(ground, path, 4, say=said.append, only=chosen)
    assert len(said) == 4
    assert whole["cells"].items() >= first["cells"].items()
    # a false-alarm cell plays twice as many gates as are asked for
    assert whole["cells"]["false alarms/epoch-2@1, lost nothing"]["designs"]["fixed"]["videos"] == 2 * 4 * 48
    assert "| epoch-2@1 |" in page(whole)
    for drawing in drawings(whole).values():
        assert ElementTree.fromstring(drawing).tag.endswith("svg")  # noqa: S314  our own


def test_other_gates_begin_anew(ground: Ground, tmp_path: Path) -> None:
    chosen = [cell for cell in cells(ground) if cell.name == "epoch-2@1"]
    path, said = tmp_path / "study.json", list[str]()
    for gates in (10, 20, 20):
        run(ground, path, gates, say=said.append, only=chosen)
    assert [line.split(", ")[1].split(";")[0] for line in said] == ["4 gates", "8 gates"]


def test_processes_play_what_one_plays(ground: Ground, tmp_path: Path) -> None:
    chosen = [cell for cell in cells(ground) if cell.name in ("epoch-2@1", "base+noise-2")]
    alone, together = (
        run(ground, tmp_path / f"{n}.json", 10, say=lambda _: None, only=chosen, processes=n) for n in (1, 2)
    )
    assert alone["cells"] == together["cells"]


def test_each_chance_is_played_on_the_same_gates(design: Ground) -> None:
    found = futility_threshold.measured(design, 1)
    assert {len(tallies) for tallies in found.values()} == {len(futility_threshold.FUTILITIES) + 1}
    for tallies in found.values():
        videos = [tallies[f"{futility:g}"]["videos"] for futility in futility_threshold.FUTILITIES]
        # a higher chance to stop at saves videos, but for a gate that would have failed, and ended, earlier
        assert videos[-1] <= 1.1 * videos[0]
        assert tallies["16 at once"]["videos"] == 48
    assert "| 0.1 |" in page({"cells": {}, "tolerances": {}, "choosing": found})
