"""Where the two experts of a model are: both on the GPU, or one there and one in the computer's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Placement:
    """Brings experts to the device where they denoise, and sends the other away if both have no room.

    Args:
        models: By expert.
        device: Where they denoise.
        resident: How many of them may be there.
    """

    def __init__(self, models: Mapping[str, nn.Module], device: str | torch.device, resident: int) -> None:
        import torch

        self.models = models
        self.device = torch.device(device)
        self._moves = self.device.type == "cuda" and resident < len(models)
        self._host: dict[str, list[Tensor]] = {}

    def bring(self, expert: str) -> nn.Module:
        """Have an expert on the device; returns it."""
        if self._moves:
            for name, model in self.models.items():
                if name != expert:
                    self._send_away(name, model)
            self._fetch(self.models[expert])
        return self.models[expert]

    def _send_away(self, name: str, model: nn.Module) -> None:
        import torch

        tensors = [each for each in _tensors(model) if each.device.type == "cuda"]
        if not tensors:
            return
        # pinned memory, kept: a switch then takes what the bus needs, about a second for 28 GB
        if name not in self._host:
            self._host[name] = [torch.empty_like(each, device="cpu", pin_memory=True) for each in tensors]
        for own, kept in zip(tensors, self._host[name], strict=True):
            kept.copy_(own.data, non_blocking=True)
        torch.cuda.synchronize(self.device)
        for own, kept in zip(tensors, self._host[name], strict=True):
            own.data = kept

    def _fetch(self, model: nn.Module) -> None:
        import torch

        for own in _tensors(model):
            if own.device.type != "cuda":
                own.data = own.data.to(self.device, non_blocking=True)
        torch.cuda.synchronize(self.device)


def _tensors(model: nn.Module) -> list[Tensor]:
    """Weights and buffers of a model, in an order that does not change."""
    return [*model.parameters(), *model.buffers()]
