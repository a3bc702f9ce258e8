"""LoRAs with random weights for the hollow model, and ones that must be refused."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from pytest_wanlora.suite import Architecture
from tools.hollow_wan import writing
from tools.hollow_wan.parts import Entry, lora_targets, weight_std

#: Widths of Wan2.1-T2V-1.3B: as many blocks as the 5B model and the same names.
SMALL_WAN = Architecture(dim=1536, ffn_dim=8960, blocks=30)


def entries(
    targets: Mapping[str, tuple[int, int]], *, rank: int, relative_size: float, dtype: torch.dtype
) -> tuple[Entry, ...]:
    """List a LoRA's tensors, under the names that DiffSynth's training writes.

    A is drawn as training starts it. B is drawn so that the norm of B @ A is `relative_size` times the norm
    of the hollow model's weight: with entries a of A, b of B, w of W, E|BA|^2 / E|W|^2 = rank a^2 b^2 / w^2.

    Args:
        targets: Layer -> (out, in).
        rank: Of every target.
        relative_size: Norm of the change divided by the norm of the weight.
        dtype: In the file.
    """
    found = []
    for name, (rows, columns) in targets.items():
        down = 1.0 / math.sqrt(columns)
        up = relative_size * weight_std(columns) / (down * math.sqrt(rank))
        found += [
            Entry(f"{name}.lora_A.default.weight", (rank, columns), dtype, 0.0, down),
            Entry(f"{name}.lora_B.default.weight", (rows, rank), dtype, 0.0, up),
        ]
    return tuple(found)


def write(
    path: Path,
    architecture: Architecture,
    *,
    rank: int = 32,
    relative_size: float = 0.01,
    blocks: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """Write a LoRA whole or not at all.

    Args:
        path: The file.
        architecture: Widths and blocks of the model it is for.
        rank: Of every target.
        relative_size: Norm of the change divided by the norm of the weight, of every target.
        blocks: How many blocks have targets, from the first on; all by default.
        seed: Of the numbers.
        device: Where they are drawn.
        dtype: In the file.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = entries(
        lora_targets(architecture, blocks=blocks), rank=rank, relative_size=relative_size, dtype=dtype
    )
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        writing.write(temporary, listed, seed=seed, device=device)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_refused(folder: Path, architecture: Architecture) -> dict[str, Path]:
    """Write LoRAs that do not belong to the model, each for one reason.

    Returns:
        Reason -> file: `other-width`, `half-the-blocks`, `wan-1.3b`.
    """
    wider = architecture.model_copy(update={"dim": architecture.dim * 5 // 3 // 128 * 128})
    few = max(1, architecture.blocks // 2)
    return {
        "other-width": write(folder / "other-width.safetensors", wider, rank=4),
        "half-the-blocks": write(folder / "half-the-blocks.safetensors", architecture, rank=4, blocks=few),
        "wan-1.3b": write(folder / "wan-1.3b.safetensors", SMALL_WAN, rank=4),
    }
