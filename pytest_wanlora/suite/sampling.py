"""How a suite has its videos rendered: what they are, and what is done to have them sooner."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pytest_wanlora.suite.fields import refusal

#: Keys that make rendering faster, with the value at which a video is the stock pipeline's, bit for bit.
LEVERS: Final[dict[str, Any]] = {
    "batch": 1,
    "compile": False,
    "torch_norm": False,
    "real_rope": False,
    "text_once": False,
    "attention": "torch",
}


class Sampling(BaseModel):
    """How a video is rendered; all that can change its pixels is part of the fingerprint.

    The last six keys are levers of speed. Off, they leave no trace in the fingerprint, so baselines that are
    older than a lever stay comparable. `text_once` gives the same bits as the stock pipeline unless the
    blocks are compiled, so it is on by itself and counts only beside `compile`.

    Attributes:
        height: Pixels, a multiple of the architecture's `size_multiple`.
        width: Pixels, likewise.
        frames: 4k+1, at least 5.
        cfg_scale: Guidance; 1 is none.
        tiled: Decode in tiles: less memory, twice the time.
        cfg_merge: Both guidance passes in one batch.
        lora_mode: `"fused"` adds the LoRA to the weights, as DiffSynth's `load_lora` does by default, and
            rounds it with them; `"unfused"` computes it beside them, which keeps small deltas in bfloat16.
        batch: Seeds of a scenario that are rendered together. Seed s always lies in the batch of the seeds
            `s // batch * batch` and following, in their order, whichever of them are wanted: so its frames
            depend on the job alone. Pays on a GPU that one video does not fill.
        compile: Compile the denoiser's blocks with torch.compile: some ten seconds before the first video of
            a process, less when the compiled code is in the cache, and about half the time for every step.
        torch_norm: Normalise queries and keys with torch's RMSNorm, which rounds once, instead of
            DiffSynth's, which rounds twice.
        real_rope: Rotate queries and keys in real float32 numbers, by angles of float64, instead of complex
            ones, which the compiler can join with what is around it.
        text_once: Compute the prompt's keys and values once a video instead of at every step.
        attention: `"torch"`: torch's own kernels, the fastest for the GPU (`environment.attention_kernels`);
            `"flash-attn-4"`: the package of that name in the denoiser, for bfloat16 on a GPU; its release is
            part of the environment.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    height: Annotated[int, Field(gt=0, le=4096)]
    width: Annotated[int, Field(gt=0, le=4096)]
    frames: Annotated[int, Field(ge=5, le=1001)]
    steps: Annotated[int, Field(ge=1, le=1000)]
    cfg_scale: Annotated[float, Field(ge=1, le=50)]
    shift: Annotated[float, Field(gt=0, le=50)]
    negative_prompt: str = ""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    tiled: bool = False
    cfg_merge: bool = True
    lora_mode: Literal["fused", "unfused"] = "fused"
    batch: Annotated[int, Field(ge=1, le=8)] = 1
    compile: bool = False
    torch_norm: bool = False
    real_rope: bool = False
    text_once: bool = True
    attention: Literal["torch", "flash-attn-4"] = "torch"

    @model_validator(mode="after")
    def _together(self) -> Sampling:
        if self.compile and self.lora_mode == "unfused":
            # every LoRA would be another graph, compiled anew
            raise refusal("not with lora_mode unfused; allowed: false, or lora_mode: fused", key="compile")
        if self.attention != "torch" and self.dtype != "bfloat16":
            raise refusal(f"not with dtype {self.dtype}; allowed: torch, or dtype: bfloat16", key="attention")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what of this can change a pixel, as plain JSON data."""
        found = self.model_dump(mode="json")
        exact = () if self.compile else ("text_once",)
        return {
            name: value
            for name, value in found.items()
            if name not in exact and (name not in LEVERS or value != LEVERS[name])
        }


def noise_levels(steps: int, shift: float) -> tuple[float, float]:
    """The noise level, 0 to 1, of the first and the last step of DiffSynth's schedule for Wan.

    Example:
        >>> noise_levels(4, 5.0)
        (1.0, 0.625)
    """
    # a copy of `FlowMatchScheduler.set_timesteps_wan`, whose import takes torch and seconds
    last = 1 / steps
    return 1.0, shift * last / (1 + (shift - 1) * last)
