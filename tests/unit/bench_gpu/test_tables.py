from __future__ import annotations

from typing import Any

import pytest

from benchmarks.gpu.tables import MARKS, goals, laid_over, page

MEASURED: dict[str, dict[str, Any]] = {
    "machine": {"gpu": "Some GPU", "gpus": 1, "cores": 16, "python": "3.12.3", "date": "2026-01-01"},
    "ceiling": {
        "floor_seconds": 1.5,
        "tflops": 780.0,
        "square": 8192,
        "work_flop": 1.17e15,
        "forwards": 100,
        "parameters": 5_000_000_000,
        "tokens": 1170,
    },
    "stock": {"best": 4.2, "loading_seconds": 16.0, "peak_gib": 30.0},
    "levers": {
        "variants": {
            "suite": {"best": 2.4, "ready_seconds": 20.0, "peak_gib": 20.0, "frames": None},
            "compile: true, alone": {"error": "StudioError: no"},
        }
    },
    "lora": {
        "fused": {"best": 0.2, "bit_exact": False, "times": [{"on": 0.1, "off": 0.1}], "sizes": {}},
    },
}


def line(steps: dict[str, dict[str, Any]], what: str) -> tuple[str, str, str, str]:
    return next(goal for goal in goals(steps) if goal[0].startswith(what))


def test_a_goal_is_met_or_not() -> None:
    assert line(MEASURED, "seconds a video / the stock")[2:] == ("0.571", "yes")
    assert line(MEASURED, "seconds a video / floor")[2:] == ("1.6", "yes")
    slower = {**MEASURED, "levers": {"variants": {"suite": {"best": 2.6}}}}
    assert line(slower, "seconds a video / the stock")[2:] == ("0.619", "NO")


def test_fast_but_not_bit_exact_is_not_met() -> None:
    assert line(MEASURED, "a LoRA on and off again, fused")[2:] == ("0.2 s, NOT bit-exact", "NO")


def test_what_was_not_measured_is_not_met() -> None:
    assert {goal[3] for goal in goals({})} == {"-"}
    assert {goal[2] for goal in goals({})} == {"not measured"}


def test_the_fastest_of_each_way_to_read_is_shown() -> None:
    steps = {"reading": {"gigabytes": 20.0, "ways": {"DiffSynth": [5.0, 4.52], "8 threads": [0.87, 0.9]}}}
    text = page(steps)
    assert "| 20.0 GB from the page cache to the GPU, by | fastest, s |" in text
    assert "| DiffSynth | 4.52 |" in text
    assert "| 8 threads | 0.87 |" in text


def test_scoring_is_what_the_gpu_waits_for_it() -> None:
    gpu = {"videos": 12, "busy": 30.0, "begins": 0.0, "between": 1.2, "at_the_end": 0.0}
    warm = {"seconds": 60.0, "breakdown": {"rendering": 30.0}, "rendering": {"gpus": {"main": gpu}}}
    steps = {"gate": {"warm": warm}}
    assert line(steps, "scoring adds")[2:] == ("4 %", "yes")
    assert line(steps, "rendering, of a warm")[2:] == ("50 %", "NO")


def test_a_part_that_failed_stands_in_the_table() -> None:
    text = page(MEASURED)
    assert "| suite | 2.40 | 0.57 | 20.0 | 20.0 |  |" in text
    assert "| compile: true, alone | StudioError: no |" in text
    assert "### Several GPUs\n\nnot measured" in text


def test_attention_has_a_table_where_it_was_measured() -> None:
    assert "attention, rows" not in page(MEASURED)
    times = {"to the text, 4x24x1170x512": {"cudnn": 0.065, "flash": 0.1175}}
    text = page({**MEASURED, "ceiling": {**MEASURED["ceiling"], "attention": times}})
    assert "| attention, rows x heads x queries x keys | cudnn, ms | flash, ms |" in text
    assert "| to the text, 4x24x1170x512 | 0.065 | 0.117 |" in text


def test_the_parts_of_putting_a_lora_on_have_a_table_where_they_were_measured() -> None:
    assert "putting it on, s" not in page(MEASURED)
    assert "| fused | 0.100 | 0.100 | NO |" in page(MEASURED)
    parts = {
        "on": 0.3,
        "seconds": {"reading the file": 0.05, "measuring the change": 0.2},
        "beside": {"SHA-256": 0.09},
    }
    only_measuring = {"on": 0.1, "seconds": {"measuring the change": 0.11}, "beside": {}}
    fused = {**MEASURED["lora"]["fused"], "parts": parts}
    text = page({**MEASURED, "lora": {"fused": fused, "unfused": {**fused, "parts": only_measuring}}})
    for line in (
        "| putting it on, s | fused | unfused |",
        "| reading the file | 0.050 |  |",
        "| measuring the change | 0.200 | 0.110 |",
        "| the rest | 0.050 | 0.000 |",
        "| whole | 0.300 | 0.100 |",
        "| beside it, in a thread: SHA-256 | 0.090 |  |",
    ):
        assert line in text


def test_later_runs_lie_over_earlier_ones_with_their_own_machine() -> None:
    other: dict[str, dict[str, Any]] = {"machine": {"gpu": "Other GPU"}, "stock": {"best": 5.0}}
    found = laid_over([MEASURED, other])
    assert found["stock"]["best"] == 5.0
    assert found["stock"]["machine"]["gpu"] == "Other GPU"
    assert found["ceiling"]["machine"]["gpu"] == "Some GPU"


def test_tables_stand_between_the_marks_of_a_page() -> None:
    whole = f"# Page\n\n{MARKS.begin}\nold\n{MARKS.end}\n\nmore\n"
    assert MARKS.inserted(whole, "new") == f"# Page\n\n{MARKS.begin}\nnew\n{MARKS.end}\n\nmore\n"
    with pytest.raises(ValueError, match="the page has no"):
        MARKS.inserted("# Page\n", "new")


def test_whole_runs_over_numbers_of_videos_are_a_table() -> None:
    rendered = {"seconds": 60.0, "rendering": {"span": 50.0, "busy": 49.0, "jobs": 24, "gpus": {}}}
    found = {
        **dict.fromkeys(("speed_up", "speed_up_span", "speed_up_busiest"), 2.5),
        **dict.fromkeys(("equal_frames", "equal_scores", "videos_compared"), 24),
        **{"count": 4, "equal_verdicts": True, "one": rendered, "all": rendered},
    }
    assert "everything counted |" not in page({"gpus": found})
    compared = {"speed_up_busiest": 3.9, "equal_frames": 47, "videos_compared": 48}
    seconds = {"96": {"one": 234.0, "all": 70.2, **compared}, "48": {"one": 124.5, "all": 43.0, **compared}}
    lines = page({"gpus": {**found, "by_videos": seconds}}).splitlines()
    (start,) = (at for at, line in enumerate(lines) if line.startswith("| videos, everything counted"))
    assert [line.split(" | ")[1:] for line in lines[start + 2 : start + 4]] == [
        ["124.5", "43.0", "2.90", "3.90", "47 of 48 |"],
        ["234.0", "70.2", "3.33", "3.90", "47 of 48 |"],
    ]
