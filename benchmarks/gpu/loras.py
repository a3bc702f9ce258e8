"""Putting a LoRA on and off: how long, whether every bit comes back, and what fusing loses."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Literal

import torch

from benchmarks.gpu.context import Context
from benchmarks.gpu.videos import free
from pytest_wanlora.studio import Studio

__all__ = ["measure"]

Mode = Literal["fused", "unfused"]


def measure(context: Context) -> None:
    """Time putting LoRAs on and off in one process, fused and unfused, and compare all weights afterwards."""
    began = time.perf_counter()
    context.checkpoint("epoch-0")
    context.record.note("lora", reading_seconds=round(time.perf_counter() - began, 3))
    modes: tuple[Mode, ...] = ("fused", "unfused")
    for mode in modes:
        context.record.note("lora", **{mode: _on_and_off(context, mode)})
        free()


def _on_and_off(context: Context, mode: Mode) -> dict[str, Any]:
    # compiled code takes no part in this, and would have to be made
    suite = context.with_sampling({"lora_mode": mode, "compile": False})
    studio = Studio(suite, context.environment, cache_dir=context.work / "levers")
    dit = studio.pipe.dit
    before = [value.clone() for value in dit.state_dict().values()]
    found: dict[str, Any] = {"times": [], "sizes": {}}
    for name in ("epoch-0", "epoch-1", "epoch-0", "size-1e-2", "size-1e-3", "size-1e-4"):
        checkpoint = context.checkpoint(name)
        _wait()
        began = time.perf_counter()
        with studio.lora(checkpoint) as applied:
            _wait()
            on = time.perf_counter()
        _wait()
        off = time.perf_counter()
        found["times"].append({"on": round(on - began, 4), "off": round(off - on, 4)})
        if name.startswith("size"):
            found["sizes"][name.removeprefix("size-")] = asdict(applied)
    found["best"] = min(each["on"] + each["off"] for each in found["times"])
    # hot loading renames what it wraps, and gives nothing back of that: order is what stays
    after = list(dit.state_dict().values())
    found["bit_exact"] = len(before) == len(after) and all(
        torch.equal(old, new) for old, new in zip(before, after, strict=True)
    )
    del studio, dit, before, after
    return found


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
