"""CLIP: embeddings of frames and captions, and the scores that are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.files import parse_json, read_regular
from pytest_wanlora.metrics import CLIPSCORE_WEIGHT
from pytest_wanlora.scoring.determinism import embedded, exact_arithmetic
from pytest_wanlora.scoring.tokenizer import ByteTokenizer
from pytest_wanlora.scoring.weights import fetch, summary

if TYPE_CHECKING:
    from pytest_wanlora.suite import schema

_CONFIG_KEYS = frozenset({"embed_dim", "vision_cfg", "text_cfg"})
_OPTIONAL_KEYS = frozenset({"quick_gelu", "tokenizer", "preprocess_cfg"})
_PREPROCESS_KEYS = tuple(field.name for field in fields(PreprocessCfg) if field.name not in ("size", "mode"))


class ClipScorer:
    """A CLIP model of open_clip in float32, with its own preprocessing.

    Frames go one by one through the model's own evaluation transform (PIL; for ViT-B/32: shortest side to
    224, bicubic, centre crop) and in batches of `determinism.FRAME_BATCH`, never more and never
    fewer, so that a frame's embedding does not depend on how many frames the video has.

    That crop shows 58 % of a frame of 832 x 480. With `settings.frame` of `"whole"` a frame's embedding is
    the mean of those of squares along its longer side (`squares`), of length 1 again. Each is a picture such
    as CLIP was trained on (Radford 2021, "Learning transferable visual models": square crops): neither is
    the frame squeezed, which changes shapes, nor set between bars, which CLIP sees too and which take 42 % of
    its patches.

    `settings.model` is a name that open_clip knows, such as `ViT-B-32-quickgelu` (the activation of OpenAI's
    weights; plain `ViT-B-32` is for LAION's), or the location of a JSON file with open_clip's keys
    `embed_dim`, `vision_cfg`, `text_cfg` and, if wanted, `quick_gelu`, `preprocess_cfg` (mean, std,
    interpolation, resize_mode, fill_color) and `tokenizer` (`"bytes"` for `ByteTokenizer`; open_clip's own
    without it).

    Args:
        device: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: Weights missing, of another digest, not safetensors, not of this model; an unknown model
            name; a configuration that does not build; a model whose tokenizer would have to be downloaded.
    """

    def __init__(self, settings: schema.ClipScorer, *, device: str) -> None:
        weights = fetch(settings.weights, settings.sha256, "scoring.clip.weights")
        if weights.path.suffix != ".safetensors":
            raise ScoringError(
                f"scoring.clip.weights: {weights.path} is not a .safetensors file; no other is read"
            )
        self._device = torch.device(device)
        self._whole = settings.frame == "whole"
        # made where it will run: open_clip fills every layer with random numbers, on a CPU for two seconds
        with self._device:
            if settings.model.endswith(".json"):
                config = fetch(settings.model, "", "scoring.clip.model")
                parts = _from_config(config.path, weights.path)
            else:
                parts = _from_name(settings.model, weights.path, weights.repository, device)
        self._model, self._tokenizer, self._preprocess = parts
        self._model.to(self._device).eval()
        if self._whole and len({*np.atleast_1d(self._model.visual.image_size).tolist()}) > 1:
            raise ScoringError(
                f"scoring.clip.frame is 'whole' and {settings.model} reads no squares; allowed: 'middle'",
                next_command="set scoring.clip.frame to middle",
            )

    def embed_frames(self, video: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed every frame.

        Returns:
            float32 (T, D), rows of length 1.

        Raises:
            ScoringError: The model returned NaN or infinity.
        """
        views = squares(*video.shape[1:3]) if self._whole else (np.s_[:, :],)
        images = torch.stack(
            [self._preprocess(Image.fromarray(frame[view])) for frame in video for view in views]
        )
        found = embedded(images, partial(self._model.encode_image, normalize=True), self._device)
        if len(views) > 1:
            means = found.reshape(len(video), len(views), -1).mean(dim=1)
            found = torch.nn.functional.normalize(means, dim=1)
        return _finite(found.numpy(), "frames")

    def embed_text(self, caption: str) -> NDArray[np.float32]:
        """Embed a caption.

        Returns:
            float32 (D,), of length 1.

        Raises:
            ScoringError: An empty or too long caption, or the model returned NaN or infinity.
        """
        self.check_caption(caption)
        ids = self._tokenizer([caption]).to(self._device)
        with exact_arithmetic(self._device):
            found = self._model.encode_text(ids, normalize=True)[0].cpu().numpy()
        return _finite(found, "the caption")

    def check_caption(self, caption: str) -> None:
        """Refuse a caption that the model would not read to its end.

        A CLIP tokenizer cuts what exceeds its context without a word, and the score would be of another text.

        Raises:
            ScoringError: The caption is empty, or has more tokens than the model reads.
        """
        if not caption.strip():
            raise ScoringError("the caption is empty; CLIP cannot score it")
        tokens = len(self._tokenizer.encode(caption))
        room = int(self._tokenizer.context_length) - 2
        if tokens > room:
            raise ScoringError(
                f"the caption has {tokens} tokens and CLIP reads {room}, the rest would be cut: "
                f"{caption[:60]!r}",
                next_command="give the scenario a short `caption` beside its prompt",
            )


def squares(height: int, width: int) -> tuple[tuple[slice, slice], ...]:
    """Squares along the longer side of a frame that show all of it, each with half of the next one or more.

    What is up to half a side wide is whole in one of them at least. A square frame is one square.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.

    Returns:
        Rows and columns of each; of 480 x 832 three, whose middle one is CLIP's own crop.
    """
    side, longer = sorted((height, width))
    count = 1 + math.ceil(2.0 * (longer / side - 1.0))
    starts = [round(place * (longer - side) / max(count - 1, 1)) for place in range(count)]
    cuts = [(slice(0, side), slice(start, start + side)) for start in starts]
    return tuple(cuts if width >= height else [(along, across) for across, along in cuts])


def clip_scores(frames: NDArray[np.float32], text: NDArray[np.float32]) -> Mapping[str, float]:
    """CLIPScore and the raw cosine of a video and its caption.

    `clip` is 2.5 * max(cos, 0) a frame, mean over frames (Hessel 2021, "CLIPScore"), 0 to 2.5; `clip_cosine`
    is the mean cosine, -1 to 1. Without Hessel's prefix "A photo depicts": a caption describes a video.

    Args:
        frames: (T, D) embeddings of the frames.
        text: (D,) embedding of the caption.

    Returns:
        `clip` and `clip_cosine`.
    """
    cosines = _unit(frames) @ _unit(text)
    return {
        "clip": float(np.mean(CLIPSCORE_WEIGHT * np.maximum(cosines, 0.0))),
        "clip_cosine": float(np.mean(cosines)),
    }


def temporal_consistency(frames: NDArray[np.float32]) -> float:
    """100 * mean cosine of consecutive frames' embeddings, in percent (Esser 2023, "Gen-1").

    A frozen video has 100, so both directions count, together with `motion`.

    Args:
        frames: (T, D) embeddings of the frames, T >= 2.

    Raises:
        ScoringError: Fewer than two frames.
    """
    if len(frames) < 2:
        raise ScoringError(f"temporal consistency needs at least 2 frames, got {len(frames)}")
    unit = _unit(frames)
    return 100.0 * float(np.clip(np.sum(unit[1:] * unit[:-1], axis=1), -1.0, 1.0).mean())


_Parts = tuple[Any, Any, Callable[[Image.Image], torch.Tensor]]


def _from_config(config_path: Path, weights: Path) -> _Parts:
    config = _read_config(config_path)
    tokenizer_name = config.pop("tokenizer", None)
    preprocess = _preprocess_settings(config.pop("preprocess_cfg", {}), config_path)
    try:
        model = open_clip.CLIP(**config)
        model.load_state_dict(load_file(weights), strict=True)
        size = model.visual.image_size
        transform = image_transform_v2(PreprocessCfg(size=size, **preprocess), is_train=False)
    # open_clip reports a bad configuration as whatever the layer in question raises
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError, SafetensorError) as error:
        raise ScoringError(
            f"scoring.clip: {weights} does not load into the model of {config_path}: {summary(error)}"
        ) from error
    return model, _tokenizer(tokenizer_name, model, config_path), transform


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = parse_json(read_regular(path))
    except (OSError, ValueError) as error:
        raise ScoringError(f"scoring.clip.model: {path} is not readable JSON: {error}") from error
    keys = set(config) if isinstance(config, dict) else set()
    if not keys >= _CONFIG_KEYS or keys - _CONFIG_KEYS - _OPTIONAL_KEYS:
        raise ScoringError(
            f"scoring.clip.model: {path} has the keys {', '.join(sorted(keys)) or 'of no object'}; "
            f"needed are {', '.join(sorted(_CONFIG_KEYS))}, allowed also {', '.join(sorted(_OPTIONAL_KEYS))}"
        )
    return dict(config)


def _preprocess_settings(given: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401  JSON is anything
    if not isinstance(given, dict) or set(given) - set(_PREPROCESS_KEYS):
        raise ScoringError(
            f"scoring.clip.model: {path} has preprocess_cfg {given!r}, "
            f"allowed is an object with {', '.join(_PREPROCESS_KEYS)}"
        )
    return given


def _tokenizer(name: str | None, model: Any, path: Path) -> Any:  # noqa: ANN401  open_clip has no types
    if name is None:
        return open_clip.SimpleTokenizer(context_length=model.context_length)
    if name != "bytes":
        raise ScoringError(f"scoring.clip.model: {path} has tokenizer {name!r}, allowed is 'bytes' or none")
    if model.vocab_size != ByteTokenizer.VOCAB_SIZE:
        raise ScoringError(
            f"scoring.clip.model: {path} has text_cfg.vocab_size {model.vocab_size}, "
            f"the tokenizer 'bytes' has {ByteTokenizer.VOCAB_SIZE} ids"
        )
    return ByteTokenizer(model.context_length)


def _from_name(name: str, weights: Path, repository: str | None, device: str) -> _Parts:
    config = open_clip.get_model_config(name) if ":" not in name else None
    if config is None:
        raise ScoringError(
            f"scoring.clip.model: {name!r} is neither a model of open_clip nor a .json file",
            next_command='python -c "import open_clip; print(open_clip.list_models())"',
        )
    text = config["text_cfg"]
    if "hf_tokenizer_name" in text or "hf_model_name" in text or "siglip" in name.lower():
        raise ScoringError(
            f"scoring.clip.model: {name} reads text through a tokenizer that would have to be downloaded; "
            "allowed are models with open_clip's own, such as ViT-B-32"
        )
    preprocess = _published_preprocess(name, bool(config.get("quick_gelu", False)), repository)
    try:
        model = open_clip.create_model(
            name, pretrained=str(weights), device=device, force_preprocess_cfg=preprocess
        )
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError, SafetensorError) as error:
        raise ScoringError(f"scoring.clip: {weights} does not load into {name}: {summary(error)}") from error
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return model, open_clip.get_tokenizer(name), transform


def _published_preprocess(name: str, quick_gelu: bool, repository: str | None) -> dict[str, Any]:
    """Return the preprocessing that open_clip publishes with the weights; it is no part of the weights' file.

    From a Hub repository that open_clip knows, its own; it also tells whether the weights were trained with
    QuickGELU, and a mismatch, which would load and score wrongly without a word, is refused. For any other
    file all published weights of this model must agree.
    """
    known = [(model, open_clip.get_pretrained_cfg(model, tag)) for model, tag in open_clip.list_pretrained()]
    own = [entry for _, entry in known if repository and entry["hf_hub"].startswith(f"{repository}/")]
    if own and all(bool(entry.get("quick_gelu", False)) != quick_gelu for entry in own):
        other = name.removesuffix("-quickgelu") if quick_gelu else f"{name}-quickgelu"
        raise ScoringError(
            f"scoring.clip.model: {name} has {'' if quick_gelu else 'no '}QuickGELU "
            f"and the weights of {repository} were trained {'without' if quick_gelu else 'with'} it",
            next_command=f"set scoring.clip.model to {other}",
        )
    published = own or [entry for model, entry in known if model == name]
    recipes = [{key: entry[key] for key in _PREPROCESS_KEYS if key in entry} for entry in published]
    if any(recipe != recipes[0] for recipe in recipes):
        raise ScoringError(
            f"scoring.clip.weights: open_clip publishes {name} with different preprocessings; "
            "name the weights as hub:<owner>/<repository>:<file> so that one can be chosen"
        )
    return recipes[0] if recipes else {}


def _finite(embedded: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    if not np.isfinite(embedded).all():
        raise ScoringError(f"CLIP returned NaN or infinity for {what}; its weights are damaged")
    return embedded


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Lengthen to exactly 1 in float64; float32 rows are 1 to 1e-7 and would give cosines above 1."""
    exact = vectors.astype(np.float64)
    return np.asarray(exact / np.linalg.norm(exact, axis=-1, keepdims=True))
