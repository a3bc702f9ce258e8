"""Hollow versions of the packaged suites at full size, one at a time: their files, and LoRAs for them.

A denoiser of 14B takes 28 GB in bfloat16 on the disk. Both experts of a pair are one file under two names,
and suites whose denoisers have the same tensors share it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
import yaml

from pytest_wanlora.suite import Suite, load, packaged
from tools.hollow_wan import loras, tokenizer, writing
from tools.hollow_wan.parts import PUBLISHED_HASHES, Draw, Entry, _network, _t5, model_hash

#: Suite -> DiffSynth's hash of its denoiser's names and shapes.
DENOISERS: Final[Mapping[str, str]] = {
    "wan2.1-t2v-1.3b": "9269f8db9040a9d860eaca435be61814",
    "wan2.2-ti2v-5b-i2v": PUBLISHED_HASHES["dit"],
    "wan2.1-t2v-14b": "aafcfd9672c3a2456dc46e1cb6e52c70",
    "wan2.2-t2v-a14b": "aafcfd9672c3a2456dc46e1cb6e52c70",
    "wan2.2-t2v-a14b-4step": "aafcfd9672c3a2456dc46e1cb6e52c70",
    "wan2.2-i2v-a14b": "5b013604280dd715f8457c6ed6d6a626",
    "wan2.1-i2v-14b": "6bfcfb3b342cb286ce886889d519a77e",
}
#: The VAE of Wan 2.1, of 16 channels and 8x8.
VAE21: Final = "ccc42284ea13e1ad04693284c7a09be6"


def listed(part: str, digest: str) -> tuple[Entry, ...]:
    """The tensors of a published part, in bfloat16; no weights are allocated.

    Args:
        part: `"dit"`, `"text_encoder"`, `"vae"` or `"image_encoder"`.
        digest: DiffSynth's hash of it; of the image encoder none is known, for its file has a text tower too.
    """
    from diffsynth.configs import MODEL_CONFIGS
    from diffsynth.models.wan_video_dit import WanModel
    from diffsynth.models.wan_video_image_encoder import WanImageEncoder
    from diffsynth.models.wan_video_text_encoder import WanTextEncoder
    from diffsynth.models.wan_video_vae import WanVideoVAE, WanVideoVAE38

    classes: dict[str, Callable[..., Any]] = {
        "dit": WanModel,
        "text_encoder": WanTextEncoder,
        "vae": WanVideoVAE if digest == VAE21 else WanVideoVAE38,
        "image_encoder": WanImageEncoder,
    }
    known = {entry["model_hash"]: entry.get("extra_kwargs", {}) for entry in MODEL_CONFIGS}
    with torch.device("meta"):
        model = classes[part](**known.get(digest, {}))
    draw: Draw = _t5 if part == "text_encoder" else _network
    # DiffSynth's loader adds this prefix to the names of the published files
    prefix = "model." if part in ("vae", "image_encoder") else ""
    return tuple(
        Entry(name.removeprefix(prefix), tuple(value.shape), torch.bfloat16, *draw(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    )


def assemble_kind(folder: Path, name: str, *, device: str) -> tuple[Suite, dict[str, Path]]:
    """Write a packaged suite's files with random weights, and the suite that names them.

    Args:
        folder: Files that are there already are used again; denoisers of other suites in it are deleted.
        name: Of `DENOISERS`.
        device: Where the numbers are drawn.

    Returns:
        The suite, and one LoRA for each denoiser by expert.
    """
    document: dict[str, Any] = yaml.safe_load(packaged()[name].read_text(encoding="utf-8"))
    model = document["model"]
    folder.mkdir(parents=True, exist_ok=True)
    denoiser = folder / f"dit-{DENOISERS[name]}.safetensors"
    for other in folder.glob("dit-*.safetensors"):
        if other != denoiser:
            other.unlink()
    vae = PUBLISHED_HASHES["vae"] if "ti2v-5b" in name else VAE21
    parts = {
        denoiser: ("dit", DENOISERS[name]),
        folder / f"vae-{vae}.safetensors": ("vae", vae),
        folder / "text_encoder.safetensors": ("text_encoder", PUBLISHED_HASHES["text_encoder"]),
    }
    model |= {
        "vae": f"vae-{vae}.safetensors",
        "text_encoder": "text_encoder.safetensors",
        "tokenizer": "tokenizer",
    }
    if "image_encoder" in model:
        parts[folder / "image_encoder.safetensors"] = ("image_encoder", "")
        model["image_encoder"] = "image_encoder.safetensors"
    for path, (part, digest) in parts.items():
        if not path.exists():
            writing.write(path, listed(part, digest), seed=0, device=device)
    if not (folder / "tokenizer").exists():
        tokenizer.write(folder / "tokenizer")
    _know_image_encoder()
    experts = _name_denoisers(model, denoiser)
    document["name"] = f"hollow-{name}"
    document["limits"] = [{"metric": "clip", "min": 0.0, "scenario": "each"}]
    architecture = load(name).model.architecture
    own = {}
    for number, expert in enumerate(experts):
        own[expert] = folder / f"lora-{name}-{expert or 'one'}.safetensors"
        if not own[expert].exists():
            loras.write(own[expert], architecture, seed=number, device=device)
    if "stack" in document:
        stacked = {expert: f"stack-{name}-{expert}.safetensors" for expert in experts}
        for number, file in enumerate(stacked.values()):
            loras.write(folder / file, architecture, rank=64, seed=10 + number, device=device)
        document["stack"] = [{**stacked, "scale": 1.0}]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return load(path), own


def _name_denoisers(model: dict[str, Any], denoiser: Path) -> tuple[str, ...]:
    """Name a file as the denoiser of a suite's model, or as both of its experts; returns the experts."""
    if "experts" not in model:
        model["dit"] = denoiser.name
        return ("",)
    for expert in ("high", "low"):
        link = denoiser.with_name(f"{expert}.safetensors")
        link.unlink(missing_ok=True)
        os.link(denoiser, link)
        model["experts"][expert]["dit"] = link.name
    return ("high", "low")


def _know_image_encoder() -> None:
    """Tell DiffSynth of an image encoder without the text tower that the published file has beside it."""
    from diffsynth.configs import MODEL_CONFIGS

    digest = model_hash(listed("image_encoder", ""))
    published = next(each for each in MODEL_CONFIGS if each["model_name"] == "wan_video_image_encoder")
    if digest not in {each["model_hash"] for each in MODEL_CONFIGS}:
        MODEL_CONFIGS.append({**published, "model_hash": digest})
