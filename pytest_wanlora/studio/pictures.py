"""Pictures that go into the pipeline and come out of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor


def decoded(pipe: Any, video: Tensor) -> tuple[NDArray[np.uint8], str | None]:  # noqa: ANN401
    """Frames of a decoded video, (1, 3, T, H, W), and why they are black if they are."""
    import numpy as np
    import torch

    finite = bool(torch.isfinite(video).all())
    images = pipe.vae_output_to_video(video if finite else torch.full_like(video, -1.0))
    frames = np.stack([np.asarray(image) for image in images])
    return frames, None if finite else "the decoded video holds NaN or infinite values"


def input_picture(job: Job) -> Image:
    """The first frame that a job is given, in RGB.

    Raises:
        StudioError: It cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    path = str(job.input_image)
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise StudioError(f"{path}: the input image of {job.scenario} cannot be read: {error}") from error


def frames_sha256(frames: NDArray[np.uint8]) -> str:
    """Digest of a video's raw frames and their shape."""
    return hashlib.sha256(repr(frames.shape).encode() + frames.tobytes()).hexdigest()
