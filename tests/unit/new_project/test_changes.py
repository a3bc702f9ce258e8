"""Files that are written together."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wanlora.errors import SettingsError
from pytest_wanlora.new_project import changes
from pytest_wanlora.new_project.changes import Change


def test_all_are_written_and_a_changed_file_keeps_its_permissions(tmp_path: Path) -> None:
    old = tmp_path / "pytest.ini"
    old.write_bytes(b"[pytest]\n")
    old.chmod(0o640)
    changes.write([Change(old, b"[pytest]\nx = 1\n", b"[pytest]\n"), Change(tmp_path / "a/b.yaml", b"c")])
    assert old.read_bytes() == b"[pytest]\nx = 1\n"
    assert old.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a/b.yaml").read_bytes() == b"c"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.ini").write_bytes(b"a")
    link = tmp_path / "pytest.ini"
    link.symlink_to("real.ini")
    changes.write([Change(link, b"b", b"a")])
    assert link.is_symlink()
    assert (tmp_path / "real.ini").read_bytes() == b"b"


def test_existing_files_are_all_named_and_none_is_touched(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"mine")
    (tmp_path / "two").symlink_to("nowhere")
    planned = [Change(tmp_path / name, b"new") for name in ("zero", "one", "two")]
    with pytest.raises(SettingsError, match=r"one, .*two: there already"):
        changes.write(planned)
    assert (tmp_path / "one").read_bytes() == b"mine"
    assert not (tmp_path / "zero").exists()


def test_a_file_that_changed_meanwhile_stays_and_the_new_ones_go(tmp_path: Path) -> None:
    old = tmp_path / "pytest.ini"
    old.write_bytes(b"changed")
    with pytest.raises(SettingsError, match="changed while init was running"):
        changes.write([Change(old, b"b", b"a"), Change(tmp_path / "new", b"c")])
    assert old.read_bytes() == b"changed"
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "suites").write_bytes(b"a file")
    with pytest.raises(SettingsError, match="cannot be written"):
        changes.write([Change(tmp_path / "new", b"c"), Change(tmp_path / "suites/mine.yaml", b"c")])
    assert [path.name for path in tmp_path.iterdir()] == ["suites"]
