"""How long the embedded model takes to render: ``python -m benchmarks.tiny_render``.

Each way runs in a process of its own, one after the other: the package's studio, and DiffSynth's stock call
with the same settings. Prints seconds from the process's start to the first video, and the median of the
videos after it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

STUDIO = """
from pytest_wanlora.environment import detect
from pytest_wanlora.jobs import plan
from pytest_wanlora.studio import Studio
from pytest_wanlora.suite import load
suite = load("tiny")
environment = detect(suite.sampling.dtype, "auto")
studio = Studio(suite, environment)
jobs = plan(
    suite, None, name="base", scale=1.0, seeds=range(VIDEOS), environment=environment, producer="bench",
    scenarios=suite.scenarios[:1])
calls = [lambda job=job: studio.render(job, None) for job in jobs]
"""

STOCK = """
import torch
from diffsynth.pipelines.wan_video import ModelConfig, WanVideoPipeline
from pytest_wanlora.suite import load
from pytest_wanlora.tiny.registration import FOLDER, register
register()
suite = load("tiny")
s = suite.sampling
device = "cuda" if torch.cuda.is_available() else "cpu"
pipe = WanVideoPipeline.from_pretrained(
    torch_dtype=torch.float32, device=device,
    tokenizer_config=ModelConfig(path=str(FOLDER / "tokenizer")),
    model_configs=[ModelConfig(path=str(FOLDER / f"{n}.safetensors")) for n in ("dit", "text_encoder",
    "vae")])
calls = [lambda seed=seed: pipe(
    prompt=suite.scenarios[0].prompt, seed=seed, height=s.height, width=s.width,
    num_frames=s.frames,
    num_inference_steps=s.steps, cfg_scale=s.cfg_scale, sigma_shift=s.shift, tiled=False,
    progress_bar_cmd=lambda steps: steps) for seed in range(VIDEOS)]
"""

TIMER = """
import sys, time
for call in calls:
    began = time.perf_counter()
    call()
    print("video", time.perf_counter() - began, time.time(), file=sys.stderr, flush=True)
"""


def measure(program: str, videos: int) -> tuple[float, float]:
    """Run one way in a fresh process.

    Returns:
        Seconds from the process's start to its first video, and the median of the videos after it.
    """
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", f"VIDEOS = {videos}\n{program}{TIMER}"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stderr.splitlines() if line.startswith("video ")]
    return float(lines[0][2]) - began, statistics.median(float(line[1]) for line in lines[1:])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=8)
    arguments = parser.parse_args()
    found = {name: measure(code, arguments.videos) for name, code in (("studio", STUDIO), ("stock", STOCK))}
    print("| way | process start to first video | each video after |")
    print("|---|---|---|")
    for name, (first, each) in found.items():
        print(f"| {name} | {first:.1f} s | {each:.2f} s |")
    ratios = [own / stock for own, stock in zip(found["studio"], found["stock"], strict=True)]
    print(f"| studio / stock | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
