from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.writing import check_output, write_table


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_an_output_that_exists_is_refused_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    check_output(path)
    path.write_text("old")
    with pytest.raises(DataError, match=r"this one with --overwrite\nnext: --output .*/out-2\.csv$"):
        check_output(path)
    check_output(path, overwrite=True)


def test_a_source_is_never_an_output(tmp_path: Path) -> None:
    source = tmp_path / "m.csv"
    source.write_text("rows")
    (tmp_path / "other.csv").symlink_to(source)
    for output in (source, tmp_path / "." / "m.csv", tmp_path / "other.csv"):
        with pytest.raises(DataError, match="is the file that is read"):
            check_output(output, sources=[source], overwrite=True)


def test_a_folder_a_missing_folder_and_a_locked_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(DataError, match="mkdir -p"):
        check_output(tmp_path / "deep" / "out.csv")
    # root may write anywhere, so the system's answer is made up
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match="cannot be written to"):
        check_output(tmp_path / "out.csv")


def test_nothing_is_left_when_the_rows_fail(tmp_path: Path) -> None:
    def rows() -> Iterator[list[str]]:
        yield ["a.mp4", "x"]
        raise DataError("line 3 is broken")

    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(DataError, match="line 3"):
        write_table(path, "csv", ("video", "prompt"), rows())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.csv"]


def test_a_full_disk_is_one_message_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        write_table(tmp_path / "out.csv", "csv", ("a",), [["x"]])
    assert names(tmp_path) == []


def test_json_is_a_list_and_jsonl_an_object_a_line(tmp_path: Path) -> None:
    records = [{"prompt": "바다"}, {"prompt": "half of a pair \ud83c"}]
    write_table(tmp_path / "o.json", "json", (), records)
    write_table(tmp_path / "o.jsonl", "jsonl", (), records)
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8")) == records
    lines = (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records
    assert "바다" in lines[0]


def test_an_empty_json_is_an_empty_list(tmp_path: Path) -> None:
    write_table(tmp_path / "o.json", "json", (), [])
    assert json.loads((tmp_path / "o.json").read_text()) == []
