"""Apply a LoRA as DiffSynth does, verify that it is applied, and restore the weights bit for bit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_wanlora.checkpoint import contents
from pytest_wanlora.checkpoint.kinds import update
from pytest_wanlora.errors import StudioError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.studio.sums import Sums, norm, products, read, squared
from pytest_wanlora.studio.uploads import Lora, Uploads, uploaded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.jobs.job import Applied

_SHOWN = 5


def targets(model: nn.Module, checkpoint: Checkpoint) -> dict[str, nn.Linear]:
    """Find the layer of every target that is a LoRA's, and check that all targets fit the model.

    Returns:
        By name; targets of other kinds are parameters, which `_parameters` finds.

    Raises:
        StudioError: The file names layers that the model lacks, or shapes differ. Nothing was changed.
    """
    from pytest_wanlora.checkpoint import verify_against

    linear: dict[str, Any] = {
        _plain(name): module
        for name, module in model.named_modules()
        if getattr(module, "weight", None) is not None and module.weight.dim() == 2
    }
    lora = {target.name for target in checkpoint.targets if target.kind == "lora"}
    shapes = {name: tuple(each.shape) for name, each in _parameters(model).items() if name not in lora}
    shapes |= {name: tuple(module.weight.shape) for name, module in linear.items()}
    lies = verify_against(checkpoint, shapes)
    if lies:
        raise StudioError(
            f"{checkpoint.path}: {len(lies)} of its {number_of(len(checkpoint.targets), 'target')} do "
            "not fit the model: "
            f"{_some(lies)}\nA LoRA that is applied in part is not the LoRA that was trained.",
            next_command=f"python -m pytest_wanlora inspect {shlex.quote(str(checkpoint.path))}",
        )
    return {target.name: linear[target.name] for target in checkpoint.targets if target.kind == "lora"}


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What targets of other kinds than a LoRA change, under the names of targets."""
    return {_plain(name).removesuffix(".weight"): value for name, value in model.named_parameters()}


def _others(model: nn.Module, checkpoint: Checkpoint) -> dict[str, nn.Parameter]:
    known = _parameters(model)
    return {target.name: known[target.name] for target in checkpoint.targets if target.kind != "lora"}


@contextmanager
def fused(
    pipe: Any,  # noqa: ANN401 - untyped
    checkpoint: Checkpoint,
    scale: float,
    model: nn.Module | None = None,
    uploads: Uploads | None = None,
) -> Iterator[Applied]:
    """Fuse a LoRA into the weights in the pipeline's precision, as `pipe.load_lora` does by default.

    Weights are changed in place, so compiled code stays valid. On leaving, the targets get back the copies of
    their weights.

    Args:
        scale: Factor on the LoRA's delta (DiffSynth's `alpha`).
        model: Which of the pipeline's denoisers; its only one when left out.
        uploads: Where the file's matrices may be already.

    Yields:
        What fusing did, measured on the weights.

    Raises:
        StudioError: A target is missing, does not fit, or was not patched.
        CheckpointError: The file is no longer the one that was read.
    """
    model = pipe.dit if model is None else model
    layers, others = targets(model, checkpoint), _others(model, checkpoint)
    changed = {name: module.weight for name, module in layers.items()} | others
    saved = _copies(changed)
    try:
        with (uploads or Uploads()).of(checkpoint, pipe.device) as lora:
            if layers:
                _fuse(pipe, model, layers, lora, scale)
            added = _add(pipe, others, lora, checkpoint, scale)
            applied = _measure(pipe, layers, saved, lora, added, checkpoint, scale)
        # only here is the file proven to be the checkpoint
        del lora
        yield applied
    finally:
        for name, weight in changed.items():
            weight.data.copy_(saved[name])


def fuse_for_good(pipe: Any, checkpoint: Checkpoint, scale: float, model: nn.Module) -> None:  # noqa: ANN401
    """Fuse a LoRA that stays on the model as `fused` does; nothing is kept to remove it.

    Raises:
        StudioError: A target is missing or does not fit.
        CheckpointError: The file is no longer the one that was read.
    """
    layers, others = targets(model, checkpoint), _others(model, checkpoint)
    with contents(checkpoint) as found:
        lora = uploaded(found, pipe.device)
        if layers:
            _fuse(pipe, model, layers, lora, scale)
        _add(pipe, others, lora, checkpoint, scale)


def _fuse(
    pipe: Any,  # noqa: ANN401 - untyped
    model: nn.Module,
    layers: Mapping[str, nn.Linear],
    lora: Lora,
    scale: float,
) -> None:
    """Let DiffSynth's loader fuse, or do what it does where it passes over layers.

    VRAM management wraps every block, and the loader looks for the layers by their former names; the weights
    may wait outside the GPU.
    """
    if not pipe.vram_management_enabled:
        pipe.load_lora(model, state_dict=lora.state_dict(), alpha=scale, hotload=False)
        return
    import torch

    like = {"device": pipe.device, "dtype": pipe.torch_dtype}
    for name, module in layers.items():
        delta = scale * torch.mm(lora.up[name].to(**like), lora.down[name].to(**like))
        module.weight.data.copy_(module.weight.detach().to(**like) + delta)


def _add(
    pipe: Any,  # noqa: ANN401 - untyped
    parameters: Mapping[str, nn.Parameter],
    lora: Lora,
    checkpoint: Checkpoint,
    scale: float,
) -> Sums:
    """Add to parameters what is no LoRA, in float32, rounded once to the parameter's own type."""
    import torch

    dots, reals, bases, changed = [], [], [], 0
    for target in checkpoint.targets:
        if target.kind == "lora":
            continue
        parameter = parameters[target.name]
        before = parameter.detach().to(pipe.device, copy=True)
        parts = {part: value.float() for part, value in lora.others[target.name].items()}
        # nothing in place: float32 tensors are those of the file and of the model themselves
        delta = update(target.kind, parts) * (scale * target.scale)
        parameter.data.copy_(before.float() + delta)
        after = parameter.detach().to(pipe.device)
        real = after.float() - before.float()
        dots.append((delta * real).sum(dtype=torch.float64))
        reals.append(norm(real))
        bases.append(norm(before))
        changed += not torch.equal(after, before)
    return read(dots, squared(reals), squared(bases), changed=changed) if dots else Sums([], [], [])


@contextmanager
def unfused(
    pipe: Any,  # noqa: ANN401 - untyped
    checkpoint: Checkpoint,
    scale: float,
    model: nn.Module | None = None,
    uploads: Uploads | None = None,
) -> Iterator[Applied]:
    """Apply a LoRA by DiffSynth's hot loading, without changing the weights; otherwise as `fused`.

    What is no LoRA cannot be kept beside the weights: it is added to them.
    """
    from diffsynth.core import LoRAHotLoadMixin

    model = pipe.dit if model is None else model
    names = targets(model, checkpoint).keys()
    pipe.enable_lora_hot_loading(model)
    others = _others(model, checkpoint)
    saved = _copies(others)
    try:
        with (uploads or Uploads()).of(checkpoint, pipe.device) as lora:
            _load_beside(pipe, model, lora, scale)
            added = _add(pipe, others, lora, checkpoint, scale)
            patched = {
                module.name: module
                for module in model.modules()
                if isinstance(module, LoRAHotLoadMixin) and len(module.lora_A_weights) > 0
            }
            if missing := sorted(names - patched.keys()):
                raise _not_patched(checkpoint, missing)
            applied = _measure_beside(pipe, patched, lora, added, checkpoint, scale)
        # only here is the file proven to be the checkpoint
        del lora
        yield applied
    finally:
        pipe.clear_lora(verbose=0)
        for name, parameter in others.items():
            parameter.data.copy_(saved[name])


def _load_beside(pipe: Any, model: nn.Module, lora: Lora, scale: float) -> None:  # noqa: ANN401 - untyped
    state = {name: matrix.to(pipe.torch_dtype) for name, matrix in lora.state_dict().items()}
    pipe.load_lora(model, state_dict=state, alpha=scale, hotload=True)


def _measure(
    pipe: Any,  # noqa: ANN401 - untyped
    layers: Mapping[str, nn.Linear],
    saved: Mapping[str, Tensor],
    lora: Lora,
    added: Sums,
    checkpoint: Checkpoint,
    scale: float,
) -> Applied:
    import torch

    dots, reals, bases = [], [], []
    for name, module in layers.items():
        before = saved[name].to(pipe.device)
        # a copy that may be changed, even where the weights are float32 themselves
        real = module.weight.detach().to(pipe.device, torch.float32, copy=True).sub_(before)
        up, down = lora.up[name].float(), lora.down[name].float()
        # <real, B A> = sum((B^T real) * A), without a second matrix of the layer's size
        dots.append(scale * ((up.T @ real) * down).sum(dtype=torch.float64))
        reals.append(norm(real))
        bases.append(norm(before))
    sums = read(dots, squared(reals), squared(bases)) if layers else Sums([], [], [])
    # a square may be 0 although something changed: those few are compared
    unmoved = [
        name
        for name, real2 in zip(layers, sums.real2, strict=True)
        if real2 == 0 and torch.equal(layers[name].weight, saved[name].to(layers[name].weight.device))
    ]
    passed_over = []
    for name in unmoved:
        # unchanged is right where rounding swallows the whole delta, wrong otherwise
        before = saved[name].to(pipe.device)
        up, down = lora.up[name].to(before), lora.down[name].to(before)
        if not torch.equal(before + scale * torch.mm(up, down), before):
            passed_over.append(name)
    if passed_over:
        raise _not_patched(checkpoint, passed_over)
    moved = len(layers) - len(unmoved) + added.changed
    return (sums + added).applied(checkpoint, scale, changed=moved, mode="fused")


def _measure_beside(
    pipe: Any,  # noqa: ANN401 - untyped
    patched: Mapping[str, Any],
    lora: Lora,
    added: Sums,
    checkpoint: Checkpoint,
    scale: float,
) -> Applied:
    import torch

    if not patched:
        return added.applied(checkpoint, scale, changed=added.changed, mode="unfused")
    # several LoRAs on one layer are one of all their ranks
    real = [
        (torch.cat(list(module.lora_B_weights), 1), torch.cat(list(module.lora_A_weights)))
        for module in patched.values()
    ]
    meant = [(lora.up[name], lora.down[name]) for name in patched]
    bases = [norm(module.weight.detach().to(pipe.device)) for module in patched.values()]
    # rounding may leave less than nothing of a square
    sums = read(scale * products(real, meant), products(real, real).clamp_min(0), squared(bases))
    moved = sum(real2 > 0 for real2 in sums.real2) + added.changed
    return (sums + added).applied(checkpoint, scale, changed=moved, mode="unfused")


def _not_patched(checkpoint: Checkpoint, names: Sequence[str]) -> StudioError:
    total = len(checkpoint.targets)
    return StudioError(
        f"{checkpoint.path}: DiffSynth patched {total - len(names)} of its {number_of(total, 'target')}; "
        f"not {_some(names)}",
        next_command=f"python -m pytest_wanlora inspect {shlex.quote(str(checkpoint.path))}",
    )


def _copies(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of weights, on the CPU where their device lacks room for them twice over."""
    import torch

    weights = {name: value.detach() for name, value in parameters.items()}
    first = next(iter(weights.values()), None)
    if first is not None and first.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(first.device)
        if free <= 2 * sum(weight.numel() * weight.element_size() for weight in weights.values()):
            return {name: weight.to("cpu", copy=True) for name, weight in weights.items()}
    return {name: weight.clone() for name, weight in weights.items()}


def _plain(name: str) -> str:
    """A layer's name without what VRAM management puts around it."""
    return ".".join(part for part in name.split(".") if part != "module")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
