"""A prompt that was encoded before is read from the disk; the text encoder is then never loaded."""

from __future__ import annotations

import dataclasses
import errno
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_wanlora.environment import Environment
from pytest_wanlora.studio import prompts
from pytest_wanlora.studio.loading import Loader
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.studio.producer import StudioProducer
from pytest_wanlora.studio.prompts import PromptStore
from tests.unit.studio.random_wan import Stock, jobs_of, write_suite


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the text encoder was loaded for, load by load."""
    calls: list[list[str]] = []
    real = Loader.embeddings

    def counted(self: Loader, prompts: Sequence[str]) -> list[torch.Tensor]:
        calls.append(list(prompts))
        return real(self, prompts)

    monkeypatch.setattr(Loader, "embeddings", counted)
    return calls


def _studio(folder: Path, environment: Environment, cache: Path | None) -> Studio:
    return Studio(write_suite(folder), environment, threads=1, cache_dir=cache)


def test_all_prompts_are_encoded_at_once_and_the_encoder_is_not_kept(
    folder: Path, environment: Environment, encoded: list[list[str]]
) -> None:
    studio = _studio(folder, environment, None)
    for job in jobs_of(studio, None):
        studio.render(job, None)
    assert encoded == [["a cat", "a dog", ""]]
    assert studio.pipe.text_encoder is None


def test_a_second_process_needs_no_text_encoder(
    folder: Path, environment: Environment, encoded: list[list[str]], stock: Stock, tmp_path: Path
) -> None:
    _studio(folder, environment, tmp_path).load()
    later = _studio(folder, environment, tmp_path)
    job = jobs_of(later, None)[0]
    frames = later.render(job, None).frames
    assert len(encoded) == 1
    assert "prompts" not in later.seconds
    np.testing.assert_array_equal(frames, stock.render(later.suite, job))


def test_a_prompt_that_is_missing_is_encoded_alone(
    folder: Path, environment: Environment, encoded: list[list[str]], tmp_path: Path
) -> None:
    studio = _studio(folder, environment, tmp_path)
    studio.render(dataclasses.replace(jobs_of(studio, None)[0], prompt="a cat a dog"), None)
    assert encoded == [["a cat", "a dog", ""], ["a cat a dog"]]


def test_a_damaged_embedding_is_computed_again(
    folder: Path,
    environment: Environment,
    encoded: list[list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = _studio(folder, environment, tmp_path).embedding("a dog")
    kept = sorted((tmp_path / "prompts").glob("*.safetensors"))
    assert len(kept) == 3
    for path in kept:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        studio = _studio(folder, environment, tmp_path)
        again = studio.embedding("a dog")
    assert "does not fit its digest" in caplog.text
    why = "it does not fit its digest"
    assert sorted(studio.troubles) == [("prompt", str(path), why) for path in kept]
    assert len(encoded) == 2
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", ["text_encoder", "tokenizer"])
def test_the_files_that_computed_it_are_part_of_its_name(
    folder: Path, environment: Environment, tmp_path: Path, name: str
) -> None:
    suite = write_suite(folder)
    other = tmp_path / Path(getattr(suite.model, name)).name
    if name == "tokenizer":
        shutil.copytree(suite.model.tokenizer, other)
        (other / "more.json").write_text("{}", encoding="utf-8")
    else:
        other.write_bytes(b"other weights")
    changed = suite.model_copy(update={"model": suite.model.model_copy(update={name: str(other)})})
    paths = [
        PromptStore(each, environment, device="cpu", folder=tmp_path, encode=list, troubles=[])._path("a cat")  # type: ignore[arg-type]  # never called
        for each in (suite, changed)
    ]
    assert paths[0] != paths[1]


@pytest.mark.parametrize("change", ["environment", "dtype"])
def test_what_computed_it_is_part_of_its_name(
    folder: Path,
    environment: Environment,
    encoded: list[list[str]],
    tmp_path: Path,
    change: str,
) -> None:
    _studio(folder, environment, tmp_path).load()
    suite = write_suite(folder)
    if change == "environment":
        environment = dataclasses.replace(environment, torch="0.0.1")
    else:
        environment = dataclasses.replace(environment, dtype="bfloat16")
        suite = write_suite(folder, dtype="bfloat16")
    Studio(suite, environment, threads=1, cache_dir=tmp_path).load()
    assert len(encoded) == 2


def test_a_folder_that_cannot_be_made_costs_time_alone(
    folder: Path, environment: Environment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file, no folder", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        studio = _studio(folder, environment, tmp_path / "cache")
        studio.render(jobs_of(studio, None)[0], None)
    assert "cannot be kept" in caplog.text
    assert studio.troubles == [("unkept", str(tmp_path / "cache" / "prompts"), "Not a directory")]


def test_an_embedding_that_cannot_be_kept_is_told_once_with_a_video(
    folder: Path, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(prompts, "write_whole", full)
    producer = StudioProducer(write_suite(folder), environment, threads=1, cache_dir=tmp_path)
    producer.studio.embedding("a dog")
    told = producer._notes()["prompts"]
    assert [(kind, why) for kind, _, why in told] == [("unkept", "No space left on device")] * 3
    assert "prompts" not in producer._notes()
