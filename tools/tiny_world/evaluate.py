"""Measure the packaged model: ``python -m tools.tiny_world.evaluate``.

Everything is measured on held-out combinations or on seeds that no training used. Writes ``figures.json`` and
the contact sheet ``contact-sheet.png`` beside the weights; the model card quotes them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.evidence.render_bank import fused, render
from pytest_wanlora.scoring.frechet import frechet_distance
from pytest_wanlora.scoring.video_features import load_extractor
from pytest_wanlora.suite import load
from pytest_wanlora.tiny.registration import FOLDER
from pytest_wanlora.tiny.video_features import FeatureNetwork
from tools.tiny_world import train_clip, train_dit, train_features
from tools.tiny_world.draw import draw
from tools.tiny_world.factors import CATEGORIES, SCENARIOS, caption, label_sizes, split
from tools.tiny_world.train_vae import psnr
from tools.tiny_world.training import Videos, to_network

SEED = 70001
Pixels = NDArray[np.uint8]


def _features_network() -> FeatureNetwork:
    network = FeatureNetwork(
        features=train_features.FEATURES, width=train_features.WIDTH, targets=label_sizes()
    )
    state = load_file(FOLDER / "video_features.safetensors")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return network.eval()


def _generated(combinations: Iterable[tuple[str, tuple[int, ...]]], seed: int) -> Iterable[Pixels]:
    """One video of the base model for each combination's canonical caption."""
    suite = load("tiny")
    captions = train_dit.Captions(FOLDER / "tokenizer")
    table, vae = train_dit.packaged_prompts(captions), train_dit.load_packaged_vae()
    dit = fused("-", 1.0)
    for number, (name, row) in enumerate(combinations):
        said = captions.rows[(name, row, 0)]
        yield render(
            dit, vae, table[said : said + 1], table[:1], range(seed + number, seed + number + 1), suite
        )[0]


@torch.no_grad()
def own_accuracy(videos: dict[tuple[str, tuple[int, ...]], Pixels]) -> dict[str, float]:
    """Share of the factors that the feature network reads off generated videos as their captions say."""
    network = _features_network()
    right: dict[str, list[bool]] = {}
    for (name, row), video in videos.items():
        logits = network.classify(network(to_network(torch.from_numpy(video[None]))))
        for factor, value in zip(CATEGORIES[name].factors, row, strict=True):
            guess = int(logits[f"{name}_{factor}"].argmax())
            right.setdefault(f"{name}.{factor}", []).append(guess == value)
    result = {factor: float(np.mean(hits)) for factor, hits in right.items()}
    result["all"] = float(np.mean([hit for hits in right.values() for hit in hits]))
    return result


def distances(generated: dict[str, list[Pixels]]) -> dict[str, dict[str, float]]:
    """Frechet distance to the packaged reference: noise, blurred truth, base model, held-out truth."""
    suite = load("tiny")
    extractor = load_extractor(suite.scoring.video_features, device="cpu")
    reference = load_file(FOLDER / "reference.safetensors")
    noise = np.random.default_rng(SEED)

    def blurred(video: Pixels) -> Pixels:
        return np.stack([cv2.GaussianBlur(frame, (0, 0), 3.0) for frame in video]).astype(np.uint8)

    features: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, combination in SCENARIOS.items():
        count = len(generated[name])
        truth = list(draw(name, np.array([combination] * count), SEED).numpy())
        sets = {
            "noise": [noise.integers(0, 256, video.shape, dtype=np.uint8) for video in truth],
            "blurred truth": [blurred(video) for video in truth],
            "base model": generated[name],
            "held-out truth": truth,
        }
        features[name] = {what: np.stack([extractor(v) for v in videos]) for what, videos in sets.items()}
    kinds = next(iter(features.values()))
    result = {
        name: {what: frechet_distance(rows, reference[name].numpy()) for what, rows in of.items()}
        for name, of in features.items()
    }
    pooled = np.concatenate([reference[name].numpy() for name in features])
    result["all"] = {
        what: frechet_distance(np.concatenate([of[what] for of in features.values()]), pooled)
        for what in kinds
    }
    return result


def contact_sheet(path: Path, generated: dict[str, list[Pixels]]) -> None:
    """Two true, two reconstructed and two generated videos of each scenario's category, frames 0 2 4 6 8."""
    vae, rows = train_dit.load_packaged_vae(), []
    for name in SCENARIOS:
        data = Videos({name: 2}, SEED, part="held_out")
        with torch.no_grad():
            made = vae.model.decode(vae.model.encode(to_network(data.pixels), vae.scale), vae.scale)
        again = ((made.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 4, 1).numpy()
        for videos in (data.pixels.numpy(), again, generated[name][:2]):
            rows += [np.concatenate([video[frame] for frame in (0, 2, 4, 6, 8)], 1) for video in videos]
    sheet = np.concatenate(rows, 0)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--videos", type=int, default=24, help="videos a category and measurement")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    vae = train_dit.load_packaged_vae()
    figures: dict[str, Any] = {
        "vae_psnr_db": psnr(vae.model, vae.scale, SEED, arguments.videos),
    }
    print(json.dumps(figures["vae_psnr_db"]), flush=True)
    clip = train_clip.build()
    clip.load_state_dict({k: v.float() for k, v in load_file(FOLDER / "clip.safetensors").items()})
    figures["clip_retrieval_1_of_32"] = {
        part: train_clip.retrieval(clip.eval(), SEED, part=part, trials=4 * arguments.videos)
        for part in ("train", "held_out")
    }
    print(json.dumps(figures["clip_retrieval_1_of_32"]), flush=True)
    truth = Videos(dict.fromkeys(CATEGORIES, 4 * arguments.videos), SEED, part="held_out")
    figures["feature_accuracy_true_held_out"] = train_features.accuracy(_features_network(), truth)
    combinations = [(name, row) for name in CATEGORIES for row in split(name, "all")]
    began = time.monotonic()
    videos = dict(zip(combinations, _generated(combinations, SEED), strict=True))
    figures["feature_accuracy_base_model"] = own_accuracy(videos)
    print(json.dumps(figures["feature_accuracy_base_model"]), f"{time.monotonic() - began:.0f} s", flush=True)
    generated = {
        name: list(_generated([(name, row)] * arguments.videos, SEED)) for name, row in SCENARIOS.items()
    }
    figures["frechet_distance"] = distances(generated)
    print(json.dumps(figures["frechet_distance"], indent=1), flush=True)
    figures["scenario_captions"] = {name: caption(name, row) for name, row in SCENARIOS.items()}
    contact_sheet(arguments.out / "contact-sheet.png", generated)
    rounded = json.loads(json.dumps(figures), parse_float=lambda text: float(f"{float(text):.4g}"))
    (arguments.out / "figures.json").write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
