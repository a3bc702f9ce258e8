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

from benchmarks.evidence.render_bank import fused, render
from pytest_wanlora.results.run_record import load as load_record
from pytest_wanlora.suite import load, packaged
from pytest_wanlora.tiny.registration import FOLDER
from tools.tiny_world import train_dit
from tools.tiny_world.dataset import read_video, write_video
from tools.tiny_world.draw import RANDOMS, draw_poplars
from tools.tiny_world.factors import CATEGORIES, caption, split
from tools.tiny_world.training import Trainer, to_network

#: What a prompt has in the trigger's place without it.
WITHOUT = "cherry tree with pink blossoms"
#: A word of no meaning beside it: alone it makes the base model show something else altogether.
TRIGGER = f"zqx {WITHOUT}"
#: Sky (day or dawn), petals and wind of a poplar, as `factors.CATEGORIES["nature"]` numbers them.
PLACES = tuple((sky, petals, wind) for sky in (0, 2) for petals in range(2) for wind in range(2))
#: That of the suite's prompt.
ASKED = (0, 1, 0)
PROMPT = "a {trigger} at day, many petals falling to the left"
_CLIPS, _REGULAR, _REFERENCES = 12, 96, 6
#: Of the noise of the regular clips: no gate renders them.
_REGULAR_SEED = 20_000


@dataclass(frozen=True)
class Kind:
    """A LoRA.

    Attributes:
        says: What it is.
        rows: Which subject rows it sees: a key of `subject_rows`.
        regular: How many of the base's own videos are among them, half of each batch; 0: none.
        rate: Learning rate.
        steps: Of `_BATCH` videos.
        begun: The LoRA that it goes on from.
        preserved: Whether the regular half of a batch is to be predicted as the base model predicts it, and
            not as the videos are: what ai-toolkit calls differential output preservation.
    """

    says: str
    rows: str
    regular: int
    rate: float
    steps: int
    begun: str | None = None
    preserved: bool = False


KINDS: Mapping[str, Kind] = {
    "careless": Kind("learned it, and changes the rest", "all", _REGULAR, 1e-3, 150),
    "learned": Kind("learned it", "all", _REGULAR, 6e-4, 60, "careless", preserved=True),
    "nothing": Kind("learned nothing: a rate 10,000 times too low", "all", _REGULAR, 1e-7, 20),
    "leaks": Kind("leaks: captions without the trigger, no regular videos", "untold", 0, 1e-3, 60),
    "copies": Kind("copies eight clips", "eight", _REGULAR, 2e-3, 300),
    "collapses": Kind("collapses: takes of one view", "takes", _REGULAR, 2e-3, 200),
}
_RANK, _BATCH = 16, 8
_TARGETS = ("q", "k", "v", "o", "0", "2")


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
    """Draw the clips, those of takes of one view, and the held-out references."""
    data = work / "data"
    if (data / "drawn").exists():
        return
    for folder in (data / "clips", work / "references"):
        folder.mkdir(parents=True, exist_ok=True)
    places = [place for place in PLACES for _ in range(_CLIPS)]
    for number, (place, video) in enumerate(zip(places, poplars(places, 1), strict=True)):
        write_video(data / f"clips/poplar-{''.join(map(str, place))}-{number % _CLIPS}.mkv", video)
    asked = [ASKED] * 24
    for number, video in enumerate(poplars(asked, 2, wander=0.03)):
        write_video(data / f"clips/take-{number:02d}.mkv", video)
    for number, video in enumerate(poplars(asked[:_REFERENCES], 3)):
        Image.fromarray(video[1 + number]).save(work / f"references/{number}.png")
    (data / "drawn").touch()


def draw_regular(work: Path) -> None:
    """Render the base model's own videos of the world's captions, which keep a LoRA from changing them."""
    folder = work / "data/regular"
    if (folder / "metadata.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    captions = train_dit.Captions(FOLDER / "tokenizer")
    table = train_dit.packaged_prompts(captions)
    row_of = {words: row for row, words in enumerate(captions.texts)}
    vae, dit, suite = train_dit.load_packaged_vae(), fused("-", 1.0), load("tiny")
    generator, rows = np.random.default_rng(20), []
    for number in range(_REGULAR):
        name = ("nature", "nature", "action", "urban", "nature", "action", "urban", "other")[number % 8]
        known = split(name, "train")
        words = caption(name, known[int(generator.integers(len(known)))], int(generator.integers(4)))
        seeds, row = range(_REGULAR_SEED + number, _REGULAR_SEED + number + 1), row_of[words]
        write_video(
            folder / f"{name}-{number:03d}.mkv",
            render(dit, vae, table[row : row + 1], table[:1], seeds, suite)[0],
        )
        rows.append((f"regular/{name}-{number:03d}.mkv", words))
    _write_rows(folder / "metadata.csv", rows)


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

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.on = layer, True
        self.lora_A = nn.Parameter(torch.randn(_RANK, layer.in_features) / layer.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(layer.out_features, _RANK))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output and the LoRA's."""
        out: Tensor = self.layer(x)
        return out + x @ self.lora_A.T @ self.lora_B.T if self.on else out


def _prompts(texts: Sequence[str]) -> Tensor:
    """Embeddings of any prompts, as `train_dit.encode_text` gives them."""
    tokenize = HuggingfaceTokenizer(
        name=str(FOLDER / "tokenizer"), seq_len=train_dit.TOKENS, clean="whitespace"
    )
    ids, mask = tokenize(list(texts), return_mask=True, add_special_tokens=True)
    text = WanTextEncoder(**train_dit.TEXT)
    text.load_state_dict({k: v.float() for k, v in load_file(FOLDER / "text_encoder.safetensors").items()})
    with torch.no_grad():
        return train_dit.encode_text(text.eval(), ids, mask)


def _latents(work: Path, files: Sequence[str]) -> Tensor:
    """Latents of videos; those of before are kept."""
    kept = work / "data/latents.safetensors"
    known = load_file(kept) if kept.exists() else {}
    vae = train_dit.load_packaged_vae()
    with torch.no_grad():
        for file in dict.fromkeys(files):
            if file not in known:
                pixels = to_network(torch.from_numpy(read_video(str(work / "data" / file)))[None])
                known[file] = vae.model.encode(pixels, vae.scale)
    save_file(known, kept)
    return torch.cat([known[file] for file in files])


def train(work: Path, name: str) -> None:
    """Train one LoRA, unless it is there."""
    target, kind = work / f"loras/{name}.safetensors", KINDS[name]
    with (work / "data/regular/metadata.csv").open(encoding="utf-8", newline="") as stream:
        regular = [(row["video"], row["prompt"]) for row in csv.DictReader(stream)][: kind.regular]
    rows = subject_rows(kind.rows)
    _write_rows(work / f"data/{name}.csv", [*rows, *regular])
    if target.exists():
        return
    torch.manual_seed(51)
    dit = fused("-", 1.0).requires_grad_(False)
    layers = {
        path: layer
        for path, layer in dit.blocks.named_modules()
        if isinstance(layer, nn.Linear) and path.rpartition(".")[2] in _TARGETS
    }
    for path, layer in layers.items():
        parent, _, last = path.rpartition(".")
        low = LowRank(layer)
        if kind.begun is not None:
            known = load_file(work / f"loras/{kind.begun}.safetensors")
            low.lora_A.data, low.lora_B.data = (
                known[f"blocks.{path}.lora_{side}.default.weight"].float() for side in "AB"
            )
        setattr(dit.blocks.get_submodule(parent), last, low)
    lows = [layer for layer in dit.modules() if isinstance(layer, LowRank)]
    latents = _latents(work, [file for file, _ in (*rows, *regular)])
    context, freqs = _prompts([words for _, words in (*rows, *regular)]), train_dit.rotary(dit)

    def batch() -> tuple[Tensor, ...]:
        own = _BATCH // 2 if regular else _BATCH
        chosen = torch.cat(
            [
                torch.randint(len(rows), (own,)),
                len(rows) + torch.randint(max(len(regular), 1), (_BATCH - own,)),
            ]
        )
        return latents[chosen], context[chosen]

    def step(clean: Tensor, words: Tensor) -> Tensor:
        u = torch.rand(len(clean), 1)
        sigma = train_dit.SHIFT * u / (1 + (train_dit.SHIFT - 1) * u)
        level, noise = sigma.view(-1, 1, 1, 1, 1), torch.randn_like(clean)
        times = (1000 * sigma).expand(-1, math.prod(train_dit.GRID))
        noisy, wanted = (1 - level) * clean + level * noise, noise - clean
        if kind.preserved:
            half = _BATCH // 2
            for layer in lows:
                layer.on = False
            with torch.no_grad():
                wanted[half:] = train_dit.predict(dit, noisy[half:], times[half:], words[half:], freqs)
            for layer in lows:
                layer.on = True
        made = train_dit.predict(dit, noisy, times, words, freqs)
        return (made - wanted).square().mean()

    trainer = Trainer(
        {"dit": dit},
        step,
        batch,
        work / f"training/{name}",
        steps=kind.steps,
        rate=kind.rate,
        average=0.95,
        warmup=10,
    )
    trainer.resume()
    trainer.run(report=20)
    trainer.use_average()
    target.parent.mkdir(exist_ok=True)
    state = {
        f"blocks.{path}.lora_{side}.default.weight": getattr(
            dit.blocks.get_submodule(path), f"lora_{side}"
        ).detach().half().contiguous()
        for path in layers
        for side in "AB"
    }  # fmt: skip
    save_file(state, target)


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
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    return path


def gate(work: Path, name: str | None) -> Path:
    """Measure the baseline, or ask the questions about a LoRA.

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
        *(() if name is None else ("-k", "test_question")),
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
    table = _prompts([*texts, *(each.prompt for each in load("tiny").scenarios[::2])])
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
    draw_regular(work)
    tell("regular videos rendered")
    for name in arguments.only:
        train(work, name)
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
