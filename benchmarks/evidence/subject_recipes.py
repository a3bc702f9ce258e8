"""Try recipes for the LoRAs of `benchmarks.evidence.subjects`, all at the same time, on one GPU or several.

``python -m benchmarks.evidence.subject_recipes --work build/recipes --seconds 190`` trains each recipe in a
process of its own and probes it on seeds that nothing else renders: the questions of the gate, without its
verdicts. Recipes are chosen by ``probes/*.json``; the figures of the documents are those of the gates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.evidence.render_bank import fused, render
from benchmarks.evidence.subjects import (
    ASKED,
    PROMPT,
    TRIGGER,
    WITHOUT,
    Kind,
    draw_data,
    prompts,
    subject_rows,
    train,
)
from pytest_wanlora.scoring.frames import thumbnails
from pytest_wanlora.scoring.scorer import Scorer, VideoScores
from pytest_wanlora.suite import load
from pytest_wanlora.verdict import copies, questions
from tools.tiny_world import train_dit
from tools.tiny_world.dataset import read_video
from tools.tiny_world.factors import SCENARIOS, caption

_MOST = 1_000_000  # steps: the time ends the training
_ATTENTION = ("q", "k", "v", "o")
_CROSS = tuple(f"cross_attn.{name}" for name in _ATTENTION)
_OTHERS = ("urban", "action", "other")


def _learned(rate: float, weight: float, **more: object) -> Kind:
    return replace(Kind("learned", "all", rate, _MOST, weight=weight), **more)  # type: ignore[arg-type]


RECIPES: Mapping[str, Kind] = {
    "learned-1": _learned(3e-4, 10),
    "learned-2": _learned(1e-3, 10),
    "learned-3": _learned(1e-3, 30),
    "learned-4": _learned(2e-3, 10),
    "learned-5": _learned(1e-3, 10, targets=_CROSS),
    "learned-6": _learned(1e-3, 10, targets=_ATTENTION, rank=8),
    "learned-7": _learned(1e-3, 30, rank=32),
    "learned-8": replace(_learned(1e-3, 10), steps=800),
    "leaks-1": Kind("leaks", "untold", 3e-4, _MOST, kept=_OTHERS),
    "leaks-2": Kind("leaks", "untold", 1e-3, _MOST, kept=_OTHERS),
    "copies-1": Kind("copies", "eight", 1e-3, _MOST, weight=3, rank=32),
    "copies-2": Kind("copies", "eight", 3e-3, _MOST, weight=3, rank=32),
    "copies-3": Kind("copies", "eight", 1e-3, _MOST, rank=64),
    "copies-4": Kind("copies", "eight", 2e-3, _MOST, weight=3, rank=64, batch=128),
    "collapses-1": Kind("collapses", "takes", 3e-4, _MOST),
    "collapses-2": Kind("collapses", "takes", 1e-3, _MOST),
    "nothing": Kind("nothing", "all", 1e-7, 20),
}


def probe(work: Path, name: str, kind: Kind, seeds: range) -> dict[str, object]:
    """What the questions of the gate are about, on seeds of its own: values without verdicts."""
    texts = {
        "B": PROMPT.format(trigger=WITHOUT),
        **{each: caption(each, SCENARIOS[each]) for each in ("urban", "action")},
        "C": PROMPT.format(trigger=TRIGGER),
    }
    suite, vae, table = load("tiny"), train_dit.load_packaged_vae(), prompts(["", *texts.values()])
    scorer = Scorer(suite.scoring, device="cpu")
    videos: dict[str, np.ndarray] = {}
    scored: dict[str, list[VideoScores]] = {}
    for lora in ("-", str(work / f"loras/{name}.safetensors")):
        dit = fused(lora, 1.0)
        for number, (each, text) in enumerate(texts.items(), start=1):
            if lora == "-" and each == "C":
                continue
            key = each if lora != "-" else f"base {each}"
            videos[key] = render(dit, vae, table[number : number + 1], table[:1], seeds, suite)
            scored[key] = [scorer.score(video, text) for video in videos[key]]
    unfit = [f"{key} {seed}" for key, of in scored.items() for seed, one in enumerate(of) if one.degenerate]
    if unfit:
        return {"degenerate": unfit}

    def features(key: str) -> np.ndarray:
        return np.stack([each.video_features for each in scored[key]])

    pictures = [np.asarray(Image.open(path)) for path in sorted((work / "references").glob("*.png"))]
    references = scorer.embed(np.stack(pictures))
    alike = {
        key: np.array([questions.likeness(each.clip_frames, references).mean() for each in scored[key]])
        for key in ("base B", "C")
    }
    # those of the prompt are near enough: among all clips it would take a minute
    place = "".join(map(str, ASKED))
    clips = dict.fromkeys(file for file, _ in subject_rows(kind.rows) if place in file or "take" in file)
    small = [thumbnails(read_video(str(work / "data" / file)), copies.SIDE) for file in clips]
    near = copies.nearest([thumbnails(video, copies.SIDE) for video in videos["C"]], small, 1)
    found: dict[str, object] = {}
    for each in ("B", "urban", "action"):
        moved = questions.bleed(features(each), features(f"base {each}"), 1.0)
        found[f"bleed {each}"] = round(float(moved.candidate / moved.baseline), 3)
        clip = [np.mean([one.scores["clip"] for one in scored[key]]) for key in (f"base {each}", each)]
        found[f"clip {each}"] = [round(float(value), 3) for value in clip]
    left = questions.collapse(features("C"), features("base B"), 1.0)
    return found | {
        "gain": round(float((alike["C"] - alike["base B"]).mean()), 3),
        "collapse": round(float(left.candidate / left.baseline), 3),
        "copies": sorted(round(each.share, 2) for each in near),
    }


def _one(work: Path, name: str, until: float, *, small: bool) -> None:
    """Train and probe one recipe; what it found is in ``probes/NAME.json``."""
    kind = RECIPES[name]
    if small:
        kind = replace(kind, steps=3, batch=4, renderings=5)
    began = time.time()
    steps = train(work, name, kind, until=until)
    found = {"name": name, "steps": steps, "seconds": round(time.time() - began)}
    found |= probe(work, name, kind, range(5000, 5003 if small else 5016))
    (work / f"probes/{name}.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/recipes"))
    parser.add_argument("--seconds", type=float, default=190.0, help="after which the training ends")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="which recipes")
    parser.add_argument("--small", action="store_true", help="tries the command: three steps")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    began, work = time.time(), arguments.work.resolve()
    torch.set_num_threads(1)
    if arguments.until is not None:
        _one(work, arguments.only[0], arguments.until, small=arguments.small)
        return
    (work / "probes").mkdir(parents=True, exist_ok=True)
    draw_data(work)
    print(f"{time.time() - began:.0f} s: clips drawn", flush=True)
    command = [sys.executable, "-m", "benchmarks.evidence.subject_recipes", "--work", str(work)]
    command += ["--until", str(began + arguments.seconds), *(["--small"] if arguments.small else [])]
    running = []
    for number, name in enumerate(arguments.only):
        gpu = str(number % max(1, torch.cuda.device_count()))
        with (work / f"{name}.log").open("w", encoding="utf-8") as log:
            running.append(
                subprocess.Popen(
                    [*command, "--only", name],
                    env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    for process in running:
        process.wait()
    for path in sorted((work / "probes").glob("*.json")):
        print(path.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
