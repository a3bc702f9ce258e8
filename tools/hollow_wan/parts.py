"""Which tensors the model's files hold, and how each is drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from pytest_wanlora.tiny.registration import FOLDER as TINY

if TYPE_CHECKING:
    from pytest_wanlora.suite import Architecture

Size = Literal["full", "smoke"]
Precision = Literal["published", "bfloat16"]

#: DiffSynth's hash of the published files' names and shapes.
PUBLISHED_HASHES = {
    "dit": "1f5ab7703c6fc803fdded85ff040c316",
    "text_encoder": "9c8818c2cbea55eca56c7b447df170da",
    "vae": "e1de6c02cdac79f8b739f4d3698cd216",
}
# the published transformer and VAE are float32 on the disk, the text encoder is bfloat16
_PUBLISHED_DTYPES = {"dit": torch.float32, "text_encoder": torch.bfloat16, "vae": torch.float32}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, and the normal distribution it is drawn from.

    Attributes:
        name: Its key in the file.
        shape: Its shape.
        dtype: Its precision in the file.
        mean: 1 for what multiplies, 0 otherwise.
        std: 0 for a constant.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    mean: float
    std: float

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


Draw = Callable[[str, tuple[int, ...]], tuple[float, float]]


def entries(part: str, size: Size, precision: Precision) -> tuple[Entry, ...]:
    """List the tensors of one part of the model; no weights are allocated.

    Args:
        part: `"dit"`, `"text_encoder"` or `"vae"`.
        size: The published size, or the embedded model's.
        precision: As published (transformer and VAE float32, text encoder bfloat16), or bfloat16 throughout.
    """
    dtype = torch.bfloat16 if precision == "bfloat16" else _PUBLISHED_DTYPES[part]
    with torch.device("meta"):
        model = _build(part, size)
    draw: Draw = _t5 if part == "text_encoder" else _network
    # the loader adds this prefix to the names of the published VAE
    prefix = "model." if part == "vae" and size == "full" else ""
    return tuple(
        Entry(key, tuple(value.shape), dtype, *draw(key, tuple(value.shape)))
        for key, value in ((name.removeprefix(prefix), value) for name, value in model.state_dict().items())
    )


def shards(listed: Sequence[Entry]) -> tuple[tuple[Entry, ...], ...]:
    """Share a part's tensors out to three files, the last one small, as the published transformer is."""
    limit = sum(entry.size for entry in listed) * 0.49995
    files: list[list[Entry]] = [[]]
    held = 0
    for entry in listed:
        if files[-1] and held + entry.size > limit:
            files.append([])
            held = 0
        files[-1].append(entry)
        held += entry.size
    return tuple(tuple(file) for file in files)


def model_hash(listed: Sequence[Entry]) -> str:
    """DiffSynth's hash of names and shapes, by which its loader knows a file."""
    import hashlib

    from diffsynth.core.loader.file import convert_keys_dict_to_single_str

    text = convert_keys_dict_to_single_str({entry.name: list(entry.shape) for entry in listed})
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def weight_std(in_features: int) -> float:
    """Standard deviation of a linear layer's weights, torch's default: uniform within 1 / sqrt(in)."""
    return 1.0 / math.sqrt(3.0 * in_features)


def lora_targets(architecture: Architecture, *, blocks: int | None = None) -> Mapping[str, tuple[int, int]]:
    """Layers that the published LoRAs of these models train: ten a block.

    Args:
        architecture: Widths.
        blocks: How many blocks, from the first on; all by default.

    Returns:
        Layer -> (out, in).
    """
    dim, ffn_dim = architecture.dim, architecture.ffn_dim
    shapes = {f"{kind}_attn.{side}": (dim, dim) for kind in ("self", "cross") for side in "qkvo"}
    shapes |= {"ffn.0": (ffn_dim, dim), "ffn.2": (dim, ffn_dim)}
    count = architecture.blocks if blocks is None else blocks
    return {f"blocks.{block}.{layer}": shape for block in range(count) for layer, shape in shapes.items()}


def _build(part: str, size: Size) -> torch.nn.Module:
    from diffsynth.configs import MODEL_CONFIGS
    from diffsynth.models.wan_video_dit import WanModel
    from diffsynth.models.wan_video_text_encoder import WanTextEncoder
    from diffsynth.models.wan_video_vae import WanVideoVAE38

    from pytest_wanlora.tiny.vae import TinyWanVideoVAE38

    if size == "full":
        classes: dict[str, Any] = {"dit": WanModel, "text_encoder": WanTextEncoder, "vae": WanVideoVAE38}
        known = {entry["model_hash"]: entry.get("extra_kwargs", {}) for entry in MODEL_CONFIGS}
        model: torch.nn.Module = classes[part](**known[PUBLISHED_HASHES[part]])
        return model
    classes = {"dit": WanModel, "text_encoder": WanTextEncoder, "vae": TinyWanVideoVAE38}
    widths = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    model = classes[part](**widths[part])
    return model


def _network(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation for transformer and VAE: torch's defaults, so that activations stay of order 1."""
    if name.endswith("modulation"):
        return 0.0, shape[-1] ** -0.5
    if name.endswith("gamma") or (name.endswith("weight") and len(shape) == 1):
        return 1.0, 0.0
    if name.endswith("bias"):
        return 0.0, 0.01
    return 0.0, weight_std(math.prod(shape[1:]))


def _t5(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation for the text encoder, as DiffSynth's `init_weights` draws them."""
    if len(shape) == 1:
        return 1.0, 0.0
    if name == "token_embedding.weight":
        return 0.0, 1.0
    if "pos_embedding" in name:
        return 0.0, (2.0 * shape[0] * shape[1]) ** -0.5
    if name.endswith("attn.q.weight"):
        return 0.0, (shape[0] * shape[1]) ** -0.5
    return 0.0, shape[1] ** -0.5
