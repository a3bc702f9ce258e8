"""Train the VAE: ``python -m tools.tiny_world.train_vae --out build/tiny``.

Resumable; writes ``vae.safetensors`` (half precision) and ``vae.json`` (widths, latent statistics, figures).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from diffsynth.models.wan_video_vae import VideoVAE38_
from safetensors.torch import load_file
from torch import Tensor, nn

from tools.tiny_world.factors import CATEGORIES
from tools.tiny_world.training import Trainer, Videos, device, save_half, to_network

WIDTHS = {"z_dim": 48, "dim": 12, "dec_dim": 22}
LATENT_NOISE = 0.06  # what the decoder learns to live with; keeps the latents smooth for the diffusion model


def importance(videos: Tensor) -> Tensor:
    """Weight of every pixel: 5 where there is an edge or a motion, 1 elsewhere.

    Most of a scene is flat; under an even loss the few bright or moving pixels vanish.

    Args:
        videos: Shape (n, 3, frames, height, width), -1..1.

    Returns:
        Shape (n, 1, frames, height, width).
    """
    luma = videos.mean(1, keepdim=True)
    padded = nn.functional.pad(luma, (0, 1, 0, 1, 0, 0), mode="replicate")
    edge = (padded[..., :-1, 1:] - luma).abs() + (padded[..., 1:, :-1] - luma).abs()
    motion = torch.zeros_like(luma)
    motion[:, :, 1:] = (luma[:, :, 1:] - luma[:, :, :-1]).abs()
    mask = ((edge > 0.15) | (motion > 0.08)).float()
    return 1 + 4 * nn.functional.max_pool3d(mask, (1, 3, 3), 1, (0, 1, 1))


def moving(videos: Tensor) -> Tensor:
    """Which pixels of frame t differ from frame t-1 by more than 4 % of the range; first frame none."""
    change = (videos[:, :, 1:] - videos[:, :, :-1]).abs().amax(1, keepdim=True) > 0.08
    return torch.cat([torch.zeros_like(change[:, :, :1]), change], 2).expand_as(videos)


@torch.no_grad()
def psnr(model: VideoVAE38_, scale: list[Tensor], seed: int, count: int = 64) -> dict[str, dict[str, float]]:
    """PSNR in dB on held-out combinations: of whole frames and of moving pixels, by category."""
    result = {}
    for name in CATEGORIES:
        data = Videos({name: count}, seed, part="held_out")
        whole, part, pixels = 0.0, 0.0, 0
        for start in range(0, count, 16):
            truth = to_network(data.pixels[start : start + 16])
            made = model.decode(model.encode(truth, scale), scale).clamp(-1, 1)
            error = ((made - truth) / 2).square()
            mask = moving(truth)
            whole += float(error.mean()) * len(truth) / count
            part += float(error[mask].sum())
            pixels += int(mask.sum())
        result[name] = {"whole": -10 * math.log10(whole), "moving": -10 * math.log10(part / pixels)}
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--videos", type=int, default=24000)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--weights", type=Path, help="start from these weights instead of random ones")
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.backends.cudnn.benchmark = True
    model = VideoVAE38_(**WIDTHS)
    if arguments.weights:
        weights = load_file(arguments.weights)
        model.load_state_dict({name.removeprefix("model."): value.float() for name, value in weights.items()})
    share = arguments.videos // 8
    data = Videos(
        {"urban": 3 * share, "nature": 2 * share, "action": 2 * share, "other": share},
        arguments.seed,
        hazy_urban=0.3,
    )
    unit = [torch.zeros(WIDTHS["z_dim"], device=device()), torch.ones(WIDTHS["z_dim"], device=device())]

    def batch() -> tuple[Tensor, ...]:
        return (data.pixels[torch.randint(len(data), (arguments.batch,), device=device())],)

    def step(pixels: Tensor) -> Tensor:
        truth = to_network(pixels)
        latents = model.encode(truth, unit)
        made = model.decode(latents + LATENT_NOISE * torch.randn_like(latents), unit)
        difference = made.float() - truth
        pixel_loss = (importance(truth) * (difference.abs() + difference.square())).mean()
        loss: Tensor = pixel_loss + 1e-4 * latents.float().square().mean()
        return loss

    trainer = Trainer(
        {"vae": model}, step, batch, arguments.out / "state-vae", steps=arguments.steps, rate=arguments.rate
    )
    trainer.resume()
    trainer.run(seconds=arguments.seconds)
    trainer.use_average()
    model.eval().requires_grad_(False)
    # Statistics of the latents of clear training videos, as the wrapper normalises by them.
    sums, squares, number = torch.zeros(48, device=device()), torch.zeros(48, device=device()), 0
    with torch.no_grad():
        for start in range(0, min(len(data), 4096), 32):
            rows = torch.randint(len(data), (32,), device=device())
            latents = model.encode(to_network(data.pixels[rows]), unit)
            sums += latents.sum((0, 2, 3, 4))
            squares += latents.square().sum((0, 2, 3, 4))
            number += latents.numel() // 48
            if start > 2000 and device().type == "cpu":
                break
    mean = sums / number
    std = (squares / number - mean.square()).sqrt()
    save_half(model, arguments.out / "vae.safetensors", prefix="model.")
    figures = psnr(model, [mean, 1 / std], seed=arguments.seed + 1)
    record = {
        "widths": WIDTHS,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "psnr": figures,
        "steps": trainer.done,
        "log": trainer.log,
    }
    (arguments.out / "vae.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
