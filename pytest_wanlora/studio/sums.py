"""Sums over layers that tell what applying a LoRA did to a model's weights."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Applied, least

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_wanlora.checkpoint import Checkpoint


def together(experts: Mapping[str, Applied]) -> Applied:
    """How a pair was applied, of how each of its LoRAs was; the less faithful one decides."""
    parts = list(experts.values())
    told = experts[least(experts)]
    return Applied(
        targets=sum(each.targets for each in parts),
        patched=sum(each.patched for each in parts),
        changed=min(1, *(each.changed for each in parts)) and sum(each.changed for each in parts),
        strength=told.strength,
        cosine=told.cosine,
        relative_size=told.relative_size,
        mode=told.mode,
        experts=experts,
    )


@dataclass(frozen=True)
class Sums:
    """Of each layer: the change's product with the intended one, its square, the square of the weights.

    `changed` of the layers differ from what they were.
    """

    dot: Sequence[float]
    real2: Sequence[float]
    base2: Sequence[float]
    changed: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            [*self.dot, *other.dot],
            [*self.real2, *other.real2],
            [*self.base2, *other.base2],
            self.changed + other.changed,
        )

    def applied(self, checkpoint: Checkpoint, scale: float, *, changed: int, mode: str) -> Applied:
        """What the sums say of a checkpoint that was applied.

        Raises:
            StudioError: Its weights or the model's are no longer finite.
        """
        # the reader knows what the proven file asks for, however the device came by its matrices
        meant2 = math.fsum((scale * norm) ** 2 for norm in checkpoint.norms.values())
        dot, real2, base2 = map(math.fsum, (self.dot, self.real2, self.base2))
        if not all(math.isfinite(value) for value in (dot, real2, meant2)):
            raise StudioError(
                f"{checkpoint.path}: applying it gives weights that are not finite",
                next_command=f"python -m pytest_wanlora inspect {shlex.quote(str(checkpoint.path))}",
            )
        return Applied(
            targets=len(checkpoint.targets),
            patched=len(checkpoint.targets),
            changed=changed,
            strength=math.sqrt(real2 / meant2) if meant2 > 0 else 0.0,
            cosine=dot / math.sqrt(real2 * meant2) if real2 * meant2 > 0 else 0.0,
            relative_size=math.sqrt(meant2 / base2) if base2 > 0 else 0.0,
            mode=mode,
        )


def products(first: Sequence[tuple[Tensor, Tensor]], second: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """<B A, D C> of each (B, A) with its (D, C), float64: sum((B^T D) * (A C^T)), never the layer's size.

    Layers of one shape are computed together: alone, each is too small for a GPU.
    """
    import torch

    groups: dict[Any, list[int]] = {}
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        groups.setdefault(tuple((matrix.shape, matrix.dtype) for matrix in (*one, *other)), []).append(index)
    found = []
    for indices in groups.values():
        up, down, other_up, other_down = (
            torch.stack([pairs[index][side] for index in indices]).double()
            for pairs in (first, second)
            for side in (0, 1)
        )
        found.append(((up.mT @ other_up) * (down @ other_down.mT)).sum((1, 2)))
    order = torch.tensor([index for indices in groups.values() for index in indices])
    return torch.cat(found)[order.argsort().to(found[0].device)]


def norm(matrix: Tensor) -> Tensor:
    """Frobenius norm in float32; of the rows, then of their norms.

    Over the whole matrix at once a CPU adds up squares until they no longer count: 3e-3 off at 3072x14336.
    """
    import torch

    rows = matrix.flatten(1) if matrix.dim() > 1 else matrix[None]
    whole: Tensor = torch.linalg.vector_norm(torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32))
    return whole


def squared(norms: Sequence[Tensor]) -> Tensor:
    """Squares of norms, float64."""
    import torch

    return torch.stack(list(norms)).double().square()


def read(dots: Sequence[Tensor] | Tensor, real2: Tensor, base2: Tensor, changed: int = 0) -> Sums:
    """Fetch all sums from the device, waiting for it once."""
    import torch

    dot = dots if isinstance(dots, torch.Tensor) else torch.stack(list(dots))
    sums: list[list[float]] = torch.stack([dot, real2, base2]).tolist()
    return Sums(sums[0], sums[1], sums[2], changed)
