"""Measure on a GPU, at full size: `python -m benchmarks.gpu --out bench.json --model FOLDER`.

Steps, in order: machine, model, ceiling, stock, reading, lora, scoring, levers, gate, gpus. Each writes what
it finds at once; one that fails or has no time left does not stop the others.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from benchmarks.gpu import gates, single
from benchmarks.gpu.children import TIMED_OUT, run_group
from benchmarks.gpu.context import Context
from benchmarks.gpu.record import Record, say

STEPS = ("machine", "model", *single.STEPS, "gate", "gpus")
_PACKAGES = ("torch", "diffsynth", "open_clip_torch", "transformers", "triton", "pytest", "pytest-xdist")
_MOST = 550.0  # seconds: a little less than ten minutes


def main() -> None:
    """Command line."""
    arguments = _arguments()
    chosen = [
        name for name in STEPS if name in (arguments.only or STEPS) and name not in (arguments.skip or ())
    ]
    arguments.work.mkdir(parents=True, exist_ok=True)
    context = Context(
        record=Record(arguments.out.absolute()),
        model=arguments.model.absolute(),
        work=arguments.work.absolute(),
        smoke=arguments.smoke,
        deadline=arguments.deadline or time.time() + arguments.seconds,
        videos=arguments.videos,
        seeds=arguments.seeds,
    )
    os.environ |= gates.hub_variables(context.model)
    if arguments.inside:
        single.run(context, chosen)
        return
    for name, step in (("machine", _machine), ("model", _model)):
        if name in chosen:
            with context.record.step(name):
                step(context, arguments)
    _run_single(context, [name for name in chosen if name in single.STEPS])
    for name, measure in (("gate", gates.one_gpu), ("gpus", gates.several_gpus)):
        if name in chosen:
            with context.record.step(name):
                measure(context)
    failed = [name for name, step in context.record.read().items() if step.get("status") != "done"]
    say(f"not done: {', '.join(failed) or 'nothing'}")
    sys.exit(1 if failed else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.json"), help="added to if it exists")
    room = Path(tempfile.gettempdir())
    parser.add_argument("--model", type=Path, default=room / "hollow", help="34 GB")
    parser.add_argument("--work", type=Path, default=room / "bench-gpu", help="caches and runs")
    parser.add_argument("--only", type=_steps, metavar="STEP,STEP")
    parser.add_argument("--skip", type=_steps, metavar="STEP,STEP")
    parser.add_argument("--seconds", type=float, default=_MOST, help="begin no further part after this time")
    parser.add_argument("--videos", type=int, default=2, help="timed for each lever")
    parser.add_argument(
        "--seeds",
        type=_numbers,
        default=(16,),
        metavar="N,N",
        help="a scenario, for one GPU against several; several numbers make a table of whole runs",
    )
    parser.add_argument("--precision", choices=("published", "bfloat16"), default="published")
    parser.add_argument("--smoke", action="store_true", help="the small model: tries the benchmark itself")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def _steps(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(STEPS):
        raise argparse.ArgumentTypeError(f"no such step: {', '.join(unknown)}; allowed: {', '.join(STEPS)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _machine(context: Context, _: argparse.Namespace) -> None:
    from pytest_wanlora.environment import gpu_name, processor_name, visible_gpus

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    context.record.note(
        "machine",
        gpu=gpu_name() or "none",
        gpus=visible_gpus(),
        processor=processor_name(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        date=time.strftime("%Y-%m-%d"),
        smoke=context.smoke,
    )
    if shutil.which("nvidia-smi"):
        query = "--query-gpu=driver_version,memory.total,power.limit"
        told = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, check=False
        )
        context.record.note("machine", driver=told.stdout.strip().splitlines()[:1])


def _model(context: Context, arguments: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "tools.hollow_wan", "--out", str(context.model)]
    command += ["--smoke"] if context.smoke else ["--precision", arguments.precision]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    size = sum(path.stat().st_size for path in context.model.rglob("*") if path.is_file())
    context.record.note(
        "model",
        writing_seconds=round(time.perf_counter() - began, 1),
        gigabytes=round(size / 1e9, 1),
        precision=arguments.precision,
    )


def _run_single(context: Context, chosen: list[str]) -> None:
    """Do steps in one process; if it dies, note where, and go on in another with the steps after that one."""
    while chosen:
        command = [sys.executable, "-m", "benchmarks.gpu", "--inside", "--only", ",".join(chosen)]
        command += ["--out", str(context.record.path), "--model", str(context.model)]
        command += ["--work", str(context.work), "--videos", str(context.videos)]
        command += ["--deadline", str(context.deadline), *(["--smoke"] if context.smoke else [])]
        code = run_group(command, max(1.0, context.left))
        how = "no time was left" if code == TIMED_OUT else f"its process ended with {code}"
        steps = context.record.read()
        if code == 0:
            return
        reached = [name for name in chosen if name in steps and steps[name].get("status") != "running"]
        rest = [name for name in chosen if name not in reached]
        if rest:
            context.record.note(rest[0], status="failed", error=how)
        chosen = rest[1:] if context.left > 1 else []


if __name__ == "__main__":
    main()
