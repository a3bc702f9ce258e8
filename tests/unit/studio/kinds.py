"""Random models of the other kinds at a small size: Wan2.1's VAE, two experts, a first frame as an input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffsynth.models.wan_video_dit import WanModel
from diffsynth.models.wan_video_vae import VideoVAE_, WanVideoVAE
from PIL import Image
from torch import Tensor, nn

from pytest_wanlora import suite
from pytest_wanlora.suite import Suite
from tests.unit.studio.random_wan import BLOCKS, DIM, FFN, register, write_model

#: Kind -> what its denoiser has besides the sizes.
KINDS: dict[str, dict[str, Any]] = {
    "wan2.2-t2v-a14b": {},
    "wan2.2-i2v-a14b": {"in_dim": 36, "require_clip_embedding": False},
    "wan2.1-t2v": {},
    "wan2.1-i2v": {"in_dim": 36, "has_image_input": True},
}
SAMPLING = {"wan2.2-t2v-a14b": (4.0, 3.0), "wan2.2-i2v-a14b": (3.5, 3.5)}
SUITE = """
name: NAME
model:
  name: random
  DENOISER
  text_encoder: text_encoder.safetensors
  vae: vae21.safetensors
  tokenizer: tokenizer
  architecture: {dim: 48, ffn_dim: 96, blocks: 2, size_multiple: 16READS}
sampling: {height: 32, width: 48, frames: 5, steps: 4, cfg_scale: 3.0, shift: 5.0, dtype: float32}
scoring:
  clip: {model: ViT-B-32, weights: vae21.safetensors}
  video_features: {kind: module, module: "a:B", weights: vae21.safetensors}
  reference: vae21.safetensors
  sharpness_reference: 100.0
scenarios:
  - {id: cat, category: animal, prompt: a catIMAGE}
  - {id: dog, category: animal, prompt: a dogIMAGE}
"""


class SmallVAE21(WanVideoVAE):  # type: ignore[misc]  # DiffSynth publishes no types
    """Wan2.1's VAE, 16 channels and 8x8, at a small width."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.mean, self.std = torch.zeros(16), torch.ones(16)
        self.scale = [self.mean, 1.0 / self.std]
        self.model = VideoVAE_(dim=8, z_dim=16).eval().requires_grad_(False)
        self.upsampling_factor, self.z_dim = 8, 16


class SmallImageEncoder(nn.Module):
    """Gives what a CLIP image encoder gives, (1, 257, 1280), of a picture's mean colours."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Linear(3, 1280)

    def encode_image(self, images: list[Tensor]) -> Tensor:
        pixels = nn.functional.interpolate(images[0], (1, 257)).flatten(2).transpose(1, 2)
        found: Tensor = self.colours(pixels.float())
        return found


def write_kind(folder: Path, kind: str) -> Suite:
    """Write a kind's files, and a suite for them."""
    write_model(folder)
    arguments = {
        "has_image_input": False,
        "patch_size": [1, 2, 2],
        "in_dim": 16,
        "dim": DIM,
        "ffn_dim": FFN,
        "freq_dim": 32,
        "text_dim": 32,
        "out_dim": 16,
        "num_heads": 2,
        "num_layers": BLOCKS,
        "eps": 1e-6,
        **KINDS[kind],
    }
    experts = "a14b" in kind
    models: dict[str, nn.Module] = {}
    for seed, name in enumerate(("high", "low") if experts else ("dit21",), 1):
        torch.manual_seed(seed)
        models[name] = WanModel(**arguments)
    models["vae21"] = SmallVAE21()
    register(folder / "vae21.safetensors", "wan_video_vae", f"{__name__}.SmallVAE21", {}, models.pop("vae21"))
    for name, model in models.items():
        register(
            folder / f"{name}.safetensors",
            "wan_video_dit",
            f"{WanModel.__module__}.WanModel",
            arguments,
            model,
        )
    denoiser = "dit: dit21.safetensors"
    if experts:
        high, low = SAMPLING[kind]
        denoiser = (
            f"experts: {{low: {{dit: low.safetensors, cfg_scale: {low}}}, "
            f"high: {{dit: high.safetensors, cfg_scale: {high}}}}}\n  boundary: 0.9\n  resident_experts: 1"
        )
    if kind == "wan2.1-i2v":
        denoiser += "\n  image_encoder: image.safetensors"
        register(
            folder / "image.safetensors",
            "wan_video_image_encoder",
            f"{__name__}.SmallImageEncoder",
            {},
            SmallImageEncoder(),
        )
    image = ""
    if "i2v" in kind:
        image = ", input_image: first.png"
        colours = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
        Image.fromarray(colours).save(folder / "first.png")
    reads = f", in_dim: {arguments['in_dim']}" + (", image_layers: true" if kind == "wan2.1-i2v" else "")
    path = folder / f"{kind}.yaml"
    text = (
        SUITE.replace("READS", reads)
        .replace("NAME", kind)
        .replace("DENOISER", denoiser)
        .replace("IMAGE", image)
    )
    path.write_text(text, encoding="utf-8")
    return suite.load(path)
