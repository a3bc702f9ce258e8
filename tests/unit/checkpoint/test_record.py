from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import checkpoint
from tests import loras

NAME = "blocks.0.self_attn.q"
DOWN, UP = f"{NAME}.lora_A.default.weight", f"{NAME}.lora_B.default.weight"


def test_architecture_is_told_by_the_shapes(tmp_path: Path) -> None:
    state = loras.random_lora(dim=24, ffn_dim=40, blocks=3, rank=2)
    state = {key: raw for key, raw in state.items() if not key.startswith("blocks.1.")}
    read = checkpoint.read(loras.write(tmp_path / "epoch-2.safetensors", state))
    assert (read.dim, read.ffn_dim, read.text_dim, read.blocks, read.block_count) == (24, 40, None, 3, 2)
    assert (read.rank, read.ranks, read.name) == (2, (2,), "epoch-2")


@pytest.mark.parametrize(
    ("layers", "dim", "ffn_dim"), [(("self_attn.q",), 16, None), (("ffn.0",), 16, 32), (("ffn.2",), 16, 32)]
)
def test_what_no_target_tells_is_none(
    tmp_path: Path, layers: tuple[str, ...], dim: int, ffn_dim: int | None
) -> None:
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", loras.random_lora(layers=layers)))
    assert (read.dim, read.ffn_dim) == (dim, ffn_dim)


def test_targets_are_checked_against_the_shapes_of_a_model(tmp_path: Path) -> None:
    state = loras.random_lora(blocks=2, layers=("self_attn.q", "ffn.0"))
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    model = {"blocks.0.self_attn.q": (16, 16), "blocks.0.ffn.0": (32, 16), "blocks.1.self_attn.q": (16, 16)}
    assert checkpoint.verify_against(read, model | {"blocks.1.ffn.0": (32, 16)}) == ()
    assert checkpoint.verify_against(read, model | {"blocks.1.ffn.0": (16, 32)}) == (
        "blocks.1.ffn.0: the LoRA is for 32x16 (out x in), the model's layer is 16x32",
    )
    assert len(checkpoint.verify_against(read, model)) == 1
    assert len(checkpoint.verify_against(read, {})) == 4


def test_the_card_is_plain_json_and_complete(tmp_path: Path) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(), "diffusers-metadata", alpha=2)
    card = checkpoint.read(path).describe()
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert card["layers"] == dict.fromkeys(sorted(loras.LAYERS), 2)
    assert (card["alphas"], card["targets"], card["rank"]) == ([2.0], 20, 4)
    assert card["parameters"] == 2 * (8 * 4 * 32 + 2 * 4 * 48)


def test_the_card_of_a_broken_file_is_json_too(tmp_path: Path) -> None:
    state = loras.random_lora() | {UP: loras.encode(np.full((16, 4), np.nan))}
    card = checkpoint.read(loras.write(tmp_path / "a.safetensors", state, {"long": "x" * 500})).describe()
    assert json.loads(json.dumps(card, allow_nan=False))["norm"] is None
    assert card["problems"][0]["code"] == "nan"
    assert len(card["metadata"]["long"]) == 201


def test_a_config_outside_the_file_is_part_of_its_identity(tmp_path: Path) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(), "peft", alpha=4)
    one = checkpoint.read(path)
    loras.write_as(tmp_path, loras.random_lora(), "peft", alpha=8)
    other = checkpoint.read(path)
    assert one.sha256 == other.sha256
    assert len({one.sha256, one.identity, other.identity}) == 3
    assert checkpoint.read(path).identity == other.identity


def test_without_one_the_identity_is_the_digest_of_the_file(tmp_path: Path) -> None:
    read = checkpoint.read(loras.write_as(tmp_path, loras.random_lora(), "kohya", alpha=2))
    assert read.identity == read.sha256
    assert read.alpha_source == "file"
