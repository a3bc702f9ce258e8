"""The DiffSynth pipeline of one process: load it once, apply LoRAs, render jobs.

torch and diffsynth are imported when the model is loaded, not before.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.environment import Environment
from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Applied, Job
from pytest_wanlora.studio import apply_lora
from pytest_wanlora.studio.checksum import checksum
from pytest_wanlora.studio.loading import Loader
from pytest_wanlora.studio.memory import explained, peak_memory, watch_memory
from pytest_wanlora.studio.pictures import decoded, input_picture
from pytest_wanlora.studio.prompts import PromptStore, Trouble
from pytest_wanlora.studio.silence import quiet
from pytest_wanlora.studio.sums import together
from pytest_wanlora.studio.uploads import Uploads
from pytest_wanlora.suite.subject import plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.studio.acceleration import Accelerator
    from pytest_wanlora.studio.denoiser import Paused, Timestep
    from pytest_wanlora.studio.experts import Placement
    from pytest_wanlora.suite import Suite

logger = logging.getLogger(__name__)

#: Raised when rendering changes in a way that changes pixels; 2: compiled code is the same in every process;
#: 3: cuDNN's attention comes first, and positions in real numbers are float32; 4: a compiled GELU is part of
#: a matrix product, and positions are turned in one pass; 5: with a given first frame the modulation is two
#: rows in compiled code.
STUDIO_VERSION = 5
#: Every step would be a file written for nothing where steps are short.
_SAID_SECONDS = 1.0


@dataclass(frozen=True)
class Rendered:
    """One rendered video.

    Attributes:
        frames: uint8, shape (frames, height, width, 3), RGB; the pipeline's own quantisation. Black where
            the decoded video was not finite.
        degenerate: Why there is nothing to score, or None.
        applied: How the LoRA was applied; None for the model without LoRA.
        seconds: Rendering alone; an equal share where several were rendered together.
        peak_memory: Peak bytes on the GPU; None on a CPU.
    """

    frames: NDArray[np.uint8]
    degenerate: str | None
    applied: Applied | None
    seconds: float
    peak_memory: int | None = None


class Studio:
    """A Wan pipeline, loaded on first use and kept.

    Args:
        device: `"cpu"` or `"cuda:N"`; torch must agree that it is there. The environment's when left out.
        threads: CPU threads of torch; None leaves torch's own choice.
        cache_dir: Where prompt embeddings and compiled code are kept for later runs; None keeps neither.
        keep_lora: Whether a LoRA's matrices stay on the device, for its other strengths.
        say: Is told what is done, in words, whenever that changes.

    Attributes:
        seconds: What getting ready has taken: `digests`, `imports`, `prompts`, `loading`, `compiling`.
        troubles: Prompt embeddings that could not be read or kept.
    """

    def __init__(
        self,
        suite: Suite,
        environment: Environment,
        *,
        device: str | None = None,
        threads: int | None = None,
        cache_dir: Path | None = None,
        keep_lora: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.suite = suite
        self.environment = environment
        self.device = device or environment.device
        self.cache_dir = cache_dir
        self._loader = Loader(suite, environment, self.device, threads, say)
        self._say = say
        self.seconds = self._loader.seconds
        self.troubles: list[Trouble] = []
        self._prepared = False
        self._pipe: Any = None
        self._prompts: PromptStore | None = None
        self._accelerator: Accelerator | None = None
        self._placement: Placement | None = None
        self._bits: list[tuple[int, int]] = []
        self._on: tuple[str, float] | None = None
        self._applied: Applied | None = None
        self._stack = contextlib.ExitStack()
        self._uploads = Uploads(keep=keep_lora)

    @property
    def pipe(self) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
        """DiffSynth's pipeline, loaded if it is not yet.

        It has no text encoder: `embedding` has what that would have said.

        Raises:
            StudioError: The model files do not load, or the sizes are not the model's.
            SuiteError: A file of the suite is missing or not the one that it states.
        """
        self.load()
        return self._pipe

    def prepare(self) -> None:
        """Import, encode the suite's prompts and begin to read the model; `load` does the rest.

        What is done between the two does not wait for the files.
        """
        if self._prepared:
            return
        self._loader.prepare()
        # the text encoder has gone before the denoiser comes: the two need not fit the GPU together
        suite = self.suite
        prompts = [each.prompt for each in (*suite.scenarios, *suite.triggered.values())]
        self._embeddings.prepare([*prompts, suite.sampling.negative_prompt])
        self._loader.read_ahead()
        self._prepared = True

    def load(self) -> None:
        """Load the model, encode the suite's prompts and compile what is to be compiled, if not yet done."""
        if self._pipe is not None:
            return
        self.prepare()
        suite = self.suite
        pipe = self._loader.pipeline()
        from pytest_wanlora.studio.acceleration import Accelerator, keep_compiled_code
        from pytest_wanlora.studio.experts import Placement

        with quiet(), explained("preparing the model", self.device, suite):
            experts = {"": pipe.dit} if suite.model.experts is None else {"high": pipe.dit, "low": pipe.dit2}
            placement = Placement(experts, self.device, suite.model.resident_experts)
            self._lay_stack(pipe, placement)
            placement.bring(next(iter(experts)))
            accelerator = Accelerator(pipe, suite.sampling, self._embeddings)
            self._placement = placement
            self._bits = self._checksums()
            if suite.sampling.compile:
                if self.cache_dir is not None:
                    keep_compiled_code(self.cache_dir / "compiled")
                self._say("compiling the denoiser")
                logger.warning("compiling the denoiser: some ten seconds, fewer when it was compiled before")
                given = all(scenario.input_image is not None for scenario in suite.scenarios)
                self.seconds["compiling"] = accelerator.warm_up(first_frame=given)
        self._pipe, self._accelerator = pipe, accelerator
        logger.info("suite %s is ready after %.1f s", suite.name, sum(self.seconds.values()))

    def embedding(self, prompt: str) -> Tensor:
        """The text encoder's answer to a prompt, (1, L, D); from memory or the disk if it was asked before.

        Raises:
            StudioError: The text encoder does not load.
        """
        self.load()
        return self._embeddings(prompt)

    @property
    def _embeddings(self) -> PromptStore:
        if self._prompts is None:
            self._prompts = PromptStore(
                self.suite,
                self.environment,
                device=self.device,
                folder=None if self.cache_dir is None else self.cache_dir / "prompts",
                encode=self._loader.embeddings,
                troubles=self.troubles,
            )
        return self._prompts

    @contextlib.contextmanager
    def lora(self, checkpoint: Checkpoint, scale: float = 1.0) -> Iterator[Applied]:
        """Apply a LoRA within the block; the base weights are restored afterwards, bit for bit.

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
        placement = self._placed
        # a LoRA without an expert is for the only denoiser
        halves = checkpoint.experts or {"": checkpoint}
        if not halves.keys() <= placement.models.keys():
            raise StudioError(
                f"{checkpoint.name}: LoRAs for {', '.join(halves) or 'one denoiser'}; the model has "
                f"{', '.join(placement.models) or 'one denoiser'}",
                next_command="leave --wanlora-suite out, or name a suite with the experts of this checkpoint",
            )
        try:
            with contextlib.ExitStack() as stack:
                parts = {}
                self._uploads.forget(but=[half.identity for half in halves.values()])
                with quiet(), explained(f"applying {checkpoint.name}", self.device, self.suite):
                    for expert, half in halves.items():
                        strength = scale * checkpoint.strengths.get(expert, 1.0)
                        model = placement.bring(expert)
                        parts[expert] = stack.enter_context(apply(pipe, half, strength, model, self._uploads))
                applied = together(parts) if checkpoint.experts else parts[""]
                self._on, self._applied = (checkpoint.identity, scale), applied
                yield applied
        finally:
            self._on, self._applied = None, None
            if self._checksums() != self._bits:
                self._pipe = self._accelerator = self._placement = None
                raise StudioError(
                    "the base model's weights did not come back bit for bit after a LoRA was taken off; "
                    "the model is loaded anew before anything else is rendered"
                )

    @property
    def _placed(self) -> Placement:
        if self._placement is None:
            raise RuntimeError("nothing is loaded")
        return self._placement

    def _lay_stack(self, pipe: Any, placement: Placement) -> None:  # noqa: ANN401
        """Fuse the suite's own LoRAs, which lie below baseline and candidate."""
        for number, each in enumerate(self.suite.stack):
            for expert, name, _ in each.files():
                (path,) = self._loader.files(f"stack[{number}].{name}")
                checkpoint = checkpoints.read(path, expert=expert or None)
                apply_lora.fuse_for_good(pipe, checkpoint, each.scale, placement.bring(expert))

    def _checksums(self) -> list[tuple[int, int]]:
        # hot loading wraps layers, which renames their weights: compared by order
        models = self._placed.models.values()
        return sorted(sums[1:] for model in models for sums in checksum(model))

    def render(self, job: Job, checkpoint: Checkpoint | None) -> Rendered:
        """Render one job; see `render_many`."""
        (rendered,) = self.render_many([job], checkpoint)
        return rendered

    def render_many(self, jobs: Sequence[Job], checkpoint: Checkpoint | None) -> tuple[Rendered, ...]:
        """Render jobs of one candidate; a LoRA stays applied until a job needs another one.

        A batch is always computed whole, `sampling.batch` seeds of one scenario, whichever of them are asked
        for; only those are decoded. So a video does not depend on what else was wanted. A model with two
        experts does the high-noise steps of all batches first, then the low-noise ones: one switch.

        Args:
            jobs: What to render; without experts their `block` must be the same.
            checkpoint: The candidate that the jobs name; None for the model without LoRA.

        Returns:
            One each. With no lever on the frames are, bit for bit, what `pipe(...)` returns for the same
            arguments.

        Raises:
            StudioError: The model or the LoRA cannot be loaded or applied, or memory ran out.
            ValueError: The jobs are not of one batch, or not of one candidate.
        """
        batch = self.suite.sampling.batch
        batches: dict[str, list[Job]] = {}
        for job in jobs:
            batches.setdefault(job.block(batch), []).append(job)
        two = self.suite.model.experts is not None
        if len({(job.identity, job.scale) for job in jobs}) != 1 or (len(batches) != 1 and not two):
            raise ValueError(f"jobs of different batches: {', '.join(job.label for job in jobs)}")
        self.load()
        self._put_on(checkpoint, jobs[0].scale)
        watch_memory(self.device)
        started = time.perf_counter()
        found: dict[str, tuple[NDArray[np.uint8], str | None]] = {}
        paused: dict[str, Paused | None] = dict.fromkeys(batches)
        if two:
            self._placed.bring("high")
            paused = {block: self._high_noise_steps(own) for block, own in batches.items()}
            self._placed.bring("low")
        for block, own in batches.items():
            found |= self._finished(own, paused.pop(block))
        seconds = (time.perf_counter() - started) / len(jobs)
        peak = peak_memory(self.device)
        return tuple(Rendered(*found[job.key], self._applied, seconds, peak) for job in jobs)

    def _high_noise_steps(self, jobs: Sequence[Job]) -> Paused:
        """Render a batch until its noise is below the boundary."""
        from pytest_wanlora.studio.denoiser import Paused

        try:
            with self._rendering(None, jobs[0].label):
                self._pipe(**self._arguments(jobs[0], "high"))
        except Paused as paused:
            return paused
        raise StudioError(
            "this DiffSynth does not call the units after its steps",
            next_command="pip install 'diffsynth==2.1.12'",
        )

    def _finished(
        self, jobs: Sequence[Job], paused: Paused | None
    ) -> dict[str, tuple[NDArray[np.uint8], str | None]]:
        """Render a batch, or the rest of it, and decode the wanted videos; frames by the job's key."""
        start = self._first_seed(jobs[0])
        with self._rendering([job.seed - start for job in jobs], jobs[0].label, paused):
            videos = self._pipe(**self._arguments(jobs[0], "" if paused is None else "low"))
            pictures = [decoded(self._pipe, video) for video in videos.split(1)]
        return {job.key: picture for job, picture in zip(jobs, pictures, strict=True)}

    def _first_seed(self, job: Job) -> int:
        batch = self.suite.sampling.batch
        return job.seed // batch * batch

    @contextlib.contextmanager
    def _rendering(
        self, wanted: Sequence[int] | None, label: str, paused: Paused | None = None
    ) -> Iterator[None]:
        accelerator = self._accelerator
        if accelerator is None:
            raise RuntimeError("nothing is loaded")
        with (
            quiet(),
            explained("rendering", self.device, self.suite),
            accelerator.rendering(wanted, label, paused),
        ):
            yield

    def close(self) -> None:
        """Remove the LoRA that is still applied."""
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

    def _arguments(self, job: Job, expert: str) -> dict[str, Any]:
        sampling, model = self.suite.sampling, self.suite.model
        start, guidance = self._first_seed(job), self.suite.guidance(expert)
        scenario = next(each for each in self.suite.scenarios if each.id == plain(job.scenario))
        return {
            **({} if model.boundary is None else {"switch_DiT_boundary": model.boundary}),
            "prompt": job.prompt,
            "negative_prompt": sampling.negative_prompt,
            "input_image": None if job.input_image is None else input_picture(job),
            "seed": tuple(range(start, start + sampling.batch)),
            "rand_device": "cpu",
            "height": sampling.height,
            "width": sampling.width,
            "num_frames": sampling.frames,
            "num_inference_steps": sampling.steps,
            "cfg_scale": guidance,
            # without guidance there is nothing to merge, and the stock call would render everything twice
            "cfg_merge": sampling.cfg_merge and guidance != 1.0,
            "sigma_shift": sampling.shift,
            "tiled": sampling.tiled,
            "progress_bar_cmd": partial(self._steps, expert),
            "output_type": "floatpoint",
            **scenario.pipeline_arguments(),
        }

    def _steps(self, expert: str, timesteps: Tensor) -> Iterator[Timestep]:
        # DiffSynth iterates over what its progress bar makes of the schedule; there is no bar of its own
        from pytest_wanlora.studio.denoiser import steps_of, uploaded

        boundary = self.suite.model.boundary
        if boundary is not None:
            timesteps = steps_of(expert, timesteps, boundary, self._pipe.scheduler)
        said, of = time.monotonic(), f"of {len(timesteps)}{f', {expert} noise' if expert else ''}"
        for number, step in enumerate(uploaded(timesteps, self._pipe.torch_dtype, self._pipe.device)):
            if not number or time.monotonic() - said > _SAID_SECONDS:
                said = time.monotonic()
                self._say(f"rendering, step {number + 1} {of}")
            yield step
