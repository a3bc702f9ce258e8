"""Which programs read a checkpoint's file, in every report."""

from __future__ import annotations

from pathlib import Path

from pytest_wanlora.reports import html, markdown, model_card, terminal
from tests.unit.reports import gated


def test_every_report_says_by_which_programs_a_file_is_read(tmp_path: Path) -> None:
    programs = [{"program": "diffsynth", "state": "works"}, {"program": "musubi", "state": "nothing"}]
    described = {**(gated.card().checkpoint or {}), "reads_in": programs}
    record = gated.record(candidates=(gated.card(checkpoint=described),))
    english = "read by: diffsynth; not read by: musubi"
    assert f"  {english}" in terminal.summary(record, "results.json")
    assert f"\nR{english[1:]}.\n" in model_card.fragment(record, "epoch-2")
    korean = "적용됨: diffsynth; 적용 안 됨: musubi"
    assert english in markdown.page(record, "en").replace("\\", "")
    assert korean in markdown.page(record, "ko").replace("\\", "")
    shown = html.page(record, tmp_path)
    assert english in shown
    assert korean in shown
