"""Peak GPU memory, and the message when it runs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_wanlora.errors import StudioError

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite

_GIB = 2**30


def watch_memory(device: str) -> None:
    """Reset the peak."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> int | None:
    """Peak bytes of this process' tensors on the GPU since `watch_memory`; None on a CPU."""
    if device == "cpu":
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))


@contextlib.contextmanager
def explained(what: str, device: str, suite: Suite) -> Iterator[None]:
    """Replace an out-of-memory error by one that names the GPU's memory and the settings that need less.

    Raises:
        StudioError: Instead of torch's own error.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        first = str(error).partition(". GPU")[0].removesuffix(".")
        one = f"allowed: one worker a GPU with nothing else on it, or less in {suite.path.name}"
        lines = [f"{what}: the GPU's memory ran out: {first}", *_figures(device), *_advice(suite), one]
        raise StudioError("\n".join(lines), next_command="nvidia-smi") from error


def _figures(device: str) -> list[str]:
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return []
    free, total = torch.cuda.mem_get_info(device)
    own, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    return [
        f"GPU {device}: {total / _GIB:.1f} GiB in all, {free / _GIB:.1f} GiB free; this process holds "
        f"{own / _GIB:.1f} GiB and had {peak / _GIB:.1f} GiB before it needed more; others hold "
        f"{max(0, total - free - torch.cuda.memory_reserved(device)) / _GIB:.1f} GiB"
    ]


def _advice(suite: Suite) -> list[str]:
    sampling, limit = suite.sampling, suite.model.vram_limit
    steps = [
        *([f"sampling.batch: 1 instead of {sampling.batch}"] if sampling.batch > 1 else []),
        *(["sampling.tiled: true"] if not sampling.tiled else []),
        *(["sampling.cfg_merge: false"] if sampling.cfg_merge else []),
        *(
            ["model.resident_experts: 1"]
            if suite.model.experts is not None and suite.model.resident_experts > 1
            else []
        ),
        "model.vram_limit: a GiB or two less than the GPU has, without sampling.compile"
        if limit is None
        else f"model.vram_limit: less than {limit:g}",
    ]
    return [f"What needs less, in {suite.path}: {'; '.join(steps)}."]
