"""The arithmetic that scores are computed in, whatever the process around them has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pytest_wanlora.errors import ScoringError


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Run networks so that the same video gives the same score in every process of a machine.

    No gradients and no autocast: float32 throughout. On a CPU one thread, because the order of a sum depends
    on how a matrix product is shared among threads. On a GPU TF32 is off for products and convolutions,
    cuDNN chooses only deterministic algorithms and does not time them against each other. Every setting is
    put back afterwards. Another GPU model or another release of torch may still differ in the last digits;
    that is what the environment of a run record is for.

    The settings belong to the process: do not score in two threads of one process at a time.

    Args:
        device: Where the network lies.
    """
    arithmetic = _one_thread() if device.type == "cpu" else _plain_float32()
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), arithmetic:
        yield


def require_device(device: str) -> None:
    """Check that networks can run on a device.

    Args:
        device: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: Not a CPU or CUDA device, or none that is here.
    """
    try:
        kind = torch.device(device)
        torch.empty(0, device=kind)
    except (RuntimeError, AssertionError) as error:
        raise ScoringError(f"device {device!r} cannot be used for scoring: {error}") from error
    if kind.type not in ("cpu", "cuda"):
        raise ScoringError(f"device {device!r} cannot be used for scoring, allowed are cpu and cuda")


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _plain_float32() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn  # the module replaces itself by an object that types do not show
    before = (matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.deterministic, cudnn.benchmark)
    matmul.fp32_precision, cudnn.conv.fp32_precision = "ieee", "ieee"
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        matmul.fp32_precision, cudnn.conv.fp32_precision = before[:2]
        cudnn.deterministic, cudnn.benchmark = before[2:]
