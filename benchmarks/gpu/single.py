"""The steps that one process does one after the other, so that imports and the GPU's start count once."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.gpu.context import Context

__all__ = ["STEPS", "run"]

#: In this order.
STEPS = ("ceiling", "stock", "reading", "lora", "scoring", "levers")


def run(context: Context, chosen: Sequence[str]) -> None:
    """Do the chosen steps; one that fails does not stop the others."""
    record = context.record
    began = time.perf_counter()
    with record.step("imports"):
        import torch

        record.note("imports", torch=round(time.perf_counter() - began, 2))
        began = time.perf_counter()
        importlib.import_module("diffsynth.pipelines.wan_video")
        record.note("imports", diffsynth=round(time.perf_counter() - began, 2))
        began = time.perf_counter()
        if torch.cuda.is_available():
            torch.zeros(1, device="cuda")
        record.note("imports", device=round(time.perf_counter() - began, 2))
    from benchmarks.gpu import ceiling, loras, reading, scoring, videos

    steps: Mapping[str, Callable[[Context], None]] = {
        "ceiling": ceiling.measure,
        "stock": videos.stock,
        "levers": videos.levers,
        "reading": reading.measure,
        "lora": loras.measure,
        "scoring": scoring.measure,
    }
    for name in STEPS:
        if name in chosen:
            with record.step(name):
                steps[name](context)
