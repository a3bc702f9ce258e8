"""Seconds a video: DiffSynth's stock call, the package with each lever on its own, and together."""

from __future__ import annotations

import gc
import importlib
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu.context import Context
from benchmarks.gpu.record import say
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.studio.silence import quiet
from pytest_wanlora.suite import LEVERS, Suite, load, references, resolve
from tools.hollow_wan.assemble import SUITE_FILE

__all__ = ["Variant", "free", "levers", "packaged", "part_files", "stock", "variants"]

_STOCK_FRAMES = "stock-frames.npy"
_LARGE_BATCH = 4
_VRAM_LIMIT = 8.0  # GiB; the denoiser alone has 9.3
_SLOWEST = 30.0  # seconds that one more part may take, with loading and compiling


def stock(context: Context) -> None:
    """Time what a user writes who follows DiffSynth's example: all defaults but size, prompt and seed."""
    _reset_peak()
    began = time.perf_counter()
    with quiet():
        pipe = _stock_pipeline(load(context.model / SUITE_FILE))
    context.record.note("stock", loading_seconds=_since(began))
    sampling = context.suite.sampling
    scenario = context.suite.scenarios[0]
    seconds = []
    for seed in range(context.videos + 1):
        began = time.perf_counter()
        with quiet():
            images = pipe(
                prompt=scenario.prompt,
                negative_prompt=sampling.negative_prompt,
                seed=seed,
                height=sampling.height,
                width=sampling.width,
                num_frames=sampling.frames,
                num_inference_steps=sampling.steps,
                cfg_scale=sampling.cfg_scale,
                sigma_shift=sampling.shift,
            )
        seconds.append(_since(began))
        if seed == 0:
            frames = np.stack([np.asarray(image) for image in images])
            np.save(context.work / _STOCK_FRAMES, frames)
    context.record.note("stock", videos=seconds, best=min(seconds), **_peak())
    del pipe
    free()


def levers(context: Context) -> None:
    """Time the package: as the stock call, with each lever alone, with the suite's, without each of those."""
    for variant in variants(context.suite):
        found: dict[str, Any] = {"skipped": "no time left"}
        if context.left > _SLOWEST:
            # one that fails is a finding about that lever
            try:
                found = _timed(context, variant)
            except Exception as error:  # noqa: BLE001
                say(traceback.format_exc())
                found = {"error": f"{type(error).__name__}: {error}"}
            free()
        context.record.add("levers", "variants", variant.name, found)


@dataclass(frozen=True)
class Variant:
    """One way to render.

    Attributes:
        name: For the table.
        sampling: What differs from the suite's `sampling`.
        more: How many videos more than usual are timed.
        vram_limit: GiB of weights that may lie on the GPU; None for all of them.
    """

    name: str
    sampling: Mapping[str, Any]
    more: int = 0
    vram_limit: float | None = None


def variants(suite: Suite) -> Iterator[Variant]:
    """Yield what is timed, the most important first."""
    own = packaged(suite)
    off = {**LEVERS, "text_once": False, "cfg_merge": False, "tiled": True}
    alone: dict[str, Any] = {key: own[key] for key in own if own[key] != off[key]}
    alone |= {
        key: value
        for key, value in {"compile": True, "torch_norm": True, "real_rope": True, "batch": 2}.items()
        if key not in alone
    }
    yield Variant("everything off", off)
    yield Variant("suite", own, more=1)
    for key, value in alone.items():
        yield Variant(f"{key}: {_word(value)}, alone", {**off, key: value})
    for key, value in own.items():
        if value != off[key]:
            yield Variant(f"suite, but {key}: {_word(off[key])}", {**own, key: off[key]})
        elif key in alone:
            yield Variant(f"suite, and {key}: {_word(alone[key])}", {**own, key: alone[key]})
    yield Variant(f"suite, but batch: {_LARGE_BATCH}", {**own, "batch": _LARGE_BATCH}, more=1)
    small = {**own, "compile": False, "batch": 1}
    yield Variant("suite for a small GPU: compile: false, batch: 1", small, more=-1)
    limit = f"the same, vram_limit: {_VRAM_LIMIT:g}"
    yield Variant(limit, small, more=-1, vram_limit=_VRAM_LIMIT)


def packaged(suite: Suite) -> dict[str, Any]:
    """The levers' values in the suite."""
    keys = (*LEVERS, "cfg_merge", "tiled")
    return {key: getattr(suite.sampling, key) for key in keys}


def part_files(suite: Suite, part: str) -> list[Path]:
    """The files of a part of the model, such as `model.dit`, in the suite's order."""
    return [
        path
        for key, text in references(suite)
        if key.partition("[")[0] == part
        for path in resolve(text, key=key).paths
    ]


def free() -> None:
    """Give back all that a pipeline held."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _timed(context: Context, variant: Variant) -> dict[str, Any]:
    suite = context.with_sampling(variant.sampling)
    if variant.vram_limit is not None:
        suite = suite.model_copy(
            update={"model": suite.model.model_copy(update={"vram_limit": variant.vram_limit})}
        )
    blocks = max(1, context.videos + variant.more)
    _reset_peak()
    began = time.perf_counter()
    studio = Studio(suite, context.environment, cache_dir=context.work / "levers")
    studio.load()
    loading = _since(began)
    seconds, differs = [], None
    for block in context.blocks(suite, blocks):
        began = time.perf_counter()
        rendered = studio.render_many(block, None)
        seconds.append(round((time.perf_counter() - began) / len(block), 4))
        if differs is None:
            differs = _difference(context, rendered[0].frames)
    found = {
        "best": min(seconds),
        "videos": seconds,
        "ready_seconds": loading,
        "ready": {name: round(value, 2) for name, value in studio.seconds.items()},
        "frames": differs,
        **_peak(),
    }
    del studio
    return found


def _difference(context: Context, frames: NDArray[np.uint8]) -> dict[str, Any] | None:
    """How a video differs from the stock call's of the same seed, in grey levels of 255."""
    path = context.work / _STOCK_FRAMES
    if not path.exists():
        return None
    off = np.abs(np.load(path).astype(np.int16) - frames.astype(np.int16))
    return {"equal": bool((off == 0).all()), "mean": round(float(off.mean()), 3), "most": int(off.max())}


def _stock_pipeline(suite: Suite) -> Any:  # noqa: ANN401 - DiffSynth publishes no types
    from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline

    if suite.model.register is not None:
        module, _, function = suite.model.register.partition(":")
        getattr(importlib.import_module(module), function)()

    def config(part: str) -> Any:  # noqa: ANN401
        paths = [str(path) for path in part_files(suite, part)]
        return ModelConfig(path=paths[0] if len(paths) == 1 else paths)

    return WanVideoPipeline.from_pretrained(
        torch_dtype=getattr(torch, suite.sampling.dtype),
        device="cuda" if torch.cuda.is_available() else "cpu",
        model_configs=[config("model.dit"), config("model.text_encoder"), config("model.vae")],
        tokenizer_config=config("model.tokenizer"),
    )


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 4)


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> dict[str, float]:
    """The most memory on the GPU since `_reset_peak`, GiB: of tensors, and as the process took it."""
    if not torch.cuda.is_available():
        return {}
    return {
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2),
    }


def _word(value: object) -> str:
    return str(value).lower()
