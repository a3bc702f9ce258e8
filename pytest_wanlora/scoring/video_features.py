"""Networks that make one feature vector of a video."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch.jit import optimized_execution  # type: ignore[attr-defined]  # exported without saying so

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.determinism import exact_arithmetic
from pytest_wanlora.scoring.weights import fetch, summary

if TYPE_CHECKING:
    from pytest_wanlora.suite import VideoFeatures


class VideoExtractor(Protocol):
    """A network with its preprocessing: a video in, one vector out."""

    minimum_frames: int
    """Shortest video that the network can take."""

    def __call__(self, video: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 (D,) for a video of uint8 (T, H, W, 3), RGB."""


def load_extractor(settings: VideoFeatures, *, device: str) -> VideoExtractor:
    """Load the extractor that a suite names.

    Args:
        settings: Kind, weights, digest and, for a module, its class.
        device: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: Weights missing, of another digest or not loading; an unknown kind; no such class;
            TorchScript without a stated digest.
    """
    path = fetch(settings.weights, settings.sha256, "scoring.video_features.weights").path
    if settings.kind == "torchscript":
        if not settings.sha256:
            raise ScoringError(
                "scoring.video_features.sha256 is missing: a TorchScript file is a program, "
                "it runs only under a stated digest",
                next_command=f"sha256sum {path}",
            )
        return TorchscriptExtractor(path, device=device)
    if settings.kind == "module":
        return ModuleExtractor(path, settings.module or "", device=device)
    raise ScoringError(
        f"scoring.video_features.kind is {settings.kind!r}, allowed are 'module' and 'torchscript'"
    )


class TorchscriptExtractor:
    """The published I3D file (Kinetics-400 logits, 400-d), or any TorchScript file with its call.

    The network gets the frames as they are, 0 to 255, and resizes and rescales them itself:
    `net(videos, rescale=True, resize=True, return_features=True)`, bilinear to 224x224 without keeping the
    aspect ratio, then [-1, 1]. This is the call behind the published FVD numbers of StyleGAN-V and the
    original's recipe (the aspect ratio is lost there too), and since the resize is inside the file, the
    digest pins it: no change of an image library can move the score.

    The graph is run as it stands: the executor's optimiser rewrites it after the first calls, and the same
    video could score differently as first and as third.

    Args:
        path: The file; its digest has been verified, for a TorchScript file is a program.
        device: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: The file is not TorchScript.
    """

    minimum_frames = 9
    """I3D halves the frames three times, rounding up, and then averages over two."""

    def __init__(self, path: Path, *, device: str) -> None:
        self._path = path
        self._device = torch.device(device)
        with warnings.catch_warnings():
            # torch has deprecated the format, and the published file exists in no other
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is (deprecated|not supported)")
            try:
                net = torch.jit.load(str(path), map_location=self._device)  # type: ignore[no-untyped-call]
            except (RuntimeError, ValueError) as error:
                raise ScoringError(
                    f"scoring.video_features.weights: {path} is not a TorchScript file: {summary(error)}"
                ) from error
        self._net = net.eval()

    def __call__(self, video: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 (D,) for a video of uint8 (T, H, W, 3), RGB, T >= 9.

        Raises:
            ScoringError: Too few frames, a network of another call, or features that are not one finite
                vector.
        """
        _require_frames(video, self.minimum_frames, self._path)
        batch = _batch(video, self._device)
        with exact_arithmetic(self._device), optimized_execution(False):
            try:
                features = self._net(batch, rescale=True, resize=True, return_features=True)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise ScoringError(
                    f"scoring.video_features.weights: {self._path} cannot be called as "
                    f"net(videos, rescale=True, resize=True, return_features=True): {summary(error)}"
                ) from error
        return _one_vector(features, self._path)


class ModuleExtractor:
    """A `torch.nn.Module` of an importable package, with weights in safetensors.

    The class is called with the keywords of the JSON object in the file's metadata under `config`, and the
    weights must fit it exactly. Its `forward` takes float32 (1, 3, T, H, W) in [-1, 1] and returns (1, D);
    resizing is its own affair. A class attribute `minimum_frames` is honoured (2 without it).

    Args:
        path: The safetensors file, its digest verified.
        module: `package.module:Class`.
        device: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: No such class, no configuration, or weights that do not fit.
    """

    def __init__(self, path: Path, module: str, *, device: str) -> None:
        self._path = path
        self._device = torch.device(device)
        kind = _import_class(module)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
            config = json.loads(metadata["config"])
            net = kind(**config)
            net.load_state_dict(load_file(path), strict=True)
        except (KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            reason = "its metadata has no `config`" if isinstance(error, KeyError) else summary(error)
            raise ScoringError(
                f"scoring.video_features.weights: {path} does not load into {module}: {reason}"
            ) from error
        self.minimum_frames = int(getattr(kind, "minimum_frames", 2))
        self._net = net.float().to(self._device).eval()

    def __call__(self, video: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 (D,) for a video of uint8 (T, H, W, 3), RGB.

        Raises:
            ScoringError: Too few frames, or features that are not one finite vector.
        """
        _require_frames(video, self.minimum_frames, self._path)
        batch = _batch(video, self._device)
        with exact_arithmetic(self._device):
            features = self._net(batch / 127.5 - 1.0)
        return _one_vector(features, self._path)


def _import_class(module: str) -> type[torch.nn.Module]:
    name, _, attribute = module.partition(":")
    if not name or not attribute:
        raise ScoringError(
            f"scoring.video_features.module is {module!r}, allowed is the form package.module:Class"
        )
    try:
        found = getattr(importlib.import_module(name), attribute)
    except (ImportError, AttributeError) as error:
        raise ScoringError(f"scoring.video_features.module: {module} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise ScoringError(f"scoring.video_features.module: {module} is not a class of torch.nn.Module")
    return found


def _batch(video: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return float32 (1, 3, T, H, W), 0 to 255."""
    # a copy, for torch takes no read-only array
    return (
        torch.from_numpy(np.array(video, order="C")).permute(3, 0, 1, 2)[None].to(device).float().contiguous()
    )


def _require_frames(video: NDArray[np.uint8], minimum: int, path: Path) -> None:
    if len(video) < minimum:
        raise ScoringError(
            f"the video has {len(video)} frames and the network of {path.name} needs at least {minimum}",
            next_command=f"set the suite's sampling.frames to {minimum} or more",
        )


def _one_vector(features: object, path: Path) -> NDArray[np.float32]:
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or features.shape[0] != 1:
        shape = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        raise ScoringError(f"the network of {path.name} returned {shape} for one video, allowed is (1, D)")
    vector: NDArray[np.float32] = features[0].float().cpu().numpy()
    if not np.isfinite(vector).all():
        raise ScoringError(f"the network of {path.name} returned NaN or infinity; its weights are damaged")
    return vector
