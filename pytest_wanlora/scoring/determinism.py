"""The arithmetic that scores are computed in, whatever the process around them has set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_wanlora.environment import attention_kernels
from pytest_wanlora.errors import ScoringError

FRAME_BATCH: Final = 9
"""Frames a forward pass, always: the last pass is filled up. 9 is the shortest video that FVD can score."""
_DEVICES: Final = "cpu, and cuda, cuda:0, cuda:1, ... of a GPU that torch sees"
_LOOK: Final = "python -c 'import torch; print(torch.cuda.device_count())'"


def embedded(
    images: torch.Tensor, embed: Callable[[torch.Tensor], torch.Tensor], device: torch.device
) -> torch.Tensor:
    """Embed images in passes of `FRAME_BATCH`, so that an embedding does not depend on their number.

    Args:
        images: (T, C, H, W), on the CPU.
        embed: (FRAME_BATCH, C, H, W) on the device to (FRAME_BATCH, D).
        device: Where it runs.

    Returns:
        (T, D), on the CPU.
    """
    surplus = -len(images) % FRAME_BATCH
    filled = torch.cat([images, images[-1:].expand(surplus, -1, -1, -1)])
    with exact_arithmetic(device):
        passes = [embed(batch.to(device)).cpu() for batch in torch.split(filled, FRAME_BATCH)]
        return torch.cat(passes)[: len(images)]


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Run networks so that the same video gives the same score in every process of a machine.

    No gradients and no autocast: float32 throughout. On a CPU one thread, because the order of a sum depends
    on how a matrix product is shared among threads. On a GPU see `steady_gpu`. Every setting is put back
    afterwards. Another GPU model or another release of torch may still differ in the last digits; that is
    what the environment of a run record is for.

    The settings belong to the process: on a CPU, do not score in two threads of one process at a time.
    """
    arithmetic = _one_thread() if device.type == "cpu" else steady_gpu(device)
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), arithmetic:
        yield


def require_device(device: str) -> None:
    """Check that networks can run on a device.

    Raises:
        ScoringError: Not a CPU or CUDA device, or none that is here.
    """
    try:
        kind = torch.device(device)
        torch.empty(0, device=kind)
    except (RuntimeError, AssertionError) as error:
        raise ScoringError(
            f"device {device!r} cannot be used for scoring: {error}; allowed: {_DEVICES}",
            next_command=_LOOK,
        ) from error
    if kind.type not in ("cpu", "cuda"):
        raise ScoringError(
            f"device {device!r} cannot be used for scoring; allowed: {_DEVICES}", next_command=_LOOK
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Shared:
    """Settings of the process that several threads ask for; put back when the last one leaves.

    A thread that renders and one that scores come and go in any order. If each put back what it found, the
    first to leave would take the settings from the other, and the last would leave its own behind.
    """

    def __init__(self, settings: Callable[[Sequence[str]], AbstractContextManager[None]]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._inside = 0
        self._stack = ExitStack()

    @contextmanager
    def held(self, kernels: Sequence[str]) -> Iterator[None]:
        """Apply the settings within the block; the kernels are those of the first caller."""
        with self._lock:
            if self._inside == 0:
                self._stack.enter_context(self._settings(kernels))
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._stack.close()


@contextmanager
def _gpu_settings(kernels: Sequence[str]) -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn  # the module replaces itself by an object that types do not show
    before = (matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.deterministic, cudnn.benchmark)
    matmul.fp32_precision, cudnn.conv.fp32_precision = "ieee", "ieee"
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with sdpa_kernel([_BACKENDS[name] for name in kernels], set_priority=True):
            yield
    finally:
        matmul.fp32_precision, cudnn.conv.fp32_precision = before[:2]
        cudnn.deterministic, cudnn.benchmark = before[2:]


#: By the names of `environment.attention_kernels`.
_BACKENDS: Final = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_GPU: Final = _Shared(_gpu_settings)


def kernels(device: torch.device) -> tuple[str, ...]:
    """Attention kernels that are allowed on a GPU, by name; the first that takes the shapes is used."""
    here = torch.cuda.is_available()
    return attention_kernels(torch.cuda.get_device_capability(device) if here else None)


def steady_gpu(device: torch.device) -> AbstractContextManager[None]:
    """Compute on a GPU with settings of its own, whatever the process has set.

    TF32 is off for products and convolutions of float32, cuDNN chooses only deterministic algorithms and does
    not time them against each other, and attention runs with the kernels that the environment names. Several
    threads may be inside at a time.
    """
    return _GPU.held(kernels(device))
