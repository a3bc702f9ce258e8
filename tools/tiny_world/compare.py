"""Print how LoRAs differ from the base model: ``python -m tools.tiny_world.compare bank.safetensors``.

Takes a bank of ``benchmarks.evidence.render_bank`` whose first condition is ``base``. For every scenario and
metric: the base's mean, each LoRA's mean, and the relative change with half of its 95 % interval over paired
seeds (t on the paired differences, relative to the base's mean).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy import stats

from pytest_wanlora.scoring.frechet import frechet_distance
from pytest_wanlora.suite import load
from pytest_wanlora.tiny.registration import FOLDER

SHOWN = ("clip", "temporal", "sharpness", "color", "motion", "drift", "overall")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bank", type=Path)
    arguments = parser.parse_args()
    bank = load_file(arguments.bank)
    with safe_open(arguments.bank, "np") as file:
        metrics = json.loads(file.metadata()["metrics"])
    reference = load_file(FOLDER / "reference.safetensors")
    conditions = list(dict.fromkeys(name.split("/")[0] for name in bank))
    conditions.remove("base")
    print("| scenario | metric | base | " + " | ".join(conditions) + " |")
    print("|---" * (3 + len(conditions)) + "|")
    for scenario in load("tiny").scenarios:
        base = bank[f"base/{scenario.id}/scores"]
        for metric in SHOWN:
            column = metrics.index(metric)
            mean, cells = base[:, column].mean(), []
            for name in conditions:
                own = bank[f"{name}/{scenario.id}/scores"][:, column]
                difference = own - base[:, column]
                half = stats.t.ppf(0.975, len(own) - 1) * difference.std(ddof=1) / np.sqrt(len(own))
                cells.append(f"{own.mean():.4g} ({difference.mean() / mean:+.1%} ± {half / mean:.1%})")
            print(f"| {scenario.id} | {metric} | {mean:.4g} | " + " | ".join(cells) + " |")
        distances = {
            name: frechet_distance(bank[f"{name}/{scenario.id}/features"], reference[scenario.category])
            for name in ("base", *conditions)
        }
        cells = [f"{distances[n]:.4g} ({distances[n] / distances['base'] - 1:+.0%})" for n in conditions]
        print(
            f"| {scenario.id} | fvd, {len(base)} videos | {distances['base']:.4g} | "
            + " | ".join(cells)
            + " |"
        )


if __name__ == "__main__":
    main()
