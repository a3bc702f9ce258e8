"""Which suite's model a checkpoint fits, by the names and shapes of its targets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora.checkpoint.names import needs_image, wan_layer
from pytest_wanlora.checkpoint.record import widths
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite.loading import load, packaged

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint.record import Checkpoint, Target
    from pytest_wanlora.suite.schema import Architecture, Suite

# models that no packaged suite gates, by their width
_OTHER_MODELS: Final = {1536: "Wan2.1 1.3B", 5120: "a 14B model of Wan2.1 or Wan2.2"}


def find_for(
    checkpoint: Checkpoint, *, baselines: Path = Path("baselines"), seeds: tuple[int, int] | None = None
) -> Suite:
    """Choose the packaged suite whose model a checkpoint fits.

    Args:
        checkpoint: The LoRA.
        baselines: See `load`.
        seeds: See `load`.

    Raises:
        SuiteError: None or several fit; lists what was seen and what each suite lacks.
    """
    suites = [load(path, baselines=baselines, seeds=seeds) for path in packaged().values()]
    fitting = [suite for suite in suites if not misfits(suite, checkpoint)]
    if len(fitting) == 1:
        return fitting[0]
    what = "fits several packaged suites" if fitting else "fits no packaged suite"
    lines = [f"{checkpoint.name}: {what}; it has {_seen(checkpoint)}"]
    for suite in suites:
        line = f"  {suite.name} expects {_expected(suite.model.architecture)}"
        # of a model of another width nothing else is worth saying
        own = misfits(suite, checkpoint) if _same_width(suite, checkpoint) else ()
        lines.append("; ".join([line, *own]))
    if fitting:
        command = f"pytest --lora {shlex.quote(str(checkpoint.path))} --wanlora-suite {fitting[0].name}"
    else:
        command = f"python -m pytest_wanlora inspect {shlex.quote(str(checkpoint.path))}"
        lines.append("  another model needs a suite that was written for it, given with --wanlora-suite")
    raise SuiteError("\n".join(lines), next_command=command)


def check_fit(suite: Suite, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that changes what the suite's model does not have.

    Args:
        suite: The suite that the user chose.
        checkpoint: The LoRA.

    Raises:
        SuiteError: A width differs, or the model lacks a block or a layer.
    """
    if found := misfits(suite, checkpoint):
        place = f"suite {suite.name} ({suite.where('model.architecture')})"
        lines = [f"{checkpoint.name}: does not fit the model of {place}", *(f"  {line}" for line in found)]
        others = [load(path) for name, path in packaged().items() if name != suite.name]
        if any(not misfits(other, checkpoint) for other in others):
            command = "leave --wanlora-suite out, to choose the suite by the checkpoint's shapes"
        else:
            command = f"python -m pytest_wanlora inspect {shlex.quote(str(checkpoint.path))}"
        raise SuiteError("\n".join(lines), next_command=command)


def misfits(suite: Suite, checkpoint: Checkpoint) -> tuple[str, ...]:
    """What keeps a suite from gating a checkpoint; empty if every target exists in the suite's model.

    A LoRA need not have targets in every block, or in any.
    """
    model, targets = suite.model.architecture, checkpoint.targets
    lines: list[str] = []
    seen = {what: value for _, what, value in widths(targets)}
    for what in ("dim", "ffn_dim", "text_dim"):
        wanted = getattr(model, what)
        if wanted is not None and seen.get(what, wanted) != wanted:
            lines.append(f"{what}: {seen[what]}; allowed: {wanted}")
    if checkpoint.blocks > model.blocks:
        lines.append(f"blocks: {checkpoint.blocks}; allowed: {model.blocks}")
    image = [target.name for target in targets if needs_image(target.name)]
    if image:
        kinds = ", ".join(dict.fromkeys(name.rpartition("cross_attn.")[2] for name in image))
        lines.append(
            f"trained for an image-to-video model ({kinds}): {len(image)} targets that {suite.name} lacks"
        )
    if not seen and not image:
        lines.append(f"dim: unknown; allowed: {model.dim}")
    lines += [
        f"{target.name}: shape {list(target.shape)}; allowed: {list(wanted)}"
        for target in targets
        for wanted in [_shape(target, model)]
        if wanted is not None and target.shape != wanted
    ]
    return tuple(lines)


def _shape(target: Target, model: Architecture) -> tuple[int, ...] | None:
    """What a suite's sizes do not say by a width alone; None where they say nothing more."""
    dim = model.dim
    known = {
        "modulation": (1, 6, dim),
        "head.modulation": (1, 2, dim),
        "time_projection.1": (6 * dim, dim),
        "time_projection.1.bias": (6 * dim,),
    }
    _, layer = wan_layer(target.name) or (None, "")
    return known.get(f"{layer}.bias" if target.name.endswith(".bias") else layer)


def _same_width(suite: Suite, checkpoint: Checkpoint) -> bool:
    return ("dim", suite.model.architecture.dim) in {found[1:] for found in widths(checkpoint.targets)}


def _seen(checkpoint: Checkpoint) -> str:
    seen = {what: value for _, what, value in widths(checkpoint.targets)}
    text = ", ".join(f"{what} {seen.get(what, 'unknown')}" for what in ("dim", "ffn_dim"))
    text += f", blocks {checkpoint.blocks} ({checkpoint.block_count} with a target)"
    model = _OTHER_MODELS.get(seen.get("dim", 0))
    return f"{text}, as {model} has" if model else text


def _expected(architecture: Architecture) -> str:
    return f"dim {architecture.dim}, ffn_dim {architecture.ffn_dim}, blocks {architecture.blocks}"
