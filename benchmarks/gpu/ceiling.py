"""What the GPU can do at most: dense matrix products and attention, measured, not from a data sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from diffsynth.models import wan_video_dit
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.context import Context
from benchmarks.gpu.profile import seconds_of
from pytest_wanlora.studio.attention import pinned_attention

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite

__all__ = ["kernel_seconds", "measure", "sizes", "work"]

_TEXT_TOKENS = 512
#: Attention kernels for half precision, by the names of `environment.attention_kernels`.
_KERNELS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}


def measure(context: Context) -> None:
    """Time matrix products: a large one, and the model's own at one, two and four sequences in a batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 512 if context.smoke else 8192
    tokens, parameters, forwards = sizes(context)
    context.record.note(
        "ceiling", tokens=tokens, parameters=parameters, forwards=forwards, work_flop=work(context)
    )
    peak = _tflops(side, side, side, device)
    context.record.note("ceiling", square=side, tflops=peak, floor_seconds=work(context) / (peak * 1e12))
    architecture = context.suite.model.architecture
    shapes = {
        "attention": (architecture.dim, architecture.dim),
        "feed-forward in": (architecture.dim, architecture.ffn_dim),
        "feed-forward out": (architecture.ffn_dim, architecture.dim),
    }
    context.record.note(
        "ceiling",
        shapes={
            f"{name}, {rows}x{inner}x{columns}": _tflops(rows, inner, columns, device)
            for name, (inner, columns) in shapes.items()
            for rows in (tokens, 2 * tokens, 4 * tokens)
        },
    )
    if device == "cuda" and architecture.heads:
        context.record.note(
            "ceiling",
            attention={
                f"{name}, 4x{architecture.heads}x{tokens}x{keys}": {
                    kernel: _attention_ms(architecture.heads, architecture.dim, tokens, keys, backend)
                    for kernel, backend in _KERNELS.items()
                }
                for name, keys in (("to itself", tokens), ("to the text", _TEXT_TOKENS))
            },
        )


def sizes(context: Context) -> tuple[int, int, int]:
    """Tokens of one video, parameters of the denoiser, and its passes over a video."""
    from tools.hollow_wan.parts import entries

    sampling = context.suite.sampling
    listed = entries("dit", "smoke" if context.smoke else "full", "bfloat16")
    parameters = sum(math.prod(entry.shape) for entry in listed)
    return _tokens(context.suite), parameters, sampling.steps * (2 if sampling.cfg_scale != 1.0 else 1)


def _tokens(suite: Suite) -> int:
    """Tokens of one video."""
    sampling, step = suite.sampling, suite.model.architecture.size_multiple
    return ((sampling.frames - 1) // 4 + 1) * (sampling.height // step) * (sampling.width // step)


def work(context: Context) -> float:
    """Floating-point operations of one video: two for each parameter, token and pass."""
    tokens, parameters, forwards = sizes(context)
    return 2.0 * tokens * parameters * forwards


def kernel_seconds(suite: Suite, videos: int, attention: str = "torch") -> tuple[float, float]:
    """What one step of a denoiser is made of, timed alone: its matrix products and its attention.

    Keys and values of the text are left out, since they are the same in all steps; norms, positions and
    modulation are what a step has besides.

    Args:
        suite: For shapes and size.
        videos: Sequences in a batch, those without the prompt counted.
        attention: As `sampling.attention`; of torch's own kernels the faster one counts.

    Returns:
        Seconds, each product and attention by the fastest kernel of this machine, and operations.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    of, tokens = suite.model.architecture, _tokens(suite)
    heads = of.heads or 1
    rows, seconds, operations = videos * tokens, 0.0, 0.0
    products = (((of.dim, of.dim), 6), ((of.dim, of.ffn_dim), 1), ((of.ffn_dim, of.dim), 1))
    for (inner, columns), count in products:
        work = 2.0 * rows * inner * columns
        seconds += count * work / (_tflops(rows, inner, columns, device) * 1e12)
        operations += count * work
    for keys in (tokens, _TEXT_TOKENS):
        kernels: Sequence[SDPBackend | str] = [attention]
        if attention == "torch":
            kernels = list(_KERNELS.values()) if device == "cuda" else [SDPBackend.MATH]
        seconds += min(_attention_ms(heads, of.dim, tokens, keys, each, videos) for each in kernels) / 1000
        operations += 4.0 * videos * tokens * keys * of.dim
    return of.blocks * seconds, of.blocks * operations


def _tflops(rows: int, inner: int, columns: int, device: str) -> float:
    """A bfloat16 product, in TFLOP/s."""
    a = torch.randn((rows, inner), device=device).to(torch.bfloat16)
    b = torch.randn((inner, columns), device=device).to(torch.bfloat16)
    operations = 2.0 * rows * inner * columns
    # a round of some 50 ms at 600 TFLOP/s
    repeats = max(1, min(200, int(0.05 * 6e14 / operations))) if device == "cuda" else 1
    best = operations / _fastest(lambda: torch.mm(a, b), repeats) / 1e12
    return round(best, 4 if best < 1 else 1)


def _attention_ms(
    heads: int, dim: int, queries: int, keys: int, kernel: SDPBackend | str, videos: int = 4
) -> float:
    """One layer's attention, of two videos with guidance if nothing else is said, in milliseconds.

    By a kernel of torch, or as `sampling.attention` names it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"

    # as the model hands them over: heads beside each other
    query, key, value = (
        torch.randn((videos, count, dim), device=device, dtype=torch.bfloat16)
        for count in (queries, keys, keys)
    )
    # a round of some 50 ms at 400 TFLOP/s
    most = int(0.05 * 4e14 / (4.0 * videos * queries * keys * dim))
    repeats = max(1, min(100, most)) if device == "cuda" else 1
    only = nullcontext() if isinstance(kernel, str) else sdpa_kernel(kernel)
    named = kernel if isinstance(kernel, str) else "torch"
    with torch.no_grad(), pinned_attention(device, named), only:
        attend = wan_video_dit.flash_attention
        return round(1000 * _fastest(lambda: attend(query, key, value, num_heads=heads), repeats), 4)


def _fastest(call: Callable[[], object], repeats: int) -> float:
    """Seconds of one call in the best of five rounds; the first of six warms up."""
    return min([seconds_of(call, repeats) for _ in range(6)][1:])
