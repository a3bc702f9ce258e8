"""Put a LoRA on the model as DiffSynth does, prove that it is on, and take it off bit for bit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from pytest_wanlora.errors import StudioError
from pytest_wanlora.jobs.job import Applied

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.checkpoint.container import Tensor as Bits

_ALIGNED = 16  # bytes
_ROW = 1024
# tensors below this many bytes are digested together: they are many, and each costs a wait of its own
_SMALL = 2**20
_SHOWN = 5


@dataclass(frozen=True)
class Lora:
    """A checkpoint's matrices, by layer name: down (rank, in) and up (out, rank).

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

    def delta(self, name: str, scale: float) -> Tensor:
        """The scale times B @ A of a layer, float32."""
        return (scale * self.up[name].float()) @ self.down[name].float()


def read(checkpoint: Checkpoint, device: str | torch.device) -> Lora:
    """Read a checkpoint's matrices into torch, every bit as the reader hands them over.

    They go to the device in one piece: hundreds of small transfers take several times as long.
    """
    import torch

    from pytest_wanlora.checkpoint import weights

    raws = weights(checkpoint)
    starts = dict(zip(raws, accumulate((_padded(raw) for raw in raws.values()), initial=0), strict=False))
    whole = bytearray(sum(map(_padded, raws.values())))
    for key, raw in raws.items():
        whole[starts[key] : starts[key] + len(raw.data)] = raw.data
    bits = torch.frombuffer(whole, dtype=torch.uint8).to(device)
    halves: dict[str, dict[str, Tensor]] = {"lora_A": {}, "lora_B": {}}
    for key, raw in raws.items():
        matrix = bits[starts[key] : starts[key] + len(raw.data)].view(getattr(torch, raw.dtype))
        name, _, side = key.removesuffix(".weight").rpartition(".")
        halves[side][name] = matrix.reshape(raw.shape)
    return Lora(str(checkpoint.path), halves["lora_A"], halves["lora_B"])


def _padded(raw: Bits) -> int:
    """Bytes of a tensor, filled up so that the next one begins where any type may."""
    return -(-len(raw.data) // _ALIGNED) * _ALIGNED


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
        _plain(name): module
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

    Weights are changed in place, so compiled code stays valid. On leaving, the targets get back the copies of
    their weights.

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
    lora = read(checkpoint, pipe.device)
    spare = _spare(layers)
    saved = {name: _copy(module.weight, spare=spare) for name, module in layers.items()}
    try:
        if pipe.vram_management_enabled:
            _fuse(pipe, layers, lora, scale)
        else:
            pipe.load_lora(pipe.dit, state_dict=lora.state_dict(), alpha=scale, hotload=False)
        yield _measure(pipe, layers, saved, lora, scale)
    finally:
        for name, module in layers.items():
            module.weight.data.copy_(saved[name])


def _fuse(pipe: Any, layers: Mapping[str, nn.Linear], lora: Lora, scale: float) -> None:  # noqa: ANN401
    """Do what DiffSynth's loader does, which passes over layers whose weights wait outside the GPU.

    VRAM management wraps every block, and the loader looks for the layers by their former names.
    """
    import torch

    like = {"device": pipe.device, "dtype": pipe.torch_dtype}
    for name, module in layers.items():
        delta = scale * torch.mm(lora.up[name].to(**like), lora.down[name].to(**like))
        module.weight.data.copy_(module.weight.detach().to(**like) + delta)


@contextmanager
def unfused(pipe: Any, checkpoint: Checkpoint, scale: float) -> Iterator[Applied]:  # noqa: ANN401 - untyped
    """Keep a LoRA beside the weights, through DiffSynth's hot loading; otherwise as `fused`."""
    import torch
    from diffsynth.core import LoRAHotLoadMixin

    names = targets(pipe.dit, checkpoint).keys()
    lora = read(checkpoint, pipe.device)
    pipe.enable_lora_hot_loading(pipe.dit)
    try:
        state = {name: matrix.to(pipe.torch_dtype) for name, matrix in lora.state_dict().items()}
        pipe.load_lora(pipe.dit, state_dict=state, alpha=scale, hotload=True)
        patched = {
            module.name: module
            for module in pipe.dit.modules()
            if isinstance(module, LoRAHotLoadMixin) and len(module.lora_A_weights) > 0
        }
        if missing := sorted(names - patched.keys()):
            raise _not_patched(lora, missing)
        sums = _Sums()
        for name, module in patched.items():
            meant = lora.delta(name, scale)
            low_rank = zip(module.lora_B_weights, module.lora_A_weights, strict=True)
            real = torch.zeros_like(meant)
            for up, down in low_rank:
                real += up.float() @ down.float()
            sums.add(name, real=real, meant=meant, base=module.weight.detach().to(meant))
        yield sums.applied(lora, mode="unfused")
    finally:
        pipe.clear_lora(verbose=0)


class _Sums:
    """Squared norms over all layers, for the strength of what was applied; read from the device once."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: list[Tensor] = []

    def add(self, name: str, *, real: Tensor, meant: Tensor, base: Tensor) -> None:
        import torch

        self._names.append(name)
        norm = torch.linalg.vector_norm
        # each reads its matrices once and writes no other of their size
        product = torch.dot(real.flatten(), meant.flatten())
        largest = norm(real, ord=math.inf)
        found = torch.stack([product, norm(real), norm(meant), norm(base), largest]).to(torch.float64)
        self._sums.append(torch.cat([found[:1], found[1:4].square(), found[4:]]))

    @cached_property
    def read(self) -> dict[str, list[float]]:
        """By layer: the product, the three squares, and the largest entry of the change."""
        import torch

        rows: list[list[float]] = torch.stack(self._sums).tolist()
        return dict(zip(self._names, rows, strict=True))

    def unmoved(self) -> list[str]:
        """Layers of which no entry changed."""
        return [name for name, row in self.read.items() if row[4] == 0]

    def applied(self, lora: Lora, *, mode: str) -> Applied:
        rows = list(self.read.values())
        dot, real2, meant2, base2 = (math.fsum(row[column] for row in rows) for column in range(4))
        if not all(math.isfinite(value) for value in (dot, real2, meant2)):
            raise StudioError(
                f"{lora.source}: applying it gives weights that are not finite",
                next_command=f"python -m pytest_wanlora inspect {lora.source}",
            )
        return Applied(
            targets=len(lora.up),
            patched=len(lora.up),
            changed=len(rows) - len(self.unmoved()),
            strength=math.sqrt(real2 / meant2) if meant2 > 0 else 0.0,
            cosine=dot / math.sqrt(real2 * meant2) if real2 * meant2 > 0 else 0.0,
            relative_size=math.sqrt(meant2 / base2) if base2 > 0 else 0.0,
            mode=mode,
        )


def _measure(
    pipe: Any,  # noqa: ANN401 - untyped
    layers: Mapping[str, nn.Linear],
    saved: Mapping[str, Tensor],
    lora: Lora,
    scale: float,
) -> Applied:
    import torch

    sums = _Sums()
    for name, module in layers.items():
        meant = lora.delta(name, scale)
        before = saved[name].to(meant)
        # a copy that may be changed, even where the weights are float32 themselves
        real = module.weight.detach().to(meant, copy=True).sub_(before)
        sums.add(name, real=real, meant=meant, base=before)
    passed_over = []
    for name in sums.unmoved():
        # unchanged is right where rounding swallows the whole delta, wrong otherwise
        before = saved[name].to(pipe.device)
        up, down = lora.up[name].to(before), lora.down[name].to(before)
        if not torch.equal(before + scale * torch.mm(up, down), before):
            passed_over.append(name)
    if passed_over:
        raise _not_patched(lora, passed_over)
    return sums.applied(lora, mode="fused")


def _not_patched(lora: Lora, names: Sequence[str]) -> StudioError:
    total = len(lora.up)
    return StudioError(
        f"{lora.source}: DiffSynth patched {total - len(names)} of its {total} targets; not {_some(names)}",
        next_command=f"python -m pytest_wanlora inspect {lora.source}",
    )


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
        # wherever they lie just now; which of them differs is nobody's question, that one does is
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


def _plain(name: str) -> str:
    """A layer's name without what VRAM management puts around it."""
    return ".".join(part for part in name.split(".") if part != "module")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
