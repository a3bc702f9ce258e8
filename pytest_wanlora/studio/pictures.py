"""Pictures that go into the pipeline and come out of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wanlora.errors import StudioError, SuiteError
from pytest_wanlora.jobs.job import Job
from pytest_wanlora.suite import Scenario, Suite
from pytest_wanlora.suite.pictures import read_picture

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
    try:
        return read_picture(Path(str(job.input_image)))
    except SuiteError as error:
        raise StudioError(
            f"the input image of {job.scenario}: {error.message}", next_command=error.next_command
        ) from error


def check_first_frames(pipe: Any, suite: Suite) -> None:  # noqa: ANN401
    """Refuse a model that renders without a first frame that it needs, or ignores one that it is given.

    A suite that states `model.architecture.in_dim` was refused before; here the model itself is asked.

    Raises:
        StudioError: The model and the suite do not agree.
    """
    dit = pipe.dit
    beside = dit.in_dim - pipe.vae.model.z_dim if dit.require_vae_embedding else 0
    for number, scenario in enumerate(suite.scenarios):
        if type(scenario) is not Scenario:
            continue  # it may give the pipeline something else in the place of a picture
        key = f"scenarios[{number}].input_image"
        if scenario.input_image is None and beside > 0:
            what = "missing, and the denoiser reads a first frame; allowed: the path of a picture"
        elif scenario.input_image is not None and beside <= 0 and not dit.fuse_vae_embedding_in_latents:
            what = f"{scenario.input_image}: the denoiser reads no first frame; allowed: left out"
        else:
            continue
        raise StudioError(
            f"{suite.where(key)}: {key}: {what}",
            next_command=f"set model.architecture.in_dim: {dit.in_dim} in {suite.path}, and correct {key}",
        )
    key = "model.image_encoder"
    if dit.has_image_input == (suite.model.image_encoder is None):
        reads = "reads CLIP's view of a first frame" if dit.has_image_input else "reads no CLIP image"
        raise StudioError(
            f"{suite.where(key)}: {key}: {suite.model.image_encoder or 'missing'}; the denoiser {reads}",
            next_command=f"set model.architecture.image_layers: {str(dit.has_image_input).lower()} in "
            f"{suite.path}, and correct {key}",
        )


def frames_sha256(frames: NDArray[np.uint8]) -> str:
    """Digest of a video's raw frames and their shape."""
    return hashlib.sha256(repr(frames.shape).encode() + frames.tobytes()).hexdigest()
