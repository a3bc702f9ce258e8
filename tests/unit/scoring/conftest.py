"""Small scorers with random weights, in the same files and formats as the published ones."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.torch import save_file

from pytest_wanlora.scoring.frechet import write_reference
from pytest_wanlora.suite import ClipScorer, Scoring, VideoFeatures

CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 32, "vocab_size": 259, "width": 32, "heads": 2, "layers": 2},
}


_Settings = TypeVar("_Settings", bound=BaseModel)


def replace(settings: _Settings, **fields: object) -> _Settings:
    """The same with other fields, which need not be allowed in a suite."""
    return settings.model_copy(update=fields)


class SmallNet(torch.nn.Module):
    """A video network in a few thousand parameters; `forward` keeps the contract of kind `module`."""

    minimum_frames = 5

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = torch.nn.Conv3d(3, width, 3, stride=2, padding=1)
        self.head = torch.nn.Linear(width, 12)

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, T, H, W) in [-1, 1] to (B, 12)."""
        features: torch.Tensor = self.head(torch.relu(self.stem(videos)).mean(dim=(2, 3, 4)))
        return features


class PublishedCall(torch.nn.Module):
    """The call of the published I3D file."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SmallNet(8)

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        """Resize, rescale and map (B, 3, T, H, W); features or their softmax."""
        if resize:
            batch, channels, frames, height, width = x.shape
            x = x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, height, width)
            x = torch.nn.functional.interpolate(x, size=[56, 56], mode="bilinear", align_corners=False)
            x = x.reshape(batch, frames, channels, 56, 56).permute(0, 2, 1, 3, 4)
        if rescale:
            x = x / 127.5 - 1.0
        features: torch.Tensor = self.net(x)
        return features if return_features else torch.softmax(features, dim=1)


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def textured(seed: int, *, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """One colourful frame with detail of several sizes, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(
            rng.uniform(0, 255, (height // size, width // size, 3)).astype(np.float32), (width, height)
        )
        for size in (4, 8, 16)
    ]
    frame: NDArray[np.uint8] = np.clip(np.sum(layers, axis=0) / 2.0 - 64.0, 0, 255).astype(np.uint8)
    return frame


def moving(
    seed: int, *, frames: int = 9, height: int = 64, width: int = 96, speed: int = 2
) -> NDArray[np.uint8]:
    """A texture that moves `speed` pixels a frame to the right, uint8 (T, H, W, 3)."""
    wide = textured(seed, height=height, width=width + 16 * ((frames * speed) // 16 + 1))
    starts = [(frames - 1 - t) * speed for t in range(frames)]
    return np.stack([wide[:, start : start + width] for start in starts])


def save_clip(folder: Path, config: dict[str, Any], *, name: str = "clip") -> ClipScorer:
    """Write a random CLIP as JSON and safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    architecture = {key: value for key, value in config.items() if key not in ("tokenizer", "preprocess_cfg")}
    model = open_clip.CLIP(**architecture)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    weights = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, weights)
    return ClipScorer(model=str(path), weights=str(weights), sha256=sha256(weights))


def save_torchscript(path: Path, module: torch.nn.Module) -> VideoFeatures:
    """Write a module as the published file is written."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]  # torch's
    return VideoFeatures(kind="torchscript", weights=str(path), sha256=sha256(path))


def save_module(path: Path, *, width: int = 8, config: str | None = None) -> VideoFeatures:
    """Write a `SmallNet` as safetensors with its configuration in the metadata."""
    torch.manual_seed(2)
    metadata = {"config": json.dumps({"width": width}) if config is None else config}
    save_file(SmallNet(width).state_dict(), path, metadata=metadata)
    return VideoFeatures(
        kind="module", weights=str(path), sha256=sha256(path), module=f"{SmallNet.__module__}:SmallNet"
    )


@pytest.fixture(scope="session")
def clip_settings(tmp_path_factory: pytest.TempPathFactory) -> ClipScorer:
    return save_clip(tmp_path_factory.mktemp("clip"), {**CLIP_CONFIG, "tokenizer": "bytes"})


@pytest.fixture(scope="session")
def module_settings(tmp_path_factory: pytest.TempPathFactory) -> VideoFeatures:
    return save_module(tmp_path_factory.mktemp("module") / "features.safetensors")


@pytest.fixture(scope="session")
def torchscript_settings(tmp_path_factory: pytest.TempPathFactory) -> VideoFeatures:
    return save_torchscript(tmp_path_factory.mktemp("torchscript") / "i3d.pt", PublishedCall())


@pytest.fixture(scope="session")
def scoring(
    tmp_path_factory: pytest.TempPathFactory, clip_settings: ClipScorer, module_settings: VideoFeatures
) -> Scoring:
    path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
    features = np.random.default_rng(3).normal(size=(20, 12))
    digest = write_reference(path, {"all": features}, frames=9, extractor_sha256=module_settings.sha256)
    return Scoring(
        clip=clip_settings,
        video_features=module_settings,
        reference=str(path),
        reference_sha256=digest,
        sharpness_reference=500.0,
    )


@pytest.fixture
def changed(scoring: Scoring) -> Callable[..., Scoring]:
    """Return the scoring with other fields."""

    def change(**fields: object) -> Scoring:
        return replace(scoring, **fields)

    return change
