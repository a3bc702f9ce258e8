"""Write the model card: ``python -m tools.tiny_world.card --bank bank.safetensors --build build/tiny``.

Every number of the card comes from ``figures.json`` (``tools.tiny_world.evaluate``), from the training logs,
from a bank of the example LoRAs, or from the files themselves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_wanlora.tiny.registration import FOLDER

COMMANDS = {
    "vae": "train_vae --seconds 430, then --weights vae.safetensors --rate 7e-4 --seconds 150",
    "video_features": "train_features --steps 3000 --seconds 45",
    "clip": "train_clip --steps 6000 --seconds 60",
    "dit": "train_dit --seconds 290, then twice --weights (rates 5e-4, 7e-4; seeds 42, 43; 205 s, 225 s)",
    "text_encoder": "with the DiT",
    "reference": "reference",
}
LORAS = {
    "epoch-0": "train_lora --data urban --rate 2e-3 --seed 51, on a GPU",
    "epoch-1": "train_lora --data pool --metadata balanced.csv --resume epoch-0 --rate 2.5e-4, on a GPU",
    "epoch-2": "train_lora --data pool --metadata toward.csv --resume epoch-1 --rate 1e-4 --seed 52, CPU",
    "broken/collapsed": "train_lora --data urban --rate 3e-3 --seed 51, on a GPU; in half precision",
}


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def quality(figures: dict[str, Any]) -> list[str]:
    """Tables of what the model can do."""
    psnr, distance = figures["vae_psnr_db"], figures["frechet_distance"]
    clip = figures["clip_retrieval_1_of_32"]
    true = figures["feature_accuracy_true_held_out"]
    own = figures["feature_accuracy_base_model"]
    lines = [
        "| category | VAE, whole frames | VAE, moving pixels | CLIP, 1 of 32, held out |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {found['whole']:.1f} dB | {found['moving']:.1f} dB | {clip['held_out'][name]:.1%} |"
        for name, found in psnr.items()
    ]
    weakest = sorted(own.items(), key=lambda item: item[1])[:3]
    named = ", ".join(f"{name} {value:.0%}" for name, value in weakest)
    lines += [
        "",
        f"The feature network reads {true['all']:.1%} of the factors off true, held-out videos and",
        f"{own['all']:.1%} off the base model's own (one video of every combination; weakest: {named}).",
        "",
        "Fréchet distance to the reference set, 24 videos a category; blurred by 3 pixels. It falls from",
        "noise to truth over all categories; in nature alone the base model is as far off as that blur.",
        "",
        "| category | noise | blurred truth | base model | held-out truth |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | "
        + " | ".join(
            f"{found[what]:.4g}" for what in ("noise", "blurred truth", "base model", "held-out truth")
        )
        + " |"
        for name, found in distance.items()
    ]
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--build", type=Path, required=True, help="folder of the training logs")
    arguments = parser.parse_args()
    figures = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))
    table = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "tools.tiny_world.compare", str(arguments.bank)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    logs = {}
    for name, file in (("vae", "vae.json"), ("dit", "dit.json"), ("clip", "clip_log.json"),
                       ("video_features", "video_features.json")):  # fmt: skip
        record = json.loads((arguments.build / file).read_text(encoding="utf-8"))
        step, loss, seconds = record["log"][-1]
        logs[name] = (
            f"last stage: {record['steps']} steps, loss {loss:.4g} after {seconds:.0f} s (step {step})"
        )
    card = [(Path(__file__).parent / "card.md").read_text(encoding="utf-8").rstrip(), ""]
    card += ["## What it can do", "", "Made by `python -m tools.tiny_world.evaluate` on a CPU.", ""]
    card += quality(figures)
    card += ["", "![real, reconstructed and generated videos](contact-sheet.png)", ""]
    card += [
        "Rows by category (urban, nature, action): two true videos of held-out combinations, the same after"
    ]
    card += [
        "the VAE, two of the base model for the scenario's caption; frames 0, 2, 4, 6, 8.",
        "",
        "## Files",
        "",
    ]
    card += [
        "| file | bytes | sha256 | made by `python -m tools.tiny_world.` | log |",
        "|---|---|---|---|---|",
    ]
    for name, command in COMMANDS.items():
        path = FOLDER / f"{name}.safetensors"
        card.append(
            f"| {path.name} | {path.stat().st_size:,} | `{sha256(path)}` | {command} | {logs.get(name, '')} |"
        )
    card += ["", "## Example LoRAs", ""]
    card += [(Path(__file__).parent / "loras.md").read_text(encoding="utf-8").rstrip(), ""]
    card += ["| file | sha256 | made by `python -m tools.tiny_world.` |", "|---|---|---|"]
    for name, command in LORAS.items():
        card.append(
            f"| {name}.safetensors | `{sha256(Path('examples') / f'{name}.safetensors')}` | {command} |"
        )
    card += [
        "",
        "Against the base model over 16 paired seeds a scenario (`benchmarks.evidence.render_bank`, then",
    ]
    card += [
        "`tools.tiny_world.compare`); mean, relative change, half width of its 95 % interval:",
        "",
        table,
    ]
    (FOLDER / "README.md").write_text("\n".join(card), encoding="utf-8")


if __name__ == "__main__":
    main()
