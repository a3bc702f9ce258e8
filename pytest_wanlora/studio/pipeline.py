"""The DiffSynth pipeline of one process: load it once, put LoRAs on and off, render jobs.

torch and diffsynth are imported when the model is loaded, not before.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from unittest import mock

from pytest_wanlora.environment import Environment
from pytest_wanlora.errors import StudioError, WanloraError
from pytest_wanlora.jobs.job import Applied, Job
from pytest_wanlora.studio import apply_lora
from pytest_wanlora.suite import check_digests, resolve

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.suite import Suite

logger = logging.getLogger(__name__)

#: Raised when rendering changes in a way that changes pixels.
STUDIO_VERSION = 1
# DiffSynth's Wan model takes the first of these kernels that is installed
_KERNEL_FLAGS = ("FLASH_ATTN_3_AVAILABLE", "FLASH_ATTN_2_AVAILABLE", "SAGE_ATTN_AVAILABLE")


@dataclass(frozen=True)
class Rendered:
    """One rendered video.

    Attributes:
        frames: uint8, shape (frames, height, width, 3), RGB; the pipeline's own quantisation. Black where
            the decoded video was not finite.
        degenerate: Why there is nothing to score, or None.
        applied: How the LoRA was put on; None for the model without LoRA.
        seconds: Rendering alone.
    """

    frames: NDArray[np.uint8]
    degenerate: str | None
    applied: Applied | None
    seconds: float


class Renderer(Protocol):
    """What renders jobs: `Studio`, or a fake of `pytest_wanlora.testing`."""

    def render(self, job: Job, checkpoint: Checkpoint | None) -> Rendered:
        """Render one job with the given checkpoint, None for the model without LoRA."""


class Studio:
    """A Wan pipeline, loaded on first use and kept.

    Args:
        suite: Model files, sampling, scenarios.
        environment: On what to render.
        device: `"cpu"` or `"cuda:N"`; torch must agree that it is there. The environment's when left out.
        threads: CPU threads of torch; None leaves torch's own choice.
    """

    def __init__(
        self,
        suite: Suite,
        environment: Environment,
        *,
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.suite = suite
        self.environment = environment
        self.device = device or environment.device
        self.threads = threads
        self._pipe: Any = None
        self._bits: tuple[tuple[str, int, int], ...] = ()
        self._on: tuple[str, float] | None = None
        self._applied: Applied | None = None
        self._stack = contextlib.ExitStack()

    @property
    def pipe(self) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
        """DiffSynth's pipeline, loaded if it is not yet.

        Raises:
            StudioError: The model files do not load, or the sizes are not the model's.
            SuiteError: A file of the suite is missing or not the one that it states.
        """
        if self._pipe is None:
            self._pipe = self._load()
            self._bits = apply_lora.checksum(self._pipe.dit)
        return self._pipe

    @contextlib.contextmanager
    def lora(self, checkpoint: Checkpoint, scale: float = 1.0) -> Iterator[Applied]:
        """Have a LoRA on the model within the block; the base weights are back afterwards, bit for bit.

        Args:
            checkpoint: What to apply.
            scale: Factor on its delta.

        Yields:
            How it was applied.

        Raises:
            StudioError: Not every target of the file could be patched, or the weights did not come back.
            RuntimeError: Another LoRA is on; LoRAs are never stacked.
        """
        if self._on is not None:
            raise RuntimeError("a LoRA is already on the model")
        pipe = self.pipe
        apply = apply_lora.fused if self.suite.sampling.lora_mode == "fused" else apply_lora.unfused
        try:
            with contextlib.ExitStack() as stack:
                with quiet():
                    applied = stack.enter_context(apply(pipe, checkpoint, scale))
                self._on, self._applied = (checkpoint.identity, scale), applied
                yield applied
        finally:
            self._on, self._applied = None, None
            self._check_restored()

    def _check_restored(self) -> None:
        # hot loading wraps layers, which renames their weights: compared by order
        bits = apply_lora.checksum(self._pipe.dit)
        if sorted(sums[1:] for sums in bits) != sorted(sums[1:] for sums in self._bits):
            self._pipe = None
            raise StudioError(
                "the base model's weights did not come back bit for bit after a LoRA was taken off; "
                "the model is loaded anew before anything else is rendered"
            )

    def render(self, job: Job, checkpoint: Checkpoint | None) -> Rendered:
        """Render one job; a LoRA stays on until a job asks for another.

        Args:
            job: What to render.
            checkpoint: The candidate that the job names; None for the model without LoRA.

        Returns:
            The frames; equal, bit for bit, to what `pipe(...)` returns for the same arguments.

        Raises:
            StudioError: The model or the LoRA cannot be loaded or applied, or memory ran out.
        """
        import numpy as np
        import torch

        pipe = self.pipe
        self._put_on(checkpoint, job.scale)
        started = time.perf_counter()
        try:
            with quiet(), _torch_attention():
                video = pipe(**self._arguments(job))
                finite = bool(torch.isfinite(video).all())
                images = pipe.vae_output_to_video(video if finite else torch.full_like(video, -1.0))
        except torch.OutOfMemoryError as error:
            raise StudioError(
                f"{job.label}: the GPU's memory ran out: {str(error).partition('.')[0]}",
                next_command="start fewer workers a GPU, or free it (nvidia-smi)",
            ) from error
        return Rendered(
            frames=np.stack([np.asarray(image) for image in images]),
            degenerate=None if finite else "the decoded video holds NaN or infinite values",
            applied=self._applied,
            seconds=time.perf_counter() - started,
        )

    def close(self) -> None:
        """Take off the LoRA that is still on."""
        self._put_on(None, 0.0)

    def _put_on(self, checkpoint: Checkpoint | None, scale: float) -> None:
        wanted = None if checkpoint is None else (checkpoint.identity, scale)
        if wanted == self._on:
            return
        self._stack.close()
        if checkpoint is not None:
            self._stack.enter_context(self.lora(checkpoint, scale))
        elif self._on is not None:
            raise RuntimeError("the model without LoRA was asked for inside a lora() block")

    def _arguments(self, job: Job) -> dict[str, Any]:
        sampling = self.suite.sampling
        return {
            "prompt": job.prompt,
            "negative_prompt": sampling.negative_prompt,
            "input_image": None if job.input_image is None else _open_image(job),
            "seed": job.seed,
            "rand_device": "cpu",
            "height": sampling.height,
            "width": sampling.width,
            "num_frames": sampling.frames,
            "num_inference_steps": sampling.steps,
            "cfg_scale": sampling.cfg_scale,
            "cfg_merge": sampling.cfg_merge,
            "sigma_shift": sampling.shift,
            "tiled": sampling.tiled,
            "progress_bar_cmd": _no_bar,
            "output_type": "floatpoint",
        }

    def _load(self) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
        check_digests(self.suite, skip=("scoring.reference",))
        started = time.perf_counter()
        with quiet():
            pipe = self._from_pretrained()
            self._check_parts(pipe)
            self._check_sizes(pipe)
        _remember_prompts(pipe)
        logger.info("model of suite %s loaded in %.1f s", self.suite.name, time.perf_counter() - started)
        return pipe

    def _from_pretrained(self) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
        import torch

        if self.device != "cpu" and not torch.cuda.is_available():
            raise StudioError(
                f"torch {torch.__version__} cannot use the GPU ({self.environment.device_name})",
                next_command="install a torch build that fits the driver, or give --wanlora-device cpu",
            )
        if self.device == "cpu" and self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            from diffsynth.pipelines.wan_video import WanVideoPipeline

            self._register()
            model = self.suite.model
            named = [(f"model.dit[{number}]", text) for number, text in enumerate(model.dit)]
            configs = [
                self._config(named),
                self._config([("model.text_encoder", model.text_encoder)]),
                self._config([("model.vae", model.vae)]),
            ]
            return WanVideoPipeline.from_pretrained(
                torch_dtype=getattr(torch, self.suite.sampling.dtype),
                device=self.device,
                model_configs=configs,
                tokenizer_config=self._config([("model.tokenizer", model.tokenizer)]),
            )
        except (WanloraError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise StudioError(
                f"{self.suite.path}: DiffSynth cannot load the model: {type(error).__name__}: {error}",
                next_command="python -m pytest_wanlora doctor",
            ) from error

    def _register(self) -> None:
        if self.suite.model.register is None:
            return
        module, _, function = self.suite.model.register.partition(":")
        getattr(importlib.import_module(module), function)()

    def _config(self, named: list[tuple[str, str]]) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
        from diffsynth.pipelines.wan_video import ModelConfig

        found = [resolve(text, key=key, where=self.suite.where(key)) for key, text in named]
        if found[0].hub_id is not None:
            return ModelConfig(model_id=found[0].hub_id, origin_file_pattern=found[0].pattern)
        paths = [str(path) for reference in found for path in reference.paths]
        return ModelConfig(path=paths[0] if len(paths) == 1 else paths)

    def _check_parts(self, pipe: Any) -> None:  # noqa: ANN401 - DiffSynth publishes no types
        missing = [
            name for name in ("dit", "text_encoder", "vae", "tokenizer") if getattr(pipe, name) is None
        ]
        if missing:
            raise StudioError(
                f"{self.suite.path}: the model files hold no {' and no '.join(missing)}",
                next_command="correct the keys below model in the suite",
            )

    def _check_sizes(self, pipe: Any) -> None:  # noqa: ANN401 - DiffSynth publishes no types
        sampling = self.suite.sampling
        asked = (sampling.height, sampling.width, sampling.frames)
        rounded = tuple(pipe.check_resize_height_width(*asked, verbose=0))
        if rounded != asked:
            raise StudioError(
                f"{self.suite.path}: sampling asks for height, width, frames {asked}; "
                f"this model would round them to {rounded}",
                next_command="write those sizes into the suite",
            )


def _remember_prompts(pipe: Any) -> None:  # noqa: ANN401 - DiffSynth publishes no types
    """Encode every prompt once a process: the text encoder is the largest part of the model."""
    for unit in pipe.units:
        if type(unit).__name__ == "WanVideoUnit_PromptEmbedder":
            encode = unit.encode_prompt
            known: dict[str, torch.Tensor] = {}

            def remembered(
                pipe: Any,  # noqa: ANN401 - DiffSynth publishes no types
                prompt: str,
                encode: Any = encode,  # noqa: ANN401 - DiffSynth publishes no types
                known: dict[str, torch.Tensor] = known,
            ) -> torch.Tensor:
                if prompt not in known:
                    known[prompt] = encode(pipe, prompt)
                return known[prompt]

            unit.encode_prompt = remembered
            return
    logger.warning("this DiffSynth has no WanVideoUnit_PromptEmbedder: prompts are encoded for every video")


@contextlib.contextmanager
def _torch_attention() -> Iterator[None]:
    """Render with torch's own attention, whatever other kernels are installed."""
    from diffsynth.models import wan_video_dit

    missing = [name for name in _KERNEL_FLAGS if not hasattr(wan_video_dit, name)]
    if missing:
        raise StudioError(
            f"this DiffSynth chooses its attention kernel in another way (no {', '.join(missing)}); "
            "it cannot be pinned",
            next_command="pip install 'diffsynth<2.2'",
        )
    with contextlib.ExitStack() as stack:
        for name in _KERNEL_FLAGS:
            stack.enter_context(mock.patch.object(wan_video_dit, name, False))
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what other libraries print and warn of to the log.

    A user's `-W error` must not turn a deprecation inside another library into a failed gate.
    """
    printed = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if line.strip():
                logger.debug("printed: %s", line)
        for warning in caught:
            logger.debug("%s: %s", warning.category.__name__, warning.message)


def _no_bar(steps: Any) -> Any:  # noqa: ANN401 - whatever DiffSynth iterates over
    return steps


def _open_image(job: Job) -> Image:
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
