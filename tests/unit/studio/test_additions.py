"""Differences, LoKr and LoHa on a real model: exact in float32, rounded once, and taken off bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.checkpoint import kinds
from pytest_wanlora.environment import detect
from pytest_wanlora.errors import StudioError
from pytest_wanlora.studio import apply_lora
from pytest_wanlora.studio.pipeline import Studio
from tests.unit.studio.random_wan import DIM, FFN, write_suite

Tensors = dict[str, torch.Tensor]
ADDED: dict[str, tuple[int, ...]] = {
    "blocks.0.self_attn.q.diff_b": (DIM,),
    "blocks.0.norm3.diff": (DIM,),
    "blocks.1.norm3.diff_b": (DIM,),
    "blocks.1.cross_attn.norm_q.diff": (DIM,),
    "blocks.1.diff_m": (1, 6, DIM),
    "head.diff_m": (1, 2, DIM),
    "head.head.diff": (16, DIM),
    "blocks.0.ffn.2.diff": (DIM, FFN),
    "patch_embedding.diff": (DIM, 4, 1, 2, 2),
    "blocks.0.ffn.0.lokr_w1": (4, 4),
    "blocks.0.ffn.0.lokr_w2_a": (FFN // 4, 3),
    "blocks.0.ffn.0.lokr_w2_b": (3, DIM // 4),
    "blocks.1.self_attn.o.hada_w1_a": (DIM, 2),
    "blocks.1.self_attn.o.hada_w1_b": (2, DIM),
    "blocks.1.self_attn.o.hada_w2_a": (DIM, 2),
    "blocks.1.self_attn.o.hada_w2_b": (2, DIM),
}
PLAIN: dict[str, tuple[int, ...]] = {
    "blocks.1.self_attn.q.lora_A.weight": (4, DIM),
    "blocks.1.self_attn.q.lora_B.weight": (DIM, 4),
}


def write(path: Path, shapes: dict[str, tuple[int, ...]], size: float = 0.3) -> checkpoints.Checkpoint:
    generator = torch.Generator().manual_seed(3)
    state = {key: torch.randn(shape, generator=generator) * size for key, shape in shapes.items()}
    for key in shapes:
        if "lokr" in key or "hada" in key:
            state[f"{key.rpartition('.')[0]}.alpha"] = torch.tensor(1.5)
    save_file({f"diffusion_model.{key}": value for key, value in state.items()}, path)
    return checkpoints.read(path)


def weights(studio: Studio) -> Tensors:
    """Every parameter under the name that a target has."""
    return {
        apply_lora._plain(name).removesuffix(".weight"): value.detach().clone()
        for name, value in studio.pipe.dit.named_parameters()
    }


def deltas(checkpoint: checkpoints.Checkpoint) -> Tensors:
    """Updates in float64, from copies of the file's bytes."""
    parts: dict[str, Tensors] = {}
    for key, raw in checkpoints.weights(checkpoint).items():
        name, _, part = key.removesuffix(".weight").rpartition(".")
        value = torch.frombuffer(bytearray(raw.data), dtype=getattr(torch, raw.dtype)).reshape(raw.shape)
        parts.setdefault(name, {})[part] = value.double()
    return {each.name: each.scale * kinds.update(each.kind, parts[each.name]) for each in checkpoint.targets}


@pytest.fixture(scope="module", params=["float32-fused", "bfloat16-fused", "bfloat16-unfused"])
def studio(request: pytest.FixtureRequest, folder: Path) -> Studio:
    dtype, mode = request.param.split("-")
    return Studio(write_suite(folder, dtype=dtype, mode=mode), detect(dtype, "cpu"), threads=1)


def test_each_is_added_exactly_and_taken_off_again(studio: Studio, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "x.safetensors", ADDED)
    before, expected = weights(studio), deltas(checkpoint)
    assert len(expected) == 11
    with studio.lora(checkpoint, 0.75) as applied:
        after = weights(studio)
    for name, value in before.items():
        wanted = value if name not in expected else (value.double() + 0.75 * expected[name]).to(value.dtype)
        precision = 2e-6 if value.dtype is torch.float32 else 1e-2
        torch.testing.assert_close(after[name], wanted, rtol=precision, atol=1e-7)
    assert all(torch.equal(now, before[name]) for name, now in weights(studio).items())
    assert (applied.targets, applied.patched, applied.changed) == (11, 11, 11)
    real = torch.cat([(after[name].double() - before[name].double()).flatten() for name in expected])
    meant = 0.75 * torch.cat([each.flatten() for each in expected.values()])
    base = torch.cat([before[name].double().flatten() for name in expected])
    assert applied.strength == pytest.approx((real.norm() / meant.norm()).item(), rel=1e-5)
    assert applied.cosine == pytest.approx(torch.cosine_similarity(real, meant, 0).item(), rel=1e-5)
    assert applied.relative_size == pytest.approx((meant.norm() / base.norm()).item(), rel=1e-5)


def test_they_go_on_beside_a_lora(studio: Studio, tmp_path: Path) -> None:
    both, alone = (
        write(tmp_path / f"{len(shapes)}.safetensors", shapes) for shapes in ({**PLAIN, **ADDED}, PLAIN)
    )
    before = weights(studio)
    with studio.lora(alone) as lora:
        plain = weights(studio)
    with studio.lora(both) as applied:
        after = weights(studio)
    name = "blocks.1.self_attn.q"
    assert torch.equal(after[name], plain[name]), "the LoRA's part is the same with and without the others"
    assert torch.equal(plain["blocks.0.norm3"], before["blocks.0.norm3"])
    assert not torch.equal(after["blocks.0.norm3"], before["blocks.0.norm3"])
    assert (lora.changed, applied.changed, applied.mode) == (1, 12, lora.mode)
    assert all(torch.equal(now, before[key]) for key, now in weights(studio).items())


def test_a_difference_of_what_the_model_lacks_is_refused(studio: Studio, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "x.safetensors", {**PLAIN, "blocks.1.cross_attn.norm_k_img.diff": (DIM,)})
    with (
        pytest.raises(StudioError, match=r"norm_k_img: the model has no such layer"),
        studio.lora(checkpoint),
    ):
        pass


def test_a_difference_of_another_shape_is_refused(studio: Studio, tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "x.safetensors", {**PLAIN, "head.head.diff": (4, DIM)})
    with pytest.raises(StudioError, match=r"head.head: the LoRA is for 4x48"), studio.lora(checkpoint):
        pass
