"""The table and the page of a watch, and when its last epochs are worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.watch.folders import Found
from pytest_wanlora.watch.gates import Answer
from pytest_wanlora.watch.view import History
from tests.unit.reports.pages import parsed
from tests.unit.reports.records import SCENARIOS, compared, run_record


def gated(name: str, value: float, losses: float | None = None, n: int = 8) -> RunRecord:
    record = run_record(
        [compared(each, "clip", 1.0, value, candidate=name) for each in SCENARIOS],
        names=[name],
        command=("pytest", "--lora", f"{name}.safetensors"),
    )
    if losses is None:
        return record
    values = {n: (losses, *(losses + 0.001 * (i - (n - 1) / 2) for i in range(n)))}
    (card,) = record.candidates
    return record.model_copy(update={"candidates": (card.model_copy(update={"losses": values}),)})


def history(*records: RunRecord | str | None) -> History:
    answers = []
    for at, each in enumerate(records):
        found = Found(f"epoch-{at}", f"out/epoch-{at}.safetensors", f"{at:064d}", float(at))
        known = each if isinstance(each, RunRecord) else None
        answer = None if each is None else Answer(known, each if isinstance(each, str) else "", 0.0)
        answers.append((found, answer))
    return History(answers, frozenset({f"{len(records) - 1:064d}"}))


def test_the_table_has_a_line_for_each_and_says_which_is_best() -> None:
    fine = history(gated("epoch-0", 1.0)).table({})
    assert "may be published" in fine[1]
    assert " ".join(fine[2:]) == "Publish epoch-0. It is the only checkpoint, and it may be published."
    none = history(gated("epoch-0", 0.5)).table({})
    assert " ".join(none[2:]).startswith(
        "The only checkpoint, epoch-0, may not be published; checks that fail:"
    )
    (line,) = history("epoch-0: fits several").lines()
    assert line == "epoch-0: NOT MEASURED: fits several"
    shown = history(gated("epoch-0", 0.99), gated("epoch-1", 0.5), "it broke", None, None)
    lines = shown.table({"epoch-9.safetensors": "being written"})
    assert [line.split()[0] for line in lines[1:7]] == [
        *(f"epoch-{i}" for i in range(5)),
        "epoch-9.safetensors",
    ]
    assert "may be published" in lines[1]
    assert "failed" in lines[2]
    assert "CLIPScore -50.0 %" in lines[2]
    assert "NOT MEASURED" in lines[3]
    assert "it broke" in lines[3]
    assert ("to be gated" in lines[4], "being gated" in lines[5]) == (True, True)
    assert "being written" in lines[6]
    assert lines[7].startswith("Publish epoch-0.")


@pytest.mark.parametrize(
    ("values", "worst"),
    [
        # by how many fail bands it changed, whatever is measured first: 15 % of sharpness, 5 % of CLIPScore
        ([("clip", 0.7), ("sharpness", 0.5)], "CLIPScore -30.0 %"),
        ([("clip", 0.9), ("sharpness", 0.1)], "Sharpness -90.0 %"),
        # what is much too sharp warns too, and no fewer bands of it than of a loss are worse
        ([("sharpness", 1.403), ("sharpness", 1.709)], "Sharpness +70.9 %"),
        ([("sharpness", 1.709), ("clip", 0.97)], "Sharpness +70.9 %"),
        ([("sharpness", 1.709), ("clip", 0.5)], "CLIPScore -50.0 %"),
    ],
)
def test_the_worst_is_the_gravest_verdict_with_the_largest_change(
    values: list[tuple[str, float]], worst: str
) -> None:
    judged = [
        compared(place, metric, 1.0, value, width=0.001)
        for place, (metric, value) in zip(SCENARIOS, values, strict=False)
    ]
    record = run_record(judged, names=["epoch-0"])
    assert worst in history(record).table({})[1]


def test_the_page_is_that_of_several_checkpoints(tmp_path: Path) -> None:
    assert not history(None).page(tmp_path / "history.html")
    assert history(gated("epoch-0", 0.99), gated("epoch-1", 0.5)).page(tmp_path / "history.html")
    page = parsed((tmp_path / "history.html").read_text(encoding="utf-8"))
    assert "1 of 2 checkpoints may be published" in page.words
    # the commands of both gates, not of the newest or the oldest alone
    for at in (0, 1):
        assert f"pytest --lora epoch-{at}.safetensors" in page.words
    assert "courses" in page.ids


def test_what_cannot_be_compared_with_the_newest_is_left_out() -> None:
    other = gated("epoch-0", 0.99)
    other = other.model_copy(update={"suite": other.suite.model_copy(update={"fingerprint": {"steps": 9}})})
    shown = history(other, gated("epoch-1", 0.98))
    assert [card.name for record in shown.records for card in record.candidates] == ["epoch-1"]
    assert "epoch-0" in shown.table({})[1]


@pytest.mark.parametrize(("last", "worse"), [(1, True), (2, True), (3, False)])
def test_the_last_epochs_are_worse_by_their_losses(last: int, worse: bool) -> None:
    losses = (0.5, 0.1, 2.0, 2.5)
    shown = history(*(gated(f"epoch-{i}", 0.99, loss) for i, loss in enumerate(losses)))
    said = shown.worse(last)
    assert (said is not None) == worse
    if said is not None:
        assert f"the last {last}, " in said
        assert "certainly worse than epoch-1" in said
        assert "Best is the smallest mean loss" in said
    again = replace(shown, answers=shown.answers[:2])
    assert again.worse(last) is None
