"""What is read here, beside what DiffSynth's own loader and PEFT's own layers make of the same file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

from pytest_wanlora import checkpoint
from pytest_wanlora.errors import CheckpointError
from tests import loras


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {
        key: torch.frombuffer(bytearray(raw.data), dtype=getattr(torch, raw.dtype)).reshape(raw.shape)
        for key, raw in checkpoint.weights(checkpoint.read(path)).items()
    }


@pytest.fixture(scope="module")
def diffsynth_general() -> ModuleType:
    # the one file, since importing the whole package takes many seconds
    package = importlib.util.find_spec("diffsynth")
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "utils" / "lora" / "general.py"
    spec = importlib.util.spec_from_file_location("diffsynth_lora_general", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
@pytest.mark.parametrize("variant", ["diffsynth", "bare", "comfyui"])
def test_formats_that_diffsynth_loads_are_read_as_it_does(
    tmp_path: Path,
    diffsynth_general: ModuleType,
    variant: str,
    dtype: str,
) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(dtype=dtype), variant)
    theirs = diffsynth_general.GeneralLoRALoader().convert_state_dict(load_file(path))
    ours = tensors(path)
    assert ours.keys() == theirs.keys()
    assert all(ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("variant", ["bare-down", "comfyui-down", "bare-alpha", "comfyui-alpha"])
@pytest.mark.parametrize("alpha", [1.0, 4.0, 32.0])
def test_alpha_is_folded_as_diffsynth_does(
    tmp_path: Path,
    diffsynth_general: ModuleType,
    variant: str,
    alpha: float,
) -> None:
    path = loras.write_as(tmp_path, loras.random_lora(dtype="F32"), variant, alpha=alpha)
    with pytest.warns(UserWarning, match="Alpha detected"):
        theirs = diffsynth_general.GeneralLoRALoader().convert_state_dict(load_file(path))
    ours = tensors(path)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
)
def test_bits_reach_torch_as_the_library_reads_them(tmp_path: Path, dtype: str) -> None:
    names = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    stored = names.get(dtype, dtype.removesuffix("fn").replace("float8", "F8").upper())
    path = loras.write_as(tmp_path, loras.random_lora(dtype=stored), "bare")
    library = load_file(path)
    ours = tensors(path)
    assert ours.keys() == library.keys()
    for key in ours:
        assert ours[key].dtype == library[key].dtype == getattr(torch, dtype)
        assert torch.equal(ours[key].view(torch.uint8), library[key].view(torch.uint8))


class Attention(torch.nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        for letter in "qkvo":
            self.add_module(letter, torch.nn.Linear(dim, dim))


class Block(torch.nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = Attention(dim), Attention(dim)
        self.ffn = torch.nn.Sequential(
            torch.nn.Linear(dim, 2 * dim), torch.nn.GELU(), torch.nn.Linear(2 * dim, dim)
        )


class Model(torch.nn.Module):
    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(dim), Block(dim)])


@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 4},
        {"r": 4, "lora_alpha": 32},
        {"r": 4, "lora_alpha": 32, "use_rslora": True},
        {"r": 4, "lora_alpha": 2, "rank_pattern": {"self_attn.q": 8}, "alpha_pattern": {"ffn.0": 1, "q": 5}},
        {"r": 4, "lora_alpha": 2, "alpha_pattern": {r"blocks\.1\..*": 16}, "use_rslora": True},
    ],
    ids=str,
)
def test_a_lora_that_peft_saved_has_the_strength_it_had(tmp_path: Path, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=["q", "v", "ffn.0", "ffn.2"], init_lora_weights=False, **options)
    model = peft.get_peft_model(Model(), config)
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    read = checkpoint.read(path)
    ours = tensors(path)
    seen = set()
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "lora_A"):
            delta = module.get_delta_weight("default")
            update = ours[f"{name}.lora_B.weight"] @ ours[f"{name}.lora_A.weight"]
            torch.testing.assert_close(update, delta)
            assert read.norms[name] == pytest.approx(delta.double().norm().item(), rel=1e-5)
            seen.add(name)
    assert seen == {target.name for target in read.targets}
    assert len(seen) == 12


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"bias": "lora_only"}, {"init_lora_weights": "pissa"}], ids=str
)
def test_what_peft_saves_beyond_a_plain_lora_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    config = peft.LoraConfig(target_modules=["q"], **options)
    peft.get_peft_model(Model(), config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"DoRA|bias' .* is unknown|pissa"):
        checkpoint.read(tmp_path / "adapter_model.safetensors")
