"""How long the denoiser's files take into the GPU's memory: DiffSynth's reading against the package's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from diffsynth.core import load_state_dict

from benchmarks.gpu.context import Context
from benchmarks.gpu.profile import seconds_of
from benchmarks.gpu.videos import free, part_files
from pytest_wanlora.studio.weights import Reading
from pytest_wanlora.suite import load
from tools.hollow_wan.assemble import SUITE_FILE

__all__ = ["measure"]

_THREADS = (4, 8, 16)
_REPEATS = 3


def measure(context: Context) -> None:
    """Time each way some times, in turn, with the files in the page cache."""
    paths = part_files(load(context.model / SUITE_FILE), "model.dit")
    dtype: torch.dtype = getattr(torch, context.suite.sampling.dtype)
    device = context.environment.device

    def read(threads: int) -> object:
        return Reading(paths, dtype, device, threads=threads).result()

    names = [str(path) for path in paths]
    ways: dict[str, Callable[[], object]] = {
        "DiffSynth": partial(load_state_dict, names, torch_dtype=dtype, device=device)
    }
    ways |= {f"{threads} threads": partial(read, threads) for threads in _THREADS}
    gigabytes = sum(path.stat().st_size for path in paths) / 1e9
    context.record.note("reading", gigabytes=round(gigabytes, 1))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_REPEATS):
        for name, way in ways.items():
            seconds[name].append(round(seconds_of(way), 3))
            free()
    context.record.note("reading", ways=seconds)
