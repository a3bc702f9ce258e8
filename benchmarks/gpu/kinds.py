"""The packaged suites at full size with random weights: `python -m benchmarks.gpu.kinds --out FOLDER`.

For each: the targets of a LoRA that were patched, whether the weights came back, whether frames equal those
of DiffSynth's own call with every lever off and equal guidance, seconds against the stock call, and peak
memory. Few steps are timed; a whole video is the suite's steps times the time of one, and the rest: decoding
and the switch of experts. Writes `kinds.json` and `kinds.md`, after every suite.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu import ceiling
from benchmarks.gpu.profile import kernel_milliseconds
from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.checkpoint.experts import pair
from pytest_wanlora.environment import FLASH_4, detect, installed
from pytest_wanlora.jobs.job import Job, plan
from pytest_wanlora.studio.attention import pinned_attention
from pytest_wanlora.studio.checksum import checksum
from pytest_wanlora.studio.denoiser import StoredPrompts
from pytest_wanlora.studio.pipeline import Studio
from tools.hollow_wan.kinds import DENOISERS, assemble_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.suite import Suite

#: Steps of the comparison of frames.
FEW = 3
#: Steps of the two videos whose difference is the time of a step.
SHORT, LONG = 2, 6
LEVERS_OFF = {"batch": 1, "compile": False, "torch_norm": False, "real_rope": False}
_FIGURES = (
    "seconds",
    "share",
    "step_ms",
    "kernels_ms",
    "kernels_share",
    "alone_ms",
    "step_tflops",
    "decode_seconds",
    "videos_12_seconds",
)
COLUMNS = (
    "suite",
    "patched",
    "expected",
    "weights_back",
    "frames_equal",
    "stock_seconds",
    "stock_decode_seconds",
    *_FIGURES,
    *(f"flash_{name}" for name in _FIGURES),
    "switch_seconds",
    "peak_gib",
)


def changed(suite: Suite, *, guidance: float | None = None, **sampling: Any) -> Suite:  # noqa: ANN401
    """A suite with other sampling, and one guidance for all where it is given."""
    model = suite.model
    if guidance is not None:
        sampling["cfg_scale"] = guidance
        if model.experts is not None:
            both = {
                name: model.experts.of(name).model_copy(update={"cfg_scale": guidance})
                for name in ("high", "low")
            }
            model = model.model_copy(update={"experts": model.experts.model_copy(update=both)})
    update = {"model": model, "sampling": suite.sampling.model_copy(update=sampling)}
    return suite.model_copy(update=update)


def both_resident(suite: Suite) -> Suite:
    """A suite with both experts on the GPU, where it has two; changes no frame."""
    return suite.model_copy(update={"model": suite.model.model_copy(update={"resident_experts": 2})})


@contextlib.contextmanager
def with_suite(studio: Studio, suite: Suite) -> Iterator[None]:
    """Render by another suite on the model that is loaded; its levers stay those that it was loaded with."""
    with mock.patch.object(studio, "suite", suite):
        yield


def stock(studio: Studio, suite: Suite, job: Job, **own: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    """Frames of DiffSynth's own call on the loaded weights, with arguments that replace the suite's.

    Prompts come from the store, as in the studio.
    """
    pipe = studio.pipe
    stored = StoredPrompts(studio.embedding, 1)
    units = [
        stored if type(unit).__name__ == type(stored).__mro__[1].__name__ else unit for unit in pipe.units
    ]
    with mock.patch.object(pipe, "units", units), pinned_attention(pipe.device):
        images = pipe(**stock_arguments(suite, job) | {"cfg_merge": False} | own)
    return np.stack([np.asarray(each) for each in images])


def stock_arguments(suite: Suite, job: Job) -> dict[str, Any]:
    """What DiffSynth's own call takes to render a job; of a pair, the guidance of the low-noise expert."""
    sampling = suite.sampling
    return {
        "prompt": job.prompt,
        "negative_prompt": sampling.negative_prompt,
        "input_image": None if job.input_image is None else Image.open(job.input_image).convert("RGB"),
        "seed": job.seed,
        "height": sampling.height,
        "width": sampling.width,
        "num_frames": sampling.frames,
        "num_inference_steps": sampling.steps,
        "cfg_scale": suite.guidance("low" if suite.model.experts else ""),
        "cfg_merge": sampling.cfg_merge,
        "switch_DiT_boundary": suite.model.boundary or 0.875,
        "sigma_shift": sampling.shift,
        "tiled": sampling.tiled,
        "progress_bar_cmd": lambda steps: steps,
    }


def job_of(
    studio: Studio, checkpoint: checkpoints.Checkpoint | None, seeds: Sequence[int] = (0,)
) -> list[Job]:
    """Jobs of the first scenario."""
    suite = studio.suite
    planned = plan(
        suite,
        checkpoint,
        scale=1.0,
        seeds=seeds,
        environment=studio.environment,
        producer="kinds",
        scenarios=suite.scenarios[:1],
    )
    return list(planned)


def seconds_of(call: Any) -> float:  # noqa: ANN401 - any call
    """Wall time of a call, with the GPU's work."""
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def read_lora(paths: dict[str, Path]) -> checkpoints.Checkpoint:
    """The LoRA of a suite, or its pair."""
    if "" in paths:
        return checkpoints.read(paths[""])
    halves = {expert: checkpoints.read(path) for expert, path in paths.items()}
    return pair("pair", halves, dict.fromkeys(halves, 1.0))


def exact(suite: Suite, paths: dict[str, Path], cache: Path, small: tuple[int, int, int]) -> dict[str, Any]:
    """What must be exact, with every lever off: targets, weights, and frames at a small size."""
    height, width, frames = small
    # both experts on the GPU, so that DiffSynth's own call finds them there
    plain = changed(
        both_resident(suite),
        guidance=3.0,
        height=height,
        width=width,
        frames=frames,
        steps=FEW,
        cfg_merge=False,
        **LEVERS_OFF,
    )
    studio = Studio(plain, detect(plain.sampling.dtype), cache_dir=cache)
    (job,) = job_of(studio, None)
    equal = np.array_equal(studio.render(job, None).frames, stock(studio, plain, job))
    models = studio._placed.models.values()
    before = [checksum(each) for each in models]
    lora = read_lora(paths)
    with studio.lora(lora) as applied:
        on = [checksum(each) for each in models]
    after = [checksum(each) for each in models]
    back = before == after and all(one != other for one, other in zip(before, on, strict=True))
    return {
        "patched": applied.patched,
        "expected": 10 * suite.model.architecture.blocks * len(before),
        "weights_back": back,
        "frames_equal": equal,
    }


def speed(suite: Suite, cache: Path, *, twelve: bool) -> dict[str, Any]:
    """Seconds of a whole video, from few steps, and peak memory; of twelve videos, denoising alone.

    A step is timed with both experts on the GPU: a short video may lie wholly in the range of one, so its
    difference to a longer one would hold a switch. What a switch takes is a row of its own.
    """
    studio = _ready(both_resident(suite), cache)
    found = _figures(studio, suite, twelve=twelve)
    # a row takes minutes: what was measured is said in case there is no time for the rest
    print(found, flush=True)
    if installed(FLASH_4) is not None:
        with _flash(studio):
            own = _figures(studio, suite, twelve=False, attention=FLASH_4)
        found |= {f"flash_{name}": value for name, value in own.items()}
    if suite.model.experts is not None:
        # the one before holds both experts on the GPU for as long as it has a name
        del studio
        _free()
        long = found["decode_seconds"] + LONG * found["step_ms"] / 1000
        found["switch_seconds"] = _short_and_long(_ready(suite, cache), suite)[1] - long
    if torch.cuda.is_available():
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def _figures(studio: Studio, suite: Suite, *, twelve: bool, attention: str = "torch") -> dict[str, float]:
    """Seconds and a step's share, with the attention that the studio is set to, which is named."""
    short, long = _short_and_long(studio, suite)
    step = (long - short) / (LONG - SHORT)
    rest = max(0.0, short - SHORT * step)
    guided = 2 if suite.guidance("low" if suite.model.experts else "") != 1.0 else 1
    alone, operations = ceiling.kernel_seconds(suite, guided * suite.sampling.batch, attention)
    found = {"seconds": suite.sampling.steps * step + rest, "decode_seconds": rest}
    found |= {"step_ms": 1000 * step, "alone_ms": 1000 * alone, "step_tflops": operations / step / 1e12}
    found |= _in_the_run(studio)
    if twelve:
        # as the suite says for a card of 80 GB: both experts stay on the GPU
        jobs = job_of(studio, None, range(0, 12 * suite.sampling.batch, suite.sampling.batch))
        with with_suite(studio, both_resident(suite)):
            took = [seconds_of(partial(studio.render, job, None)) for job in jobs]
        found["videos_12_seconds"] = sum(took) - 12 * rest
    return found


@contextlib.contextmanager
def _flash(studio: Studio) -> Iterator[None]:
    """Render with FlashAttention-4 on the model that is loaded."""
    sampling = changed(studio.suite, attention=FLASH_4).sampling
    with mock.patch.object(studio._accelerator, "sampling", sampling):
        yield


def _in_the_run(studio: Studio) -> dict[str, float]:
    """What products and attention take of a step, and their share of what all its kernels take.

    Of the profiles of a short and of a longer video the difference is taken, so decoding is not in it.
    """
    if not torch.cuda.is_available():
        return {}
    few = studio.suite
    _, second = job_of(studio, None, (0, few.sampling.batch))
    found = []
    for steps in (SHORT, LONG):
        with with_suite(studio, changed(few, steps=steps)):
            found.append(kernel_milliseconds(partial(studio.render, second, None)))
    per_step = [(long - short) / (LONG - SHORT) for short, long in zip(*found, strict=True)]
    return {"kernels_ms": per_step[0], "kernels_share": per_step[0] / per_step[1]}


def _ready(suite: Suite, cache: Path) -> Studio:
    """A studio that renders videos of a few steps, loaded."""
    few = changed(suite, steps=LONG)
    studio = Studio(few, detect(few.sampling.dtype), cache_dir=cache)
    studio.load()
    return studio


def _short_and_long(studio: Studio, suite: Suite) -> tuple[float, float]:
    """Seconds of a video of `SHORT` steps and of one of `LONG`, once everything is compiled."""
    first, second = job_of(studio, None, (0, suite.sampling.batch))
    studio.render(first, None)  # compiles what is left
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with with_suite(studio, changed(studio.suite, steps=SHORT)):
        short = seconds_of(partial(studio.render, second, None))
    return short, seconds_of(partial(studio.render, second, None))


def stock_seconds(suite: Suite, cache: Path) -> tuple[float, float]:
    """Seconds of a whole video by DiffSynth's own call, from few steps, and of them those beside its steps.

    As in `videos.stock` all that the suite does not set is DiffSynth's default: it decodes in tiles. How long
    that takes varies by more than a step, so steps are timed without tiles.
    """
    # it needs both experts on the GPU
    plain = changed(both_resident(suite), cfg_merge=False, **LEVERS_OFF)
    studio = Studio(plain, detect(plain.sampling.dtype), cache_dir=cache)
    studio.load()
    (job,) = job_of(studio, None)

    def took(steps: int, *, tiled: bool) -> float:
        return seconds_of(partial(stock, studio, changed(plain, steps=steps), job, tiled=tiled))

    for tiled in (True, False):
        took(1, tiled=tiled)  # the first call of each takes longer
    step = (took(LONG, tiled=False) - took(SHORT, tiled=False)) / (LONG - SHORT)
    rest = took(SHORT, tiled=True) - SHORT * step
    return suite.sampling.steps * step + rest, rest


def measure(
    name: str,
    folder: Path,
    *,
    device: str,
    small: tuple[int, int, int] | None,
    size: tuple[int, int, int] | None = None,
    timed: bool = True,
) -> dict[str, Any]:
    """All that the table says of one suite.

    Args:
        name: Of the suite.
        folder: Where its weights are written.
        device: Where they are drawn.
        small: Height, width and frames at which frames are compared; None: what must be exact is left out.
        size: Those that are timed, if not the suite's.
        timed: Whether seconds are measured.
    """
    suite, paths = assemble_kind(folder, name, device=device)
    cache = folder / "cache"
    row: dict[str, Any] = {"suite": name}
    if small is not None:
        row |= exact(suite, paths, cache, small)
        print(row, flush=True)
        _free()
    if size is not None:
        suite = changed(suite, **dict(zip(("height", "width", "frames"), size, strict=True)))
        row["suite"] += f" at {'x'.join(map(str, size))}"
    if timed:
        row |= speed(suite, cache, twelve="4step" in name)
        print(row, flush=True)
        _free()
        row["stock_seconds"], row["stock_decode_seconds"] = stock_seconds(suite, cache)
        for kind in ("", "flash_"):
            if f"{kind}seconds" in row:
                row[f"{kind}share"] = row[f"{kind}seconds"] / row["stock_seconds"]
        _free()
    return row


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""

    def shown(value: Any) -> str:  # noqa: ANN401 - a cell
        return f"{value:.2f}" if isinstance(value, float) else "" if value is None else str(value)

    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(shown(row.get(column)) for column in COLUMNS) for row in rows]
    lines += [f"\n{row['suite']}: {row['error']}" for row in rows if "error" in row]
    return "".join(f"| {line} |\n" if "|" in line else f"{line}\n" for line in lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.kinds", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--files", type=Path, help="where weights are written, 45 GB; default: a temporary folder"
    )
    parser.add_argument("--suite", action="append", choices=DENOISERS, help="only this one; repeatable")
    parser.add_argument(
        "--size",
        action="append",
        type=lambda text: tuple(map(int, text.split("x"))),
        help="HEIGHTxWIDTHxFRAMES to time instead of the suite's; repeatable, what must be exact is left out",
    )
    parser.add_argument("--no-exact", action="store_true", help="time only")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no suite after so many")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.files or Path(temporary)
        wanted = itertools.product(arguments.suite or DENOISERS, arguments.size or [None])
        for name, size in wanted:
            small = None if size or arguments.no_exact else (256, 256, 5)
            if time.monotonic() - began > 60 * arguments.minutes:
                rows.append({"suite": name, "error": f"not begun after {arguments.minutes:g} minutes"})
            else:
                try:
                    rows.append(measure(name, folder, device="cuda:0", small=small, size=size))
                # one suite that fails must not take the others' rows with it
                except Exception as error:  # noqa: BLE001  it is a row of the table
                    rows.append({"suite": name, "error": f"{type(error).__name__}: {str(error)[:400]}"})
                    _free()
            print(f"{time.monotonic() - began:.0f} s: {rows[-1]}", flush=True)
            (arguments.out / "kinds.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
            (arguments.out / "kinds.md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
