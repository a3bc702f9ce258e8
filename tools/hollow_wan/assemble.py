"""Put a hollow model together: files, scorers, LoRAs, and the suites that name them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from pytest_wanlora.suite import Suite, load, packaged
from pytest_wanlora.suite.sampling import LEVERS
from pytest_wanlora.tiny.registration import FOLDER as TINY
from tools.hollow_wan import loras, parts, scorers, tokenizer, writing
from tools.hollow_wan.parts import Precision, Size

MANIFEST = "hollow.json"
SUITE = "hollow-wan2.2-ti2v-5b"
SUITE_FILE = "suite.yaml"
HUB_SUITE_FILE = "suite-hub.yaml"
#: LoRAs by name: rank and relative size. The first two are for gates, the others for what fusing loses.
LORAS = {
    "epoch-0": (32, 0.01),
    "epoch-1": (32, 0.01),
    "size-1e-2": (32, 1e-2),
    "size-1e-3": (32, 1e-3),
    "size-1e-4": (32, 1e-4),
}
_SHARD = "diffusion_pytorch_model-{number:05d}-of-{count:05d}.safetensors"
# the folders in which DiffSynth looks for what it would download
_DIT = "Wan-AI/Wan2.2-TI2V-5B"
_CONVERTED = "DiffSynth-Studio/Wan-Series-Converted-Safetensors"
_TOKENIZER = "Wan-AI/Wan2.1-T2V-1.3B/google/umt5-xxl"
_TEXT_ENCODER = f"{_CONVERTED}/models_t5_umt5-xxl-enc-bf16.safetensors"
_VAE = f"{_CONVERTED}/Wan2.2_VAE.safetensors"


@dataclass(frozen=True)
class Recipe:
    """What a hollow model is made from.

    Attributes:
        size: The published size, or the embedded model's.
        precision: Of the model files.
        seed: Of all numbers.
        version: Raised when the files change.
    """

    size: Size = "full"
    precision: Precision = "published"
    seed: int = 0
    version: int = 1


def assemble(
    out: Path, recipe: Recipe, *, device: str, say: Callable[[str], object] = lambda _: None
) -> Path:
    """Write a hollow model into a folder, whole or not at all.

    A folder that holds the same already is left as it is.

    Args:
        out: The folder; laid out as DiffSynth's own model folder, with suites, scorers and LoRAs beside it.
        recipe: What to write.
        device: Where the numbers are drawn; the same kind of device gives the same files.
        say: Gets a line for each thing written.

    Returns:
        `out`.

    Raises:
        FileExistsError: Something else lies there.
        OSError: The disk is full, or the folder cannot be written.
    """
    if out.exists():
        if _made_from(out) == recipe:
            say(f"{out} is there already")
            return out
        raise FileExistsError(f"{out} exists and is not this hollow model; remove it or name another folder")
    temporary = out.with_name(f".{out.name}-{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        _write_all(temporary, recipe, device, say)
        (temporary / MANIFEST).write_text(json.dumps(asdict(recipe), indent=1), encoding="utf-8")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _made_from(folder: Path) -> Recipe | None:
    try:
        return Recipe(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_all(folder: Path, recipe: Recipe, device: str, say: Callable[[str], object]) -> None:
    began = time.perf_counter()

    def done(what: str, size: int = 0) -> None:
        amount = f", {size / 1e9:.2f} GB" if size else ""
        say(f"{time.perf_counter() - began:6.1f} s: {what}{amount}")

    dit = parts.shards(parts.entries("dit", recipe.size, recipe.precision))
    names = [f"{_DIT}/{_SHARD.format(number=at, count=len(dit))}" for at in range(1, len(dit) + 1)]
    files = list(zip(names, dit, strict=True))
    for part, name in (("text_encoder", _TEXT_ENCODER), ("vae", _VAE)):
        files.append((name, parts.entries(part, recipe.size, recipe.precision)))
    for name, listed in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        done(name, writing.write(path, listed, seed=recipe.seed, device=device))
    if recipe.size == "full":
        tokenizer.write(folder / _TOKENIZER)
    else:
        # the small text encoder knows the ids of the embedded tokenizer alone
        shutil.copytree(TINY / "tokenizer", folder / _TOKENIZER)
    done("tokenizer")
    model = load("tiny" if recipe.size == "smoke" else "wan2.2-ti2v-5b")
    scoring = _write_scorers(folder, recipe, model, device)
    done("scorers and reference set")
    Image.radial_gradient("L").resize((256, 160)).convert("RGB").save(folder / "first-frame.png")
    _write_suites(folder, recipe, names, scoring)
    for number, (name, (rank, relative_size)) in enumerate(LORAS.items()):
        loras.write(
            folder / "loras" / f"{name}.safetensors",
            model.model.architecture,
            rank=rank if recipe.size == "full" else 8,
            relative_size=relative_size,
            seed=recipe.seed + number,
            device=device,
        )
    loras.write_refused(folder / "loras" / "refused", model.model.architecture)
    done("suites and LoRAs")


def _write_scorers(folder: Path, recipe: Recipe, model: Suite, device: str) -> Mapping[str, Any]:
    clip_name, clip = scorers.write_clip(folder, recipe.size, seed=recipe.seed)
    network = scorers.write_video_features(folder, recipe.size, seed=recipe.seed)
    reference = folder / "reference.safetensors"
    reference_sha256 = scorers.write_reference_set(
        reference,
        network,
        frames=model.sampling.frames,
        videos=64 if recipe.size == "full" else 8,
        seed=recipe.seed,
        device=device,
    )
    return {
        "clip": {"model": clip_name, "weights": clip.name, "sha256": scorers.sha256(clip)},
        "video_features": {
            "kind": "torchscript",
            "weights": network.name,
            "sha256": scorers.sha256(network),
        },
        "reference": reference.name,
        "reference_sha256": reference_sha256,
        "sharpness_reference": 500.0,
    }


def _write_suites(folder: Path, recipe: Recipe, dit: list[str], scoring: Mapping[str, Any]) -> None:
    """Write the packaged suite with the hollow files in place of the published ones.

    One suite names the files by their paths; the other as the packaged one does, through DiffSynth's model
    folder (`DIFFSYNTH_MODEL_BASE_PATH`, and `DIFFSYNTH_SKIP_DOWNLOAD` so that nothing is asked for).
    """
    published = yaml.safe_load(packaged()["wan2.2-ti2v-5b"].read_text(encoding="utf-8"))
    document: dict[str, Any] = published
    hub = {key: published["model"][key] for key in ("dit", "text_encoder", "vae", "tokenizer")}
    if recipe.size == "smoke":
        document = yaml.safe_load(packaged()["tiny"].read_text(encoding="utf-8"))
        document["model"].pop("sha256")
        # what renders the full size in tens of seconds is tried here in tens of milliseconds
        levers = {key: value for key, value in published["sampling"].items() if key in LEVERS}
        document["sampling"] |= {**levers, "compile": False, "steps": 2, "dtype": "bfloat16"}
    document["name"] = SUITE
    document["scoring"] = dict(scoring)
    # every number is random: what is tried is the way to a verdict, not the verdict
    document["limits"] = [{"metric": "clip", "min": 0.0, "scenario": "each"}]
    document["seeds"] = {"first": 4, "most": 4, "start": 0}
    for scenario in document["scenarios"]:
        scenario.pop("target", None)
    local = {"dit": dit, "text_encoder": _TEXT_ENCODER, "vae": _VAE, "tokenizer": _TOKENIZER}
    for name, files in ((SUITE_FILE, local), (HUB_SUITE_FILE, hub)):
        _write_yaml(folder / name, {**document, "model": {**document["model"], **files}})


def _write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100)
    path.write_text(
        f"# Written by tools.hollow_wan; every weight it names is random.\n{text}", encoding="utf-8"
    )
