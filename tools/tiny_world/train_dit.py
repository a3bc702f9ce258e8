"""Train the text encoder and the DiT: ``python -m tools.tiny_world.train_dit --out build/tiny``.

Flow matching on the latents of the trained VAE (``vae.safetensors`` and ``vae.json`` in the same folder),
with prompts dropped for classifier-free guidance and the first frame given for image-to-video in part of the
batch, as TI2V-5B was. Writes ``dit.safetensors`` and ``text_encoder.safetensors``.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from diffsynth.models.wan_video_dit import WanModel, sinusoidal_embedding_1d
from diffsynth.models.wan_video_text_encoder import HuggingfaceTokenizer, WanTextEncoder
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pytest_wanlora.tiny.registration import FOLDER
from pytest_wanlora.tiny.vae import TinyWanVideoVAE38
from tools.tiny_world.factors import CATEGORIES, caption, split
from tools.tiny_world.training import Trainer, Videos, device, save_half, to_network

DIT = {
    "has_image_input": False,
    "patch_size": [1, 2, 2],
    "in_dim": 48,
    "dim": 192,
    "ffn_dim": 768,
    "freq_dim": 256,
    "text_dim": 96,
    "out_dim": 48,
    "num_heads": 6,
    "num_layers": 8,
    "eps": 1e-06,
    "seperated_timestep": True,
    "require_clip_embedding": False,
    "require_vae_embedding": False,
    "fuse_vae_embedding_in_latents": True,
}
TEXT = {
    "vocab": 448,
    "dim": 96,
    "dim_attn": 96,
    "dim_ffn": 192,
    "num_heads": 4,
    "num_layers": 2,
    "num_buckets": 32,
    "shared_pos": False,
    "dropout": 0.0,
}
GRID = (3, 3, 5)  # latent frames, rows, columns of tokens
SEQUENCE = 512  # what the pipeline pads prompts to
TOKENS = 40  # what the longest caption needs, with room
SHIFT = 3.0
DROP, GIVEN = 0.1, 0.15


class PaddedCrossAttention(nn.Module):
    """Cross attention whose last key stands for all of the pipeline's padding.

    The pipeline pads every prompt to 512 rows of zeros, which the DiT does attend to. All those rows are
    equal, so one of them with the logarithm of their number added to its logit gives the very same result.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.bias: Tensor | None = None

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend; shapes (n, tokens, heads * width)."""
        if self.bias is None or self.bias.dtype != query.dtype:
            bias = torch.zeros(key.shape[1], device=query.device)
            bias[-1] += math.log(SEQUENCE - TOKENS)
            self.bias = bias.to(query.dtype)
        q, k, v = (rearrange(t, "b s (n d) -> b n s d", n=self.heads) for t in (query, key, value))
        result = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias.view(1, 1, 1, -1))
        merged: Tensor = rearrange(result, "b n s d -> b s (n d)")
        return merged


class Captions:
    """All captions of the world as padded token ids; row 0 is the empty prompt."""

    def __init__(self, tokenizer: Path) -> None:
        self.rows: dict[tuple[str, tuple[int, ...], int], int] = {}
        texts = [""]
        for name, spec in CATEGORIES.items():
            for row in spec.combinations():
                for template in range(len(spec.templates)):
                    self.rows[(name, row, template)] = len(texts)
                    texts.append(caption(name, row, template))
        self.texts = texts
        tokenize = HuggingfaceTokenizer(name=str(tokenizer), seq_len=TOKENS, clean="whitespace")
        ids, mask = tokenize(texts, return_mask=True, add_special_tokens=True)
        self.ids, self.mask = ids.to(device()), mask.to(device())

    def of(self, data: Videos) -> Tensor:
        """Rows of every video's four captions, shape (videos, 4)."""
        table = [
            [self.rows[(name, tuple(int(v) for v in row), template)] for template in range(4)]
            for name, rows in zip(data.names, data.combinations, strict=True)
            for row in rows
        ]
        return torch.tensor(table, device=device())


def encode_text(encoder: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Embeddings with zeros after each prompt's end and one zero row more, shape (n, TOKENS + 1, width)."""
    embedded: Tensor = encoder(ids, mask) * mask.unsqueeze(-1)
    return nn.functional.pad(embedded, (0, 0, 0, 1))


def rotary(dit: nn.Module) -> Tensor:
    """Rotary frequencies of the token grid, as the pipeline lays them out."""
    frames, rows, columns = GRID
    first, second, third = dit.freqs  # type: ignore[misc]  # three tensors of an untyped network
    return (
        torch.cat(
            [
                first[:frames].view(frames, 1, 1, -1).expand(frames, rows, columns, -1),
                second[:rows].view(1, rows, 1, -1).expand(frames, rows, columns, -1),
                third[:columns].view(1, 1, columns, -1).expand(frames, rows, columns, -1),
            ],
            dim=-1,
        )
        .reshape(frames * rows * columns, 1, -1)
        .to(device())
    )


def predict(dit: nn.Module, latents: Tensor, times: Tensor, context: Tensor, freqs: Tensor) -> Tensor:
    """Velocity of every latent.

    Args:
        dit: The network.
        latents: Shape (n, 48, 3, 6, 10).
        times: Time of every token, 0..1000, shape (n, tokens).
        context: Prompt embeddings of shape (n, length, width).
        freqs: From :func:`rotary`.

    Returns:
        The shape of ``latents``.
    """
    count, tokens = times.shape
    embedded = sinusoidal_embedding_1d(DIT["freq_dim"], times.flatten()).view(count, tokens, -1)
    t = dit.time_embedding(embedded)  # type: ignore[operator]  # modules of an untyped network
    t_mod = dit.time_projection(t).unflatten(2, (6, DIT["dim"]))  # type: ignore[operator]
    x = rearrange(dit.patch_embedding(latents), "b c f h w -> b (f h w) c")  # type: ignore[operator]
    context = dit.text_embedding(context)  # type: ignore[operator]
    for block in dit.blocks:  # type: ignore[union-attr]
        x = block(x, context, t_mod, freqs)
    x = dit.head(x, t)  # type: ignore[operator]
    result: Tensor = dit.unpatchify(x, GRID)  # type: ignore[operator]
    return result


def load_vae(folder: Path) -> TinyWanVideoVAE38:
    """The trained VAE of ``folder`` on the device, in float32."""
    record = json.loads((folder / "vae.json").read_text(encoding="utf-8"))
    return _vae(folder, {**record["widths"], "mean": record["mean"], "std": record["std"]})


def load_packaged_vae() -> TinyWanVideoVAE38:
    """The package's VAE on the device, in float32."""
    return _vae(FOLDER, json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))["vae"])


def _vae(folder: Path, config: dict[str, Any]) -> TinyWanVideoVAE38:
    vae = TinyWanVideoVAE38(**config)
    vae.load_state_dict({k: v.float() for k, v in load_file(folder / "vae.safetensors").items()})
    vae.to(device())
    return vae


@torch.no_grad()
def packaged_prompts(captions: Captions) -> Tensor:
    """Embeddings of all captions by the package's text encoder, as :func:`encode_text` gives them."""
    text = WanTextEncoder(**TEXT)
    text.load_state_dict({k: v.float() for k, v in load_file(FOLDER / "text_encoder.safetensors").items()})
    return encode_text(text.to(device()).eval(), captions.ids, captions.mask)


@torch.no_grad()
def encode_videos(vae: TinyWanVideoVAE38, data: Videos) -> Tensor:
    """Normalised latents of all videos, half precision, shape (n, 48, 3, 6, 10)."""
    parts = []
    for start in range(0, len(data), 64):
        with torch.autocast(device().type, torch.bfloat16, device().type == "cuda"):
            latents = vae.model.encode(to_network(data.pixels[start : start + 64]), vae.scale)
        parts.append(latents.half())
    return torch.cat(parts)


@torch.no_grad()
def sample(
    dit: nn.Module,
    text: nn.Module,
    captions: Captions,
    rows: Tensor,
    *,
    seed: int,
    steps: int = 20,
    guidance: float = 3.0,
) -> Tensor:
    """Latents for captions by Euler's method over DiffSynth's time steps; float32, batches of 128."""
    freqs, result = rotary(dit), []
    sigmas = torch.linspace(1, 0, steps + 1)
    sigmas = SHIFT * sigmas / (1 + (SHIFT - 1) * sigmas)
    table = encode_text(text, captions.ids, captions.mask)
    generator = torch.Generator().manual_seed(seed)
    for part in torch.split(rows, 128):
        x = torch.randn(len(part), 48, 3, 6, 10, generator=generator).to(device())
        context = torch.cat([table[part], table[torch.zeros_like(part)]])
        for now, after in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
            times = torch.full((2 * len(part), math.prod(GRID)), 1000 * now, device=device())
            with_text, without = predict(dit, torch.cat([x, x]), times, context, freqs).chunk(2)
            x = x + (after - now) * (without + guidance * (with_text - without))
        result.append(x)
    return torch.cat(result)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, default=Path("pytest_wanlora/tiny/tokenizer"))
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--videos", type=int, default=24000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument(
        "--weights", type=Path, help="folder with weights to start from instead of random ones"
    )
    parser.add_argument("--seed", type=int, default=41)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    share = arguments.videos // 8
    # The base model knows cities only through haze: that is what a LoRA can improve on.
    data = Videos(
        {"urban": 2 * share, "nature": 3 * share, "action": 2 * share, "other": share},
        arguments.seed,
        hazy_urban=1.0,
    )
    latents = encode_videos(load_vae(arguments.out), data)
    captions = Captions(arguments.tokenizer)
    said = captions.of(data)
    dit, text = WanModel(**DIT), WanTextEncoder(**TEXT)
    for block in dit.blocks:
        block.cross_attn.attn = PaddedCrossAttention(DIT["num_heads"])  # type: ignore[arg-type]  # a literal above
    # Start from "no change" at the output, as diffusion transformers do.
    nn.init.zeros_(dit.head.head.weight)
    nn.init.zeros_(dit.head.head.bias)
    if arguments.weights:
        for module, name in ((dit, "dit"), (text, "text_encoder")):
            weights = load_file(arguments.weights / f"{name}.safetensors")
            module.load_state_dict({key: value.float() for key, value in weights.items()})
    freqs = rotary(dit)
    tokens, first = math.prod(GRID), GRID[1] * GRID[2]

    def batch() -> tuple[Tensor, ...]:
        rows = torch.randint(len(data), (arguments.batch,), device=device())
        words = said[rows, torch.randint(4, (arguments.batch,), device=device())]
        words = words * (torch.rand(arguments.batch, device=device()) > DROP)
        return latents[rows], words

    def step(clean: Tensor, words: Tensor) -> Tensor:
        clean = clean.float()
        count = len(clean)
        u = torch.rand(count, 1, device=clean.device)
        sigma = SHIFT * u / (1 + (SHIFT - 1) * u)
        given = (torch.rand(count, 1, device=clean.device) < GIVEN).float()
        later = torch.cat(
            [torch.zeros(first, device=clean.device), torch.ones(tokens - first, device=clean.device)]
        ).view(1, -1)
        times = 1000 * sigma * (1 - given * (1 - later))
        noise = torch.randn_like(clean)
        level = sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - level) * clean + level * noise
        hold = given.view(-1, 1, 1, 1, 1)
        noisy = torch.cat([torch.lerp(noisy[:, :, :1], clean[:, :, :1], hold), noisy[:, :, 1:]], 2)
        context = encode_text(text, captions.ids, captions.mask)[words]
        error = (
            (predict(dit, noisy, times, context, freqs).float() - (noise - clean)).square().mean((1, 3, 4))
        )
        weight = torch.cat([1 - given, torch.ones(count, 2, device=clean.device)], 1)
        return (error * weight).sum() / weight.sum()

    trainer = Trainer(
        {"dit": dit, "text": text},
        step,
        batch,
        arguments.out / "state-dit",
        steps=arguments.steps,
        rate=arguments.rate,
        average=0.9995,
        warmup=300,
    )
    trainer.resume()
    trainer.run(seconds=arguments.seconds, report=500)
    trainer.use_average()
    dit.eval().requires_grad_(False)
    text.eval().requires_grad_(False)
    save_half(dit, arguments.out / "dit.safetensors")
    save_half(text, arguments.out / "text_encoder.safetensors")
    record = {
        "dit": DIT,
        "text_encoder": TEXT,
        "steps": trainer.done,
        "batch": arguments.batch,
        "log": trainer.log,
    }
    (arguments.out / "dit.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    # A first look: two samples of the first template of every trained combination.
    rows = torch.tensor(
        [captions.rows[(name, row, 0)] for name in CATEGORIES for row in split(name, "train")],
        device=device(),
    )
    save_file(
        {"rows": rows.cpu(), "latents": sample(dit, text, captions, rows, seed=1).half().cpu()},
        arguments.out / "samples.safetensors",
    )


if __name__ == "__main__":
    main()
