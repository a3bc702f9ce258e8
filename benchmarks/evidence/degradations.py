"""Known losses, in steps: what a LoRA can do to videos, done to the base model's on purpose.

Each takes a video, uint8 (T, H, W, 3), RGB, and its seed, and returns a video of the same shape. The number
of a step is its strength: pixels of blur, the share of saturation lost, levels of flicker and noise, the
share of the frames that stand still.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Degradation = Callable[[Frames, int], Frames]

_BLUR = (0.35, 0.4, 0.45, 0.5, 0.7)
_DESATURATE = (0.1, 0.2, 0.4, 0.6, 0.8)
_FLICKER = (4, 8, 16, 32, 48)
_FREEZE = (0.25, 0.5, 0.75, 1.0)
_NOISE = (2, 4, 8, 16, 24)
_LUMA = np.array([0.299, 0.587, 0.114])


def blur(video: Frames, seed: int, *, sigma: float) -> Frames:
    """Gaussian blur of every frame, sigma in pixels."""
    del seed
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def desaturate(video: Frames, seed: int, *, share: float) -> Frames:
    """Move every pixel towards its luma (BT.601) by a share, 0 to 1."""
    del seed
    grey = (video.astype(np.float64) @ _LUMA)[..., None]
    return _quantised((1.0 - share) * video + share * grey)


def flicker(video: Frames, seed: int, *, levels: float) -> Frames:
    """Brighten and darken whole frames by a normally distributed number of levels."""
    offsets = np.random.default_rng((seed, 1)).normal(0.0, levels, len(video))
    return _quantised(video + offsets[:, None, None, None])


def freeze(video: Frames, seed: int, *, share: float) -> Frames:
    """Hold the picture over the last share of the frames, 1 for a video that never moves."""
    del seed
    moving = len(video) - round(share * (len(video) - 1))
    return np.concatenate(
        [video[:moving], np.repeat(video[moving - 1 : moving], len(video) - moving, axis=0)]
    )


def noise(video: Frames, seed: int, *, levels: float) -> Frames:
    """Add independent normal noise to every value."""
    return _quantised(video + np.random.default_rng((seed, 2)).normal(0.0, levels, video.shape))


def television(video: Frames, seed: int) -> Frames:
    """Uniform noise, as a television without a signal shows: what a sampler gives that has diverged."""
    return np.random.default_rng((seed, 3)).integers(0, 256, video.shape, dtype=np.uint8)


def mush(video: Frames, seed: int) -> Frames:
    """Soft coloured blotches that drift: what a LoRA of far too great a strength often gives."""
    generator = np.random.default_rng((seed, 4))
    frames, height, width, _ = video.shape
    grids = generator.normal(128.0, 40.0, (2, 6, 10, 3))
    steps = np.linspace(0.0, 1.0, frames)
    return np.stack(
        [_quantised(cv2.resize((1.0 - step) * grids[0] + step * grids[1], (width, height))) for step in steps]
    )


def near_black(video: Frames, seed: int) -> Frames:
    """Keep a tenth of the brightness: just above what counts as black."""
    del seed
    return _quantised(0.1 * video.astype(np.float64))


def near_grey(video: Frames, seed: int) -> Frames:
    """Keep a tenth of the contrast around middle grey."""
    del seed
    return _quantised(128.0 + 0.1 * (video.astype(np.float64) - 128.0))


def _quantised(video: NDArray[np.float64]) -> Frames:
    return np.asarray(video.round().clip(0, 255).astype(np.uint8))


DEGRADATIONS: dict[str, Degradation] = {
    **{f"blur-{step:g}": partial(blur, sigma=step) for step in _BLUR},
    **{f"desaturate-{step:g}": partial(desaturate, share=step) for step in _DESATURATE},
    **{f"flicker-{step:g}": partial(flicker, levels=step) for step in _FLICKER},
    **{f"freeze-{step:g}": partial(freeze, share=step) for step in _FREEZE},
    **{f"noise-{step:g}": partial(noise, levels=step) for step in _NOISE},
}
"""Name, with its strength, to the loss."""


RUINED: dict[str, Degradation] = {
    "noise": television,
    "mush": mush,
    "near-black": near_black,
    "near-grey": near_grey,
}
"""Single videos that no viewer would accept, by name."""
