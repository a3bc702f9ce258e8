from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import checkpoint
from pytest_wanlora.checkpoint import names
from tests import loras


@pytest.mark.parametrize("layer", list(loras.DIFFUSERS_NAMES))
@pytest.mark.parametrize("block", [0, 29])
def test_names_of_all_dialects_come_back(layer: str, block: int) -> None:
    name = f"blocks.{block}.{layer}"
    theirs = f"blocks.{block}.{loras.DIFFUSERS_NAMES[layer]}"
    assert names.wan_layer(name) == (block, layer)
    assert names.diffusers_name(name) == theirs
    for written in (name, theirs, name.replace(".", "_"), theirs.replace(".", "_")):
        assert names.own_name(written) == name
    assert names.is_diffusers(theirs)
    assert not names.is_diffusers(name)


@pytest.mark.parametrize(
    "name", ["blocks.00.ffn.0", "blocks.0.ffn.1", "blocks.x.ffn.0", "ffn.0", "self_attn.q", ""]
)
def test_names_that_no_model_has_are_none(name: str) -> None:
    assert names.wan_layer(name) is None
    assert names.diffusers_name(name) is None
    assert names.own_name(name) is None
    assert names.own_name(name.replace("self_attn.q", "attn1.to_q").replace("ffn.0", "ffn.net.2")) is None


def test_targets_are_sorted_by_number_not_by_text(tmp_path: Path) -> None:
    read = checkpoint.read(
        loras.write(tmp_path / "a.safetensors", loras.random_lora(blocks=12, layers=("ffn.2", "ffn.0")))
    )
    assert [target.name for target in read.targets] == [
        f"blocks.{block}.ffn.{layer}" for block in range(12) for layer in (0, 2)
    ]


def test_image_projections_stay_targets_for_the_model_to_refuse(tmp_path: Path) -> None:
    state = loras.random_lora(layers=("cross_attn.k_img", "self_attn.q"), blocks=1)
    for variant in ("diffusers", "kohya", "comfyui"):
        read = checkpoint.read(loras.write_as(tmp_path, state, variant))
        assert [t.name for t in read.targets] == ["blocks.0.cross_attn.k_img", "blocks.0.self_attn.q"]
        assert checkpoint.verify_against(read, {"blocks.0.self_attn.q": (16, 16)}) == (
            "blocks.0.cross_attn.k_img: the model has no such layer",
        )


def test_layers_outside_the_blocks_are_targets_too(tmp_path: Path) -> None:
    state = {
        f"diffusion_model.{name}.lora_{half}.weight": loras.encode(np.ones(shape))
        for name, out, into in (
            ("text_embedding.0", 16, 48),
            ("head.head", 12, 16),
            ("img_emb.proj.3", 16, 20),
        )
        for half, shape in (("A", (2, into)), ("B", (out, 2)))
    }
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert (read.dim, read.text_dim, read.blocks) == (16, 48, 0)
    assert {target.name for target in read.targets} == {"text_embedding.0", "head.head", "img_emb.proj.3"}
