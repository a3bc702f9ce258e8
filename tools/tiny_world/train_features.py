"""Train the video-feature network: ``python -m tools.tiny_world.train_features --out build/tiny``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from pytest_wanlora.tiny.video_features import FeatureNetwork
from tools.tiny_world.factors import CATEGORIES, label_sizes, labels
from tools.tiny_world.training import Trainer, Videos, device, save_half, to_network

FEATURES, WIDTH = 64, 16


def targets(data: Videos) -> dict[str, Tensor]:
    """Targets of every video of ``data``, on the device."""
    parts: dict[str, list[Tensor]] = {name: [] for name in label_sizes()}
    for name, rows in zip(data.names, data.combinations, strict=True):
        for key, value in labels(name, rows).items():
            parts[key].append(torch.from_numpy(value).long())
    return {key: torch.cat(value).to(device()) for key, value in parts.items()}


@torch.no_grad()
def accuracy(network: FeatureNetwork, data: Videos) -> dict[str, float]:
    """Share of right answers per target, over the videos that the target applies to, and their mean."""
    truth = targets(data)
    right: dict[str, int] = {}
    total: dict[str, int] = {}
    for start in range(0, len(data), 64):
        logits = network.classify(network(to_network(data.pixels[start : start + 64])))
        for name, target in truth.items():
            part = target[start : start + 64]
            known = part >= 0
            guess = logits[name.replace(".", "_")].argmax(1)
            right[name] = right.get(name, 0) + int((guess[known] == part[known]).sum())
            total[name] = total.get(name, 0) + int(known.sum())
    result = {name: right[name] / total[name] for name in right if total[name]}
    result["all"] = sum(right.values()) / sum(total.values())
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--videos", type=int, default=16000)
    parser.add_argument("--seed", type=int, default=21)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.backends.cudnn.benchmark = True
    network = FeatureNetwork(features=FEATURES, width=WIDTH, targets=label_sizes())
    data = Videos(dict.fromkeys(CATEGORIES, arguments.videos // 4), arguments.seed)
    truth = targets(data)
    names = list(truth)
    table = torch.stack([truth[name] for name in names], 1)

    def batch() -> tuple[Tensor, ...]:
        rows = torch.randint(len(data), (arguments.batch,), device=device())
        return data.pixels[rows], table[rows]

    def step(pixels: Tensor, target: Tensor) -> Tensor:
        videos = to_network(pixels)
        # A little noise, so that a generated video's faint grain is not a new world to the network.
        videos = videos + 0.04 * torch.randn_like(videos)
        logits = network.classify(network(videos))
        losses = [
            nn.functional.cross_entropy(
                logits[name.replace(".", "_")].float(), target[:, column], ignore_index=-1, reduction="sum"
            )
            for column, name in enumerate(names)
        ]
        loss: Tensor = torch.stack(losses).sum() / arguments.batch
        return loss

    trainer = Trainer(
        {"features": network},
        step,
        batch,
        arguments.out / "state-features",
        steps=arguments.steps,
        rate=1e-3,
        decay=0.05,
    )
    trainer.resume()
    trainer.run(seconds=arguments.seconds)
    trainer.use_average()
    network.eval().requires_grad_(False)
    figures = accuracy(network, Videos(dict.fromkeys(CATEGORIES, 256), arguments.seed + 1, part="held_out"))
    config = {"features": FEATURES, "width": WIDTH, "targets": label_sizes()}
    save_half(network, arguments.out / "video_features.safetensors", metadata={"config": json.dumps(config)})
    record = {"held_out_accuracy": figures, "steps": trainer.done, "log": trainer.log}
    (arguments.out / "video_features.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
