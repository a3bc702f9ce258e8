"""Weights that several threads read are those that safetensors reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_wanlora.environment import Environment
from pytest_wanlora.studio import weights
from pytest_wanlora.studio.loading import Loader
from pytest_wanlora.studio.pipeline import Studio
from tests.unit.studio.random_wan import Stock, jobs_of, write_suite


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    first = {f"block.{number}": random(7, 2 * number + 1, seed=number) for number in range(9)}
    second = {
        "half": random(64, 5, seed=10, dtype=torch.float16),
        "brain": random(3, 4, 5, seed=11, dtype=torch.bfloat16),
        "number": torch.tensor(7, dtype=torch.int64),
        "empty": torch.empty(0, 4),
        "exact": random(33, seed=12, dtype=torch.float64),
        "small": random(16, seed=13).to(torch.float8_e4m3fn),
    }
    paths = [tmp_path / "model-00001-of-00002.safetensors", tmp_path / "model-00002-of-00002.safetensors"]
    for path, state in zip(paths, (first, second), strict=True):
        save_file(state, path)
    return paths


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("part_bytes", [8, 64, 2**20])
def test_every_value_is_what_safetensors_reads_then_rounded(
    files: list[Path], dtype: torch.dtype, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_PART_BYTES", part_bytes)
    expected = {name: value for path in files for name, value in load_file(path).items()}
    found = weights.Reading(files, dtype, "cpu").result()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (dtype, value.shape)
        torch.testing.assert_close(found[name], value.to(dtype), rtol=0, atol=0)


def test_every_tensor_begins_where_kernels_want_it(files: list[Path]) -> None:
    found = weights.Reading(files, torch.bfloat16, "cpu").result()
    assert all(value.data_ptr() % 16 == 0 for value in found.values())
    assert all(value.is_contiguous() for value in found.values())


def test_a_file_that_is_cut_off_is_refused(files: list[Path]) -> None:
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-3])
    with pytest.raises(SafetensorError):
        weights.Reading(files, torch.float32, "cpu").result()


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = weights._placed

    def shrinking(path: Path) -> list[weights._Placed]:
        placed = real(path)
        path.write_bytes(path.read_bytes()[:-3])
        return placed

    monkeypatch.setattr(weights, "_placed", shrinking)
    with pytest.raises(
        OSError, match=r"model-0000\d-of-00002.safetensors ends 3 bytes before its header says"
    ):
        weights.Reading(files, torch.float32, "cpu").result()


def test_values_of_a_type_that_torch_has_not_are_named(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(weights._DTYPES, "F64")
    with pytest.raises(ValueError, match="holds values of type F64"):
        weights.Reading(files, torch.float32, "cpu").result()


def test_diffsynth_makes_the_same_model_of_them(
    folder: Path, environment: Environment, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def as_on_a_gpu(_: Loader, paths: list[Path], device: str) -> weights.Reading:
        read.extend(path.name for path in paths)
        return weights.Reading(paths, torch.float32, device)

    monkeypatch.setattr(Loader, "_reading", as_on_a_gpu)
    studio = Studio(write_suite(folder), environment, threads=1)
    job = jobs_of(studio, None)[0]
    studio.prepare()
    # the text encoder was read, used and is gone before the others come
    assert read == ["text_encoder.safetensors", "dit.safetensors", "vae.safetensors"]
    np.testing.assert_array_equal(studio.render(job, None).frames, stock.render(studio.suite, job))
    assert len(read) == 3, "what was read ahead was read again"
