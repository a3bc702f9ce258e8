"""Build the embedded suite's reference set: ``python -m tools.tiny_world.reference``.

For each scenario's category, features of true videos whose stated factors are the scenario's own (what the
caption leaves open is drawn anew), by the packaged feature network.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from pytest_wanlora.scoring.frechet import write_reference
from pytest_wanlora.scoring.video_features import load_extractor
from pytest_wanlora.suite import load
from tools.tiny_world.draw import FRAMES, draw
from tools.tiny_world.factors import SCENARIOS


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("pytest_wanlora/tiny/reference.safetensors"))
    parser.add_argument("--videos", type=int, default=512, help="a category")
    parser.add_argument("--seed", type=int, default=90001)
    arguments = parser.parse_args()
    settings = load("tiny").scoring.video_features
    extractor = load_extractor(settings, device="cpu")
    sets = {}
    for category, combination in SCENARIOS.items():
        rows = []
        for start in range(0, arguments.videos, 64):
            count = min(64, arguments.videos - start)
            videos = draw(category, np.array([combination] * count), arguments.seed + start).numpy()
            rows += [extractor(video) for video in videos]
        sets[category] = np.stack(rows)
        print(f"{category}: {len(rows)} videos", flush=True)
    weights = Path("pytest_wanlora/tiny/video_features.safetensors").read_bytes()
    digest = write_reference(
        arguments.out, sets, frames=FRAMES, extractor_sha256=hashlib.sha256(weights).hexdigest()
    )
    print(f"{arguments.out.name}: {digest}")


if __name__ == "__main__":
    main()
