from __future__ import annotations

from pathlib import Path

from pytest_wanlora.training_data.exporting import COLUMNS, decisions
from pytest_wanlora.training_data.metadata import Metadata
from pytest_wanlora.training_data.rules import packaged_rules
from tests.unit.training_data.sets import prompts, write_prompts
from tests.unit.training_data.test_survey import Nearest


def test_every_row_has_its_category_reason_and_confidence(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", ["A tram in the fog", "", "lorem ipsum"])
    with Metadata(path) as metadata:
        first, second, third = decisions(metadata, packaged_rules())
    assert first == {
        "line": 2,
        "video": "clips/0.mp4",
        "prompt": "A tram in the fog",
        "category": "urban",
        "decided_by": "words",
        "confidence": 0.769,
        "language": "en",
        "reason": "urban: tram; nature: fog",
    }
    assert (second["category"], second["decided_by"], second["reason"]) == ("other", "nothing", "no prompt")
    assert (third["decided_by"], third["confidence"]) == ("nothing", 0)
    assert list(first)[3:] == list(COLUMNS)


def test_similarity_gives_its_own_reason(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.json", ["lorem ipsum", "a tram", ""])
    nearest = Nearest()
    with Metadata(path) as metadata:
        first, second, third = decisions(metadata, packaged_rules(), nearest)
    assert nearest.asked == ["lorem ipsum"]
    assert (first["category"], first["decided_by"], first["record"]) == ("urban", "similarity", 1)
    assert first["reason"].startswith("nearest to 'a city: streets")
    assert second["decided_by"] == "words"
    assert third["decided_by"] == "nothing"


def test_more_rows_than_a_chunk(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.jsonl", prompts(urban=300, nature=300))
    with Metadata(path) as metadata:
        said = [row["category"] for row in decisions(metadata, packaged_rules())]
    assert said == ["urban"] * 300 + ["nature"] * 300
