"""What makes rendering faster than DiffSynth's stock call: puts the parts of `denoiser` into a pipeline.

All that is changed about DiffSynth is changed here, and checked when a model is loaded: the names that are
relied upon, and that the denoiser gives what DiffSynth's own function gives.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffsynth.models import wan_video_dit
from diffsynth.models.wan_video_dit import CrossAttention, DiTBlock, RMSNorm, SelfAttention, WanModel
from diffsynth.pipelines import wan_video
from torch import Tensor

from pytest_wanlora.errors import StudioError
from pytest_wanlora.scoring.determinism import kernels, steady_gpu
from pytest_wanlora.studio.denoiser import (
    HANDLED,
    IMAGE_TOKENS,
    AnyCrossAttention,
    AnySelfAttention,
    BatchedNoise,
    Denoiser,
    FeedForward,
    Pause,
    Paused,
    Resume,
    StoredPrompts,
    Wanted,
)
from pytest_wanlora.suite import LEVERS, Sampling

logger = logging.getLogger(__name__)

#: What is called, and the names of its parameters that are relied upon.
_RELIED_UPON: tuple[tuple[Callable[..., Any], tuple[str, ...]], ...] = (
    (SelfAttention.forward, ("self", "x", "freqs")),
    (CrossAttention.forward, ("self", "x", "y")),
    (DiTBlock.forward, ("self", "x", "context", "t_mod", "freqs")),
    (wan_video.WanVideoUnit_PromptEmbedder.process, ("self", "pipe", "prompt", "positive")),
)
_UNITS = ("WanVideoUnit_NoiseInitializer", "WanVideoUnit_PromptEmbedder")
# DiffSynth's Wan model takes the first of these kernels that is installed
_KERNEL_FLAGS = ("FLASH_ATTN_3_AVAILABLE", "FLASH_ATTN_2_AVAILABLE", "SAGE_ATTN_AVAILABLE")
_NEXT_COMMAND = "pip install 'diffsynth==2.1.12'"


class Accelerator:
    """Puts a suite's levers into a pipeline.

    Args:
        pipe: DiffSynth's pipeline, just loaded. Its blocks stay usable by the stock call.
        embed: Prompt to its embedding, (1, L, D), on the pipeline's device.

    Raises:
        StudioError: DiffSynth or the model is not what this was written for.
    """

    def __init__(self, pipe: Any, sampling: Sampling, embed: Callable[[str], Tensor]) -> None:  # noqa: ANN401
        self.pipe = pipe
        self.sampling = sampling
        self.embed = embed
        self._places: dict[tuple[int, int, int], Any] = {}
        _check_diffsynth()
        self._own = self._fits()
        if self._own:
            self._install()
            self._prove()
            if sampling.compile:
                for block in (block for dit in self._denoisers for block in dit.blocks):
                    block.compile(mode="default", dynamic=False)

    @property
    def _denoisers(self) -> list[Any]:
        return [dit for dit in (self.pipe.dit, self.pipe.dit2) if dit is not None]

    @contextlib.contextmanager
    def rendering(
        self, wanted: Sequence[int] | None, label: str, paused: Paused | None = None
    ) -> Iterator[None]:
        """Have the pipeline render a batch within the block.

        Args:
            wanted: Which videos of the batch are decoded; None raises `Paused` when the steps are done.

        Raises:
            StudioError: The compiler failed.
        """
        pipe = self.pipe
        replaced = (BatchedNoise(), StoredPrompts(self.embed, self.sampling.batch))
        units = dict(zip(_UNITS, replaced, strict=True))
        with contextlib.ExitStack() as stack:
            patch = mock.patch.object
            first = [units.get(type(unit).__name__, unit) for unit in pipe.units]
            stack.enter_context(patch(pipe, "units", first if paused is None else [Resume(paused)]))
            last = [Pause()] if wanted is None else [*pipe.post_units, Wanted(wanted)]
            stack.enter_context(patch(pipe, "post_units", last))
            if self._own:
                stack.enter_context(patch(pipe, "model_fn", Denoiser(self.sampling, self._places)))
                if self.sampling.compile:
                    stack.enter_context(_compiled(label, pipe.device))
            stack.enter_context(pinned_attention(pipe.device))
            yield

    def warm_up(self) -> float:
        """Compile, on an input of the size of a batch without a given first frame; returns the seconds."""
        if not (self._own and self.sampling.compile):
            return 0.0
        started = time.perf_counter()
        sampling, pipe = self.sampling, self.pipe
        size = pipe.vae.upsampling_factor
        shape = ((sampling.frames - 1) // 4 + 1, sampling.height // size, sampling.width // size)
        doubled = 2 if sampling.cfg_merge and sampling.cfg_scale != 1.0 else 1
        text = self.embed(sampling.negative_prompt)
        latents = torch.zeros(
            (sampling.batch, pipe.vae.model.z_dim, *shape), dtype=pipe.torch_dtype, device=pipe.device
        )
        context = torch.cat([text] * (sampling.batch * doubled))
        image = _image_inputs(pipe.dit, latents)
        with torch.no_grad(), pinned_attention(pipe.device), _compiled("the first step", pipe.device):
            result = Denoiser(sampling, self._places)(
                pipe.dit,
                latents,
                latents.new_ones(1),
                context,
                y=image.get("y"),
                clip_feature=image.get("clip_feature"),
            )
            bool(torch.isfinite(result).all())  # waits for the GPU
        return time.perf_counter() - started

    def _fits(self) -> bool:
        """Whether the model is one that the denoiser knows; if not, no lever may be on."""
        dit = self.pipe.dit
        reasons = [
            *([] if type(dit) is WanModel else [f"its denoiser is {type(dit).__name__}"]),
            *(["it has a control adapter"] if getattr(dit, "control_adapter", None) is not None else []),
            *(["it has a reference image"] if getattr(dit, "has_ref_conv", False) else []),
        ]
        if not reasons:
            return True
        # computing the text once a video changes no pixel; all other levers would render another video
        on = [
            name
            for name, off in LEVERS.items()
            if name != "text_once" and getattr(self.sampling, name) != off
        ]
        if on:
            raise StudioError(
                f"this model cannot be rendered with {', '.join(on)}: {'; '.join(reasons)}",
                next_command=f"leave {', '.join(on)} out of the suite's sampling",
            )
        logger.info("rendering as DiffSynth does: %s", "; ".join(reasons))
        return False

    def _install(self) -> None:
        for block in (block for dit in self._denoisers for block in dit.blocks):
            # replacing the class keeps names and weights, and all blocks share compiled code
            block.self_attn.__class__ = AnySelfAttention
            block.cross_attn.__class__ = AnyCrossAttention
            if self.sampling.compile and _is_feed_forward(block.ffn):
                block.ffn.__class__ = FeedForward
        for module in (module for dit in self._denoisers for module in dit.modules()):
            if isinstance(module, RMSNorm):
                module.use_torch_norm = self.sampling.torch_norm

    def _prove(self) -> None:
        """Compare with DiffSynth's own function on four tokens, so that a change of DiffSynth is noticed."""
        pipe, dit = self.pipe, self.pipe.dit
        generator = torch.Generator().manual_seed(0)

        def noise(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator).to(pipe.device, pipe.torch_dtype)

        channels = pipe.vae.model.z_dim
        latents, context = noise(1, channels, 2, 4, 4), noise(2, 4, dit.text_embedding[0].in_features)
        # merged guidance doubles what is not the text's
        image = {
            name: torch.cat([noise(*value.shape)] * 2) for name, value in _image_inputs(dit, latents).items()
        }
        timestep = torch.full((1,), 500.0, device=pipe.device, dtype=pipe.torch_dtype)
        pipe.load_models_to_device(["dit"])
        for fused in (False, True) if dit.seperated_timestep else (False,):
            inputs = (dit, latents, timestep, context, fused)
            with torch.no_grad(), pinned_attention(pipe.device):
                expected = wan_video.model_fn_wan_video(
                    dit,
                    latents=latents,
                    timestep=timestep,
                    context=context,
                    cfg_merge=True,
                    fuse_vae_embedding_in_latents=fused,
                    **image,
                )
                found = Denoiser(self.sampling, {})(
                    *inputs, y=image.get("y"), clip_feature=image.get("clip_feature")
                )
            # weights that give NaN are reported by every video
            expected, found = expected.float().nan_to_num(), found.float().nan_to_num()
            scale = float(expected.abs().max())
            off = float((found - expected).abs().max())
            # an exact lever gives the same bits; turning in real numbers and a GELU within a product may
            # round another way
            rounds = self.sampling.real_rope or self.sampling.compile
            allowed = 0.02 * scale if rounds else 0.0
            if off > allowed:
                raise StudioError(
                    f"the denoiser differs from this DiffSynth's by {off:.3g} of {scale:.3g}; "
                    f"allowed: {allowed:.3g}",
                    next_command=_NEXT_COMMAND,
                )
        pipe.load_models_to_device([])


def _is_feed_forward(module: torch.nn.Module) -> bool:
    """Whether it is what `FeedForward` computes."""
    kinds = [type(layer) for layer in module.children()]
    if type(module) is not torch.nn.Sequential or len(kinds) != 3 or kinds[1] is not torch.nn.GELU:
        return False
    return bool(module[1].approximate == "tanh")


def _image_inputs(dit: WanModel, latents: Tensor) -> dict[str, Tensor]:
    """What a model reads of a first frame besides latents, as zeros: (1, C, F, H, W) and (1, 257, 1280)."""
    found = {}
    beside = dit.in_dim - latents.shape[1]
    if dit.require_vae_embedding and beside > 0:
        found["y"] = latents.new_zeros((1, beside, *latents.shape[2:]))
    if dit.has_image_input and dit.require_clip_embedding:
        found["clip_feature"] = latents.new_zeros((1, IMAGE_TOKENS, dit.img_emb.proj[1].in_features))
    return found


def keep_compiled_code(folder: Path) -> None:
    """Have compiled code outlive the process, unless the user has said where it goes."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


@contextlib.contextmanager
def _compiled(label: str, device: str | torch.device) -> Iterator[None]:
    """Run compiled code: never go on without compiling, make the same code everywhere, and name what fails.

    Left to itself the compiler times ways to add up a row against each other on the GPU, and two processes
    that chose differently round differently: no video of theirs is the same to the bit. And the key under
    which it keeps code does not hold which attention kernel was allowed: code of an older release, or of a
    user's script in the same folder, would be taken with the kernel that it was compiled for.

    Raises:
        StudioError: Instead of torch's own error.
    """
    import torch._dynamo
    import torch._inductor.config
    import torch.compiler.config

    try:
        with (
            # past the limit torch would go on uncompiled, with other pixels
            torch._dynamo.config.patch(fail_on_recompile_limit_hit=True),
            # one block is compiled before a pool of compilers is ready, and ending the pool takes two seconds
            torch._inductor.config.patch(deterministic=True, compile_threads=1),
            torch.compiler.config.patch(  # type: ignore[attr-defined]  # torch adds it while importing
                cache_key_tag=f"attention: {' '.join(kernels(torch.device(device)))}"
            ),
        ):
            yield
    except torch._dynamo.exc.TorchDynamoException as error:
        words = " ".join(str(error).split())
        raise StudioError(
            f"{label}: torch.compile failed: {type(error).__name__}: {words[:300]}",
            next_command="install a compiler (gcc; triton on a GPU), or set sampling.compile: false",
        ) from error


def _check_diffsynth() -> None:
    changed = [
        function.__qualname__
        for function, names in _RELIED_UPON
        if tuple(inspect.signature(function).parameters) != names
    ]
    heeded = inspect.signature(wan_video.model_fn_wan_video).parameters
    if missing := sorted(HANDLED - heeded.keys()):
        changed.append(f"model_fn_wan_video without {', '.join(missing)}")
    if changed:
        raise StudioError(
            f"this DiffSynth is not the one that rendering was written for; changed: {', '.join(changed)}",
            next_command=_NEXT_COMMAND,
        )


@contextlib.contextmanager
def pinned_attention(device: str | torch.device) -> Iterator[None]:
    """Render with torch's own attention, whatever other kernels are installed; on a GPU with steady settings.

    Raises:
        StudioError: This DiffSynth chooses its kernel in another way.
    """
    missing = [name for name in _KERNEL_FLAGS if not hasattr(wan_video_dit, name)]
    if missing:
        raise StudioError(
            f"this DiffSynth chooses its attention kernel in another way (no {', '.join(missing)}); "
            "it cannot be pinned",
            next_command=_NEXT_COMMAND,
        )
    with contextlib.ExitStack() as stack:
        for name in _KERNEL_FLAGS:
            stack.enter_context(mock.patch.object(wan_video_dit, name, False))
        if torch.device(device).type == "cuda":
            stack.enter_context(steady_gpu(torch.device(device)))
        yield
