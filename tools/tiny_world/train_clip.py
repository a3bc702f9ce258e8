"""Train the small CLIP: ``python -m tools.tiny_world.train_clip --out build/tiny``.

Writes ``clip.json`` in open_clip's configuration format and ``clip.safetensors``.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from pytest_wanlora.scoring.tokenizer import ByteTokenizer
from tools.tiny_world.draw import FRAMES
from tools.tiny_world.factors import CATEGORIES, caption, split
from tools.tiny_world.training import Trainer, Videos, device, save_half

CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": [96, 160], "layers": 4, "width": 96, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 112, "vocab_size": 259, "width": 64, "heads": 4, "layers": 3},
}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # open_clip's own


def build() -> nn.Module:
    """The network, through open_clip's own class."""
    network: nn.Module = open_clip.CLIP(**CONFIG)
    return network


def normalise(frames: Tensor) -> Tensor:
    """uint8 (n, height, width, 3) -> what the image tower takes, (n, 3, height, width)."""
    # Scalars, not tensors: nothing may be copied to the device while a step is captured.
    channels = [
        (frames[..., channel].float() / 255 - mean) / std
        for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True))
    ]
    return torch.stack(channels, 1)


@torch.no_grad()
def retrieval(
    network: nn.Module, seed: int, *, part: str, choices: int = 32, trials: int = 512
) -> dict[str, float]:
    """Share of true videos for which the right one of ``choices`` captions scores highest.

    The wrong captions are other combinations of all categories, drawn without replacement. Videos are of new
    seeds and of the combinations in ``part``.

    Returns:
        Accuracy by category, and ``"all"``; and the mean cosine of the right caption, ``"cosine"``.
    """
    tokenizer = ByteTokenizer(CONFIG["text_cfg"]["context_length"])  # type: ignore[index]  # a literal above
    everything = [(name, row) for name in CATEGORIES for row in split(name, "all")]
    texts = tokenizer([caption(name, row) for name, row in everything]).to(device())
    text = nn.functional.normalize(network.encode_text(texts).float(), dim=-1)  # type: ignore[operator]
    generator = np.random.default_rng(seed)
    result, cosines = {}, []
    for name in CATEGORIES:
        data = Videos({name: trials // 4}, seed, part=part)
        right = 0
        for number, row in enumerate(data.combinations[0]):
            frames = network.encode_image(normalise(data.pixels[number]))  # type: ignore[operator]
            similarity = (nn.functional.normalize(frames.float(), dim=-1) @ text.T).mean(0)
            own = everything.index((name, tuple(int(v) for v in row)))
            wrong = generator.permutation([i for i in range(len(everything)) if i != own])[: choices - 1]
            right += bool(similarity[own] > similarity[torch.from_numpy(wrong).to(device())].max())
            cosines.append(float(similarity[own]))
        result[name] = right / len(data)
    result["all"] = sum(result.values()) / len(CATEGORIES)
    result["cosine"] = float(np.mean(cosines))
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--videos", type=int, default=16000)
    parser.add_argument("--seed", type=int, default=31)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = build()
    data = Videos(dict.fromkeys(CATEGORIES, arguments.videos // 4), arguments.seed)
    tokenizer = ByteTokenizer(CONFIG["text_cfg"]["context_length"])  # type: ignore[index]  # a literal above
    tokens = torch.stack([tokenizer(data.captions(template)) for template in range(4)], 1).to(device())
    identity = torch.from_numpy(np.unique(np.array(data.captions(0)), return_inverse=True)[1]).to(device())

    def batch() -> tuple[Tensor, ...]:
        rows = torch.randint(len(data), (arguments.batch,), device=device())
        frame = torch.randint(FRAMES, (arguments.batch,), device=device())
        way = torch.randint(4, (arguments.batch,), device=device())
        return data.pixels[rows, frame], tokens[rows, way], identity[rows]

    def step(frames: Tensor, texts: Tensor, who: Tensor) -> Tensor:
        images = normalise(frames)
        images = images + 0.05 * torch.randn_like(images)
        image = nn.functional.normalize(network.encode_image(images).float(), dim=-1)  # type: ignore[operator]
        text = nn.functional.normalize(network.encode_text(texts).float(), dim=-1)  # type: ignore[operator]
        scale = network.logit_scale.exp().clamp(max=50)  # type: ignore[operator]
        logits = scale * image @ text.T
        # Several rows of a batch may say the same: each of them is a right answer.
        same = (who[:, None] == who[None, :]).float()
        target = same / same.sum(1, keepdim=True)
        return -(
            (target * logits.log_softmax(1)).sum(1).mean() + (target * logits.log_softmax(0)).sum(1).mean()
        )

    trainer = Trainer(
        {"clip": network},
        step,
        batch,
        arguments.out / "state-clip",
        steps=arguments.steps,
        rate=1e-3,
        decay=0.05,
    )
    trainer.resume()
    trainer.run(seconds=arguments.seconds)
    trainer.use_average()
    network.eval().requires_grad_(False)
    figures = {part: retrieval(network, arguments.seed + 1, part=part) for part in ("train", "held_out")}
    save_half(network, arguments.out / "clip.safetensors")
    (arguments.out / "clip.json").write_text(
        json.dumps({**CONFIG, "tokenizer": "bytes", "preprocess_cfg": {"resize_mode": "squash"}}, indent=2)
        + "\n",
        encoding="utf-8",
    )
    record = {"retrieval_1_of_32": figures, "steps": trainer.done, "log": trainer.log}
    (arguments.out / "clip_log.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
