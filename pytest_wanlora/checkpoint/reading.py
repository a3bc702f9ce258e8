"""Read a LoRA file: header, names, shapes, then the health of its numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pytest_wanlora.checkpoint import adapter, experts, formats, health, kinds, names
from pytest_wanlora.checkpoint.container import FLOATS, NUMBERS, Container, Tensor, open_container
from pytest_wanlora.checkpoint.record import Checkpoint, Target, widths
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import file_sha256, listing

_ONE_TRAINING: Final = "save the LoRA again from one training"
_EXCHANGED: Final = "; its A and B look exchanged: (out, rank) x (rank, in)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """A LoRA file in memory.

    Attributes:
        file: All its bytes; not to be written to.
        tensors: What ``weights`` gives.
        starts: By a tensor's name, where it begins in ``file``; without those that alpha was folded into,
            which are not the file's bits.
    """

    file: memoryview
    tensors: Mapping[str, Tensor]
    starts: Mapping[str, int]


def read(path: Path | str | Container, *, expert: str | None = None) -> Checkpoint:
    """Read and check a LoRA file, without torch.

    The header decides first; only a file whose every key and shape is understood is read whole. Weights
    that are NaN, infinite or zero do not stop the reading: they are ``Checkpoint.problems``.

    Args:
        path: A safetensors file in any format that ``formats`` knows, or one whose header was read.
        expert: Which expert's LoRA to read of a file that names two of them; a file that names none is read
            whole, whatever is given here.

    Raises:
        CheckpointError: It cannot be read, is of a refused kind, or contradicts itself.
    """
    container = path if isinstance(path, Container) else open_container(Path(path))
    halves = experts.split(container.entries)
    if halves and expert is None:
        first = next(iter(halves[next(reversed(halves))]))
        raise CheckpointError(
            f"{container.path}: {first!r}: it names one of two experts (Wan2.2 A14B has two): this is not "
            "the LoRA of one model; allowed: that of one denoiser, or `high` or `low` of a model with two",
            next_command=f"python -m pytest_wanlora inspect {shlex.quote(str(container.path))}",
        )
    called = {} if expert is None or not halves else experts.half_of(container.path, halves, expert)
    layout = formats.layout(container.path, called or container.entries, called)
    plain = tuple(_shaped(container, group) for group in layout.groups)
    _refuse_exchanged(container.path, plain)
    _refuse_contradicting_widths(container.path, plain)
    config = _config(container, layout)
    data = container.read()
    _refuse_strays(container, layout, data)
    targets = tuple(
        _with_alpha(container, data, target, group, config)
        for target, group in zip(plain, layout.groups, strict=True)
    )
    source = "file" if any(group.alpha_key for group in layout.groups) else "none"
    if config is not None:
        source = adapter.CONFIG_NAME if _is_peft(layout) else adapter.METADATA_KEY
    # numpy and hashlib release the interpreter lock: targets are measured in parallel, and with the digest
    with ThreadPoolExecutor() as pool:
        digest = pool.submit(_sha256, data)
        found = pool.map(lambda target: health.measure(target, _parts(container, data, target)), targets)
        measured = dict(zip((target.name for target in targets), found, strict=True))
        sha256 = digest.result()
    # a difference of zero changes nothing, whether it is left out or added
    kept = tuple(each for each in targets if each.kind != "diff" or measured[each.name].norm != 0.0)
    if not kept:
        raise CheckpointError(
            f"{container.path}: changes nothing: all its {len(layout.groups)} differences are zero",
            next_command="give the file that the training saved",
        )
    norms = {target.name: measured[target.name].norm for target in kept}
    zero = tuple(each.name for each in kept if health.without_effect(container, data, each, norms[each.name]))
    keys = [key for target in kept for key in target.keys.values()]
    return Checkpoint(
        path=container.path,
        name=container.path.stem,
        sha256=sha256,
        size=container.size,
        format=layout.format,
        dtype="+".join(sorted({FLOATS[container.entries[key].dtype][0] for key in keys})),
        parameters=sum(math.prod(container.entries[key].shape) for key in keys),
        targets=kept,
        alpha_source=source,
        metadata=container.metadata,
        norms={name: norm if math.isfinite(norm) else math.nan for name, norm in norms.items()},
        zero_targets=zero,
        problems=health.problems(norms, zero),
        warnings=health.warnings(kept, zero, container.metadata, underscored=layout.underscored),
        hints=health.hints(kept, measured),
        zero_differences=len(targets) - len(kept) + len(layout.strays),
        keys=tuple(called or container.entries),
    )


def weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The LoRA in the model's own names.

    Returns:
        ``{"blocks.0.self_attn.q.lora_A.weight": Tensor, "blocks.0.self_attn.q.lora_B.weight": ...}``:
        A of shape (rank, in), B of (out, rank). The bits are the file's own. Only where alpha differs
        from the rank, A is multiplied by alpha / rank in float32 and stays float32. Of other kinds the parts,
        ``blocks.0.self_attn.q.lokr_w1``; their updates have the target's scale.

    Raises:
        CheckpointError: The file is no longer the one that ``read`` saw, or A leaves the range of
            float32 when alpha is folded in.
    """
    with contents(checkpoint) as found:
        return dict(found.tensors)


@contextmanager
def contents(checkpoint: Checkpoint) -> Iterator[Contents]:
    """Give a LoRA's weights to a block while the SHA-256 of the file is computed on another thread.

    Only once the block was left without an error is it proven that what it was given is the checkpoint; until
    then the block must be ready to undo what it did.

    Yields:
        What lies in the file now, in the form that ``weights`` describes.

    Raises:
        CheckpointError: As ``weights``. On leaving: the file is no longer the one that ``read`` saw. That
            comes before whatever else the block raised, of which it is the likely cause.
    """
    container = open_container(checkpoint.path)
    data = container.read()
    with ThreadPoolExecutor(1) as background:
        digest = background.submit(_sha256, data)
        try:
            yield _contents(checkpoint, container, data)
        finally:
            _prove(checkpoint, digest.result())


def _contents(checkpoint: Checkpoint, container: Container, data: memoryview) -> Contents:
    tensors, starts = {}, {}
    for target in checkpoint.targets:
        for part, key in target.keys.items():
            name = f"{target.name}.{part}" + (".weight" if target.kind == "lora" else "")
            stored = container.tensor(key, data)
            tensors[name] = _folded(checkpoint.path, target, stored) if part == "lora_A" else stored
            if tensors[name] is stored:
                starts[name] = container.entries[key].start
    return Contents(file=data, tensors=tensors, starts=starts)


def _sha256(data: memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _prove(checkpoint: Checkpoint, found: str) -> None:
    if found != checkpoint.sha256:
        raise CheckpointError(
            f"{checkpoint.path}: changed since it was read: SHA-256 was {checkpoint.sha256[:12]}…, "
            f"is {found[:12]}…; allowed: a file that nothing writes, such as a copy",
            next_command=f"sha256sum {shlex.quote(str(checkpoint.path))}",
        )


def require_unchanged(checkpoint: Checkpoint) -> None:
    """Read the files of a checkpoint again, both of a pair.

    Raises:
        CheckpointError: One of them is no longer the one that ``read`` saw.
    """
    for each in checkpoint.experts.values() or (checkpoint,):
        try:
            found = file_sha256(each.path)
        except OSError as error:
            raise CheckpointError(
                f"{each.path}: cannot be read again: {error.strerror}; allowed: a file that stays as it was "
                "read",
                next_command=listing(each.path),
            ) from error
        _prove(each, found)


def _folded(path: Path, target: Target, down: Tensor) -> Tensor:
    if target.alpha is None or target.alpha == target.rank:
        return down
    with np.errstate(over="ignore", invalid="ignore"):
        before = down.float64().astype(np.float32)
        after = before * np.float32(target.scale)
    if np.isfinite(before).all() and not np.isfinite(after).all():
        raise CheckpointError(
            f"{path}: {target.keys['lora_A']!r} times alpha / rank ({target.scale:g}) is beyond float32",
            next_command="save the LoRA again with a smaller alpha",
        )
    return Tensor(dtype="float32", shape=down.shape, data=after.astype("<f4").tobytes())


def _parts(container: Container, data: memoryview, target: Target) -> dict[str, Tensor]:
    return {part: container.tensor(key, data) for part, key in target.keys.items()}


def _shaped(container: Container, group: formats.Group) -> Target:
    shapes = {part: container.entries[key].shape for part, key in group.keys.items()}
    for part, key in group.keys.items():
        _refuse_type_and_shape(container, key, part, group.name)
    shape = kinds.shape_of(group.kind, shapes)
    if shape is None:
        raise CheckpointError(_unfitting(container.path, group, shapes), next_command=_ONE_TRAINING)
    return Target(
        name=group.name,
        kind=group.kind,
        shape=shape,
        rank=kinds.rank_of(group.kind, shapes),
        alpha=None,
        keys=group.keys,
        alpha_key=group.alpha_key,
    )


def _unfitting(path: Path, group: formats.Group, shapes: Mapping[str, tuple[int, ...]]) -> str:
    if group.kind == "lora":
        down, up = shapes["lora_A"], shapes["lora_B"]
        hint = _EXCHANGED if down[1] == up[0] < min(down[0], up[1]) else ""
        return (
            f"{path}: ranks differ: {down[0]} by {group.keys['lora_A']!r} {list(down)}, "
            f"{up[1]} by {group.keys['lora_B']!r} {list(up)}; allowed are (rank, in) and (out, rank){hint}"
        )
    shown = ", ".join(f"{group.keys[part]!r} {list(shape)}" for part, shape in shapes.items())
    return f"{path}: the factors of {group.name!r} do not fit together: {shown}"


def _refuse_type_and_shape(container: Container, key: str, part: str, name: str) -> None:
    entry = container.entries[key]
    if entry.dtype not in FLOATS:
        raise CheckpointError(
            f"{container.path}: {key!r} is of type {entry.dtype}, allowed are {', '.join(FLOATS)}",
            next_command="save the LoRA as bfloat16, float16 or float32",
        )
    shape = list(entry.shape)
    if 0 in shape:
        raise CheckpointError(
            f"{container.path}: {key!r} has shape {shape}, allowed is 1 or more each; DeepSpeed's ZeRO-3 and "
            "FSDP leave such tensors where the weights are not gathered first",
            next_command="gather the weights before saving (DeepSpeed ZeRO-3, FSDP), and save again",
        )
    if part == "diff":
        # of the weight that the difference is added to
        wanted = 2 if names.is_linear(name) else 1
        wanted = {"patch_embedding": 5, "modulation": 3}.get(name.rpartition(".")[2], wanted)
        if len(shape) != wanted:
            raise CheckpointError(
                f"{container.path}: {key!r} has shape {shape}, allowed are {wanted} dimensions for {name!r}",
                next_command=_ONE_TRAINING,
            )
    elif len(shape) == 1:
        raise CheckpointError(
            f"{container.path}: {key!r} has shape {shape}, allowed are 2 dimensions; FSDP and ZeRO-3 keep "
            "weights flat and in parts",
            next_command="gather the weights before saving (DeepSpeed ZeRO-3, FSDP), and save again",
        )
    elif len(shape) != 2 or name == "patch_embedding":
        raise CheckpointError(
            f"{container.path}: {key!r} has shape {shape}, allowed are 2 dimensions, of a linear layer "
            f"({name} {'is a convolution' if name == 'patch_embedding' else 'is one'}; LoRAs of convolutions "
            "are not supported)",
            next_command="train without convolutions such as patch_embedding",
        )


def _refuse_strays(container: Container, layout: formats.Layout, data: memoryview) -> None:
    for key in layout.strays:
        entry = container.entries[key]
        if entry.dtype not in FLOATS or container.tensor(key, data).float64().any():
            raise CheckpointError(
                f"{container.path}: {key!r} is no layer of a Wan model, and this difference is not zero: it "
                "would be dropped",
                next_command="save the LoRA again for the model that it was trained on",
            )


def _refuse_exchanged(path: Path, targets: tuple[Target, ...]) -> None:
    pairs = [target for target in targets if target.kind == "lora"]
    # a rank above both widths is no low rank
    if pairs and all(target.rank > max(target.shape) for target in pairs):
        first = pairs[0]
        keys = " and ".join(map(repr, first.keys.values()))
        raise CheckpointError(
            f"{path}: A and B look exchanged: (out, rank) x (rank, in), in all {len(pairs)} targets: "
            f"by {keys} the model has width {first.shape[0]} and the LoRA rank {first.rank}; "
            "allowed are lora_A (rank, in) and lora_B (out, rank)",
            next_command="save the LoRA again with the names of A and B exchanged",
        )


def _refuse_contradicting_widths(path: Path, targets: tuple[Target, ...]) -> None:
    first: dict[str, tuple[Target, int]] = {}
    for target, what, value in widths(targets):
        known, expected = first.setdefault(what, (target, value))
        if value != expected:
            raise CheckpointError(
                f"{path}: contradicts itself: the model's {what} is {expected} by {known.name!r} and "
                f"{value} by {target.name!r}; no Wan model has both"
                + next((_EXCHANGED for each in (target, known) if 0 < max(each.shape) < each.rank), ""),
                next_command=_ONE_TRAINING,
            )


def _is_peft(layout: formats.Layout) -> bool:
    return formats.PEFT in layout.prefix


def _config(container: Container, layout: formats.Layout) -> adapter.AdapterConfig | None:
    if not _is_peft(layout):
        # pipelines of diffusers write it, whatever the layers are called
        usual = layout.diffusers or "transformer." in layout.prefix
        return adapter.from_metadata(container.path, container.metadata) if usual else None
    config = adapter.read_beside(container.path)
    if config is None and not all(group.alpha_key for group in layout.groups if group.kind == "lora"):
        raise CheckpointError(
            f"{container.path}: PEFT keeps alpha in {adapter.CONFIG_NAME}, which is not in "
            f"{container.path.parent}; without it the strength of this LoRA is unknown; allowed: beside the "
            "file that it was saved with",
            next_command=listing(container.path.parent),
        )
    return config


def _with_alpha(
    container: Container,
    data: memoryview,
    target: Target,
    group: formats.Group,
    config: adapter.AdapterConfig | None,
) -> Target:
    inside = None if group.alpha_key is None else _alpha(container, group.alpha_key, data)
    outside = None if config is None or target.kind != "lora" else config.alpha_for(group.module, target.rank)
    # bfloat16 holds an alpha to 0.4 %
    if inside is not None and outside is not None and not math.isclose(inside, outside, rel_tol=5e-3):
        raise CheckpointError(
            f"{container.path}: contradicts itself: {group.alpha_key!r} is {inside:g}, "
            f"the LoraConfig of the file says {outside:g}",
            next_command="save the LoRA again with its config",
        )
    return dataclasses.replace(target, alpha=outside if inside is None else inside)


def _alpha(container: Container, key: str, data: memoryview) -> float:
    entry = container.entries[key]
    if entry.dtype not in NUMBERS:
        raise CheckpointError(
            f"{container.path}: {key!r} is of type {entry.dtype}, allowed are {', '.join(NUMBERS)}",
            next_command="save the LoRA again",
        )
    if math.prod(entry.shape) != 1:
        raise CheckpointError(
            f"{container.path}: {key!r} has shape {list(entry.shape)}, allowed is one number",
            next_command="save the LoRA again",
        )
    alpha = container.tensor(key, data).float64().item()
    if not (math.isfinite(alpha) and alpha > 0):
        raise CheckpointError(
            f"{container.path}: {key!r} is {alpha:g}, allowed is a finite number above 0; "
            "tools disagree on what it would mean",
            next_command="save the LoRA again with alpha equal to its rank",
        )
    return float(alpha)
