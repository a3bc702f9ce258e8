"""How long the denoiser's files take into the GPU's memory: DiffSynth's reading against the package's."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from diffsynth.core import load_state_dict

from benchmarks.gpu.context import Context
from benchmarks.gpu.parts import wait
from benchmarks.gpu.videos import free
from pytest_wanlora.studio.weights import Reading
from pytest_wanlora.suite import load, references, resolve
from tools.hollow_wan.assemble import SUITE_FILE

__all__ = ["measure"]

_THREADS = (4, 8, 16)
_REPEATS = 3


def measure(context: Context) -> None:
    """Time each way some times, in turn, with the files in the page cache."""
    suite = load(context.model / SUITE_FILE)
    shards = [(key, text) for key, text in references(suite) if key.startswith("model.dit")]
    paths = [path for key, text in shards for path in resolve(text, key=key).paths]
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    dtype: torch.dtype = getattr(torch, suite.sampling.dtype)

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
            seconds[name].append(_seconds(way))
            free()
    context.record.note("reading", ways=seconds)


def _seconds(way: Callable[[], object]) -> float:
    wait()
    began = time.perf_counter()
    way()
    wait()
    return round(time.perf_counter() - began, 3)
