"""DINOv2 with random weights of its real layers, beside transformers' own way from pictures to embeddings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.dino import DinoEmbedder
from pytest_wanlora.suite.subject import FrameEmbedder

#: dinov2-small, but for the number of its layers.
CONFIG: dict[str, Any] = {
    "hidden_size": 384,
    "num_attention_heads": 6,
    "num_hidden_layers": 2,
    "image_size": 518,
}
PUBLISHED: dict[str, Any] = {
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
}


def settings_of(model: str, weights: str, sha256: str) -> FrameEmbedder:
    return FrameEmbedder(kind="dinov2", model=model, weights=weights, sha256=sha256)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    made: Any = Dinov2Model(Dinov2Config(**CONFIG))
    made.eval()
    assert isinstance(made, torch.nn.Module)
    return made


@pytest.fixture(scope="module")
def settings(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> FrameEmbedder:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("dino")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    save_file(model.state_dict(), folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return settings_of(str(folder / "config.json"), str(folder / "model.safetensors"), digest)


@pytest.mark.parametrize("shape", [(2, 96, 160), (1, 224, 224), (10, 300, 200)])
def test_it_is_transformers_own_embedding(
    model: torch.nn.Module, settings: FrameEmbedder, shape: tuple[int, int, int]
) -> None:
    video = np.random.default_rng(1).integers(0, 255, (shape[0], 6, 8, 3), dtype=np.uint8)
    video = video.repeat(-(-shape[1] // 6), axis=1).repeat(-(-shape[2] // 8), axis=2)[
        :, : shape[1], : shape[2]
    ]
    found = DinoEmbedder(settings, device="cpu").embed_frames(video)
    pixels = BitImageProcessor(**PUBLISHED)(list(video), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = model(pixels).last_hidden_state[:, 0]
    expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    assert found.shape == (shape[0], 384)
    assert np.sum(found * expected, axis=1) == pytest.approx(1.0, abs=1e-4)


def test_other_weights_than_the_suite_states_are_refused(settings: FrameEmbedder) -> None:
    with pytest.raises(ScoringError, match="the suite states"):
        DinoEmbedder(settings_of(settings.model, settings.weights, "0" * 64), device="cpu")


def test_weights_of_another_model_are_refused(settings: FrameEmbedder, tmp_path: Path) -> None:
    other = tmp_path / "config.json"
    other.write_text(json.dumps({**CONFIG, "num_hidden_layers": 3}), encoding="utf-8")
    with pytest.raises(ScoringError, match="does not load into the DINOv2 model"):
        DinoEmbedder(settings_of(str(other), settings.weights, settings.sha256), device="cpu")
