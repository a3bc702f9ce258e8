"""What all training scripts share: data on the device, a captured step, averaged weights, resuming.

State is kept in safetensors files, like everything else of the project: no pickle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tools.tiny_world.draw import choose, draw
from tools.tiny_world.factors import CATEGORIES, caption, split


def device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Videos:
    """Training videos held on the device.

    Attributes:
        names: The categories that have videos.
        pixels: uint8, shape (n, frames, height, width, 3).
        categories: Category index of every video.
        combinations: Value indices, one table a category that has videos, in the order of ``pixels``.
    """

    def __init__(
        self, counts: dict[str, int], seed: int, *, part: str = "train", hazy_urban: float = 0.0
    ) -> None:
        pixels, categories, combinations = [], [], []
        self.names: list[str] = []
        for index, name in enumerate(CATEGORIES):
            count = counts.get(name, 0)
            if not count:
                continue
            rows = choose(name, count, seed, split(name, part))
            hazy = np.random.default_rng([seed, 7]).random(count) < (hazy_urban if name == "urban" else 0.0)
            self.names.append(name)
            pixels.append(draw(name, rows, seed, device=device(), hazy=hazy))
            categories.append(np.full(count, index))
            combinations.append(rows)
        self.pixels = torch.cat(pixels)
        self.categories = np.concatenate(categories)
        self.combinations = combinations

    def __len__(self) -> int:
        return len(self.pixels)

    def captions(self, template: int) -> list[str]:
        """Caption of every video, said in one of the four ways."""
        return [
            caption(name, row, template)
            for name, rows in zip(self.names, self.combinations, strict=True)
            for row in rows
        ]


def to_network(pixels: Tensor) -> Tensor:
    """uint8 (n, frames, height, width, 3) -> float (n, 3, frames, height, width) in -1..1."""
    return pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


class Trainer:
    """Run one optimisation: AdamW, cosine rate, averaged weights, resumable.

    On a GPU the whole step (forward, backward, optimiser, average) is captured once as a CUDA graph: at these
    sizes launching the kernels one by one costs more than running them.

    Args:
        modules: The networks to train, by name.
        step: Computes the loss from the tensors that ``batch`` filled.
        batch: Returns the next batch as tensors whose shapes never change.
        folder: Where ``state.safetensors`` is kept.
        steps: Length of the whole run.
        rate: Peak learning rate.
        decay: Weight decay.
        average: Share of the average that a step keeps.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        step: Callable[..., Tensor],
        batch: Callable[[], tuple[Tensor, ...]],
        folder: Path,
        *,
        steps: int,
        rate: float,
        decay: float = 0.01,
        average: float = 0.999,
        warmup: int = 100,
    ) -> None:
        self.modules = nn.ModuleDict(modules).to(device())
        self.step, self.batch, self.folder, self.steps = step, batch, folder, steps
        self.peak, self.warmup, self.average_keep = rate, warmup, average
        self.parameters: list[Tensor] = [p for p in self.modules.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]
        self.rate = torch.tensor(rate, device=device())
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=self.rate,
            betas=(0.9, 0.98),
            weight_decay=decay,
            fused=device().type == "cuda",
            capturable=device().type == "cuda",
        )
        self.done = 0
        self.log: list[tuple[int, float, float]] = []

    def _advance(self, inputs: tuple[Tensor, ...]) -> Tensor:
        # No weight cache under capture: a cached cast would be replayed from the first step for ever.
        with torch.autocast(device().type, torch.bfloat16, device().type == "cuda", cache_enabled=False):
            loss = self.step(*inputs)
        for parameter in self.parameters:
            parameter.grad = None if parameter.grad is None else parameter.grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimiser.step()
        torch._foreach_lerp_(self.average, self.parameters, 1 - self.average_keep)
        return loss.detach()

    def _set_rate(self, elapsed_share: float = 0.0) -> None:
        rise = min(1.0, (self.done + 1) / self.warmup)
        progress = min(1.0, max(self.done / self.steps, elapsed_share))
        self.rate.fill_(self.peak * rise * 0.5 * (1 + math.cos(math.pi * progress)))

    def run(self, *, seconds: float = math.inf, report: int = 200) -> None:
        """Train until ``steps`` are done or ``seconds`` have gone by; keep the state either way.

        The learning rate reaches zero at whichever comes first, so that a run cut to a time is a whole run.
        """
        began = time.monotonic()
        static = tuple(t.clone() for t in self.batch())
        graph: torch.cuda.CUDAGraph | None = None
        loss = torch.zeros((), device=device())
        if device().type == "cuda":
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._set_rate()
                    loss = self._advance(static)
                    self.done += 1
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loss = self._advance(static)
        start = self.done
        while self.done < self.steps and time.monotonic() - began < seconds:
            self._set_rate((time.monotonic() - began) / seconds)
            for kept, fresh in zip(static, self.batch(), strict=True):
                kept.copy_(fresh)
            if graph is None:
                loss = self._advance(static)
            else:
                graph.replay()
            self.done += 1
            if self.done % report == 0:
                value = float(loss)
                speed = (self.done - start) / (time.monotonic() - began)
                self.log.append((self.done, value, time.monotonic() - began))
                print(f"step {self.done}/{self.steps} loss {value:.5f} {speed:.1f} it/s", flush=True)
                if not math.isfinite(value):
                    raise FloatingPointError(f"loss is {value} at step {self.done}")
        self.save()

    def use_average(self) -> None:
        """Put the averaged weights into the networks."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.average)

    def save(self) -> None:
        """Write what :meth:`resume` needs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {f"model.{k}": v.contiguous() for k, v in self.modules.state_dict().items()}
        for number, parameter in enumerate(self.parameters):
            state[f"average.{number}"] = self.average[number]
            for name, value in self.optimiser.state[parameter].items():
                state[f"optimiser.{number}.{name}"] = value
        state["done"] = torch.tensor(self.done)
        save_file({k: v.detach().clone() for k, v in state.items()}, self.folder / "state.safetensors")

    def resume(self) -> None:
        """Go on from the folder's state, if there is one."""
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        state = load_file(path, device=str(device()))
        self.modules.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")})
        self.done = int(state["done"])
        for number, parameter in enumerate(self.parameters):
            self.average[number].copy_(state[f"average.{number}"])
            prefix = f"optimiser.{number}."
            self.optimiser.state[parameter] = {
                k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)
            }
        print(f"resumed at step {self.done}")


def save_half(
    module: nn.Module, path: Path, *, prefix: str = "", metadata: dict[str, str] | None = None
) -> None:
    """Write a network's weights in half precision, the form in which they are shipped."""
    state = {
        prefix + name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in module.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata=metadata)
