"""Put a LoRA on the model as DiffSynth does, prove that it is on, and take it off bit for bit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Applied

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pytest_wanlora.checkpoint import Checkpoint

_CHUNK = 1 << 24
_SHOWN = 5


@dataclass(frozen=True)
class Lora:
    """A checkpoint's matrices, by layer name: down (rank, in) and up (out, rank), on the CPU.

    Attributes:
        source: The file, for messages.
        down: The halves that DiffSynth calls lora_A.
        up: Those it calls lora_B.
    """

    source: str
    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]

    def state_dict(self) -> dict[str, Tensor]:
        """Under the names that DiffSynth reads."""
        return {f"{name}.lora_A.weight": matrix for name, matrix in self.down.items()} | {
            f"{name}.lora_B.weight": matrix for name, matrix in self.up.items()
        }

    def delta(self, name: str, device: torch.device) -> Tensor:
        """B @ A of a layer, float32."""
        return self.up[name].to(device).float() @ self.down[name].to(device).float()


def read(checkpoint: Checkpoint) -> Lora:
    """Read a checkpoint's matrices into torch, every bit as the reader hands them over."""
    import torch

    from pytest_wanlora.checkpoint import weights

    halves: dict[str, dict[str, Tensor]] = {"lora_A": {}, "lora_B": {}}
    for key, raw in weights(checkpoint).items():
        matrix = torch.frombuffer(bytearray(raw.data), dtype=getattr(torch, raw.dtype)).reshape(raw.shape)
        name, _, side = key.removesuffix(".weight").rpartition(".")
        halves[side][name] = matrix
    return Lora(str(checkpoint.path), halves["lora_A"], halves["lora_B"])


def targets(model: nn.Module, checkpoint: Checkpoint) -> dict[str, nn.Linear]:
    """Find the layer of every target and check that its shape fits.

    Args:
        model: The diffusion transformer.
        checkpoint: What is to be put on it.

    Raises:
        StudioError: The file names layers that the model lacks, or shapes differ. Nothing was changed.
    """
    from pytest_wanlora.checkpoint import verify_against

    linear: dict[str, Any] = {
        name: module
        for name, module in model.named_modules()
        if getattr(module, "weight", None) is not None and module.weight.dim() == 2
    }
    lies = verify_against(checkpoint, {name: tuple(module.weight.shape) for name, module in linear.items()})
    if lies:
        raise StudioError(
            f"{checkpoint.path}: {len(lies)} of its {len(checkpoint.targets)} targets do not fit the model: "
            f"{_some(lies)}\nA LoRA that is applied in part is not the LoRA that was trained.",
            next_command=f"python -m pytest_wanlora inspect {checkpoint.path}",
        )
    return {target.name: linear[target.name] for target in checkpoint.targets}


@contextmanager
def fused(pipe: Any, checkpoint: Checkpoint, scale: float) -> Iterator[Applied]:  # noqa: ANN401 - untyped
    """Fuse a LoRA into the weights in the pipeline's precision, as `pipe.load_lora` does by default.

    On leaving, the targets get back the copies of their weights.

    Args:
        pipe: DiffSynth's pipeline.
        checkpoint: What to fuse.
        scale: Factor on the LoRA's delta (DiffSynth's `alpha`).

    Yields:
        What fusing did, measured on the weights.

    Raises:
        StudioError: A target is missing, does not fit, or was not patched.
    """
    layers = targets(pipe.dit, checkpoint)
    lora = read(checkpoint)
    spare = _spare(layers)
    saved = {name: _copy(module.weight, spare=spare) for name, module in layers.items()}
    try:
        pipe.load_lora(pipe.dit, state_dict=lora.state_dict(), alpha=scale, hotload=False)
        yield _measure(layers, saved, lora, scale)
    finally:
        for name, module in layers.items():
            module.weight.data.copy_(saved[name])


@contextmanager
def unfused(pipe: Any, checkpoint: Checkpoint, scale: float) -> Iterator[Applied]:  # noqa: ANN401 - untyped
    """Keep a LoRA beside the weights, through DiffSynth's hot loading; otherwise as `fused`."""
    import torch
    from diffsynth.core import LoRAHotLoadMixin

    names = targets(pipe.dit, checkpoint).keys()
    lora = read(checkpoint)
    pipe.enable_lora_hot_loading(pipe.dit)
    try:
        pipe.load_lora(pipe.dit, state_dict=_on_device(pipe, lora), alpha=scale, hotload=True)
        patched = {
            module.name: module
            for module in pipe.dit.modules()
            if isinstance(module, LoRAHotLoadMixin) and len(module.lora_A_weights) > 0
        }
        if missing := sorted(names - patched.keys()):
            raise _not_patched(lora, missing)
        sums = _Sums()
        for name, module in patched.items():
            meant = scale * lora.delta(name, module.weight.device)
            low_rank = zip(module.lora_B_weights, module.lora_A_weights, strict=True)
            real = torch.zeros_like(meant)
            for up, down in low_rank:
                real += up.float() @ down.float()
            sums.add(real=real, meant=meant, base=module.weight.float())
        yield sums.applied(lora, changed=sums.moved, mode="unfused")
    finally:
        pipe.clear_lora(verbose=0)


@dataclass
class _Sums:
    """Squared norms over all layers, for the strength of what was applied."""

    dot: float = 0.0
    real2: float = 0.0
    meant2: float = 0.0
    base2: float = 0.0
    moved: int = 0

    def add(self, *, real: Tensor, meant: Tensor, base: Tensor) -> None:
        self.dot += float((real * meant).sum())
        self.real2 += float(real.square().sum())
        self.meant2 += float(meant.square().sum())
        self.base2 += float(base.square().sum())
        self.moved += bool(real.any())

    def applied(self, lora: Lora, *, changed: int, mode: str) -> Applied:
        if not all(math.isfinite(value) for value in (self.dot, self.real2, self.meant2)):
            raise StudioError(
                f"{lora.source}: applying it gives weights that are not finite",
                next_command=f"python -m pytest_wanlora inspect {lora.source}",
            )
        return Applied(
            targets=len(lora.up),
            patched=len(lora.up),
            changed=changed,
            strength=math.sqrt(self.real2 / self.meant2) if self.meant2 > 0 else 0.0,
            cosine=self.dot / math.sqrt(self.real2 * self.meant2) if self.real2 * self.meant2 > 0 else 0.0,
            relative_size=math.sqrt(self.meant2 / self.base2) if self.base2 > 0 else 0.0,
            mode=mode,
        )


def _measure(
    layers: Mapping[str, nn.Linear], saved: Mapping[str, Tensor], lora: Lora, scale: float
) -> Applied:
    import torch

    sums = _Sums()
    passed_over = []
    for name, module in layers.items():
        new = module.weight.detach()
        before = saved[name].to(new.device)
        if torch.equal(new, before):
            up, down = (matrix.to(new.device, new.dtype) for matrix in (lora.up[name], lora.down[name]))
            # unchanged is right where rounding swallows the whole delta, wrong otherwise
            if not torch.equal(before + scale * torch.mm(up, down), before):
                passed_over.append(name)
        sums.add(
            real=new.float() - before.float(),
            meant=scale * lora.delta(name, new.device),
            base=before.float(),
        )
    if passed_over:
        raise _not_patched(lora, passed_over)
    return sums.applied(lora, changed=sums.moved, mode="fused")


def _not_patched(lora: Lora, names: Sequence[str]) -> StudioError:
    total = len(lora.up)
    return StudioError(
        f"{lora.source}: DiffSynth patched {total - len(names)} of its {total} targets; not {_some(names)}",
        next_command=f"python -m pytest_wanlora inspect {lora.source}",
    )


def _on_device(pipe: Any, lora: Lora) -> dict[str, Tensor]:  # noqa: ANN401 - untyped
    return {name: matrix.to(pipe.device, pipe.torch_dtype) for name, matrix in lora.state_dict().items()}


def _spare(layers: Mapping[str, nn.Linear]) -> bool:
    """Whether the device has room for copies of all targets twice over."""
    import torch

    weights = [module.weight for module in layers.values()]
    if not weights or weights[0].device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(weights[0].device)
    return bool(free > 2 * sum(weight.numel() * weight.element_size() for weight in weights))


def _copy(weight: Tensor, *, spare: bool) -> Tensor:
    return weight.detach().clone() if spare else weight.detach().to("cpu", copy=True)


def checksum(model: nn.Module) -> tuple[tuple[str, int, int], ...]:
    """Digest a model's bits on its own device: per tensor two sums modulo 2**64, one weighted by position.

    For telling whether weights came back as they were, in the time that reading them takes; a SHA-256 of
    5 billion parameters would take longer than rendering.
    """
    import torch

    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = []
    for name, value in model.state_dict().items():
        flat = value.detach().contiguous().flatten().view(integers[value.element_size()])
        plain = weighted = 0
        for start in range(0, flat.numel(), _CHUNK):
            part = flat[start : start + _CHUNK].to(torch.int64)
            place = torch.arange(start + 1, start + 1 + part.numel(), device=part.device)
            plain += int(part.sum())
            weighted += int((part * place).sum())
        sums.append((name, plain % 2**64, weighted % 2**64))
    return tuple(sums)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
