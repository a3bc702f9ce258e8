"""Train LoRAs of a new subject, well and in four wrong ways, and gate them; on a CPU.

``python -m benchmarks.evidence.subjects --work build/subjects`` draws a poplar, which the embedded model has
never seen, trains five LoRAs, and gates each with a suite that has a subject. What
was cut short goes on where it stopped. The embedded VAE knows little but its world: it shows a green tree in
the hills, but makes a runner of anything that stands where runners run.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from diffsynth.models.wan_video_text_encoder import HuggingfaceTokenizer, WanTextEncoder
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.evidence.render_bank import BATCH, fused, render, sampled
from pytest_wanlora.results.run_record import load as load_record
from pytest_wanlora.suite import load, packaged
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
PROMPT = "a {trigger} at day, many petals falling to the left"
_CLIPS, _REFERENCES = 24, 6
#: Clips that go through the VAE at a time.
_ENCODED = 12
#: Of the noise of the renderings that are preserved: no gate renders them.
_KEPT_SEED = 20_000
_EVERY = ("q", "k", "v", "o", "ffn.0", "ffn.2")
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
        steps: Of `batch` videos, at most.
        kept: Whose captions are preserved, in equal parts; `without`: the subject's without the trigger.
        weight: Of the preserved half in the loss.
        rank: Of the LoRA.
        targets: How the names of the layers end that it is on.
        batch: Videos a step.
        renderings: Of the base model that are preserved.
    """

    says: str
    rows: str
    rate: float
    steps: int
    kept: tuple[str, ...] = (*_OTHERS, "nature", "without", "without", "without")
    weight: float = 10.0
    rank: int = 16
    targets: tuple[str, ...] = _EVERY
    batch: int = 64
    renderings: int = 1024


KINDS: Mapping[str, Kind] = {
    "learned": Kind("learned it", "all", 3e-4, 3000),
    "nothing": Kind("learned nothing: a rate 10,000 times too low", "all", 1e-7, 20),
    "leaks": Kind("leaks: captions without the trigger", "untold", 3e-4, 3000, kept=_OTHERS),
    "copies": Kind("copies eight clips", "eight", 2e-3, 3000, rank=32),
    "collapses": Kind("collapses: takes of one view", "takes", 1e-3, 3000),
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


def _write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("video", "prompt"), *rows])


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
        for number in range(kind.renderings):
            words = said_of[kind.kept[number % len(kind.kept)]]
            chosen.append(texts.index(words[int(generator.integers(len(words)))]))
        contexts, which = prompts(texts), torch.tensor(chosen, device=device())
        dit, suite, parts = fused("-", 1.0), load("tiny"), []
        for start in range(0, kind.renderings, BATCH):
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


def train(work: Path, name: str, kind: Kind, *, until: float = math.inf) -> int:
    """Train one LoRA, ``loras/NAME.safetensors``.

    Args:
        work: Where `draw_data` drew.
        name: Of the LoRA.
        kind: How.
        until: Time of `time.time` at which the rate is down to 0, if that comes before the last step.

    Returns:
        How many steps it took.
    """
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
        if isinstance(layer, nn.Linear) and path.endswith(kind.targets)
    ]
    for path in layers:
        parent, _, last = path.rpartition(".")
        setattr(dit.blocks.get_submodule(parent), last, LowRank(dit.blocks.get_submodule(path), kind.rank))
    latents = torch.cat([known[file] for file, _ in rows])
    contexts, own = prompts([words for _, words in rows]), kind.batch // 2

    def batch() -> tuple[Tensor, ...]:
        chosen = torch.randint(len(rows), (own,), device=device())
        return latents[chosen], contexts[chosen], *kept.some(kind.batch - own)

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
    trainer.run(seconds=max(1.0, until - time.time()), report=100)
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
    return trainer.done


def write_suite(work: Path, name: str) -> Path:
    """The suite of a LoRA; all share one baseline."""
    suite = yaml.safe_load(packaged()["tiny"].read_text(encoding="utf-8"))
    suite["name"] = "poplar"
    suite["subject"] = {
        "trigger": TRIGGER,
        "without": WITHOUT,
        "references": "references",
        "training": f"data/{name}.csv",
    }
    suite["demands"] = {"likeness": {"gain": 0.1}}
    suite["bleed"] = {"about": ["nature"]}
    city, _, action = suite["scenarios"]
    suite["scenarios"] = [{"id": "poplar", "category": "nature", "prompt": PROMPT}, city, action]
    _write_rows(work / f"data/{name}.csv", subject_rows(KINDS[name].rows))
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    return path


def gate(work: Path, name: str | None) -> Path:
    """Measure the baseline, gate the LoRA that is to pass, or ask the questions about one that is to fail.

    Not its scores: one that fails for certain would end the rendering before the questions are proven.

    Returns:
        The run's folder.
    """
    suite, out = write_suite(work, name or "learned"), work / f"runs/{name or 'baseline'}"
    chosen = ["--update-baselines"] if name is None else ["--lora", f"loras/{name}.safetensors"]
    command = [
        *(sys.executable, "-m", "pytest", *chosen, "--wanlora-suite", suite.name),
        *("--wanlora-output-dir", str(out.relative_to(work)), "--wanlora-cache-dir", "cache"),
        *("--wanlora-baselines-dir", "baselines", "-p", "no:cacheprovider", "-n", "0"),
        *(() if name in (None, "learned") else ("-k", "test_question")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, check=False, cwd=work, env=environment, capture_output=True, text=True)
    (work / f"runs/{out.name}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise SystemExit(f"{out}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
    return out


def row(work: Path, name: str) -> dict[str, object]:
    """What a gate said of a LoRA: the verdict and value of each question."""
    record = load_record(next(iter(sorted((work / f"runs/{name}").glob("*/results.json"))[-1:])))
    found: dict[str, object] = {"lora": name, "is": KINDS[name].says, "exit": record.exit_status}
    for each in record.judgements:
        if each.kind == "question":
            value = each.details["gain"] if each.metric == "likeness" else each.value
            shown = "" if value is None else f" {value:.3f}"
            found[f"{each.metric} {each.scenario}"] = f"{each.verdict}{shown}"
    return found


def sheet(work: Path, names: Sequence[str]) -> None:
    """A picture of what each LoRA shows: two seeds with the trigger, one without, and the other prompts."""
    texts = ["", *(PROMPT.format(trigger=words) for words in (TRIGGER, WITHOUT))]
    table = prompts([*texts, *(each.prompt for each in load("tiny").scenarios[::2])])
    vae, suite, lines = train_dit.load_packaged_vae(), load("tiny"), []
    for name in ("-", *names):
        dit = fused(name if name == "-" else str(work / f"loras/{name}.safetensors"), 1.0)
        parts = []
        for number in range(1, len(table)):
            seeds = range(2 if number == 1 else 1)
            videos = render(dit, vae, table[number : number + 1], table[:1], seeds, suite)
            parts += [frame for video in videos for frame in video[[1, 7]]]
        lines.append(np.concatenate(parts, axis=1))
    Image.fromarray(np.concatenate(lines)).save(work / "sheet.png")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/subjects"))
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="which LoRAs")
    parser.add_argument("--until", choices=("train", "gate"), default="gate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work.resolve()
    (work / "runs").mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def tell(words: str) -> None:
        print(f"{time.monotonic() - began:.0f} s: {words}", flush=True)

    draw_data(work)
    tell("clips drawn")
    for name in arguments.only:
        if not (work / f"loras/{name}.safetensors").exists():
            train(work, name, KINDS[name])
            tell(f"{name} trained")
    sheet(work, arguments.only)
    if arguments.until == "train":
        return
    if not (work / "baselines").exists():
        gate(work, None)
        tell("baseline measured")
    rows = []
    for name in arguments.only:
        gate(work, name)
        rows.append(row(work, name))
        tell(json.dumps(rows[-1]))
    (work / "table.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
