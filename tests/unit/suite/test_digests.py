from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pytest_wanlora.suite import digests


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(digests, "LARGE", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fresh_process() -> None:
    digests._file_digest.cache_clear()


def test_a_large_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    expected = hashlib.sha256(b"one").hexdigest()
    assert digests.digest(path) == expected
    fresh_process()
    monkeypatch.setattr(digests, "file_sha256", lambda path: pytest.fail("hashed again"))
    assert digests.digest(path) == expected


@pytest.mark.parametrize("replaced", [True, False])
def test_a_changed_file_is_hashed_again(tmp_path: Path, replaced: bool) -> None:
    path, other = tmp_path / "weights", tmp_path / "other"
    path.write_bytes(b"one")
    digests.digest(path)
    fresh_process()
    if replaced:
        other.write_bytes(b"two")
        other.replace(path)
    else:
        path.write_bytes(b"two")
    assert digests.digest(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"path": "x", "state": [], "sha256": "0"})])
def test_a_note_that_says_nothing_is_passed_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    digests.digest(path)
    (note,) = digests.memory_folder().iterdir()
    note.write_text(content, encoding="utf-8")
    fresh_process()
    assert digests.digest(path) == hashlib.sha256(b"one").hexdigest()


def test_a_folder_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digests.digest(tmp_path / "file") == hashlib.sha256(b"").hexdigest()
    (tmp_path / "weights").write_bytes(b"one")
    assert digests.digest(tmp_path / "weights") == hashlib.sha256(b"one").hexdigest()
