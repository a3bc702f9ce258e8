"""DINOv2 embeddings of frames (Oquab 2023, "DINOv2: Learning robust visual features without supervision")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.files import parse_json, read_regular
from pytest_wanlora.scoring.determinism import embedded
from pytest_wanlora.scoring.weights import fetch, summary

if TYPE_CHECKING:
    from pytest_wanlora.suite.subject import FrameEmbedder

# the preprocessing that Meta publishes with the weights (transformers' BitImageProcessor)
_SHORTEST, _CROP = 256, 224
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class DinoEmbedder:
    """A DINOv2 model of transformers in float32; the embedding is that of the class token.

    Args:
        settings: Model, weights and digest.
        device: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: A file is missing, of another digest, or not of a DINOv2 model; transformers is not
            installed.
    """

    def __init__(self, settings: FrameEmbedder, *, device: str) -> None:
        weights = fetch(settings.weights, settings.sha256, "scoring.frames.weights")
        config = fetch(settings.model, "", "scoring.frames.model")
        try:
            from transformers import Dinov2Config, Dinov2Model
        except ImportError as error:
            raise ScoringError(
                f"scoring.frames needs transformers: {error}",
                next_command="pip install 'pytest-wanlora[dino]'",
            ) from error
        try:
            model = Dinov2Model(Dinov2Config(**parse_json(read_regular(config.path))))
            state = {name.removeprefix("dinov2."): value for name, value in load_file(weights.path).items()}
            model.load_state_dict(state, strict=True)
        # transformers reports a bad configuration as whatever the layer in question raises
        except (TypeError, ValueError, KeyError, RuntimeError, OSError, SafetensorError) as error:
            raise ScoringError(
                f"scoring.frames: {weights.path} does not load into the DINOv2 model of {config.path}: "
                f"{summary(error)}",
                next_command="hf download facebook/dinov2-base config.json model.safetensors",
            ) from error
        self._device = torch.device(device)
        # transformers' own types fit neither its `to` nor its results
        self._model = cast(Any, model)
        self._model.to(self._device).eval()

    def embed_frames(self, video: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed every frame.

        Args:
            video: uint8 (T, H, W, 3), RGB.

        Returns:
            float32 (T, D), rows of length 1.

        Raises:
            ScoringError: The model returned NaN or infinity.
        """
        images = torch.stack([_prepared(frame) for frame in video])
        found = embedded(images, lambda batch: self._model(batch).last_hidden_state[:, 0], self._device)
        unit = torch.nn.functional.normalize(found, dim=1).numpy()
        if not np.isfinite(unit).all():
            raise ScoringError("DINOv2 returned NaN or infinity; its weights are damaged")
        return np.asarray(unit, np.float32)


def _prepared(frame: NDArray[np.uint8]) -> torch.Tensor:
    """The shortest side to 256 pixels, bicubic, the middle 224 of both, normalised: (3, 224, 224)."""
    height, width = frame.shape[:2]
    scale = _SHORTEST / min(height, width)
    size = (int(width * scale), int(height * scale)) if height != width else (_SHORTEST, _SHORTEST)
    scaled = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC), np.float32)
    top, left = ((side - _CROP) // 2 for side in scaled.shape[:2])
    cut = scaled[top : top + _CROP, left : left + _CROP] / 255.0
    return torch.from_numpy((cut - _MEAN) / _DEVIATION).permute(2, 0, 1)
