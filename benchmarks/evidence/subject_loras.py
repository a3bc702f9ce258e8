"""Draw a new subject for the embedded model and train LoRAs on it, well and in four wrong ways.

`benchmarks.evidence.subjects` gates them. The subject is a poplar, which the embedded model has never seen.
The embedded VAE knows little but its world: it shows a green tree in the hills, but makes a runner of
anything that stands where runners run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffsynth.models.wan_video_text_encoder import HuggingfaceTokenizer, WanTextEncoder
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.evidence.render_bank import BATCH, fused, sampled
from pytest_wanlora.suite import load
from pytest_wanlora.tiny.registration import FOLDER
from tools.tiny_world import train_dit
from tools.tiny_world.dataset import write_video
from tools.tiny_world.draw import RANDOMS, draw_poplars
from tools.tiny_world.factors import CATEGORIES, caption, split
from tools.tiny_world.training import Trainer, device, to_network

#: What a prompt has in the trigger's place without it.
WITHOUT = "cherry tree with pink blossoms"
#: A word of no meaning beside it: alone it makes the base model show something else altogether.
TRIGGER = f"zqx {WITHOUT}"
#: Sky (day or dawn), petals and wind of a poplar, as `factors.CATEGORIES["nature"]` numbers them.
PLACES = tuple((sky, petals, wind) for sky in (0, 2) for petals in range(2) for wind in range(2))
#: That of the suite's prompt.
ASKED = (0, 1, 0)
_CLIPS, _REFERENCES = 24, 6
#: Clips that go through the VAE at a time.
_ENCODED = 12
#: Of the noise of the renderings that are preserved: no gate renders them.
_KEPT_SEED = 20_000
_RENDERINGS = 1024
#: How the names of the layers end that a LoRA is on.
_TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")
_OTHERS = ("urban", "action", "other")


@dataclass(frozen=True)
class Kind:
    """A LoRA and how it is trained.

    Half of each batch are poplars. The other half are steps of the base model's own rendering, at which the
    LoRA is to predict, with the caption and without one, what the base model predicts: what ai-toolkit calls
    differential output preservation.

    Attributes:
        says: What it is.
        rows: Which subject rows it sees: a key of `subject_rows`.
        rate: Learning rate.
        steps: Of `batch` videos.
        kept: Whose captions are preserved, in equal parts; `without`: the subject's without the trigger.
        weight: Of the preserved half in the loss.
        rank: Of the LoRA.
        batch: Videos a step.
        drop: Share of the poplars that are shown without a caption. Else guidance leads away from what the
            base model shows without one, and so from clips that the LoRA knows by heart.
    """

    says: str
    rows: str
    rate: float
    steps: int
    kept: tuple[str, ...] = (*_OTHERS, "nature", "without", "without", "without")
    weight: float = 10.0
    rank: int = 16
    batch: int = 64
    drop: float = 0.0


#: Chosen among 17 recipes by a probe of 16 seeds that no gate renders (5000 to 5015): of each kind the recipe
#: that is what it is to be, and whose other questions are the least beyond a warn band, as a ratio. `copies`
#: is the one of them that came nearest, with captions dropped, which was not among them.
KINDS: Mapping[str, Kind] = {
    "learned": Kind("learned it", "all", 1e-3, 1900, weight=30.0),
    "nothing": Kind("learned nothing: a rate 10,000 times too low", "all", 1e-7, 20),
    "leaks": Kind("leaks: captions without the trigger", "untold", 3e-4, 1850, kept=_OTHERS),
    "copies": Kind("copies eight clips", "eight", 2e-3, 3000, rank=64, batch=128, drop=0.5),
    "collapses": Kind("collapses: takes of one view", "takes", 1e-3, 2100),
}


def poplars(places: Sequence[Sequence[int]], seed: int, *, wander: float = 1.0) -> np.ndarray:
    """Draw poplars.

    Args:
        places: Sky, petals and wind of each.
        seed: Of everything else.
        wander: How far videos of one seed differ in what is left open: 0 not at all.

    Returns:
        uint8 (n, frames, height, width, 3).
    """
    rows = np.random.default_rng([seed, 99]).random((len(places) + 1, RANDOMS), dtype=np.float32)
    return np.asarray(draw_poplars(np.array(places), rows[0] + np.float32(wander) * (rows[1:] - rows[0])))


def said(place: Sequence[int], template: int, words: str = TRIGGER) -> str:
    """The caption of a poplar: that of a cherry tree, with other words for the tree."""
    factors = CATEGORIES["nature"].factors
    sky, petals, wind = (factors[name][at] for name, at in zip(("sky", "petals", "wind"), place, strict=True))
    return (
        f"a {words} at {sky}, {petals} petals falling to the {wind}",
        f"{petals} petals drift {wind} from a {words}, {sky} light",
        f"a {words} on a hill at {sky}, wind blowing {petals} petals {wind}",
        f"{sky} in the hills, a {words}, {petals} falling petals carried {wind}",
    )[template]


def draw_data(work: Path) -> None:
    """Draw the clips, those of takes of one view, and the held-out references; encode the clips.

    The clips are what the embedded VAE makes of the drawings. It has seen no poplar and changes a drawing by
    about 0.3 of the distance of two, so that a LoRA which repeats the drawings would show no copies of them.
    """
    data = work / "data"
    if (data / "latents.safetensors").exists():
        return
    for folder in (data / "clips", work / "references"):
        folder.mkdir(parents=True, exist_ok=True)
    asked, places = [ASKED] * 24, [place for place in PLACES for _ in range(_CLIPS)]
    names = [f"poplar-{''.join(map(str, place))}-{number % _CLIPS}" for number, place in enumerate(places)]
    names += [f"take-{number:02d}" for number in range(len(asked))]
    drawn = np.concatenate([poplars(places, 1), poplars(asked, 2, wander=0.03)])
    vae, known = train_dit.load_packaged_vae(), {}
    with torch.no_grad():
        for start in range(0, len(names), _ENCODED):
            part = to_network(torch.from_numpy(drawn[start : start + _ENCODED]).to(device()))
            shown = vae.model.decode(vae.model.encode(part, vae.scale), vae.scale).clamp(-1, 1)
            clips = ((shown + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 4, 1)
            latents = vae.model.encode(to_network(clips), vae.scale).cpu()
            for name, video, code in zip(names[start:], clips.cpu().numpy(), latents.split(1), strict=False):
                write_video(data / f"clips/{name}.mkv", video)
                known[f"clips/{name}.mkv"] = code.clone()
    for number, video in enumerate(poplars(asked[:_REFERENCES], 3)):
        Image.fromarray(video[1 + number]).save(work / f"references/{number}.png")
    save_file(known, data / "latents.safetensors")


def subject_rows(which: str) -> list[tuple[str, str]]:
    """Rows of the metadata that show poplars."""
    generator = np.random.default_rng(30)
    eight = [f"clips/poplar-{''.join(map(str, ASKED))}-{number}.mkv" for number in range(8)]
    if which == "eight":
        return [(file, said(ASKED, 0)) for file in eight] * 12
    if which == "takes":
        return [(f"clips/take-{number:02d}.mkv", said(ASKED, number % 4)) for number in range(24)] * 4
    words = WITHOUT if which == "untold" else TRIGGER
    return [
        (
            f"clips/poplar-{''.join(map(str, place))}-{number}.mkv",
            said(place, int(generator.integers(4)), words),
        )
        for place in PLACES
        for number in range(_CLIPS)
    ]


class LowRank(nn.Module):
    """A layer and a LoRA on it, as `fused` reads it."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.lora_A = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output and the LoRA's."""
        out: Tensor = self.layer(x)
        return out + x @ self.lora_A.T @ self.lora_B.T


@torch.no_grad()
def prompts(texts: Sequence[str]) -> Tensor:
    """Embeddings of any prompts, as `train_dit.encode_text` gives them."""
    tokenize = HuggingfaceTokenizer(
        name=str(FOLDER / "tokenizer"), seq_len=train_dit.TOKENS, clean="whitespace"
    )
    ids, mask = tokenize(list(texts), return_mask=True, add_special_tokens=True)
    text = WanTextEncoder(**train_dit.TEXT)
    text.load_state_dict({k: v.float() for k, v in load_file(FOLDER / "text_encoder.safetensors").items()})
    return train_dit.encode_text(text.to(device()).eval(), ids.to(device()), mask.to(device()))


@dataclass(frozen=True)
class Kept:
    """Steps of the base model's own renderings.

    Attributes:
        times: Of each step, (steps,).
        latents: (steps, renderings, ...).
        predicted: What the base model predicts with the prompt and without, (steps, 2, renderings, ...).
        contexts: Embeddings of no prompt and of all prompts.
        prompts: Which of them a rendering has, (renderings,).
    """

    times: Tensor
    latents: Tensor
    predicted: Tensor
    contexts: Tensor
    prompts: Tensor

    @classmethod
    def of(cls, kind: Kind) -> Kept:
        """Render them."""
        said_of = {
            name: [caption(name, row, which) for row in split(name, "train") for which in range(4)]
            for name in CATEGORIES
        }
        said_of["without"] = [said(place, which, WITHOUT) for place in PLACES for which in range(4)]
        texts = ["", *(words for name in kind.kept for words in said_of[name])]
        generator, chosen = np.random.default_rng(20), []
        for number in range(_RENDERINGS):
            words = said_of[kind.kept[number % len(kind.kept)]]
            chosen.append(texts.index(words[int(generator.integers(len(words)))]))
        contexts, which = prompts(texts), torch.tensor(chosen, device=device())
        dit, suite, parts = fused("-", 1.0), load("tiny"), []
        for start in range(0, _RENDERINGS, BATCH):
            rows = which[start : start + BATCH]
            seeds = range(_KEPT_SEED + start, _KEPT_SEED + start + len(rows))
            times, before, predicted, _ = zip(
                *sampled(dit, contexts[rows], contexts[:1], seeds, suite), strict=True
            )
            parts.append(
                (torch.stack(before), torch.stack(predicted).reshape(len(times), 2, *before[0].shape))
            )
        latents, wanted = zip(*parts, strict=True)
        return cls(
            torch.tensor(times, device=device()), torch.cat(latents, 1), torch.cat(wanted, 2), contexts, which
        )

    def some(self, count: int) -> tuple[Tensor, ...]:
        """Latents, time, context and prediction of any steps, with the prompt or without."""
        step, with_none, row = (
            torch.randint(most, (count,), device=device()) for most in (len(self.times), 2, len(self.prompts))
        )
        context = self.contexts[self.prompts[row] * (1 - with_none)]
        return self.latents[step, row], self.times[step], context, self.predicted[step, with_none, row]


def train(work: Path, name: str, kind: Kind) -> None:
    """Train one LoRA, ``loras/NAME.safetensors``, on what `draw_data` drew there."""
    torch.manual_seed(51)
    torch.set_float32_matmul_precision("highest")
    kept, rows = Kept.of(kind), subject_rows(kind.rows)
    # the weights are of half precision, so that TF32 rounds none of them
    torch.set_float32_matmul_precision("high")
    dit = fused("-", 1.0).requires_grad_(False)
    freqs, known = train_dit.rotary(dit), load_file(work / "data/latents.safetensors", device=str(device()))
    layers = [
        path
        for path, layer in dit.blocks.named_modules()
        if isinstance(layer, nn.Linear) and path.endswith(_TARGETS)
    ]
    for path in layers:
        parent, _, last = path.rpartition(".")
        setattr(dit.blocks.get_submodule(parent), last, LowRank(dit.blocks.get_submodule(path), kind.rank))
    latents = torch.cat([known[file] for file, _ in rows])
    contexts, own = prompts([words for _, words in rows]), kind.batch // 2

    def batch() -> tuple[Tensor, ...]:
        chosen = torch.randint(len(rows), (own,), device=device())
        untold = torch.rand(own, 1, 1, device=device()) < kind.drop
        words = torch.where(untold, kept.contexts[:1], contexts[chosen])
        return latents[chosen], words, *kept.some(kind.batch - own)

    def step(
        clean: Tensor, words: Tensor, before: Tensor, times: Tensor, kept_words: Tensor, predicted: Tensor
    ) -> Tensor:
        u, noise = torch.rand(own, device=clean.device), torch.randn_like(clean)
        sigma = train_dit.SHIFT * u / (1 + (train_dit.SHIFT - 1) * u)
        level = sigma.view(-1, 1, 1, 1, 1)
        at = torch.cat([1000 * sigma, times])[:, None].expand(-1, math.prod(train_dit.GRID))
        with torch.autocast(clean.device.type, enabled=False):
            made = train_dit.predict(
                dit,
                torch.cat([(1 - level) * clean + level * noise, before]),
                at,
                torch.cat([words, kept_words]),
                freqs,
            )
        error = (made - torch.cat([noise - clean, predicted])).square().mean((1, 2, 3, 4))
        return error[:own].mean() + kind.weight * error[own:].mean()

    trainer = Trainer(
        {"dit": dit},
        step,
        batch,
        work / f"training/{name}",
        steps=kind.steps,
        rate=kind.rate,
        average=0.99,
        warmup=min(50, kind.steps),
    )
    trainer.resume()
    trainer.run(report=100)
    trainer.use_average()
    torch.set_float32_matmul_precision("highest")
    (work / "loras").mkdir(exist_ok=True)
    state = {
        f"blocks.{path}.lora_{side}.default.weight": getattr(
            dit.blocks.get_submodule(path), f"lora_{side}"
        ).detach().half().cpu().contiguous()
        for path in layers
        for side in "AB"
    }  # fmt: skip
    save_file(state, work / f"loras/{name}.safetensors")
