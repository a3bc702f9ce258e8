"""Make the broken examples from a good one: ``python -m tools.tiny_world.break_loras``.

Each file of ``examples/broken`` is wrong in one way that has happened to people; the collapsed one is
trained, not made here (see the model card). They have rank 2: what is wrong with them shows at any rank, and
the files stay small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save, save_file

EXAMPLES = Path("examples")
RANK = 2


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=EXAMPLES / "epoch-2.safetensors")
    parser.add_argument("--out", type=Path, default=EXAMPLES / "broken")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    good = {
        name: (value[:RANK] if ".lora_A." in name else value[:, :RANK]).contiguous()
        for name, value in load_file(arguments.source).items()
    }
    # Saved before a single step: peft starts every B at zero.
    save_file(
        {name: torch.zeros_like(value) if ".lora_B." in name else value for name, value in good.items()},
        arguments.out / "untrained.safetensors",
    )
    # A diverged run.
    bad = {name: value.clone() for name, value in good.items()}
    bad["blocks.3.ffn.0.lora_B.default.weight"][5, 1] = float("nan")
    save_file(bad, arguments.out / "nan.safetensors")
    # A download or a copy that broke off.
    data = save(good)
    (arguments.out / "truncated.safetensors").write_bytes(data[: len(data) * 3 // 5])
    # The same layers of a wider model.
    generator = torch.Generator().manual_seed(1)
    wide = {}
    for name, value in good.items():
        shape = [side if side == RANK else side * 4 // 3 for side in value.shape]
        wide[name] = 0.01 * torch.randn(shape, generator=generator)
    save_file(wide, arguments.out / "other-width.safetensors")


if __name__ == "__main__":
    main()
