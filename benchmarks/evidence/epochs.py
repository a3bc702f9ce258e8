"""Train runs of many epochs and render the bank that races are drawn from; needs a GPU, some eight minutes.

``python -m benchmarks.evidence.epochs train --work build/race --out OUT`` trains two runs of each kind at
once: from the bad example LoRA `epoch-0` on with evenly drawn videos at a low rate (`grow`, which goes on
improving) or with few videos over and over at a high one (`over`), or from nothing on with videos of cities
alone (`narrow`, which loses what is no city after its best epoch). A probe on seeds that are used for nothing
else says which of each kind does so most plainly; all epochs of these, at all strengths, are rendered into
`OUT/bank-0.safetensors`. ``render`` makes a bank of further seeds from the same LoRAs. What was cut short
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file

from benchmarks.evidence.races import fields
from tools.tiny_world.dataset import write_dataset

_START = Path("examples/epoch-0.safetensors")
_EVEN = {"urban": 0.3, "nature": 0.3, "action": 0.2, "other": 0.2}
#: Seeds of the probe: far from those of any bank.
_PROBE = 5000
#: Videos that an overfitting run sees.
_FEW = 24


@dataclass(frozen=True)
class Recipe:
    """How a run is trained.

    Attributes:
        videos: Which it sees: all, a few of them over and over, or those of cities.
        rate: Learning rate.
        accumulate: Videos a step.
    """

    videos: Literal["all", "few", "urban"]
    rate: float
    accumulate: int


RECIPES: Mapping[str, Recipe] = {
    "growa": Recipe("all", rate=1e-4, accumulate=2),
    "growb": Recipe("all", rate=3e-4, accumulate=4),
    "overa": Recipe("few", rate=4e-4, accumulate=1),
    "overb": Recipe("few", rate=1.2e-3, accumulate=1),
    "narrowa": Recipe("urban", rate=6e-4, accumulate=1),
    "narrowb": Recipe("urban", rate=1.8e-3, accumulate=1),
}


def _on(number: int) -> dict[str, str]:
    """The environment of one of several processes: each sees one GPU of those that there are."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": str(number % max(1, torch.cuda.device_count()))}


def train(work: Path, runs: Sequence[str], epochs: int, rows: int) -> None:
    """Train runs at once; what is there already is not trained again."""
    data = work / "data"
    if not (data / "metadata.csv").exists():
        write_dataset(data, rows, _EVEN, seed=4)
    with (data / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        head, *listed = csv.reader(stream)
    chosen = {
        "all": listed,
        # one of each category must be among the few
        "few": [listed[i] for i in range(0, len(listed), max(1, len(listed) // _FEW))][:_FEW],
        "urban": [row for row in listed if row[0].startswith("videos/urban")],
    }
    for name, some in chosen.items():
        with (data / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([head, *(some[i % len(some)] for i in range(len(listed)))])
    running: dict[str, subprocess.Popen[bytes]] = {}
    for name, recipe in ((run, RECIPES[run]) for run in runs):
        if (work / name / f"epoch-{epochs - 1}.safetensors").exists():
            continue
        log = (work / f"{name}.log").open("w", encoding="utf-8")
        running[name] = subprocess.Popen(
            [
                *(sys.executable, "-m", "tools.tiny_world.train_lora", "--data", str(data)),
                *("--metadata", str(data / f"{recipe.videos}.csv")),
                *("--out", str(work / name), "--rate", str(recipe.rate), "--epochs", str(epochs)),
                *("--accumulate", str(recipe.accumulate)),
                *(() if recipe.videos == "urban" else ("--resume", str(_START))),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_on(len(running)),
        )
        if not (data / "latents.safetensors").exists():
            # the first encodes the videos for all
            while running[name].poll() is None and not (data / "latents.safetensors").exists():
                time.sleep(0.2)
            time.sleep(1.0)
    for name, process in running.items():
        if process.wait():
            raise SystemExit(f"{name}: {(work / f'{name}.log').read_text()[-2000:]}")


def halve(work: Path, loras: Path, runs: Sequence[str], epochs: int) -> None:
    """Keep every epoch in half precision: what a bank is rendered from, and small."""
    loras.mkdir(parents=True, exist_ok=True)
    for name in runs:
        for epoch in range(epochs):
            state = load_file(work / name / f"epoch-{epoch}.safetensors")
            half = {key: value.to(torch.float16).contiguous() for key, value in state.items()}
            save_file(half, loras / f"{name}-{epoch}.safetensors")


def render(
    out: Path,
    loras: Path,
    runs: Sequence[str],
    strengths: Sequence[float],
    *,
    first: int,
    seeds: int,
    processes: int,
) -> None:
    """Render a bank of some runs, a process for each; goes on where it was cut short."""
    if out.exists():
        return
    parts: dict[Path, subprocess.Popen[bytes]] = {}
    for run in runs:
        part = out.with_suffix(f".{run}.part")
        files = sorted(loras.glob(f"{run}-*.safetensors"), key=lambda path: int(path.stem.rpartition("-")[2]))
        conditions = [
            f"{path.stem}@{strength:g}={path}@{strength:g}" for path in files for strength in strengths
        ]
        base = ["base=-"] if run == runs[0] else []
        command = [
            *(sys.executable, "-m", "benchmarks.evidence.render_bank", "--out", str(part)),
            *(
                "--first",
                str(first),
                "--seeds",
                str(seeds),
                "--processes",
                str(max(1, processes // len(runs))),
            ),
        ]
        parts[part] = subprocess.Popen(
            [*command, *base, *conditions], stdout=subprocess.DEVNULL, env=_on(len(parts))
        )
    if any(process.wait() for process in parts.values()):
        raise SystemExit(f"{out}: a bank could not be rendered")
    from safetensors import safe_open

    tensors: dict[str, torch.Tensor] = {}
    for part in parts:
        with safe_open(str(part), "pt") as file:
            metadata = file.metadata()
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
    # half precision of what are means of many pixels: 5e-4 relative, far below what two seeds differ by
    save_file({key: value.to(torch.float16) for key, value in tensors.items()}, out, metadata=metadata)
    for part in parts:
        part.unlink()


def chosen(curves: Mapping[str, Sequence[float]]) -> list[str]:
    """Of each kind of run one: that improves most, or has lost most since its best epoch."""

    def plainly(name: str) -> float:
        losses = curves[name]
        if RECIPES[name].videos == "all":
            return losses[0] - losses[-1] - 2 * (losses[-1] - min(losses))
        return min(losses[-1], 3.0) - min(losses[:-1])

    kinds = sorted({RECIPES[name].videos for name in curves})
    return [max((name for name in curves if RECIPES[name].videos == kind), key=plainly) for kind in kinds]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "render"))
    parser.add_argument("--work", type=Path, default=Path("build/race"), help="where it trains")
    parser.add_argument("--loras", type=Path, help="epochs in half precision (default: OUT/loras)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", nargs="+", choices=RECIPES, help="which (default: all)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=160, help="videos an epoch")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--probe", type=int, default=12, help="seeds of the probe")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.6, 0.8, 1.0])
    parser.add_argument("--processes", type=int, default=16)
    arguments = parser.parse_args()
    began, out = time.monotonic(), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    loras = arguments.loras or out / "loras"
    runs, told = arguments.runs or list(RECIPES), {}
    if arguments.what == "train":
        arguments.work.mkdir(parents=True, exist_ok=True)
        train(arguments.work, runs, arguments.epochs, arguments.rows)
        halve(arguments.work, loras, runs, arguments.epochs)
        print(f"trained after {time.monotonic() - began:.0f} s", flush=True)
        probe = out / "probe.safetensors"
        render(probe, loras, runs, [1.0], first=_PROBE, seeds=arguments.probe, processes=arguments.processes)
        curves = {
            field.name: [
                field.truth.get(f"{field.name}-{epoch}@1", 99.0) for epoch in range(arguments.epochs)
            ]
            for field in fields([probe])
        }
        runs = chosen(curves)
        told = {"curves": curves, "chosen": runs}
        print(json.dumps(told), f"probed after {time.monotonic() - began:.0f} s", flush=True)
    render(
        out / f"bank-{arguments.first}.safetensors",
        loras,
        runs,
        arguments.strengths,
        first=arguments.first,
        seeds=arguments.seeds,
        processes=arguments.processes,
    )
    took = time.monotonic() - began
    versions = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    record = {
        **told,
        **versions,
        "runs": runs,
        "first": arguments.first,
        "seeds": arguments.seeds,
        "seconds": round(took),
    }
    (out / f"epochs-{arguments.first}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"done after {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
