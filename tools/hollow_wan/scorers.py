"""Scorers with random weights: open_clip's ViT-B/32, an Inception-3D as TorchScript, a reference set."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from pytest_wanlora.scoring.frechet import EVERY, write_reference
from pytest_wanlora.scoring.video_features import load_extractor
from pytest_wanlora.suite import VideoFeatures
from tools.hollow_wan.inception import Inception3d
from tools.hollow_wan.parts import Size

CLIP_NAME = "ViT-B-32-quickgelu"
_COSINE = 0.25  # about what ViT-B/32 gives a video and its own caption
_SMOKE_CLIP = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def write_clip(folder: Path, size: Size, *, seed: int) -> tuple[str, Path]:
    """Write CLIP weights.

    Images and texts share one direction, so that their cosine lies near 0.25 instead of near 0, where a
    relative change would say nothing.

    Returns:
        The suite's `model` (an open_clip name, or the configuration's file name) and the weights.
    """
    torch.manual_seed(seed)
    if size == "full":
        name = CLIP_NAME
        model = open_clip.create_model(CLIP_NAME, pretrained=None)
    else:
        name = "clip.json"
        model = open_clip.CLIP(**_SMOKE_CLIP)
        (folder / name).write_text(json.dumps(_SMOKE_CLIP, indent=1), encoding="utf-8")
    with torch.no_grad():
        shared = torch.nn.functional.normalize(torch.randn(model.visual.proj.shape[1]), dim=0)
        for norm, projection in (
            (model.visual.ln_post, model.visual.proj),
            (model.ln_final, model.text_projection),
        ):
            norm.bias.normal_()
            # what the random part gives, against which the shared one is measured
            noise = float(projection.square().sum() + (norm.bias @ projection).square().sum()) ** 0.5
            reach = noise * (_COSINE / (1 - _COSINE)) ** 0.5
            projection += torch.outer(norm.bias, shared) * reach / norm.bias.square().sum()
    weights = folder / "clip.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, weights)
    return name, weights


def write_video_features(folder: Path, size: Size, *, seed: int) -> Path:
    """Write an Inception-3D as TorchScript with the published file's call; an eighth as wide when small."""
    torch.manual_seed(seed)
    net = Inception3d(1.0 if size == "full" else 0.125).eval()
    path = folder / "i3d.pt"
    with warnings.catch_warnings():
        # torch has deprecated the format, and the published file exists in no other
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported)")
        torch.jit.script(net).save(str(path))  # type: ignore[no-untyped-call]  # untyped there
    return path


def write_reference_set(
    path: Path, network: Path, *, frames: int, videos: int, seed: int, device: str
) -> str:
    """Write the features of random videos, some smooth and some rough, as the reference set.

    Returns:
        The file's SHA-256.
    """
    digest = sha256(network)
    settings = VideoFeatures(kind="torchscript", weights=str(network), sha256=digest)
    extract = load_extractor(settings, device=device)
    generator = torch.Generator().manual_seed(seed)
    rows = [extract(_random_video(generator, frames).numpy()) for _ in range(videos)]
    return write_reference(path, {EVERY: np.stack(rows)}, frames=frames, extractor_sha256=digest)


def sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _random_video(generator: torch.Generator, frames: int) -> Tensor:
    side = int(torch.randint(4, 64, (), generator=generator))
    coarse = torch.rand((1, 3, frames, side, side), generator=generator)
    video = torch.nn.functional.interpolate(coarse, size=(frames, 96, 160), mode="trilinear")
    return (255 * video[0]).permute(1, 2, 3, 0).to(torch.uint8).contiguous()
