from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.weights import ScorerFile, fetch, summary

KEY = "scoring.clip.weights"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.safetensors"
    path.write_bytes(b"weights")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_path(file: Path) -> None:
    assert fetch(str(file), digest(file), KEY) == ScorerFile(file, digest(file))
    assert fetch(str(file), "", KEY).sha256 == digest(file)


def test_a_file_of_the_package() -> None:
    assert fetch("package:metrics.py", "", KEY).path.name == "metrics.py"


def test_missing_path_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"scoring.clip.weights: .*gone.safetensors") as caught:
        fetch(str(tmp_path / "gone.safetensors"), "", KEY)
    assert "next: hf download" in str(caught.value)


def test_missing_file_of_the_package_names_the_command() -> None:
    with pytest.raises(ScoringError, match="gone") as caught:
        fetch("package:tiny/gone.safetensors", "", KEY)
    assert "next: pip install --force-reinstall pytest-wanlora" in str(caught.value)


def test_other_digest(file: Path) -> None:
    with pytest.raises(ScoringError, match=f"has SHA-256 {digest(file)}, the suite states {'ab' * 32}"):
        fetch(str(file), "ab" * 32, KEY)


def test_several_files(tmp_path: Path, file: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"")
    words = "matches 2 files, such as clip.safetensors and other.safetensors; allowed: one file"
    with pytest.raises(ScoringError, match=words) as caught:
        fetch(str(tmp_path / "*.safetensors"), "", KEY)
    assert caught.value.next_command == f"ls {tmp_path}"


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="a folder; allowed: a file") as caught:
        fetch(str(tmp_path), "", KEY)
    assert caught.value.next_command == f"ls {tmp_path}"


class TestHub:
    def test_comes_from_the_cache_or_the_hub(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def download(repository: str, filename: str, *, revision: str | None) -> str:
            asked.append((repository, filename, revision))
            return str(file)

        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
        found = fetch("hub:owner/name:a/b.safetensors", digest(file), KEY)
        assert found == ScorerFile(file, digest(file), "owner/name")
        fetch(f"hub:owner/name@{'0a' * 20}:b.safetensors", "", KEY)
        assert asked == [
            ("owner/name", "a/b.safetensors", None),
            ("owner/name", "b.safetensors", "0a" * 20),
        ]

    def test_digest_is_checked_there_too(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(file))
        with pytest.raises(ScoringError, match="the suite states"):
            fetch("hub:owner/name:b.safetensors", "ab" * 32, KEY)

    @pytest.mark.parametrize(
        "error", [LocalEntryNotFoundError("offline"), OSError("offline"), ValueError("offline")]
    )
    def test_out_of_reach_names_the_command(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def refuse(*_: str, **__: str | None) -> str:
            raise error

        monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
        with pytest.raises(
            ScoringError, match=r"hub:owner/name:b\.safetensors cannot be fetched: offline"
        ) as caught:
            fetch("hub:owner/name:b.safetensors", "", KEY)
        assert "next: hf download owner/name b.safetensors" in str(caught.value)


def test_summary_is_one_line() -> None:
    assert summary(ValueError("a\n  b\nc\nd")) == "a b c"
    assert summary(AssertionError()) == "AssertionError"
