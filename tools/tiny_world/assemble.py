"""Put trained weights into the package: ``python -m tools.tiny_world.assemble --build build/tiny``.

Copies the weights, writes the model's ``config.json``, and prints the SHA-256 of every file for the suite.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

TINY = Path("pytest_wanlora/tiny")
WEIGHTS = ("dit", "text_encoder", "vae", "clip", "video_features")


def _record(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    arguments = parser.parse_args()
    for name in WEIGHTS:
        shutil.copyfile(arguments.build / f"{name}.safetensors", TINY / f"{name}.safetensors")
    shutil.copyfile(arguments.build / "clip.json", TINY / "clip.json")
    dit, vae = _record(arguments.build / "dit.json"), _record(arguments.build / "vae.json")
    config = {
        "dit": dit["dit"],
        "text_encoder": dit["text_encoder"],
        "vae": {**vae["widths"], "mean": vae["mean"], "std": vae["std"]},
    }
    (TINY / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    for path in sorted(TINY.glob("*.safetensors")):
        print(f"{path.name}: {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
