"""Tell DiffSynth how to build the embedded model's files.

DiffSynth recognises a model file by a hash of its tensor names and shapes, and builds the class that its
table has for the hash. The embedded model's three files get an entry each; after that
`WanVideoPipeline.from_pretrained` loads them like any other.
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent

_CLASSES = {
    "dit": ("wan_video_dit", "diffsynth.models.wan_video_dit.WanModel"),
    "text_encoder": ("wan_video_text_encoder", "diffsynth.models.wan_video_text_encoder.WanTextEncoder"),
    "vae": ("wan_video_vae", "pytest_wanlora.tiny.vae.TinyWanVideoVAE38"),
}


def register() -> None:
    """Add the embedded model to DiffSynth's table; a second call adds nothing."""
    from diffsynth.configs import MODEL_CONFIGS
    from diffsynth.core.loader import hash_model_file

    widths = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    known = {entry["model_hash"] for entry in MODEL_CONFIGS}
    for part, (name, model_class) in _CLASSES.items():
        digest = hash_model_file(str(FOLDER / f"{part}.safetensors"))
        if digest not in known:
            MODEL_CONFIGS.append(
                {
                    "model_hash": digest,
                    "model_name": name,
                    "model_class": model_class,
                    "extra_kwargs": widths[part],
                }
            )
