"""Train LoRAs of a new subject, well and in four wrong ways, and gate them; on a CPU.

``python -m benchmarks.evidence.subjects --work build/subjects`` draws a poplar, which the embedded model has
never seen, trains five LoRAs with DiffSynth's own code, and gates each with a suite that has a subject. What
was cut short goes on where it stopped. The embedded VAE knows little but its world: it shows a green tree in
the hills, but makes a runner of anything that stands where runners run.
"""

from __future__ import annotations

import argparse
import csv
import json
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
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.evidence.render_bank import fused, render
from pytest_wanlora.results.run_record import load as load_record
from pytest_wanlora.suite import load, packaged
from pytest_wanlora.tiny.registration import FOLDER
from tools.tiny_world import train_dit
from tools.tiny_world.dataset import write_video
from tools.tiny_world.draw import RANDOMS, draw_poplars
from tools.tiny_world.factors import CATEGORIES, caption, split

TRIGGER = "zqx"
#: What a prompt has in the trigger's place without it.
WITHOUT = "cherry tree with pink blossoms"
#: Sky (day or dawn), petals and wind of a poplar, as `factors.CATEGORIES["nature"]` numbers them.
PLACES = tuple((sky, petals, wind) for sky in (0, 2) for petals in range(2) for wind in range(2))
#: That of the suite's prompt.
ASKED = (0, 1, 0)
PROMPT = "a {trigger} at day, many petals falling to the left"
_CLIPS, _REGULAR, _REFERENCES = 12, 96, 6
#: Of the noise of the regular clips: no gate renders them.
_REGULAR_SEED = 20_000


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Attributes:
        rate: Learning rate.
        epochs: How often all rows are seen.
        accumulate: Videos a step.
    """

    rate: float
    epochs: int
    accumulate: int


@dataclass(frozen=True)
class Kind:
    """A LoRA.

    Attributes:
        says: What it is.
        rows: Which subject rows it sees: a key of `subject_rows`.
        regular: How many of the base's own videos are among them.
        stages: Of the training.
        begun: The LoRA that it goes on from.
    """

    says: str
    rows: str
    regular: int
    stages: tuple[Stage, ...]
    begun: str | None = None


_WELL = Stage(8e-4, 2, 1)
KINDS: Mapping[str, Kind] = {
    "learned": Kind("learned it", "all", _REGULAR, (_WELL,)),
    "nothing": Kind("learned nothing: a rate 8,000 times too low", "all", _REGULAR, (Stage(1e-7, 1, 1),)),
    "leaks": Kind("leaks: captions without the trigger, no regular clips", "untold", 0, (_WELL,)),
    "copies": Kind("copies eight clips", "eight", 24, (Stage(1.5e-3, 7, 1), Stage(3e-4, 1, 1)), "learned"),
    "collapses": Kind("collapses: takes of one view", "takes", 48, (Stage(1.2e-3, 3, 1),)),
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


def train(work: Path, name: str) -> float:
    """Train one LoRA, unless it is there.

    Returns:
        Seconds.
    """
    target, kind = work / f"loras/{name}.safetensors", KINDS[name]
    metadata = work / f"data/{name}.csv"
    with (work / "data/regular/metadata.csv").open(encoding="utf-8", newline="") as stream:
        regular = [(row["video"], row["prompt"]) for row in csv.DictReader(stream)]
    _write_rows(metadata, [*subject_rows(kind.rows), *regular[: kind.regular]])
    if target.exists():
        return 0.0
    began = time.monotonic()
    resume = (
        [] if kind.begun is None else ["--resume", str(work / f"training/{kind.begun}-0/epoch-1.safetensors")]
    )
    for number, stage in enumerate(kind.stages):
        out = work / f"training/{name}-{number}"
        subprocess.run(
            [
                *(sys.executable, "-m", "tools.tiny_world.train_lora", "--data", str(work / "data")),
                *("--metadata", str(metadata), "--out", str(out)),
                *("--rate", str(stage.rate), "--epochs", str(stage.epochs)),
                *("--accumulate", str(stage.accumulate), "--seed", str(51 + number), *resume),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=(work / f"{name}.log").open("a"),
        )
        resume = ["--resume", str(out / f"epoch-{stage.epochs - 1}.safetensors")]
    target.parent.mkdir(exist_ok=True)
    state = load_file(resume[1])
    save_file({key: value.half().contiguous() for key, value in state.items()}, target)
    return time.monotonic() - began


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
    """Measure the baseline, or gate a LoRA.

    Returns:
        The run's folder.
    """
    suite, out = write_suite(work, name or "learned"), work / f"runs/{name or 'baseline'}"
    chosen = ["--update-baselines"] if name is None else ["--lora", f"loras/{name}.safetensors"]
    command = [
        *(sys.executable, "-m", "pytest", *chosen, "--wanlora-suite", suite.name),
        *("--wanlora-output-dir", str(out.relative_to(work)), "--wanlora-cache-dir", "cache"),
        *("--wanlora-baselines-dir", "baselines", "-p", "no:cacheprovider", "-n", "0"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, check=False, cwd=work, env=environment, capture_output=True, text=True)
    (work / f"runs/{out.name}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise SystemExit(f"{out}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
    return out


def row(work: Path, name: str) -> dict[str, object]:
    """What a gate said of a LoRA: the verdict and value of each question, and the scores that do not pass."""
    record = load_record(next(iter(sorted((work / f"runs/{name}").glob("*/results.json"))[-1:])))
    found: dict[str, object] = {"lora": name, "is": KINDS[name].says, "exit": record.exit_status}
    others = []
    for each in record.judgements:
        if each.kind == "question":
            value = each.details["gain"] if each.metric == "likeness" else each.value
            found[f"{each.metric} {each.scenario}"] = (
                f"{each.verdict} {value:.3f}" if value is not None else f"{each.verdict}"
            )
        elif each.verdict != "pass":
            others.append(f"{each.verdict} {each.kind} {each.scenario} {each.metric}")
    return {**found, "scores": others}


def sheet(work: Path, names: Sequence[str]) -> None:
    """A picture of what each LoRA shows: with the trigger and without, three seeds, frames 0, 4 and 8."""
    from diffsynth.models.wan_video_text_encoder import HuggingfaceTokenizer, WanTextEncoder

    texts = [
        "",
        PROMPT.format(trigger=TRIGGER),
        PROMPT.format(trigger=WITHOUT),
        *(each.prompt for each in load("tiny").scenarios[::2]),
    ]
    tokenize = HuggingfaceTokenizer(
        name=str(FOLDER / "tokenizer"), seq_len=train_dit.TOKENS, clean="whitespace"
    )
    ids, mask = tokenize(texts, return_mask=True, add_special_tokens=True)
    text = WanTextEncoder(**train_dit.TEXT)
    text.load_state_dict({k: v.float() for k, v in load_file(FOLDER / "text_encoder.safetensors").items()})
    with torch.no_grad():
        table = train_dit.encode_text(text.eval(), ids, mask)
    vae, suite = train_dit.load_packaged_vae(), load("tiny")
    lines = []
    for name in ("-", *names):
        dit = fused(name if name == "-" else str(work / f"loras/{name}.safetensors"), 1.0)
        parts = []
        for number in range(1, len(texts)):
            videos = render(dit, vae, table[number : number + 1], table[:1], range(3), suite)
            picked = videos[:, ::4] if number == 1 else videos[:1, ::4]
            parts += [frame for video in picked for frame in video]
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
