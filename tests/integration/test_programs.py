"""`inspect --for`, beside what DiffSynth's and diffusers' own loaders (on PEFT's layers) did with a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pytest_wanlora import checkpoint
from pytest_wanlora.checkpoint import kinds, names
from pytest_wanlora.checkpoint.reads_in import Reading, readings
from tests.integration.test_checkpoint_loaders import diffsynth_general
from tests.many_loras import BLOCKS, DIM, FFN, FILES

assert diffsynth_general  # a fixture

Deltas = dict[str, torch.Tensor]


def meant(found: checkpoint.Checkpoint) -> Deltas:
    """What the file means, by target."""
    parts: dict[str, Deltas] = {}
    for key, raw in checkpoint.weights(found).items():
        name, _, part = key.removesuffix(".weight").rpartition(".")
        value = torch.frombuffer(bytearray(raw.data), dtype=getattr(torch, raw.dtype)).reshape(raw.shape)
        parts.setdefault(name, {})[part] = value.double()
    return {
        each.name: kinds.update(each.kind, parts[each.name]) * (1.0 if each.kind == "lora" else each.scale)
        for each in found.targets
    }


def compare(said: Reading, found: checkpoint.Checkpoint, did: Deltas | None) -> None:
    """What was said of a program, and the updates that it made; None where it raised."""
    want, scales = meant(found), {target.name: target.scale for target in found.targets}
    seen = {}
    for name, delta in (did or {}).items():
        if name in want and delta.abs().max() > 0:
            ratio = (delta.double() * want[name]).sum() / want[name].square().sum()
            torch.testing.assert_close(delta.double(), ratio * want[name], rtol=1e-4, atol=1e-6)
            seen[name] = round(scales[name] * ratio.item(), 4)
    whole = seen == {name: round(scale, 4) for name, scale in scales.items()}
    assert said.state == ("works" if whole else "in part" if seen else "nothing")
    assert said.read == len(seen)
    assert said.scales == pytest.approx(tuple(sorted(set(seen.values()))))
    assert bool(said.why) is not whole
    assert ("Error" in said.why) is (did is None)


@pytest.mark.parametrize("what", list(FILES))
def test_diffsynth_does_what_is_said(tmp_path: Path, diffsynth_general: Any, what: str) -> None:  # noqa: ANN401
    path = FILES[what].write(tmp_path / "x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = diffsynth_general.GeneralLoRALoader().convert_state_dict(load_file(path))
    did = {
        key.removesuffix(".lora_B.weight"): value @ state[key.replace("lora_B", "lora_A")]
        for key, value in state.items()
        if key.endswith(".lora_B.weight")
    }
    (said,) = readings(checkpoint.read(path), ["diffsynth"])
    compare(said, checkpoint.read(path), {name: each for name, each in did.items() if names.wan_layer(name)})


def loaded_by_diffusers(path: Path) -> Deltas:
    """What diffusers puts on a small model of its own."""
    from diffusers import WanTransformer3DModel
    from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin

    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=1,
        attention_head_dim=DIM,
        in_channels=4,
        out_channels=4,
        text_dim=24,
        freq_dim=8,
        ffn_dim=FFN,
        num_layers=BLOCKS,
    )
    state, metadata = WanLoraLoaderMixin.lora_state_dict(str(path), return_lora_metadata=True)
    if not all("lora" in key for key in state):
        raise ValueError("Invalid LoRA checkpoint, as load_lora_weights says")
    model.load_lora_adapter(state, metadata=metadata, adapter_name="x")
    did: Deltas = {}
    for module_name, module in model.named_modules():
        if "x" in getattr(module, "lora_B", {}):
            own = str(names.own_name(module_name))
            did[own] = module.get_delta_weight("x").detach()
            if module.lora_B["x"].bias is not None:
                did[f"{own}.bias"] = module.scaling["x"] * module.lora_B["x"].bias.detach()
    return did


@pytest.mark.parametrize("what", list(FILES))
def test_diffusers_does_what_is_said(tmp_path: Path, what: str) -> None:
    pytest.importorskip("diffusers", minversion="0.42.1")
    path = FILES[what].write(tmp_path / "x")
    did: Deltas | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            did = loaded_by_diffusers(path)
        except (ValueError, KeyError, IndexError, RuntimeError):
            did = None
    (said,) = readings(checkpoint.read(path), ["diffusers"])
    compare(said, checkpoint.read(path), did)
