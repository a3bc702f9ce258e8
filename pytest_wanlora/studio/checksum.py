"""Digests of a model's weights, taken on its own device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


_ROW = 1024
# tensors below this many bytes are digested together: they are many, and each costs a wait of its own
_SMALL = 2**20


def checksum(model: nn.Module) -> tuple[tuple[str, int, int], ...]:
    """Digest a model's bits on its own device: per large tensor, and for all small ones together, two sums.

    For telling whether weights came back as they were, in the time that reading them twice takes; a SHA-256
    of 5 billion parameters would take longer than rendering. The bits are laid out as integers in rows of
    1024; one sum, modulo 2**64, weights by row, the other by column, so a changed or misplaced value changes
    one.
    """
    import torch

    state = model.state_dict()
    small = [value for value in state.values() if value.numel() * value.element_size() < _SMALL]
    by_device: dict[torch.device, dict[str, Tensor]] = {}
    for name, value in state.items():
        if value.numel() * value.element_size() >= _SMALL:
            by_device.setdefault(value.device, {})[name] = _digest(_bits(value))
    if small:
        # on whichever device; they are digested together because only a difference matters, not its place
        together = torch.cat([_bits(value).to(small[0].device) for value in small])
        by_device.setdefault(together.device, {})["all others"] = _digest(together)
    found: list[tuple[str, int, int]] = []
    for digests in by_device.values():
        # one wait for the device, not one a tensor
        rows = torch.stack(list(digests.values())).tolist()
        found += [
            (name, first % 2**64, second % 2**64) for name, (first, second) in zip(digests, rows, strict=True)
        ]
    return tuple(found)


def _bits(value: Tensor) -> Tensor:
    """A tensor's bits as bytes, flat, on its device."""
    import torch

    return value.detach().contiguous().flatten().view(torch.uint8)


def _digest(flat: Tensor) -> Tensor:
    """Two int64 that every bit of a flat tensor of bytes goes into, on its device."""
    import torch

    for width, kind in ((4, torch.int32), (2, torch.int16)):
        if flat.numel() % width == 0 and flat.storage_offset() % width == 0:
            flat = flat.view(kind)
            break
    rows = flat.numel() // _ROW
    body, rest = flat[: rows * _ROW].view(rows, _ROW), flat[rows * _ROW :]

    def weighted(sums: Tensor, start: int = 1) -> Tensor:
        return (sums * torch.arange(start, start + sums.numel(), device=sums.device)).sum()

    by_row = weighted(body.sum(1, dtype=torch.int64))
    by_column = weighted(body.sum(0, dtype=torch.int64))
    if rest.numel():
        by_row = by_row + weighted(rest.to(torch.int64), rows + 1)
        by_column = by_column + weighted(rest.to(torch.int64))
    return torch.stack((by_row, by_column))
