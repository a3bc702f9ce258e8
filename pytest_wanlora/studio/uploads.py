"""A checkpoint's matrices in torch, on a device."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_wanlora.checkpoint import contents

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pytest_wanlora.checkpoint import Checkpoint, Contents

_ALIGNED = 16  # bytes


@dataclass(frozen=True)
class Lora:
    """A checkpoint's matrices, by layer name: down (rank, in) and up (out, rank).

    Attributes:
        down: The halves that DiffSynth calls lora_A.
        up: Those it calls lora_B.
        others: Parts of the targets of other kinds, by the target's name.
    """

    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]
    others: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Tensor]:
        """Under the names that DiffSynth reads."""
        return {f"{name}.lora_A.weight": matrix for name, matrix in self.down.items()} | {
            f"{name}.lora_B.weight": matrix for name, matrix in self.up.items()
        }


def uploaded(found: Contents, device: str | torch.device) -> Lora:
    """Load a checkpoint's matrices into torch with the bits that the reader returns.

    The file goes to the device in one piece, of which the matrices are views: hundreds of small transfers
    take several times as long.
    """
    import torch

    bits = torch.frombuffer(found.file, dtype=torch.uint8).to(device)
    halves: dict[str, dict[str, Tensor]] = {"lora_A": {}, "lora_B": {}}
    others: dict[str, dict[str, Tensor]] = {}
    for key, raw in found.tensors.items():
        if key in found.starts:
            own = bits[found.starts[key] :][: len(raw.data)]
        else:
            own = torch.frombuffer(bytearray(raw.data), dtype=torch.uint8).to(device)
        if own.data_ptr() % _ALIGNED:
            # no type may begin there, and of matrices that begin there other kernels might make other bits
            own = own.clone()
        name, _, side = key.removesuffix(".weight").rpartition(".")
        value = own.view(getattr(torch, raw.dtype)).reshape(raw.shape)
        if side in halves:
            halves[side][name] = value
        else:
            others.setdefault(name, {})[side] = value
    return Lora(halves["lora_A"], halves["lora_B"], others)


class Uploads:
    """Checkpoints' matrices on a device.

    Args:
        keep: Whether they stay there, for other strengths of the same files.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._kept: dict[str, Lora] = {}

    def forget(self, but: Collection[str]) -> None:
        """Forget all files but those of some identities."""
        self._kept = {identity: lora for identity, lora in self._kept.items() if identity in but}

    @contextmanager
    def of(self, checkpoint: Checkpoint, device: str | torch.device) -> Iterator[Lora]:
        """Load a checkpoint's matrices, if they are not there; only on leaving are they proven to be its.

        Raises:
            CheckpointError: The file is no longer the one that was read.
        """
        if checkpoint.identity in self._kept:
            yield self._kept[checkpoint.identity]
            return
        with contents(checkpoint) as found:
            lora = uploaded(found, device)
            yield lora
        if self._keep:
            self._kept[checkpoint.identity] = lora
