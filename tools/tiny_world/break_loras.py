"""Make the broken examples from a good one: ``python -m tools.tiny_world.break_loras``.

Each file of ``examples/broken`` is wrong in one way that has happened to people; the collapsed one is
trained, not made here (see the model card).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

EXAMPLES = Path("examples")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=EXAMPLES / "epoch-2.safetensors")
    parser.add_argument("--out", type=Path, default=EXAMPLES / "broken")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    good = load_file(arguments.source)
    # Saved before a single step: peft starts every B at zero.
    save_file(
        {name: torch.zeros_like(value) if ".lora_B." in name else value for name, value in good.items()},
        arguments.out / "untrained.safetensors",
    )
    # A diverged run.
    bad = {name: value.clone() for name, value in good.items()}
    bad["blocks.3.ffn.0.lora_B.default.weight"][5, 2] = float("nan")
    save_file(bad, arguments.out / "nan.safetensors")
    # A download or a copy that broke off.
    data = arguments.source.read_bytes()
    (arguments.out / "truncated.safetensors").write_bytes(data[: len(data) * 3 // 5])
    # The same layers of a wider model; rank 2 keeps the file small.
    generator = torch.Generator().manual_seed(1)
    wide = {}
    for name, value in good.items():
        rows, columns = (2, value.shape[1]) if ".lora_A." in name else (value.shape[0], 2)
        shape = [side if side == 2 else side * 4 // 3 for side in (rows, columns)]
        wide[name] = 0.01 * torch.randn(shape, generator=generator)
    save_file(wide, arguments.out / "other-width.safetensors")


if __name__ == "__main__":
    main()
