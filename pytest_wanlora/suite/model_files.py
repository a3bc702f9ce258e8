"""The video model of a suite: its files, its experts, its shapes, and the LoRAs that lie on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pytest_wanlora.checkpoint.experts import EXPERTS
from pytest_wanlora.suite.fields import (
    Frozen,
    Lora,
    Positive,
    Registration,
    Sha256,
    Text,
    Weights,
    as_tuple,
    reference,
    whole,
)


class Architecture(Frozen):
    """Shapes of a video model, by which checkpoints are matched.

    Attributes:
        ffn_dim: Width inside the feed-forward layers.
        text_dim: Width of the text encoder's output.
        size_multiple: What height and width must be a multiple of, since the model renders another size
            otherwise: 32 for the 16x VAE of Wan 2.2 TI2V-5B, 16 for the 8x VAE, each times a patch of 2.
        in_dim: Channels that the denoiser reads: 16 of Wan 2.1's VAE, 36 with a first frame beside them.
        image_layers: Whether the blocks read a CLIP image (`k_img`, `v_img`), as those of Wan2.1 I2V do.
    """

    dim: Positive
    ffn_dim: Positive
    blocks: Positive
    heads: Positive | None = None
    text_dim: Positive | None = None
    size_multiple: Annotated[Literal[16, 32], BeforeValidator(whole)] = 32
    in_dim: Positive | None = None
    image_layers: bool = False


_Denoiser = Annotated[tuple[Weights, ...], BeforeValidator(as_tuple), Field(min_length=1)]


class Expert(Frozen):
    """One of two denoisers.

    Attributes:
        dit: Weights; one reference, a list of them, or a glob over shards.
        sha256: Digest by name, see `files.named`; checked where given. Both experts may have files of the
            same names.
        cfg_scale: Guidance while it denoises; `sampling.cfg_scale` when left out.
    """

    dit: _Denoiser
    sha256: Mapping[str, Sha256] = Field(default_factory=dict)
    cfg_scale: Annotated[float, Field(ge=1, le=50)] | None = None


class Experts(Frozen):
    """Two denoisers, by what they denoise; the order in the file does not matter.

    Attributes:
        high: Of the first steps, from `model.boundary` on upwards.
        low: Of the others.
    """

    high: Expert
    low: Expert

    def of(self, name: str) -> Expert:
        """The expert of a name."""
        found: Expert = getattr(self, name)
        return found


class ModelFiles(Frozen):
    """Files of the video model.

    Attributes:
        dit: Weights of the denoiser; one reference, a list of them, or a glob over shards. Empty for a model
            with experts.
        experts: The two denoisers of Wan2.2 A14B.
        boundary: With experts: the noise level, 0 to 1, below which the low-noise one denoises.
        resident_experts: How many of the experts lie on the GPU at a time. With 1 all high-noise steps of a
            block of videos are done, then all low-noise ones; the frames are the same.
        image_encoder: Weights of the CLIP image encoder, for models that read one.
        tokenizer: Folder of the text encoder's tokenizer.
        sha256: Digest by name, see `files.named`; checked where given.
        registration: The key `register`: `module:function`, called once before loading, for models that
            DiffSynth does not know; or the name of a model of an installed package.
        architecture: Shapes, by which checkpoints are matched.
        vram_limit: For GPUs that the model does not fit: GiB of GPU memory up to which weights stay there;
            the others wait in the computer's memory and come when they are needed (DiffSynth's VRAM
            management). Slower, the same pixels. Everything lies on the GPU when left out.
        least_gpu_memory: GiB that a GPU must have for this suite as it is written; a smaller one is refused
            before anything is loaded.
    """

    name: Text
    dit: _Denoiser = ()
    experts: Experts | None = None
    boundary: Annotated[float, Field(gt=0, lt=1)] | None = None
    resident_experts: Annotated[Literal[1, 2], BeforeValidator(whole)] = 2
    text_encoder: Weights
    vae: Weights
    image_encoder: Weights | None = None
    tokenizer: Annotated[str, reference()]
    sha256: Mapping[str, Sha256] = Field(default_factory=dict)
    registration: Registration | None = Field(default=None, alias="register")
    architecture: Architecture
    vram_limit: Annotated[float, Field(gt=0, le=1024)] | None = None
    least_gpu_memory: Annotated[float, Field(gt=0, le=1024)] | None = None

    @property
    def register(self) -> str | None:
        """`module:function` called once before loading; pydantic reserves the name for itself as a field."""
        return self.registration

    @property
    def denoisers(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Expert to its dotted key and weights, high-noise first; a single denoiser's expert is empty."""
        if self.experts is None:
            return {"": ("model.dit", self.dit)}
        return {name: (f"model.experts.{name}.dit", self.experts.of(name).dit) for name in EXPERTS}


class Stacked(Frozen):
    """A LoRA, or a pair, that lies below baseline and candidate, such as a 4-step accelerator.

    Attributes:
        lora: The file, for a model with one denoiser.
        high: With experts: the file of the high-noise one; none if left out.
        low: The same of the low-noise one.
        scale: Its strength; two entries give two experts different ones.
        sha256: Digest by name, see `files.named`; checked where given.
    """

    lora: Lora | None = None
    high: Lora | None = None
    low: Lora | None = None
    scale: Annotated[float, Field(ge=-10, le=10)] = 1.0
    sha256: Mapping[str, Sha256] = Field(default_factory=dict)

    def files(self) -> Iterator[tuple[str, str, str]]:
        """Expert, key and reference of every file; the expert of `lora` is empty."""
        for expert, key in (("", "lora"), *((name, name) for name in EXPERTS)):
            text: str | None = getattr(self, key)
            if text is not None:
                yield expert, key, text
