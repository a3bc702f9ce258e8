"""Putting a LoRA on and off: how long, what of it, whether every bit comes back, and what fusing loses."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Literal

import torch

from benchmarks.gpu.context import Context
from benchmarks.gpu.profile import Part, timed, wait
from benchmarks.gpu.videos import free
from pytest_wanlora.checkpoint import Checkpoint, reading
from pytest_wanlora.checkpoint.container import Container
from pytest_wanlora.studio import apply_lora
from pytest_wanlora.studio.pipeline import Studio

__all__ = ["measure"]

Mode = Literal["fused", "unfused"]

_PARTS = (
    Part("finding the layers", apply_lora, "targets"),
    Part("copying their weights", apply_lora, "_copies"),
    Part("reading the file", Container, "read"),
    Part("uploading", apply_lora, "uploaded"),
    Part("fusing or hot loading", apply_lora, "_fuse"),
    Part("fusing or hot loading", apply_lora, "_load_beside"),
    Part("measuring the change", apply_lora, "_measure"),
    Part("measuring the change", apply_lora, "_measure_beside"),
    Part("waiting for the SHA-256", reading, "_prove"),
    Part("SHA-256", reading, "_sha256", beside=True),
)
_PASSES = 3


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
        wait()
        began = time.perf_counter()
        with studio.lora(checkpoint) as applied:
            wait()
            on = time.perf_counter()
        wait()
        off = time.perf_counter()
        found["times"].append({"on": round(on - began, 4), "off": round(off - on, 4)})
        if name.startswith("size"):
            found["sizes"][name.removeprefix("size-")] = asdict(applied)
    found["best"] = min(each["on"] + each["off"] for each in found["times"])
    found["parts"] = _parts(studio, context.checkpoint("epoch-0"))
    # hot loading renames what it wraps, and gives nothing back of that: order is what stays
    after = list(dit.state_dict().values())
    found["bit_exact"] = len(before) == len(after) and all(
        torch.equal(old, new) for old, new in zip(before, after, strict=True)
    )
    del studio, dit, before, after
    return found


def _parts(studio: Studio, checkpoint: Checkpoint) -> dict[str, Any]:
    """The parts of putting a LoRA on, of the fastest of some passes of their own."""
    passes = []
    for _ in range(_PASSES):
        wait()
        with timed(_PARTS) as seconds:
            began = time.perf_counter()
            with studio.lora(checkpoint):
                wait()
                on = time.perf_counter() - began
        passes.append((on, seconds))
    on, seconds = min(passes, key=lambda each: each[0])
    beside = {part.name for part in _PARTS if part.beside}
    rounded = {name: round(value, 4) for name, value in seconds.items()}
    return {
        "on": round(on, 4),
        "seconds": {name: value for name, value in rounded.items() if name not in beside},
        "beside": {name: value for name, value in rounded.items() if name in beside},
    }
