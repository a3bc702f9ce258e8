"""What is fused, and what is said of it, against the plain way: whole matrices, in float64."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.environment import detect
from pytest_wanlora.errors import CheckpointError, StudioError
from pytest_wanlora.jobs.job import Applied
from pytest_wanlora.studio import apply_lora, sums, uploads
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.studio.uploads import Lora, uploaded
from tests import loras
from tests.unit.studio.random_wan import BLOCKS, DIM, FFN, LAYERS, write_lora, write_suite

Matrices = dict[str, torch.Tensor]


def weights_of(studio: Studio, checkpoint: checkpoints.Checkpoint) -> Matrices:
    """The targets' weights as they are now; copies."""
    layers = apply_lora.targets(studio.pipe.dit, checkpoint)
    return {name: module.weight.detach().clone() for name, module in layers.items()}


def halves(checkpoint: checkpoints.Checkpoint) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(B, A) by layer, each tensor from a copy of its own bytes."""
    raws = checkpoints.weights(checkpoint)

    def matrix(key: str) -> torch.Tensor:
        raw = raws[key]
        return torch.frombuffer(bytearray(raw.data), dtype=getattr(torch, raw.dtype)).reshape(raw.shape)

    return {
        target.name: (matrix(f"{target.name}.lora_B.weight"), matrix(f"{target.name}.lora_A.weight"))
        for target in checkpoint.targets
    }


def shifted(path: Path, by: int) -> Path:
    """The same LoRA with its tensors `by` bytes further into the file: the header is padded with spaces."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size] + b" " * by
    path.write_bytes((size + by).to_bytes(8, "little") + header + content[8 + size :])
    return path


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def fusing(request: pytest.FixtureRequest, folder: Path) -> Studio:
    return Studio(write_suite(folder, dtype=request.param), detect(request.param, "cpu"), threads=1)


@pytest.fixture(scope="module")
def beside(folder: Path) -> Studio:
    suite = write_suite(folder, dtype="bfloat16", mode="unfused")
    return Studio(suite, detect("bfloat16", "cpu"), threads=1)


@pytest.mark.parametrize("padding", range(16))
def test_tensors_reach_torch_bit_for_bit_wherever_they_begin(tmp_path: Path, padding: int) -> None:
    path = shifted(write_lora(tmp_path / "x.safetensors"), padding)
    checkpoint = checkpoints.read(path)
    with checkpoints.contents(checkpoint) as found:
        lora = uploaded(found, "cpu")
    for name, (up, down) in halves(checkpoint).items():
        for have, want in ((lora.up[name], up), (lora.down[name], down)):
            assert torch.equal(have, want)
            assert have.dtype == want.dtype
            assert have.data_ptr() % 16 == 0


@pytest.mark.parametrize("alpha", [None, 1.0])
@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
def test_the_fused_bits_are_those_of_the_plain_sum(
    fusing: Studio, tmp_path: Path, dtype: str, alpha: float | None
) -> None:
    state = loras.random_lora(dim=DIM, ffn_dim=FFN, blocks=BLOCKS, dtype=dtype, seed=5)
    checkpoint = checkpoints.read(loras.write_as(tmp_path, state, "bare-alpha", alpha=alpha))
    before = weights_of(fusing, checkpoint)
    with fusing.lora(checkpoint, 0.75):
        after = weights_of(fusing, checkpoint)
    for name, (up, down) in halves(checkpoint).items():
        low_rank = torch.mm(up.to(before[name].dtype), down.to(before[name].dtype))
        assert torch.equal(after[name], before[name] + 0.75 * low_rank)
    assert all(torch.equal(now, before[name]) for name, now in weights_of(fusing, checkpoint).items())


def expected(
    checkpoint: checkpoints.Checkpoint, scale: float, base: Matrices, real: Matrices
) -> tuple[float, float, float]:
    """Strength, cosine and relative size, from whole matrices in float64."""
    meant = {name: scale * up.double() @ down.double() for name, (up, down) in halves(checkpoint).items()}
    dot = math.fsum((real[name] * meant[name]).sum().item() for name in meant)
    real2, meant2, base2 = (
        math.fsum(matrix.double().square().sum().item() for matrix in matrices.values())
        for matrices in (real, meant, base)
    )
    return math.sqrt(real2 / meant2), dot / math.sqrt(real2 * meant2), math.sqrt(meant2 / base2)


@pytest.mark.parametrize("size", [0.05, 0.003])
def test_what_fusing_did_is_what_whole_matrices_say(fusing: Studio, tmp_path: Path, size: float) -> None:
    checkpoint = checkpoints.read(write_lora(tmp_path / "x.safetensors", size=size))
    before = weights_of(fusing, checkpoint)
    with fusing.lora(checkpoint, 0.75) as applied:
        after = weights_of(fusing, checkpoint)
    real = {name: after[name].double() - before[name].double() for name in before}
    assert figures(applied) == pytest.approx(expected(checkpoint, 0.75, before, real), rel=1e-5)
    assert applied.changed == applied.targets == BLOCKS * len(LAYERS)


def test_what_hot_loading_did_is_what_whole_matrices_say(beside: Studio, tmp_path: Path) -> None:
    checkpoint = checkpoints.read(write_lora(tmp_path / "x.safetensors"))
    before = weights_of(beside, checkpoint)
    with beside.lora(checkpoint, 0.7) as applied:
        modules = {getattr(module, "name", ""): module for module in beside.pipe.dit.modules()}
        real = {
            name: modules[name].lora_B_weights[0].double() @ modules[name].lora_A_weights[0].double()
            for name in before
        }
    assert figures(applied) == pytest.approx(expected(checkpoint, 0.7, before, real), rel=1e-5)
    assert applied.changed == applied.targets == BLOCKS * len(LAYERS)
    assert applied.strength != 1.0, "0.7 is rounded to bfloat16, entry by entry"


@pytest.mark.parametrize("dtype", ["F32", "F8_E4M3"])
def test_other_types_are_kept_beside_the_weights_too(beside: Studio, tmp_path: Path, dtype: str) -> None:
    state = loras.random_lora(dim=DIM, ffn_dim=FFN, blocks=BLOCKS, dtype=dtype, seed=5)
    checkpoint = checkpoints.read(loras.write_as(tmp_path, state, "bare"))
    with beside.lora(checkpoint) as applied:
        pass
    assert applied.patched == len(checkpoint.targets)
    assert applied.strength == pytest.approx(1.0, abs=1e-3)


def test_norms_of_large_matrices_are_exact_to_single_precision() -> None:
    matrix = (torch.rand(1024, 4096, generator=torch.Generator().manual_seed(0)) - 0.5).bfloat16()
    expected = matrix.double().square().sum().sqrt().item()
    for given in (matrix, matrix.float()):
        assert sums.norm(given).item() == pytest.approx(expected, rel=5e-6)


def figures(applied: Applied) -> tuple[float, float, float]:
    return applied.strength, applied.cosine, applied.relative_size


def test_a_change_whose_square_is_zero_is_a_change(folder: Path, tmp_path: Path) -> None:
    studio = Studio(write_suite(folder), detect("float32", "cpu"), threads=1)
    checkpoint = checkpoints.read(write_lora(tmp_path / "x.safetensors", size=1e-15))
    with torch.no_grad():
        for module in apply_lora.targets(studio.pipe.dit, checkpoint).values():
            module.weight.zero_()
    studio._bits = studio._checksums()
    with studio.lora(checkpoint) as applied:
        pass
    assert applied.changed == applied.targets


def spoil(path: Path, how: Callable[[bytes], bytes]) -> None:
    path.write_bytes(how(path.read_bytes()))


def _other_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _not_finite(content: bytes) -> bytes:
    return content[:-4000] + b"\x00\x00\xc0\x7f" * 1000


def _other_names(content: bytes) -> bytes:
    return content.replace(b"blocks.1", b"blocks.7")


def _other_type(content: bytes) -> bytes:
    return content.replace(b'"F32"', b'"I32"')


CHANGES = [_other_bit, _not_finite, _other_names, _other_type]


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("mode", ["fused", "unfused"])
def test_a_file_that_changed_since_it_was_read_is_refused_and_nothing_stays(
    folder: Path, tmp_path: Path, mode: str, how: Callable[[bytes], bytes]
) -> None:
    studio = Studio(write_suite(folder, mode=mode), detect("float32", "cpu"), threads=1)
    path = write_lora(tmp_path / "x.safetensors")
    checkpoint = checkpoints.read(path)
    base = weights_of(studio, checkpoint)
    was = hashlib.sha256(path.read_bytes()).hexdigest()
    spoil(path, how)
    assert hashlib.sha256(path.read_bytes()).hexdigest() != was
    reached = False
    with pytest.raises(CheckpointError, match="changed since it was read"), studio.lora(checkpoint):
        reached = True
    assert not reached
    assert all(torch.equal(now, base[name]) for name, now in weights_of(studio, checkpoint).items())
    assert not any(getattr(module, "lora_A_weights", ()) for module in studio.pipe.dit.modules())


def test_the_digest_is_of_the_bytes_that_were_used(
    fusing: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file written anew after it was read into memory changes neither the weights nor the digest."""
    path = write_lora(tmp_path / "x.safetensors")
    checkpoint = checkpoints.read(path)
    with fusing.lora(checkpoint):
        expected_weights = weights_of(fusing, checkpoint)
    real = uploaded

    def late(found: Any, *rest: Any) -> Lora:  # noqa: ANN401 - passed on
        spoil(path, _other_bit)
        return real(found, *rest)

    monkeypatch.setattr(uploads, "uploaded", late)
    with fusing.lora(checkpoint):
        found = weights_of(fusing, checkpoint)
    assert all(torch.equal(found[name], expected_weights[name]) for name in found)


def test_what_else_goes_wrong_keeps_its_own_error(
    fusing: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoints.read(write_lora(tmp_path / "x.safetensors"))
    base = weights_of(fusing, checkpoint)
    monkeypatch.setattr(fusing.pipe, "load_lora", lambda *_, **__: None)
    with pytest.raises(StudioError, match="patched 0 of its 14 targets"), fusing.lora(checkpoint):
        pass
    assert all(torch.equal(now, base[name]) for name, now in weights_of(fusing, checkpoint).items())


def test_what_hot_loading_passed_over_is_named_and_nothing_stays(
    beside: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoints.read(write_lora(tmp_path / "x.safetensors"))
    load = beside.pipe.load_lora

    def half(module: Any, state_dict: dict[str, torch.Tensor], **others: Any) -> None:  # noqa: ANN401 - passed on
        load(module, state_dict={k: v for k, v in state_dict.items() if "blocks.0" in k}, **others)

    monkeypatch.setattr(beside.pipe, "load_lora", half)
    with pytest.raises(StudioError, match=r"patched 7 of its 14 targets; not blocks\.1"):
        beside.lora(checkpoint).__enter__()
    assert not any(getattr(module, "lora_A_weights", ()) for module in beside.pipe.dit.modules())


def test_layers_that_wait_outside_the_gpu_get_the_strength_too() -> None:
    """DiffSynth's loader passes over layers under VRAM management, so what it does is done here."""
    layer = torch.nn.Linear(6, 4, bias=False)
    before = layer.weight.detach().clone()
    up, down = torch.ones(4, 2), torch.arange(12.0).reshape(2, 6)
    pipe = SimpleNamespace(vram_management_enabled=True, device="cpu", torch_dtype=torch.float32)
    apply_lora._fuse(pipe, torch.nn.Sequential(layer), {"q": layer}, Lora({"q": down}, {"q": up}), 0.75)
    assert torch.equal(layer.weight, before + 0.75 * (up @ down))


class TestSums:
    def _applied(self, lora: checkpoints.Checkpoint, dot: float, real: float = 1.0) -> Applied:
        return sums.Sums([dot], [real], [1.0]).applied(lora, 1.0, changed=1, mode="fused")

    def test_a_change_the_other_way_has_a_negative_cosine(self, lora: checkpoints.Checkpoint) -> None:
        assert self._applied(lora, -0.5).cosine == -self._applied(lora, 0.5).cosine < 0

    @pytest.mark.parametrize(("dot", "real"), [(math.nan, 1.0), (1.0, math.inf), (math.inf, math.inf)])
    def test_one_sum_that_is_not_finite_is_refused(
        self, lora: checkpoints.Checkpoint, dot: float, real: float
    ) -> None:
        with pytest.raises(StudioError, match="gives weights that are not finite"):
            self._applied(lora, dot, real)
