"""Write a hollow model: `python -m tools.hollow_wan --out FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tools.hollow_wan.assemble import Recipe, assemble


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.hollow_wan", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--smoke", action="store_true", help="the embedded model's shapes: a few MB")
    parser.add_argument(
        "--precision",
        choices=("published", "bfloat16"),
        default="published",
        help="published: transformer and VAE in float32, 34 GB; bfloat16: 24 GB",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    recipe = Recipe(
        size="smoke" if arguments.smoke else "full", precision=arguments.precision, seed=arguments.seed
    )
    assemble(arguments.out, recipe, device=arguments.device, say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
