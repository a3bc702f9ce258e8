"""LoRA files in the formats that people have: prefixes, names of layers, halves, alphas and kinds."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests import loras

DIM, FFN, BLOCKS, RANK = 16, 32, 2, 4
_OUTER = {
    "time_projection.1": ("condition_embedder.time_proj", (6 * DIM, DIM)),
    "text_embedding.0": ("condition_embedder.text_embedder.linear_1", (DIM, 24)),
    "head.head": ("proj_out", (16, DIM)),
}
_HALVES = {
    "AB": (".lora_A.weight", ".lora_B.weight"),
    "default": (".lora_A.default.weight", ".lora_B.default.weight"),
    "best": (".lora_A.best.weight", ".lora_B.best.weight"),
    "down": (".lora_down.weight", ".lora_up.weight"),
    "old": (".lora.down.weight", ".lora.up.weight"),
    "older": ("_lora.down.weight", "_lora.up.weight"),
    "linear": (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    "bare": (".lora_A", ".lora_B"),
}


@dataclass(frozen=True)
class File:
    """How a file is written."""

    prefix: str
    naming: str = "wan"
    halves: str = "AB"
    alpha: str = ""
    value: float = 2.0
    blocks: Collection[int] = range(BLOCKS)
    layers: tuple[str, ...] = loras.LAYERS
    outer: tuple[str, ...] = ()
    more: tuple[tuple[str, tuple[int, ...]], ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    config: bool = False
    keep: Callable[[str], bool] = lambda key: True

    def write(self, folder: Path) -> Path:
        """Write it as `lora.safetensors` in a folder of its own."""
        rng = np.random.default_rng(7)
        state: loras.State = {}
        shapes = {
            f"blocks.{block}.{layer}": (FFN if layer == "ffn.0" else DIM, FFN if layer == "ffn.2" else DIM)
            for block in self.blocks
            for layer in self.layers
        }
        shapes |= {layer: _OUTER[layer][1] for layer in self.outer}
        down, up = _HALVES[self.halves]
        for name, (rows, columns) in shapes.items():
            module = f"{self.prefix}{self._called(name)}"
            state[f"{module}{down}"] = loras.encode(rng.normal(0, 0.3, (RANK, columns)))
            state[f"{module}{up}"] = loras.encode(rng.normal(0, 0.3, (rows, RANK)))
            if self.alpha:
                state[f"{module}{self.alpha}"] = loras.encode(self.value)
        for key, shape in self.more:
            value = rng.normal(0, 0.3, shape) if shape else np.float64(self.value)
            state[f"{self.prefix}{key}"] = loras.encode(value)
        folder.mkdir(parents=True, exist_ok=True)
        if self.config:
            config = {"peft_type": "LORA", "r": RANK, "lora_alpha": self.value}
            (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        kept = {key: raw for key, raw in state.items() if self.keep(key)}
        return loras.write(folder / "lora.safetensors", kept, self.metadata or None)

    def _called(self, name: str) -> str:
        if "diffusers" in self.naming:
            if name in _OUTER:
                name = _OUTER[name][0]
            else:
                _, block, layer = name.split(".", 2)
                name = f"blocks.{block}.{loras.DIFFUSERS_NAMES[layer]}"
        if self.naming == "half":
            return name.replace("blocks.", "blocks_", 1)
        return name.replace(".", "_") if "flat" in self.naming else name


_QUERIES = ("self_attn.q", "cross_attn.q")
_LOKR = (("blocks.0.ffn.0.lokr_w1", (4, 2)), ("blocks.0.ffn.0.lokr_w2", (8, 8)))
_LOKR_PARTS = (
    ("blocks.0.ffn.0.lokr_w1", (4, 2)),
    ("blocks.0.ffn.0.lokr_w2_a", (8, 3)),
    ("blocks.0.ffn.0.lokr_w2_b", (3, 8)),
    ("blocks.0.ffn.0.alpha", ()),
)
_LOHA = tuple(
    (f"blocks.0.ffn.0.hada_w{n}_{x}", (FFN, 2) if x == "a" else (2, DIM)) for n in (1, 2) for x in "ab"
)
_HEAD = (("head.head.diff", (16, DIM)), ("head.head.diff_b", (16,)))
_NORMS = (("blocks.0.norm3.diff", (DIM,)), ("blocks.0.norm3.diff_b", (DIM,)))
_WEIGHT = (("blocks.0.ffn.0.diff", (FFN, DIM)),)
_PROJECTION = (("time_projection.1.diff_b", (6 * DIM,)),)
_OF_DIFFUSERS = (("blocks.0.attn1.norm_q.diff", (DIM,)),)
_CONFIG = {
    f"transformer.{key}": value
    for key, value in {
        "r": RANK,
        "lora_alpha": 8,
        "target_modules": ["to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2"],
    }.items()
}
_METADATA = {"lora_adapter_metadata": json.dumps(_CONFIG)}

FILES: dict[str, File] = {
    # DiffSynth and bare names
    "diffsynth": File("", halves="default"),
    "diffsynth, one block": File("", halves="default", blocks=[1]),
    "diffsynth, another adapter": File("", halves="best"),
    "diffsynth, alpha": File("", halves="default", alpha=".alpha"),
    "another adapter, alpha": File("", halves="best", alpha=".alpha"),
    "bare": File(""),
    "bare, alpha": File("", alpha=".alpha"),
    "bare down": File("", halves="down", alpha=".alpha"),
    "bare halves": File("", halves="bare"),
    "bare diffusers": File("", "diffusers"),
    "pipe.dit": File("pipe.dit.", halves="default"),
    # ComfyUI
    "comfyui": File("diffusion_model."),
    "comfyui, alpha": File("diffusion_model.", alpha=".alpha"),
    "comfyui down": File("diffusion_model.", halves="down", alpha=".alpha"),
    "comfyui, some alphas": File(
        "diffusion_model.",
        halves="down",
        alpha=".alpha",
        keep=lambda key: not (key.endswith("alpha") and "blocks.0" in key),
    ),
    "comfyui, one block": File("diffusion_model.", blocks=[1], alpha=".alpha"),
    "comfyui, queries": File("diffusion_model.", layers=_QUERIES),
    "comfyui, outside the blocks": File("diffusion_model.", outer=("text_embedding.0", "time_projection.1")),
    "comfyui, head": File("diffusion_model.", outer=("head.head",)),
    "comfyui, head with alpha": File("diffusion_model.", outer=("head.head",), alpha=".alpha"),
    "comfyui, only outside": File("diffusion_model.", blocks=[], outer=("head.head",)),
    "comfyui, biases": File("diffusion_model.", more=(("blocks.0.self_attn.q.diff_b", (DIM,)),)),
    "comfyui, norms": File("diffusion_model.", more=_NORMS),
    "comfyui, a weight": File("diffusion_model.", layers=_QUERIES, more=_WEIGHT),
    "comfyui, modulation": File("diffusion_model.", more=(("blocks.0.modulation.diff", (1, 6, DIM)),)),
    "comfyui, diff_m": File("diffusion_model.", more=(("blocks.0.diff_m", (1, 6, DIM)),)),
    "comfyui, head as a difference": File("diffusion_model.", more=_HEAD),
    "comfyui, head without its bias": File("diffusion_model.", more=(("head.head.diff", (16, DIM)),)),
    "comfyui, bias of an embedding": File("diffusion_model.", more=(("text_embedding.2.diff_b", (DIM,)),)),
    "comfyui, bias of the projection": File("diffusion_model.", more=_PROJECTION),
    "comfyui, LoKr": File("diffusion_model.", layers=_QUERIES, more=_LOKR),
    "comfyui, LoKr decomposed": File("diffusion_model.", layers=_QUERIES, more=_LOKR_PARTS),
    "comfyui, LoHa": File("diffusion_model.", layers=_QUERIES, more=_LOHA),
    "comfyui, default adapter": File("diffusion_model.", halves="default"),
    "comfyui, diffusers' names": File("diffusion_model.", "diffusers"),
    "comfyui, older halves": File("diffusion_model.", halves="older"),
    "comfyui, linear layers": File("diffusion_model.", halves="linear"),
    "comfyui, bare halves": File("diffusion_model.", halves="bare"),
    # kohya, musubi-tuner, Wan-Fun, LyCORIS
    "kohya": File("lora_unet_", "flat", "down", ".alpha"),
    "kohya without alpha": File("lora_unet_", "flat", "down"),
    "kohya, one block": File("lora_unet_", "flat", "down", ".alpha", blocks=[0]),
    "kohya, the other block": File("lora_unet_", "flat", "down", ".alpha", blocks=[1]),
    "kohya, queries": File("lora_unet_", "flat", "down", ".alpha", layers=_QUERIES),
    "kohya, head": File("lora_unet_", "flat", "down", ".alpha", outer=("head.head",)),
    "kohya, dots": File("lora_unet_", "half", "down", ".alpha"),
    "wan-fun": File("lora_unet__", "flat", "down", ".alpha"),
    "lycoris": File("lycoris_", "flat diffusers", "down", ".alpha"),
    # diffusers and PEFT
    "diffusers": File("transformer.", "diffusers"),
    "diffusers, one block": File("transformer.", "diffusers", blocks=[1]),
    "diffusers, outside the blocks": File(
        "transformer.", "diffusers", outer=("head.head", "time_projection.1")
    ),
    "diffusers, metadata": File("transformer.", "diffusers", metadata=_METADATA),
    "diffusers, alpha": File("transformer.", "diffusers", alpha=".alpha"),
    "diffusers, lora_alpha": File("transformer.", "diffusers", alpha=".lora_alpha"),
    "diffusers, old halves": File("transformer.", "diffusers", "old"),
    "diffusers, older halves": File("transformer.", "diffusers", "older"),
    "diffusers, linear layers": File("transformer.", "diffusers", "linear"),
    "diffusers, down": File("transformer.", "diffusers", "down"),
    "diffusers, default adapter": File("transformer.", "diffusers", "default"),
    "diffusers, bare halves": File("transformer.", "diffusers", "bare"),
    "diffusers, Wan's names": File("transformer.", "wan"),
    "diffusers, a difference": File("transformer.", "diffusers", more=_OF_DIFFUSERS),
    "peft": File("base_model.model.", config=True),
    "peft of diffusers": File("base_model.model.", "diffusers", config=True),
    "peft around comfyui": File("base_model.model.diffusion_model.", config=True),
}
