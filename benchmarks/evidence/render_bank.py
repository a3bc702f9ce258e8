"""Render and score a bank of videos of the embedded model, many seeds at a time.

``python -m benchmarks.evidence.render_bank --out bank.safetensors base=-
epoch-0=examples/epoch-0.safetensors@1.0``; `--first 384` takes the seeds from there on.

Every condition is the base model (``-``) or a LoRA at a strength; `--degrade CONDITION` adds that condition's
videos spoilt by each loss of `benchmarks.evidence.degradations`, and `--ruin CONDITION` its videos ruined
altogether, those of another scenario among them. The noise of a seed, the time steps and the
guidance are the pipeline's own, so a row of the bank is the video that the gate renders, to rounding; batches
make it fast enough on a GPU for hundreds of seeds. Scores come from the suite's own scorers. A bank that was
cut short goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffsynth.models.wan_video_dit import WanModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.evidence.degradations import DEGRADATIONS, RUINED, Degradation, Frames
from pytest_wanlora.scoring.scorer import Scorer
from pytest_wanlora.suite import Suite, load
from pytest_wanlora.tiny.registration import FOLDER
from pytest_wanlora.tiny.vae import TinyWanVideoVAE38
from tools.tiny_world import train_dit
from tools.tiny_world.train_dit import DIT, GRID, Captions, PaddedCrossAttention
from tools.tiny_world.training import device

BATCH = 128
#: Ending of the condition whose videos show another scenario than their own.
WRONG_SCENARIO = "+ruined-wrong-scenario"
METRICS = (
    "clip",
    "clip_cosine",
    "temporal",
    "sharpness",
    "sharpness_pct",
    "color",
    "motion",
    "drift",
    "overall",
)


def fused(lora: str, strength: float) -> WanModel:
    """The DiT with a LoRA fused into it; ``-`` is the base model."""
    weights = {name: value.float() for name, value in load_file(FOLDER / "dit.safetensors").items()}
    if lora != "-":
        state = load_file(lora)
        for name, down in state.items():
            if ".lora_A." in name:
                up = state[name.replace("lora_A", "lora_B")].float()
                weights[name.replace(".lora_A.default", "")] += strength * (up @ down.float())
    dit = WanModel(**DIT)
    dit.load_state_dict(weights)
    for block in dit.blocks:
        block.cross_attn.attn = PaddedCrossAttention(DIT["num_heads"])  # type: ignore[arg-type]  # a literal
    return dit.to(device()).eval()


@torch.no_grad()
def render(
    dit: WanModel, vae: TinyWanVideoVAE38, context: Tensor, empty: Tensor, seeds: range, suite: Suite
) -> np.ndarray:
    """Videos of one prompt, uint8 (seeds, frames, height, width, 3).

    Args:
        dit: The network.
        vae: Decodes its latents.
        context: Prompt embedding, (1, length, width).
        empty: Embedding of the negative prompt.
        seeds: Seeds of the noise.
        suite: For steps, shift and guidance.
    """
    result = []
    for start in range(0, len(seeds), BATCH):
        part = seeds[start : start + BATCH]
        steps = sampled(dit, context.expand(len(part), -1, -1), empty, part, suite)
        ((_, _, _, x),) = deque(steps, maxlen=1)
        for latents in torch.split(x, 16):
            pixels = vae.model.decode(latents, vae.scale).clamp(-1, 1)
            result.append(
                ((pixels + 1) * 127.5).clip(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1).cpu().numpy()
            )
    return np.concatenate(result)


@torch.no_grad()
def sampled(
    dit: WanModel, contexts: Tensor, empty: Tensor, seeds: range, suite: Suite
) -> Iterator[tuple[float, Tensor, Tensor, Tensor]]:
    """The steps of the pipeline: time, latents before, both predictions (prompts, then none), latents after.

    Args:
        dit: The network.
        contexts: Embedding of each seed's prompt, (seeds, length, width).
        empty: Embedding of the negative prompt, (1, length, width).
        seeds: Seeds of the noise.
        suite: For steps, shift and guidance.
    """
    sampling = suite.sampling
    sigmas = torch.linspace(1, 0, sampling.steps + 1)
    sigmas = sampling.shift * sigmas / (1 + (sampling.shift - 1) * sigmas)
    freqs = train_dit.rotary(dit)
    x = torch.cat(
        [torch.randn((1, 48, 3, 6, 10), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    ).to(device())
    both = torch.cat([contexts, empty.expand(len(seeds), -1, -1)])
    for now, after in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        times = torch.full((2 * len(seeds), math.prod(GRID)), 1000 * now, device=device())
        predicted = train_dit.predict(dit, torch.cat([x, x]), times, both, freqs)
        guided, free = predicted.chunk(2)
        before, x = x, x + (after - now) * (free + sampling.cfg_scale * (guided - free))
        yield 1000 * now, before, predicted, x


_SCORERS: dict[str, Scorer] = {}  # one a process: a pool's function cannot hold it otherwise


def score(
    numbered: tuple[int, Frames], caption: str, loss: Degradation | None
) -> tuple[list[float], np.ndarray]:
    """Scores in the order of ``METRICS`` (NaN where degenerate) and the feature vector of a seed's video."""
    if "tiny" not in _SCORERS:
        torch.set_num_threads(1)
        _SCORERS["tiny"] = Scorer(load("tiny").scoring, device="cpu")
    seed, video = numbered
    found = _SCORERS["tiny"].score(video if loss is None else loss(video, seed), caption)
    return [found.scores.get(name, math.nan) for name in METRICS], found.video_features


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument("--seeds", type=int, default=256, help="how many (default: 256)")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument(
        "--degrade", action="append", default=[], metavar="NAME", help="also spoil its videos"
    )
    parser.add_argument("--ruin", action="append", default=[], metavar="NAME", help="also ruin its videos")
    parser.add_argument("conditions", nargs="+", metavar="NAME=LORA@STRENGTH")
    arguments = parser.parse_args()
    suite, seeds = load("tiny"), range(arguments.first, arguments.first + arguments.seeds)
    captions = Captions(FOLDER / "tokenizer")
    table, vae = train_dit.packaged_prompts(captions), train_dit.load_packaged_vae()
    said = {words: row for row, words in enumerate(captions.texts)}
    bank: dict[str, Tensor] = load_file(arguments.out) if arguments.out.exists() else {}
    metadata = {"metrics": json.dumps(METRICS), "first_seed": str(arguments.first)}
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.processes) as pool:
        for condition in arguments.conditions:
            name, _, source = condition.partition("=")
            lora, _, strength = source.partition("@")
            losses = {"": None, **{f"+{key}": loss for key, loss in DEGRADATIONS.items()}}
            wanted = {
                name + key: loss for key, loss in losses.items() if not key or name in arguments.degrade
            }
            if name in arguments.ruin:
                wanted |= {f"{name}+ruined-{key}": loss for key, loss in RUINED.items()}
                wanted[f"{name}{WRONG_SCENARIO}"] = None
            if all(f"{each}/{scenario.id}/scores" in bank for each in wanted for scenario in suite.scenarios):
                continue
            dit = fused(lora, float(strength or 1))
            for scenario in suite.scenarios:
                row = said[scenario.prompt]
                clean = render(dit, vae, table[row : row + 1], table[:1], seeds, suite)
                following = suite.scenarios[(suite.scenarios.index(scenario) + 1) % len(suite.scenarios)]
                for spoilt, loss in wanted.items():
                    # a video of the wrong prompt: this scenario's video, scored and stored as the next one's
                    at = following if spoilt.endswith(WRONG_SCENARIO) else scenario
                    judge = partial(score, caption=at.clip_caption, loss=loss)
                    scored = pool.map(judge, list(zip(seeds, clean, strict=True)), chunksize=4)
                    scores = torch.tensor([values for values, _ in scored])
                    bank[f"{spoilt}/{at.id}/scores"] = scores
                    # half precision: its rounding of 5e-4 is far below what two seeds differ by
                    features = np.stack([features for _, features in scored]).astype(np.float16)
                    bank[f"{spoilt}/{at.id}/features"] = torch.from_numpy(features)
                print(f"{name}: {scenario.id} done", flush=True)
            save_file(bank, arguments.out, metadata=metadata)


if __name__ == "__main__":
    main()
