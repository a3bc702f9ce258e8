"""A real, randomly initialised Wan pipeline of 2 blocks, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite
from pytest_wanlora.jobs.job import Job, plan
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.suite import Suite

DIM, FFN, BLOCKS = 48, 96, 2
LAYERS = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "cross_attn.q", "ffn.0", "ffn.2")
SUITE = """
name: random
model:
  name: random Wan
  dit: dit.safetensors
  text_encoder: text_encoder.safetensors
  vae: vae.safetensors
  tokenizer: tokenizer
  architecture: {dim: 48, ffn_dim: 96, blocks: 2}
sampling: {height: 32, width: 64, frames: 5, steps: 2, cfg_scale: 3.0, shift: 5.0, dtype: DTYPE, MODE}
scoring:
  clip: {model: ViT-B-32, weights: dit.safetensors}
  video_features: {kind: module, module: "a:B", weights: dit.safetensors}
  reference: dit.safetensors
  sharpness_reference: 100.0
scenarios:
  - {id: cat, category: animal, prompt: a cat}
  - {id: dog, category: animal, prompt: a dog}
"""


def register(
    path: Path, name: str, model_class: str, arguments: dict[str, Any], model: torch.nn.Module
) -> None:
    """Write a model's weights, and tell DiffSynth what they are."""
    from diffsynth.configs import MODEL_CONFIGS
    from diffsynth.core.loader import hash_model_file

    save_file({key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}, path)
    model_hash = hash_model_file(str(path))
    if model_hash not in {config["model_hash"] for config in MODEL_CONFIGS}:
        MODEL_CONFIGS.append(
            {
                "model_hash": model_hash,
                "model_name": name,
                "model_class": model_class,
                "extra_kwargs": arguments,
            }
        )


_PADDING, _UNKNOWN = "<pad>", "<unk>"
_TEXT: dict[str, Any] = {
    "vocab": 300,
    "dim": 32,
    "dim_attn": 32,
    "dim_ffn": 64,
    "num_heads": 2,
    "num_layers": 1,
    "num_buckets": 8,
}
_VAE: dict[str, Any] = {"z_dim": 4, "dim": 8, "dec_dim": 8, "mean": [0.0] * 4, "std": [1.0] * 4}


def _dit_arguments() -> dict[str, Any]:
    return {
        "has_image_input": False,
        "patch_size": [1, 2, 2],
        "in_dim": 4,
        "dim": DIM,
        "ffn_dim": FFN,
        "freq_dim": 32,
        "text_dim": 32,
        "out_dim": 4,
        "num_heads": 2,
        "num_layers": BLOCKS,
        "eps": 1e-6,
        "seperated_timestep": True,
        "require_clip_embedding": False,
        "require_vae_embedding": False,
        "fuse_vae_embedding_in_latents": True,
    }


def write_model(folder: Path) -> Path:
    from diffsynth.models.wan_video_dit import WanModel
    from diffsynth.models.wan_video_text_encoder import WanTextEncoder
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from pytest_wanlora.tiny.vae import TinyWanVideoVAE38

    torch.manual_seed(0)
    for name, kind, arguments in (
        ("dit", WanModel, _dit_arguments()),
        ("text_encoder", WanTextEncoder, _TEXT),
        ("vae", TinyWanVideoVAE38, _VAE),
    ):
        where = f"{kind.__module__}.{kind.__name__}"
        register(folder / f"{name}.safetensors", f"wan_video_{name}", where, arguments, kind(**arguments))
    vocabulary = {_PADDING: 0, _UNKNOWN: 1, "a": 2, "cat": 3, "dog": 4}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=_PADDING,
        unk_token=_UNKNOWN,
    )
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    return folder


def write_suite(folder: Path, *, dtype: str = "float32", mode: str = "fused", **levers: Any) -> Suite:  # noqa: ANN401
    """A suite for the model in a folder, with some keys of sampling changed."""
    path = folder / f"{dtype}-{mode}.yaml"
    text = SUITE.replace("DTYPE", dtype).replace("MODE", f"lora_mode: {mode}")
    path.write_text(text, encoding="utf-8")
    loaded = suite.load(path)
    return loaded.model_copy(update={"sampling": loaded.sampling.model_copy(update=levers)})


def jobs_of(studio: Studio, checkpoint: checkpoints.Checkpoint | None, scale: float = 1.0) -> tuple[Job, ...]:
    """Two scenarios with two seeds each."""
    return plan(
        studio.suite,
        checkpoint,
        scale=scale,
        seeds=(0, 1),
        environment=studio.environment,
        producer="test",
    )


def write_lora(path: Path, *, seed: int = 0, size: float = 0.2, blocks: int = BLOCKS, dim: int = DIM) -> Path:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for block in range(blocks):
        for layer in LAYERS:
            columns, rows = {"ffn.0": (dim, 2 * dim), "ffn.2": (2 * dim, dim)}.get(layer, (dim, dim))
            name = f"blocks.{block}.{layer}"
            state[f"{name}.lora_A.default.weight"] = torch.randn(4, columns, generator=generator) * size
            state[f"{name}.lora_B.default.weight"] = torch.randn(rows, 4, generator=generator) * size
    save_file(state, path)
    return path


class Stock:
    """DiffSynth's own pipeline over the same files, called as its examples do."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline

        files = [folder / f"{name}.safetensors" for name in ("dit", "text_encoder", "vae")]
        self.pipe = WanVideoPipeline.from_pretrained(
            torch_dtype=dtype,
            device="cpu",
            model_configs=[ModelConfig(path=str(file)) for file in files],
            tokenizer_config=ModelConfig(path=str(folder / "tokenizer")),
        )

    def render(self, suite: Suite, job: Job, **others: Any) -> NDArray[np.uint8]:  # noqa: ANN401
        """The frames of a job."""
        sampling = suite.sampling
        images = self.pipe(
            prompt=job.prompt,
            negative_prompt=sampling.negative_prompt,
            seed=job.seed,
            rand_device="cpu",
            height=sampling.height,
            width=sampling.width,
            num_frames=sampling.frames,
            num_inference_steps=sampling.steps,
            cfg_scale=sampling.cfg_scale,
            cfg_merge=sampling.cfg_merge,
            sigma_shift=sampling.shift,
            tiled=sampling.tiled,
            progress_bar_cmd=lambda steps: steps,
            **others,
        )
        return np.stack([np.asarray(image) for image in images])
