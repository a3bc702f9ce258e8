"""What takes the place of DiffSynth's own parts while a video is rendered.

Attention that accepts, beside what it accepted before, keys and values of the text that were computed
earlier, and positions in real numbers; a `Denoiser` instead of `model_fn_wan_video`; units that make batches;
timesteps that wait for nothing. `acceleration` puts them into a pipeline and proves them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from diffsynth.models import wan_video_dit
from diffsynth.models.wan_video_dit import CrossAttention, DiTBlock, SelfAttention, WanModel
from diffsynth.pipelines import wan_video
from torch import Tensor

from pytest_wanlora.errors import StudioError
from pytest_wanlora.suite import LEVERS, Sampling

#: Inputs of DiffSynth's function that the denoiser heeds.
HANDLED: Final = frozenset(
    {
        "dit",
        "latents",
        "timestep",
        "context",
        "clip_feature",
        "y",
        "cfg_merge",
        "fuse_vae_embedding_in_latents",
    }
)


#: Tokens of the CLIP image that DiffSynth puts before the text.
IMAGE_TOKENS: Final = 257


class AnySelfAttention(SelfAttention):  # type: ignore[misc]  # DiffSynth publishes no types
    """DiffSynth's, which also takes positions as a pair of cosines and sines."""

    def forward(self, x: Tensor, freqs: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """Attend to (B, N, D) itself."""
        if isinstance(freqs, Tensor):
            stock: Tensor = super().forward(x, freqs)
            return stock
        q = _rotate(self.norm_q(self.q(x)), freqs, self.num_heads)
        k = _rotate(self.norm_k(self.k(x)), freqs, self.num_heads)
        out: Tensor = self.o(self.attn(q, k, self.v(x)))
        return out


class AnyCrossAttention(CrossAttention):  # type: ignore[misc]  # DiffSynth publishes no types
    """DiffSynth's, which also takes the text as a pair of keys and values."""

    def read(self, text: Tensor) -> tuple[Tensor, ...]:
        """Keys and values of the text, as `forward` would compute them; then those of an image before it."""
        if not self.has_image_input:
            return self.norm_k(self.k(text)), self.v(text)
        image, text = text[:, :IMAGE_TOKENS], text[:, IMAGE_TOKENS:]
        own = self.norm_k(self.k(text)), self.v(text)
        return *own, self.norm_k_img(self.k_img(image)), self.v_img(image)

    def forward(self, x: Tensor, y: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Attend from (B, N, D) to the text, and to an image."""
        if isinstance(y, Tensor):
            stock: Tensor = super().forward(x, y)
            return stock
        q = self.norm_q(self.q(x))
        found = self.attn(q, *y[:2])
        if len(y) > 2:
            found = found + wan_video_dit.flash_attention(q, *y[2:], num_heads=self.num_heads)
        out: Tensor = self.o(found)
        return out


def _rotate(x: Tensor, freqs: tuple[Tensor, Tensor], heads: int) -> Tensor:
    """DiffSynth's `rope_apply` without complex numbers: pairs of neighbours are rotated, in float32.

    The angles were computed in float64; turning bfloat16 by them needs no more than the 24 bits of float32.
    """
    cosines, sines = freqs
    pairs = x.view(*x.shape[:2], heads, -1, 2).to(torch.float32)
    # each number beside its neighbour; stacking the turned halves would write them as float32 before
    turned = pairs * cosines + pairs.flip(-1) * sines
    return turned.flatten(2).to(x.dtype)


class AnyBlock(DiTBlock):  # type: ignore[misc]  # DiffSynth publishes no types
    """DiffSynth's, which also takes the modulation of a given first frame and of all others as two rows."""

    def forward(self, x: Tensor, context: Any, t_mod: Tensor | tuple[Tensor, ...], freqs: Any) -> Tensor:  # noqa: ANN401 - as the attentions take them
        """Map (B, N, D) to (B, N, D); two rows are the arguments of `_per_token`."""
        if isinstance(t_mod, tuple):
            # in compiled code each use chooses its row, and nothing of (1, N, 6, D) is written or read
            t_mod = _per_token(*t_mod)
        out: Tensor = super().forward(x, context, t_mod, freqs)
        return out


def _per_token(first: Tensor, still: Tensor, moving: Tensor) -> Tensor:
    """Give tokens of the first frame, (N,) bool, one row of (1, 1, ...), all others another: (1, N, ...)."""
    return torch.where(first.view(1, -1, *[1] * (still.dim() - 2)), still, moving)


class FeedForward(torch.nn.Sequential):
    """DiffSynth's linear, GELU, linear; the GELU is part of the product, not a pass of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, D) to (B, N, D)."""
        up, _, down = self
        # a layer that a LoRA or a limit of memory wraps does more than its product, and a CPU would take
        # another GELU than the one by tanh
        if type(up) is not torch.nn.Linear or not x.is_cuda:
            stock: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # torch publishes no type of it
            return stock
        inner = torch._addmm_activation(up.bias, x.flatten(0, -2), up.weight.t(), use_gelu=True)
        out: Tensor = down(inner.view(*x.shape[:-1], -1))
        return out


class Denoiser:
    """Stands in for DiffSynth's `model_fn_wan_video` while one batch of videos is rendered.

    The same steps in the same order, for text-to-video and for image-to-video: with the image fused into the
    latents, beside them, or read by CLIP. What does not change from step to step is computed once.

    Args:
        places: Positions by latent shape; kept from video to video.
    """

    def __init__(self, sampling: Sampling, places: dict[tuple[int, int, int], Any]) -> None:
        self.sampling = sampling
        self._places = places
        self._texts: list[tuple[WanModel, Tensor, list[Any]]] = []

    def __call__(
        self,
        dit: WanModel,
        latents: Tensor,
        timestep: Tensor,
        context: Tensor,
        fuse_vae_embedding_in_latents: bool = False,
        y: Tensor | None = None,
        clip_feature: Tensor | None = None,
        **others: Any,  # noqa: ANN401 - whatever the pipeline hands to its own function
    ) -> Tensor:
        """Predict the noise.

        Args:
            dit: The model.
            latents: (B, C, F, H, W).
            timestep: (1,).
            context: Text embeddings, (B, L, D); (2B, L, D) where both guidance passes are merged.
            fuse_vae_embedding_in_latents: The first frame is given, and noiseless.
            y: The first frame and its mask as further channels, one row for all videos or one each.
            clip_feature: The first frame as CLIP reads it, likewise.
            others: Checked not to matter.

        Returns:
            (B or 2B, C, F, H, W).

        Raises:
            StudioError: An input that is not handled here.
        """
        if unknown := _unhandled(others):
            raise StudioError(
                f"this model is rendered with {', '.join(unknown)}, which the levers of speed do not know",
                next_command=f"leave {', '.join(LEVERS)} out of the suite's sampling",
            )
        if dit.seperated_timestep and fuse_vae_embedding_in_latents:
            t, t_mod = self._first_frame_time(dit, latents, timestep)
        else:
            t = dit.time_embedding(wan_video_dit.sinusoidal_embedding_1d(dit.freq_dim, timestep))
            t_mod = dit.time_projection(t).unflatten(1, (6, dit.dim))
        texts = self._text(dit, context, clip_feature)
        x = latents
        if x.shape[0] != context.shape[0]:
            x = torch.concat([x] * (context.shape[0] // x.shape[0]), dim=0)
        if y is not None and dit.require_vae_embedding:
            x = torch.cat([x, _rows(y, x.shape[0])], dim=1)
        x = dit.patchify(x)
        shape: tuple[int, int, int] = tuple(x.shape[2:])
        x = x.flatten(2).transpose(1, 2).contiguous()
        places = self._position(dit, shape, x.device)
        for block, text in zip(dit.blocks, texts, strict=True):
            x = block(x, text, t_mod, places)
        predicted: Tensor = dit.unpatchify(dit.head(x, t), shape)
        return predicted

    def _first_frame_time(self, dit: WanModel, latents: Tensor, timestep: Tensor) -> tuple[Tensor, Any]:
        """What the head, (1, N, D), and the blocks make of a timestep where the first frame has none."""
        frames, tokens = latents.shape[2], latents.shape[3] * latents.shape[4] // 4
        if self.sampling.compile:
            # tokens have one of two timesteps; products of fewer rows may round another way, as compiled code
            # does already
            both = torch.cat([torch.zeros_like(timestep), timestep])
            t = dit.time_embedding(wan_video_dit.sinusoidal_embedding_1d(dit.freq_dim, both))
            modulation = dit.time_projection(t).unflatten(1, (6, dit.dim))
            first = torch.arange(frames * tokens, device=latents.device) < tokens
            return _per_token(first, *t[:, None, None].unbind()), (first, *modulation[:, None, None].unbind())
        still = torch.zeros((1, tokens), dtype=latents.dtype, device=latents.device)
        moving = still.new_ones((frames - 1, tokens)) * timestep
        each = torch.concat([still, moving]).flatten()
        t = dit.time_embedding(wan_video_dit.sinusoidal_embedding_1d(dit.freq_dim, each).unsqueeze(0))
        return t, dit.time_projection(t).unflatten(2, (6, dit.dim))

    def _text(self, dit: WanModel, context: Tensor, image: Tensor | None) -> list[Any]:
        for model, known, texts in self._texts:
            if model is dit and known is context:
                return texts
        embedded = dit.text_embedding(context)
        if image is not None and dit.require_clip_embedding:
            embedded = torch.cat([_rows(dit.img_emb(image), len(embedded)), embedded], dim=1)
        if not self.sampling.text_once:
            return [embedded] * len(dit.blocks)
        texts = [block.cross_attn.read(embedded) for block in dit.blocks]
        self._texts.append((dit, context, texts))
        return texts

    def _position(self, dit: WanModel, shape: tuple[int, int, int], device: torch.device) -> Any:  # noqa: ANN401
        """Positions as the blocks take them: (tokens, 1, D / 2) complex, or two of (tokens, 1, D / 2, 2)."""
        if shape not in self._places:
            frames, height, width = shape
            parts = (
                dit.freqs[0][:frames].view(frames, 1, 1, -1),
                dit.freqs[1][:height].view(1, height, 1, -1),
                dit.freqs[2][:width].view(1, 1, width, -1),
            )
            angles = torch.cat([part.expand(*shape, -1) for part in parts], dim=-1)
            angles = angles.reshape(frames * height * width, 1, -1).to(device)
            if self.sampling.real_rope:
                # of each pair, and the sine that the neighbour is multiplied by
                cosines, sines = angles.real.float(), angles.imag.float()
                self._places[shape] = (
                    torch.stack((cosines, cosines), dim=-1),
                    torch.stack((-sines, sines), dim=-1),
                )
            else:
                self._places[shape] = angles
        return self._places[shape]


def _rows(one: Tensor, count: int) -> Tensor:
    """Repeat rows, which are alike, to as many as there are videos."""
    return one.repeat_interleave(count // len(one), dim=0)


def _unhandled(others: Mapping[str, Any]) -> list[str]:
    """Names of the inputs that DiffSynth's function would have used."""
    heeded = inspect.signature(wan_video.model_fn_wan_video).parameters
    return [
        name
        for name, value in others.items()
        if name in heeded
        and name not in HANDLED
        and value is not None
        and not (isinstance(value, (bool, int, float)) and value == heeded[name].default)
    ]


class BatchedNoise(wan_video.WanVideoUnit_NoiseInitializer):  # type: ignore[misc]  # DiffSynth publishes no types
    """Noise of several seeds, each the same as when rendered by itself."""

    def process(self, pipe: Any, seed: int | tuple[int, ...], **others: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Make the noise, (B, C, F, H, W)."""
        alone = super().process
        seeds = seed if isinstance(seed, tuple) else (seed,)
        return {"noise": torch.cat([alone(pipe, seed=each, **others)["noise"] for each in seeds])}


class StoredPrompts(wan_video.WanVideoUnit_PromptEmbedder):  # type: ignore[misc]  # DiffSynth publishes no types
    """Embeddings that were computed before, one for each video of a batch."""

    def __init__(self, embed: Callable[[str], Tensor], batch: int) -> None:
        super().__init__()
        self.embed = embed
        self.batch = batch

    def process(self, pipe: Any, prompt: str, positive: bool) -> dict[str, Tensor]:  # noqa: ANN401
        """Give the embeddings, (B, L, D)."""
        return {"context": torch.cat([self.embed(prompt)] * self.batch)}


class Wanted(wan_video.PipelineUnit):  # type: ignore[misc]  # DiffSynth publishes no types
    """Leaves of a batch what is to be decoded."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__(input_params=("latents",), output_params=("latents",))
        self.places = list(places)

    def process(self, pipe: Any, latents: Tensor) -> dict[str, Tensor]:  # noqa: ANN401
        """Choose from (B, C, F, H, W)."""
        return {"latents": latents[self.places]}


class Paused(Exception):
    """A video whose high-noise steps are done.

    Attributes:
        inputs: What the pipeline's units have made of it, shared, positive and negative, with the latents.
    """

    def __init__(self, *inputs: dict[str, Any]) -> None:
        super().__init__("the high-noise steps are done")
        self.inputs = inputs


class Pause(wan_video.PipelineUnit):  # type: ignore[misc]  # DiffSynth publishes no types
    """Ends the pipeline's call before anything is decoded."""

    def __init__(self) -> None:
        super().__init__(take_over=True)

    def process(self, pipe: Any, **inputs: dict[str, Any]) -> None:  # noqa: ANN401
        """Raise the video as it is now."""
        raise Paused(*(inputs[name] for name in ("inputs_shared", "inputs_posi", "inputs_nega")))


class Resume(wan_video.PipelineUnit):  # type: ignore[misc]  # DiffSynth publishes no types
    """In the place of all units: goes on with a paused video."""

    def __init__(self, paused: Paused) -> None:
        super().__init__(take_over=True)
        self.paused = paused

    def process(self, pipe: Any, **_: Any) -> tuple[dict[str, Any], ...]:  # noqa: ANN401
        """Give its inputs."""
        return self.paused.inputs


class Timestep:
    """A timestep of DiffSynth's loop whose number is already on the device.

    The loop uploads each number with a copy that waits until the GPU has done all that it was given before;
    then the GPU waits in turn, until the first kernels of the next pass are launched.

    Args:
        value: The number, on the CPU.
        on_device: The same as (1,), in the model's precision.
    """

    def __init__(self, value: Tensor, on_device: Tensor) -> None:
        self._value = value
        self._on_device = on_device

    def item(self) -> float:
        """The number."""
        return float(self._value.item())

    def unsqueeze(self, dim: int) -> Timestep:
        """Itself: what `to` gives has that dimension."""
        if dim != 0:
            raise ValueError(f"a timestep has one dimension to add, 0; asked for was {dim}")
        return self

    def to(self, *, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """The number as (1,)."""
        return self._on_device.to(dtype=dtype, device=device)


def steps_of(expert: str, timesteps: Tensor, boundary: float, scheduler: Any) -> Tensor:  # noqa: ANN401
    """The timesteps of a schedule that one of two experts takes.

    Args:
        expert: `"high"` or `"low"`.
        timesteps: (steps,), of both.
        boundary: Share of the noise from which on steps are the high-noise expert's.
        scheduler: DiffSynth's; cut to the low-noise expert's steps, since its loop counts them from 0.
    """
    # as DiffSynth tells which expert a step is for
    high = sum(float(each.item()) >= boundary * 1000 for each in timesteps)
    if expert == "high":
        return timesteps[:high]
    scheduler.timesteps, scheduler.sigmas = timesteps[high:], scheduler.sigmas[high:]
    return timesteps[high:]


def uploaded(timesteps: Tensor, dtype: torch.dtype, device: torch.device | str) -> Iterator[Timestep]:
    """Yield the timesteps of a schedule, all of them uploaded at once.

    Args:
        timesteps: (steps,), on the CPU.
    """
    on_device = timesteps.to(dtype=dtype, device=device)
    for number, value in enumerate(timesteps):
        yield Timestep(value, on_device[number : number + 1])
