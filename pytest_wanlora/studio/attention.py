"""The kernels that compute attention while a video is rendered, whatever others are installed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final
from unittest import mock

import torch
from diffsynth.models import wan_video_dit
from torch import Tensor

from pytest_wanlora.environment import FLASH_4
from pytest_wanlora.errors import StudioError
from pytest_wanlora.scoring.determinism import steady_gpu

#: What to install where this DiffSynth is not the one that rendering was written for.
NEXT_COMMAND: Final = "pip install 'diffsynth==2.1.12'"
# DiffSynth's Wan model takes the first of these kernels that is installed
_KERNEL_FLAGS: Final = ("FLASH_ATTN_3_AVAILABLE", "FLASH_ATTN_2_AVAILABLE", "SAGE_ATTN_AVAILABLE")


@contextlib.contextmanager
def pinned_attention(device: str | torch.device, attention: str = "torch") -> Iterator[None]:
    """Render with the attention that the suite names; on a GPU with steady settings.

    Args:
        device: That of the pipeline.
        attention: The suite's `sampling.attention`. torch's own also computes what is not the denoiser's.

    Raises:
        StudioError: This DiffSynth chooses its kernel in another way.
    """
    missing = [name for name in ("flash_attention", *_KERNEL_FLAGS) if not hasattr(wan_video_dit, name)]
    if missing:
        raise StudioError(
            f"this DiffSynth chooses its attention kernel in another way (no {', '.join(missing)}); "
            "it cannot be pinned",
            next_command=NEXT_COMMAND,
        )
    with contextlib.ExitStack() as stack:
        for name in _KERNEL_FLAGS:
            stack.enter_context(mock.patch.object(wan_video_dit, name, False))
        if attention == FLASH_4:
            stack.enter_context(mock.patch.object(wan_video_dit, "flash_attention", _flash_4))
        if torch.device(device).type == "cuda":
            stack.enter_context(steady_gpu(torch.device(device)))
        yield


def _flash_4(q: Tensor, k: Tensor, v: Tensor, num_heads: int, compatibility_mode: bool = False) -> Tensor:
    """In the place of DiffSynth's `flash_attention`: (B, N, D), (B, M, D) and (B, M, D) to (B, N, D)."""
    found: Tensor = _attend(*(each.reshape(*each.shape[:2], num_heads, -1) for each in (q, k, v)))
    return found.flatten(2)


# an operator of its own, since torch's tracer cannot look into code that compiles kernels by itself
@torch.library.custom_op("pytest_wanlora::flash_attention_4", mutates_args=())
def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """FlashAttention-4 of (B, N, heads, D / heads), without a mask; no row's sum is split."""
    try:
        # its compiler warns of the package's own code, which a user's `-W error` would make an error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kernel: Any = import_module("flash_attn.cute").flash_attn_func
            found = kernel(q, k, v, num_splits=1)
    # a compiler of kernels raises whatever went wrong in it
    except Exception as error:
        words = " ".join(str(error).split())
        raise StudioError(
            f"sampling.attention: {FLASH_4} failed: {type(error).__name__}: {words[:300]}",
            next_command="set sampling.attention: torch in the suite",
        ) from error
    out: Tensor = found[0] if isinstance(found, tuple) else found
    return out


@_attend.register_fake
def _shape_of_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(q)
