"""Where a call's seconds go: the functions that it is made of, timed one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

__all__ = ["Part", "kernel_milliseconds", "seconds_of", "timed", "wait"]

#: Parts of the names of the kernels of matrix products and of attention.
_PRODUCTS_AND_ATTENTION = ("nvjet", "gemm", "cutlass", "sdpa", "flash", "fmha")
#: Part of the names of convolutions that are called products too.
_CONVOLUTION = "implicit_gemm"


@dataclass(frozen=True)
class Part:
    """A function that is timed; several may have one name, and their seconds are added up.

    Attributes:
        name: For the table.
        owner: The module or class that the function is looked up in when it is called.
        function: Its name there.
        beside: It runs in a thread beside the others: the GPU is not waited for.
    """

    name: str
    owner: Any
    function: str
    beside: bool = False


@contextmanager
def timed(parts: Sequence[Part]) -> Iterator[dict[str, float]]:
    """Time parts wherever they are called within the block, the GPU waited for before and after each.

    Waiting takes time of its own and keeps the GPU from working beside the CPU: not for the main figure.

    Yields:
        Seconds by name, of all parts that were called so far.

    Raises:
        AttributeError: A function is no longer where it was.
    """
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        for part in parts:
            watched = _watched(getattr(part.owner, part.function), part, seconds)
            stack.enter_context(mock.patch.object(part.owner, part.function, watched))
        yield seconds


def _watched(function: Callable[..., Any], part: Part, seconds: dict[str, float]) -> Callable[..., Any]:
    def call(*positional: Any, **named: Any) -> Any:  # noqa: ANN401 - passed on
        if not part.beside:
            wait()
        began = time.perf_counter()
        try:
            return function(*positional, **named)
        finally:
            if not part.beside:
                wait()
            seconds[part.name] = seconds.get(part.name, 0.0) + time.perf_counter() - began

    return call


def seconds_of(call: Callable[[], object], repeats: int = 1) -> float:
    """Time calls in a row, the GPU waited for before the first and after the last.

    Returns:
        Seconds of one call.
    """
    wait()
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - began) / repeats


def kernel_milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of the kernels of a call, products and attention, and all."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        wait()
    kernels = [each for each in profile.events() if each.device_type.name == "CUDA"]
    named = [
        each.device_time
        for each in kernels
        if _CONVOLUTION not in each.name and any(part in each.name for part in _PRODUCTS_AND_ATTENTION)
    ]
    return sum(named) / 1000, sum(each.device_time for each in kernels) / 1000


def wait() -> None:
    """Wait until the GPU has done what it was given, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
