"""LoRA files for tests: random ones, and any one rewritten in every format that is accepted.

Files are written byte by byte rather than with the safetensors library, which has no bfloat16 without
torch and refuses to write what tests of bad files need.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from pytest_wanlora.checkpoint import Checkpoint
from pytest_wanlora.checkpoint.record import Target

__all__ = [
    "DIFFUSERS_NAMES",
    "FORMATS",
    "LAYERS",
    "Raw",
    "State",
    "encode",
    "known",
    "random_lora",
    "read_state",
    "rewrite",
    "write",
    "write_as",
]

BITS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1"}
LAYERS = (
    *(f"{attention}.{letter}" for attention in ("self_attn", "cross_attn") for letter in "qkvo"),
    "ffn.0",
    "ffn.2",
)
DIFFUSERS_NAMES = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}

# variant -> (prefix, how layers are named, names of A and B, alpha tensors in the file, reported format)
FORMATS: Mapping[str, tuple[str, str, tuple[str, str], bool, str]] = {
    "diffsynth": ("", "wan", ("lora_A.default", "lora_B.default"), False, "diffsynth"),
    "bare": ("", "wan", ("lora_A", "lora_B"), False, "bare"),
    "bare-alpha": ("", "wan", ("lora_A", "lora_B"), True, "bare"),
    "bare-down": ("", "wan", ("lora_down", "lora_up"), True, "bare"),
    "comfyui": ("diffusion_model.", "wan", ("lora_A", "lora_B"), False, "comfyui"),
    "comfyui-alpha": ("diffusion_model.", "wan", ("lora_A", "lora_B"), True, "comfyui"),
    "comfyui-down": ("diffusion_model.", "wan", ("lora_down", "lora_up"), True, "comfyui"),
    "pipe.dit": ("pipe.dit.", "wan", ("lora_A.default", "lora_B.default"), False, "pipe.dit"),
    "peft": ("base_model.model.", "wan", ("lora_A", "lora_B"), False, "peft"),
    "peft-alpha": ("base_model.model.", "wan", ("lora_A", "lora_B"), True, "peft"),
    "peft-diffusers": ("base_model.model.", "diffusers", ("lora_A", "lora_B"), False, "peft"),
    "diffusers": ("transformer.", "diffusers", ("lora_A", "lora_B"), False, "diffusers"),
    "diffusers-metadata": ("transformer.", "diffusers", ("lora_A", "lora_B"), False, "diffusers"),
    "diffusers-bare": ("", "diffusers", ("lora_A", "lora_B"), False, "diffusers"),
    "kohya": ("lora_unet_", "kohya", ("lora_down", "lora_up"), True, "kohya"),
    "wan-fun": ("lora_unet__", "kohya", ("lora_down", "lora_up"), True, "wan-fun"),
}
WITH_CONFIG = ("peft", "peft-diffusers")
WITH_METADATA = ("diffusers-metadata",)


@dataclass(frozen=True)
class Raw:
    """One tensor as it lies in a file; ``dtype`` is safetensors' name."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


State = dict[str, Raw]


def encode(values: NDArray[np.float64] | list[Any] | float, dtype: str = "F32") -> Raw:
    """Values as a tensor of ``dtype``; bfloat16 and 8-bit types are cut, not rounded."""
    array = np.asarray(values, dtype=np.float64)
    if dtype in ("F64", "F32", "F16"):
        bits = array.astype(BITS[dtype])
    elif dtype == "BF16":
        bits = (array.astype("<f4").view("<u4") >> 16).astype("<u2")
    elif dtype == "F8_E5M2":
        bits = (array.astype("<f2").view("<u2") >> 8).astype("u1")
    else:
        raise ValueError(f"no encoder for {dtype}")
    return Raw(dtype, array.shape, bits.tobytes())


def random_lora(
    *,
    dim: int = 16,
    ffn_dim: int = 32,
    blocks: int = 2,
    rank: int = 4,
    dtype: str = "BF16",
    seed: int = 0,
    layers: tuple[str, ...] = LAYERS,
) -> State:
    """A LoRA in DiffSynth's names, every number finite and few of them zero."""
    rng = np.random.default_rng(seed)

    def tensor(*shape: int) -> Raw:
        if dtype == "F8_E4M3":  # codes below 0x78 with either sign: finite
            codes = rng.integers(1, 0x78, shape) + 128 * rng.integers(0, 2, shape)
            return Raw(dtype, shape, codes.astype("u1").tobytes())
        return encode(rng.normal(0.0, 0.05, shape), dtype)

    state: State = {}
    for block in range(blocks):
        for layer in layers:
            wide, narrow = (ffn_dim, dim) if layer == "ffn.0" else (dim, ffn_dim if layer == "ffn.2" else dim)
            name = f"blocks.{block}.{layer}"
            state[f"{name}.lora_A.default.weight"] = tensor(rank, narrow)
            state[f"{name}.lora_B.default.weight"] = tensor(wide, rank)
    return state


def rewrite(state: State, variant: str, *, alpha: float | None = None) -> State:
    """A DiffSynth state in another format; where it has alpha tensors, they hold ``alpha`` or the rank."""
    prefix, naming, (down, up), alphas, _ = FORMATS[variant]
    result: State = {}
    for key, raw in state.items():
        name, half, _, _ = key.rsplit(".", 3)
        module = _module(name, naming)
        result[f"{prefix}{module}.{down if half == 'lora_A' else up}.weight"] = raw
        if alphas and half == "lora_A":
            result[f"{prefix}{module}.alpha"] = encode(float(raw.shape[0]) if alpha is None else alpha)
    return result


def write_as(folder: Path, state: State, variant: str, *, alpha: float | None = None) -> Path:
    """Write ``<folder>/<variant>/lora.safetensors`` and, for PEFT, its config; returns the file.

    Args:
        folder: Made when missing.
        state: In DiffSynth's names, one rank throughout.
        variant: Of ``FORMATS``.
        alpha: None for the rank. Formats with neither alpha tensors nor a config cannot hold another.
    """
    rank = next(raw.shape[0] for key, raw in state.items() if "lora_A" in key)
    place = folder / variant
    place.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank if alpha is None else alpha,
        "use_dora": False,
    }
    metadata = {"format": "pt"}
    if variant in WITH_CONFIG:
        (place / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    elif variant in WITH_METADATA:
        inner = {f"transformer.{key}": value for key, value in config.items()}
        metadata["lora_adapter_metadata"] = json.dumps(inner)
    elif alpha is not None and not FORMATS[variant][3]:
        raise ValueError(f"{variant} has no place for an alpha")
    return write(place / "lora.safetensors", rewrite(state, variant, alpha=alpha), metadata)


def write(path: Path, state: Mapping[str, Raw], metadata: Mapping[str, str] | None = None) -> Path:
    """Write tensors as a safetensors file; returns ``path``."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for key, raw in state.items():
        end = offset + len(raw.data)
        header[key] = {"dtype": raw.dtype, "shape": list(raw.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(raw.data for raw in state.values()))
    return path


def read_state(path: Path) -> State:
    """The tensors of a safetensors file, bit by bit."""
    state: State = {}
    with safe_open(str(path), framework="numpy") as handle:
        layout = [(key, handle.get_slice(key)) for key in handle.offset_keys()]
        shapes = [(key, str(view.get_dtype()), tuple(view.get_shape())) for key, view in layout]
    data = path.read_bytes()
    offset = 8 + struct.unpack("<Q", data[:8])[0]
    for key, dtype, shape in shapes:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(BITS[dtype]).itemsize
        state[key] = Raw(dtype, shape, data[offset : offset + size])
        offset += size
    return state


def _module(name: str, naming: str) -> str:
    _, block, layer = name.split(".", 2)
    if naming == "diffusers":
        return f"blocks.{block}.{DIFFUSERS_NAMES[layer]}"
    return name.replace(".", "_") if naming == "kohya" else name


def known(
    dim: int | None = 3072,
    ffn_dim: int | None = 14336,
    blocks: Collection[int] = range(30),
    *,
    name: str = "epoch-2",
    more: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> Checkpoint:
    """What would be known of a file with such targets: none is written.

    Args:
        dim: Of `self_attn.q`; None for none.
        ffn_dim: Of `ffn.0`; None for none.
        blocks: That have those layers.
        name: Of the checkpoint.
        more: Other targets, by name with their shapes.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        if dim is not None:
            shapes[f"blocks.{block}.self_attn.q"] = (dim, dim)
        if dim is not None and ffn_dim is not None:
            shapes[f"blocks.{block}.ffn.0"] = (ffn_dim, dim)
    targets = tuple(
        Target(name=each, shape=shape, rank=1, alpha=None, keys={})
        for each, shape in {**shapes, **more}.items()
    )
    return Checkpoint(
        path=Path(f"{name}.safetensors"),
        name=name,
        sha256="0" * 64,
        size=1,
        format="bare",
        dtype="float32",
        parameters=1,
        targets=targets,
        alpha_source="none",
        metadata={},
        norms=dict.fromkeys((target.name for target in targets), 1.0),
        zero_targets=(),
        problems=(),
    )
