"""Which suite's model a checkpoint fits, by the names and shapes of its targets."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from pytest_wanlora.checkpoint.experts import named_in
from pytest_wanlora.checkpoint.names import needs_image, wan_layer
from pytest_wanlora.checkpoint.partners import as_half
from pytest_wanlora.checkpoint.record import widths
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.suite.fingerprint import references
from pytest_wanlora.suite.loading import load, packaged

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint.record import Checkpoint, Target
    from pytest_wanlora.suite.model_files import Architecture
    from pytest_wanlora.suite.schema import Suite

# what trainers say of the base model, in whatever words
_FACTS: Final = (
    ("version", re.compile(r"wan[ _.-]*v?(2)[._]?([12])(?![0-9])")),
    ("task", re.compile(r"(?<![a-z])(ti2v|t2v|i2v)(?![a-z])")),
    ("size", re.compile(r"(?<![0-9.])a?(1[._]3|5|14)b(?![a-z])")),
)
_TELLING: Final = (
    "ss_base_model_version",
    "modelspec.architecture",
    "base_model",
    "base_model_name_or_path",
    "ss_sd_model_name",
    "model_id",
)


def by_shapes() -> list[Suite]:
    """The packaged suites among which one is chosen by the shapes of a checkpoint."""
    return [_read_once(path) for path in packaged().values() if path.parent.name != "named"]


@cache
def _read_once(path: Path) -> Suite:
    return load(path)


def contradicting_names(suite: Suite) -> tuple[str, ...]:
    """Warn of files that a suite names for one expert and whose name, or folder, says the other one.

    The same is a warning of a checkpoint that is given as `--lora high=A,low=B`.
    """
    found = []
    for key, text in references(suite):
        role = re.fullmatch(r"model\.experts\.(high|low)\.dit\[\d+\]|stack\[\d+\]\.(high|low)", key)
        if role is None:
            continue
        expert, path = role[1] or role[2], PurePosixPath(text.rsplit(":", 1)[-1].replace("\\", "/"))
        said = next((named for part in (path.stem, path.parent.name) if (named := named_in(part))), None)
        if said is not None and said[0] != expert:
            found.append(
                f"{suite.where(key)}: {key}: {text} is given for the {expert}-noise expert and says {said[0]}"
            )
    return tuple(found)


def fitting_for(checkpoint: Checkpoint) -> tuple[Suite, ...]:
    """The packaged suites whose model has a checkpoint's targets; of several those that its header names.

    One with two experts fits one LoRA too, as half of a pair, and then has `misfits`.
    """
    fitting = tuple(suite for suite in by_shapes() if not other_shapes(suite, checkpoint))
    said = _said(checkpoint)
    if len(fitting) > 1 and said is not None:
        return tuple(suite for suite in fitting if _is(suite, said[1])) or fitting
    return fitting


def find_for(
    checkpoint: Checkpoint, *, baselines: Path = Path("baselines"), seeds: tuple[int, int] | None = None
) -> Suite:
    """Choose the packaged suite whose model a checkpoint fits.

    Raises:
        SuiteError: None or several fit, and the header of the file does not say which; lists what was seen,
            and what each suite lacks or how it is chosen.
    """
    suites, fitting, said = by_shapes(), fitting_for(checkpoint), _said(checkpoint)
    if len(fitting) == 1 and not misfits(fitting[0], checkpoint):
        return load(fitting[0].path, baselines=baselines, seeds=seeds)
    what = "fits several packaged suites" if len(fitting) > 1 else "fits no packaged suite"
    if len(fitting) == 1:
        what = "fits a packaged suite only as half of a pair"
    lines = [f"{checkpoint.name}: {what}; it has {_seen(checkpoint)}"]
    if said is not None:
        lines[0] += f"; its header says {said[0]}"
    for suite in suites:
        line = f"  {suite.name} expects {_expected(suite.model.architecture)}"
        if suite in fitting:
            lines.append(f"{line}: {gate_command(suite, checkpoint)}")
            continue
        # of a model of another width nothing else is worth saying
        here = ("dim", suite.model.architecture.dim) in {each[1:] for each in widths(checkpoint.targets)}
        own = misfits(suite, checkpoint) if here else ()
        lines.append("; ".join([line, *own]))
    if fitting:
        command = gate_command(fitting[0], checkpoint)
    else:
        command = f"python -m pytest_wanlora inspect {shlex.quote(_argument(checkpoint))}"
        lines.append("  another model needs a suite that was written for it, given with --wanlora-suite")
    raise SuiteError("\n".join(lines), next_command=command)


def chosen_by(checkpoint: Checkpoint) -> str:
    """By what `find_for` chooses the suite: `shapes`, or the words of the header that decided."""
    fitting = [suite for suite in by_shapes() if not other_shapes(suite, checkpoint)]
    said = _said(checkpoint)
    return said[0] if said is not None and len(fitting) > 1 else "shapes"


def fits_experts(checkpoint: Checkpoint) -> bool:
    """Whether a LoRA has the shapes of an expert of a packaged suite with two."""
    return any(not other_shapes(suite, checkpoint) for suite in by_shapes() if suite.model.experts)


def _said(checkpoint: Checkpoint) -> tuple[str, dict[str, str]] | None:
    """What the header of a file says of its base model: its own words, and version, task and size of it."""
    for expert in checkpoint.experts.values():
        if (said := _said(expert)) is not None:
            return said
    for key in _TELLING:
        text = checkpoint.metadata.get(key, "").lower()
        found = {name: "".join(each.groups()) for name, rule in _FACTS if (each := rule.search(text))}
        if found:
            return f"{key} {checkpoint.metadata[key][:80]!r}", found
    return None


def _is(suite: Suite, facts: dict[str, str]) -> bool:
    """Whether a suite's name contradicts none of the facts; names are built as `wan2.2-t2v-a14b`."""
    for name, rule in _FACTS:
        own = rule.search(suite.name)
        if name in facts and (own is None or "".join(own.groups()) != facts[name].replace("_", ".")):
            return False
    return True


def gate_command(suite: Suite, checkpoint: Checkpoint) -> str:
    """The command that gates a checkpoint on a suite that its shapes fit; `FILE` is an unknown half."""
    half = suite.model.experts and not checkpoint.experts
    given = as_half(checkpoint.path) if half else _argument(checkpoint)
    return f"pytest --lora {shlex.quote(given)} --wanlora-suite {suite.name}"


def _argument(checkpoint: Checkpoint) -> str:
    """What to give `--lora`, or `inspect`, to get a checkpoint again."""
    halves = checkpoint.experts
    # one file with the LoRAs of both is split again
    inside = len({each.path for each in halves.values()}) < len({each.keys for each in halves.values()})
    if not halves or inside:
        return str(checkpoint.path)
    strengths = checkpoint.strengths
    return ",".join(
        f"{name}={each.path}" + ("" if strengths[name] == 1.0 else f"@{strengths[name]:g}")
        for name, each in halves.items()
    )


def check_fit(suite: Suite, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that changes what the suite's model does not have.

    Raises:
        SuiteError: A width differs, or the model lacks a block or a layer.
    """
    if found := misfits(suite, checkpoint):
        place = f"suite {suite.name} ({suite.where('model.architecture')})"
        lines = [f"{checkpoint.name}: does not fit the model of {place}", *(f"  {line}" for line in found)]
        others = [each for each in by_shapes() if each.name != suite.name]
        if any(not misfits(other, checkpoint) for other in others):
            # the suite is chosen by the shapes then
            command = f"pytest --lora {shlex.quote(_argument(checkpoint))}"
        else:
            command = f"python -m pytest_wanlora inspect {shlex.quote(_argument(checkpoint))}"
        raise SuiteError("\n".join(lines), next_command=command)


def misfits(suite: Suite, checkpoint: Checkpoint) -> tuple[str, ...]:
    """What keeps a suite from gating a checkpoint; empty if every target exists in the suite's model.

    A LoRA need not have targets in every block, or in any.
    """
    experts = tuple(checkpoint.experts)
    if suite.model.experts and not experts:
        how = f"allowed: high=FILE, low=FILE or both, as in {gate_command(suite, checkpoint)}"
        return (f"one LoRA for a model with two experts, and none of them named; {how}",)
    if experts and not suite.model.experts:
        named = " and ".join(f"{name} ({checkpoint.experts[name].path.name})" for name in experts)
        return (f"LoRAs of two experts, {named}, and this model has one denoiser",)
    return other_shapes(suite, checkpoint)


def other_shapes(suite: Suite, checkpoint: Checkpoint) -> tuple[str, ...]:
    """What shapes keep a suite's model from having a checkpoint's targets, whichever expert they are for."""
    if checkpoint.experts:
        if not suite.model.experts:
            return misfits(suite, checkpoint)
        return tuple(
            f"{name}-noise LoRA: {line}"
            for name, each in checkpoint.experts.items()
            for line in other_shapes(suite, each)
        )
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
    if image and not model.image_layers:
        kinds = ", ".join(dict.fromkeys(name.rpartition("cross_attn.")[2] for name in image))
        lines.append(
            f"trained for an image-to-video model ({kinds}): {number_of(len(image), 'target')} that "
            f"{suite.name} lacks"
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
        **({} if model.in_dim is None else {"patch_embedding": (dim, model.in_dim, 1, 2, 2)}),
    }
    _, layer = wan_layer(target.name) or (None, "")
    return known.get(f"{layer}.bias" if target.name.endswith(".bias") else layer)


def _seen(checkpoint: Checkpoint) -> str:
    seen = {what: value for _, what, value in widths(checkpoint.targets)}
    text = ", ".join(f"{what} {seen.get(what, 'unknown')}" for what in ("dim", "ffn_dim"))
    return f"{text}, blocks {checkpoint.blocks} ({checkpoint.block_count} with a target)"


def _expected(architecture: Architecture) -> str:
    return f"dim {architecture.dim}, ffn_dim {architecture.ffn_dim}, blocks {architecture.blocks}"
