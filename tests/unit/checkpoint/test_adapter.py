from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint
from pytest_wanlora.errors import CheckpointError
from tests import loras


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_rank_stabilised_scale_is_alpha_over_the_root_of_the_rank(tmp_path: Path, rank: int) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(rank=rank), "peft")
    config = {"r": rank, "lora_alpha": 6, "use_rslora": True}
    (path.parent / "adapter_config.json").write_text(json.dumps(config))
    assert checkpoint.read(path).targets[0].scale == pytest.approx(6 / rank**0.5)


def test_patterns_of_a_config_go_before_its_defaults(tmp_path: Path) -> None:
    state = loras.random_lora(rank=4, layers=("self_attn.q", "self_attn.k"), blocks=2)
    state |= loras.random_lora(rank=2, layers=("cross_attn.v",), blocks=1)
    path = loras.write_as(tmp_path, state, "peft")
    config = {
        "r": 4,
        "lora_alpha": 4,
        "rank_pattern": {"cross_attn.v": 2},
        # the second is no whole part of a name, so it is no layer's
        "alpha_pattern": {r"blocks\.1\.self_attn\.[qk]": 16, "attn.q": 32, "v": 3},
    }
    (path.parent / "adapter_config.json").write_text(json.dumps(config))
    alphas = {target.name: target.alpha for target in checkpoint.read(path).targets}
    assert alphas == {
        "blocks.0.self_attn.q": 4.0,
        "blocks.0.self_attn.k": 4.0,
        "blocks.1.self_attn.q": 16.0,
        "blocks.1.self_attn.k": 16.0,
        "blocks.0.cross_attn.v": 3.0,
    }


def test_the_metadata_of_the_model_alone_has_no_prefix(tmp_path: Path) -> None:
    state = loras.rewrite(loras.random_lora(), "diffusers-bare")
    metadata = {"lora_adapter_metadata": json.dumps({"r": 4, "lora_alpha": 2})}
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state, metadata))
    assert ({target.alpha for target in read.targets}, read.alpha_source) == ({2.0}, "lora_adapter_metadata")


def test_metadata_of_the_text_encoder_alone_says_nothing_of_the_model(tmp_path: Path) -> None:
    state = loras.rewrite(loras.random_lora(), "diffusers")
    metadata = {"lora_adapter_metadata": json.dumps({"text_encoder.r": 8, "text_encoder.lora_alpha": 2})}
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state, metadata))
    assert ({target.alpha for target in read.targets}, read.alpha_source) == ({None}, "none")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alora_invocation_tokens", [1]),
        ("arrow_config", {"top_k": 3}),
        ("bias", "lora_only"),
        ("fan_in_fan_out", True),
        ("kasa_config", {"beta": 1}),
        ("layer_replication", [[0, 4]]),
        ("lora_bias", True),
        ("lora_ga_config", {"direction": "x"}),
        ("modules_to_save", ["head"]),
        ("monteclora_config", {"n": 2}),
        ("target_parameters", ["x"]),
        ("trainable_token_indices", [1]),
        ("use_bdlora", True),
        ("use_dora", True),
        ("use_qalora", True),
        ("velora_config", {"scale": 1}),
    ],
)
def test_a_config_of_more_than_a_plain_lora_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(), "peft")
    (path.parent / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 4, key: value}))
    with pytest.raises(CheckpointError, match=f"adapter_config.json: {key} is "):
        checkpoint.read(path)


def test_without_a_config_every_layer_of_a_peft_file_needs_its_alpha(tmp_path: Path) -> None:
    state = loras.rewrite(loras.random_lora(), "peft-alpha", alpha=2.0)
    state.pop(next(key for key in state if key.endswith(".alpha")))
    with pytest.raises(CheckpointError, match=r"PEFT keeps alpha in adapter_config\.json"):
        checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
