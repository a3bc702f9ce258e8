"""Distil the embedded model to 4 steps: `python -m tools.tiny_world.distil --out build/fast`.

The teacher is the packaged model with 20 steps and guidance 3, solved by Euler's method on DiffSynth's
schedule. Its path from noise to video passes through the noise levels of 4 steps, each five of its own steps
apart. A LoRA learns, at each of the four, the straight line to the next one, without guidance (progressive
distillation, Salimans and Ho 2022, with the whole path known). Writes `accelerator.safetensors` in
DiffSynth's format.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from pathlib import Path

import torch
from diffsynth.models.wan_video_dit import WanModel
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pytest_wanlora.tiny.registration import FOLDER
from tools.tiny_world.factors import CATEGORIES, split
from tools.tiny_world.train_dit import (
    DIT,
    GRID,
    SHIFT,
    Captions,
    PaddedCrossAttention,
    packaged_prompts,
    predict,
    rotary,
)
from tools.tiny_world.train_lora import TARGETS
from tools.tiny_world.training import device

STEPS, TEACHER_STEPS, GUIDANCE = 4, 20, 3.0


def levels(steps: int) -> list[float]:
    """Noise levels of a schedule, from 1 to 0."""
    return [SHIFT * u / (1 + (SHIFT - 1) * u) for u in torch.linspace(1, 0, steps + 1).tolist()]


def denoiser() -> nn.Module:
    """The packaged one, with the padding of prompts in one row."""
    dit = WanModel(**DIT)
    dit.load_state_dict({key: value.float() for key, value in load_file(FOLDER / "dit.safetensors").items()})
    for block in dit.blocks:
        block.cross_attn.attn = PaddedCrossAttention(DIT["num_heads"])  # type: ignore[arg-type]  # a literal
    found: nn.Module = dit.to(device()).requires_grad_(False)
    return found


def at(count: int, level: float) -> Tensor:
    """One noise level as the time of every token."""
    return torch.full((count, math.prod(GRID)), 1000 * level, device=device())


@torch.no_grad()
def paths(dit: nn.Module, texts: Tensor, rows: Tensor, seed: int, seconds: float) -> tuple[Tensor, Tensor]:
    """The teacher's path for captions at the student's noise levels, (n, STEPS + 1, C, F, H, W), and rows."""
    freqs, levels_ = rotary(dit), levels(TEACHER_STEPS)
    generator = torch.Generator().manual_seed(seed)
    found, began = [], time.monotonic()
    for part in torch.split(rows, 8):
        x = torch.randn(len(part), 48, 3, 6, 10, generator=generator).to(device())
        context = torch.cat([texts[part], texts[torch.zeros_like(part)]])
        kept = [x]
        for number, (now, after) in enumerate(itertools.pairwise(levels_), 1):
            with_text, without = predict(dit, torch.cat([x, x]), at(2 * len(x), now), context, freqs).chunk(2)
            x = x + (after - now) * (without + GUIDANCE * (with_text - without))
            if number % (TEACHER_STEPS // STEPS) == 0:
                kept.append(x)
        found.append(torch.stack(kept, 1))
        if time.monotonic() - began > seconds:
            break
    done = torch.cat(found)
    print(f"{len(done)} paths in {time.monotonic() - began:.0f} s", flush=True)
    return done, rows[: len(done)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--paths", type=int, default=4000)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--seconds", type=float, default=300, help="for the paths, and again for the training"
    )
    parser.add_argument("--seed", type=int, default=71)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    captions = Captions(FOLDER / "tokenizer")
    texts = packaged_prompts(captions)
    rows = torch.tensor(
        [
            captions.rows[(name, row, said)]
            for name in CATEGORIES
            for row in split(name, "train")
            for said in range(4)
        ]
    )
    rows = rows[torch.randint(len(rows), (arguments.paths,))].to(device())
    dit = denoiser()
    known, rows = paths(dit, texts, rows, arguments.seed, arguments.seconds)
    names = TARGETS.split(",")
    student = inject_adapter_in_model(
        LoraConfig(r=arguments.rank, lora_alpha=arguments.rank, target_modules=names), dit
    )
    trained = [value for value in student.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=arguments.rate, weight_decay=0.0)
    freqs, levels_ = rotary(student), levels(STEPS)
    began, done = time.monotonic(), 0
    while (share := (time.monotonic() - began) / arguments.seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * min(1.0, (done + 1) / 20) * 0.5 * (1 + math.cos(math.pi * share))
        chosen = torch.randint(len(known), (arguments.batch,), device=device())
        steps = torch.randint(STEPS, (arguments.batch,), device=device())
        now = torch.tensor(levels_, device=device())[steps]
        after = torch.tensor(levels_, device=device())[steps + 1]
        x, target = known[chosen, steps], known[chosen, steps + 1]
        velocity = (target - x) / (after - now).view(-1, 1, 1, 1, 1)
        times = (1000 * now).view(-1, 1).expand(-1, math.prod(GRID))
        error = (predict(student, x, times, texts[rows[chosen]], freqs) - velocity).square().mean()
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        done += 1
        if done % 25 == 0:
            print(f"step {done} loss {float(error):.5f} {time.monotonic() - began:.0f} s", flush=True)
    state = {
        name.replace("base_model.model.", ""): value.detach().half().cpu().contiguous()
        for name, value in student.state_dict().items()
        if ".lora_" in name
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(state, arguments.out / "accelerator.safetensors", metadata={"steps": str(done)})
    print(f"{done} steps, {len(known)} paths")


if __name__ == "__main__":
    main()
