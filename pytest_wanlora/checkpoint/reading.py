"""Read a LoRA file: header, names, shapes, then the health of its numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_wanlora.checkpoint import adapter, formats
from pytest_wanlora.checkpoint.container import FLOATS, NUMBERS, Container, Tensor, open_container
from pytest_wanlora.checkpoint.record import Checkpoint, Problem, Target, widths
from pytest_wanlora.errors import CheckpointError


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


def read(path: Path | str) -> Checkpoint:
    """Read and check a LoRA file, without torch.

    The header decides first; only a file whose every key and shape is understood is read whole. Weights
    that are NaN, infinite or zero do not stop the reading: they are ``Checkpoint.problems``.

    Args:
        path: A safetensors file in any format that ``formats`` knows.

    Returns:
        What is known of it.

    Raises:
        CheckpointError: It cannot be read, is of a refused kind, or contradicts itself.
    """
    container = open_container(Path(path))
    layout = formats.layout(container.path, container.entries)
    plain = tuple(_shaped(container, pair) for pair in layout.pairs)
    _refuse_contradicting_widths(container.path, plain)
    config = _config(container, layout)
    data = container.read()
    targets = tuple(
        _with_alpha(container, data, target, pair, config)
        for target, pair in zip(plain, layout.pairs, strict=True)
    )
    source = "file" if any(pair.alpha_key for pair in layout.pairs) else "none"
    if config is not None:
        source = adapter.CONFIG_NAME if layout.format == "peft" else adapter.METADATA_KEY
    # numpy and hashlib release the interpreter lock: targets are measured in parallel, and with the digest
    with ThreadPoolExecutor() as pool:
        digest = pool.submit(_sha256, data)
        found = pool.map(lambda target: _norm(container, data, target), targets)
        norms = dict(zip((target.name for target in targets), found, strict=True))
        sha256 = digest.result()
    problems, zero = _health(norms)
    dtypes = {FLOATS[container.entries[key].dtype][0] for t in targets for key in (t.down_key, t.up_key)}
    return Checkpoint(
        path=container.path,
        name=container.path.stem,
        sha256=sha256,
        size=container.size,
        format=layout.format,
        dtype="+".join(sorted(dtypes)),
        targets=targets,
        alpha_source=source,
        metadata=container.metadata,
        norms={name: norm if math.isfinite(norm) else math.nan for name, norm in norms.items()},
        zero_targets=zero,
        problems=problems,
    )


def weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The LoRA in the model's own names, ready to be applied with scale 1.

    Args:
        checkpoint: What ``read`` gave.

    Returns:
        ``{"blocks.0.self_attn.q.lora_A.weight": Tensor, "blocks.0.self_attn.q.lora_B.weight": ...}``:
        A of shape (rank, in), B of (out, rank). The bits are the file's own. Only where alpha differs
        from the rank, A is multiplied by alpha / rank in float32 and stays float32.

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

    Args:
        checkpoint: What ``read`` gave.

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
            _prove(checkpoint, digest)


def _contents(checkpoint: Checkpoint, container: Container, data: memoryview) -> Contents:
    tensors, starts = {}, {}
    for target in checkpoint.targets:
        for side, key in (("lora_A", target.down_key), ("lora_B", target.up_key)):
            name = f"{target.name}.{side}.weight"
            stored = container.tensor(key, data)
            tensors[name] = _folded(checkpoint.path, target, stored) if side == "lora_A" else stored
            if tensors[name] is stored:
                starts[name] = container.entries[key].start
    return Contents(file=data, tensors=tensors, starts=starts)


def _sha256(data: memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _prove(checkpoint: Checkpoint, digest: Future[str]) -> None:
    found = digest.result()
    if found != checkpoint.sha256:
        raise CheckpointError(
            f"{checkpoint.path}: changed since it was read: SHA-256 was {checkpoint.sha256[:12]}…, "
            f"is {found[:12]}…",
            next_command="wait until nothing writes it, or gate a copy",
        )


def _folded(path: Path, target: Target, down: Tensor) -> Tensor:
    if target.alpha is None or target.alpha == target.rank:
        return down
    with np.errstate(over="ignore", invalid="ignore"):
        before = down.float64().astype(np.float32)
        after = before * np.float32(target.scale)
    if np.isfinite(before).all() and not np.isfinite(after).all():
        raise CheckpointError(
            f"{path}: {target.down_key!r} times alpha / rank ({target.scale:g}) is beyond float32",
            next_command="save the LoRA again with a smaller alpha",
        )
    return Tensor(dtype="float32", shape=down.shape, data=after.astype("<f4").tobytes())


def _shaped(container: Container, pair: formats.Pair) -> Target:
    down, up = (container.entries[key] for key in (pair.down_key, pair.up_key))
    for key, entry in ((pair.down_key, down), (pair.up_key, up)):
        if entry.dtype not in FLOATS:
            raise CheckpointError(
                f"{container.path}: {key!r} is of type {entry.dtype}, allowed are {', '.join(FLOATS)}",
                next_command="save the LoRA as bfloat16, float16 or float32",
            )
        if len(entry.shape) != 2:
            raise CheckpointError(
                f"{container.path}: {key!r} has shape {list(entry.shape)}, allowed are 2 dimensions "
                "(a linear layer; LoRAs of convolutions are not supported)",
                next_command="train without convolutions such as patch_embedding",
            )
        if 0 in entry.shape:
            raise CheckpointError(
                f"{container.path}: {key!r} has shape {list(entry.shape)}, allowed is 1 or more each",
                next_command="gather the weights before saving (DeepSpeed ZeRO-3, FSDP), and save again",
            )
    if down.shape[0] != up.shape[1]:
        raise CheckpointError(
            f"{container.path}: ranks differ: {down.shape[0]} by {pair.down_key!r} {list(down.shape)}, "
            f"{up.shape[1]} by {pair.up_key!r} {list(up.shape)}; allowed are (rank, in) and (out, rank)",
            next_command="save the LoRA again from one training",
        )
    return Target(
        name=pair.name,
        rank=down.shape[0],
        in_features=down.shape[1],
        out_features=up.shape[0],
        alpha=None,
        down_key=pair.down_key,
        up_key=pair.up_key,
        alpha_key=pair.alpha_key,
    )


def _refuse_contradicting_widths(path: Path, targets: tuple[Target, ...]) -> None:
    first: dict[str, tuple[Target, int]] = {}
    for target, what, value in widths(targets):
        known, expected = first.setdefault(what, (target, value))
        if value != expected:
            raise CheckpointError(
                f"{path}: contradicts itself: the model's {what} is {expected} by {known.name!r} and "
                f"{value} by {target.name!r}; no Wan model has both",
                next_command="save the LoRA again from one training",
            )


def _config(container: Container, layout: formats.Layout) -> adapter.AdapterConfig | None:
    if layout.format == "diffusers":
        return adapter.from_metadata(container.path, container.metadata)
    if layout.format != "peft":
        return None
    config = adapter.read_beside(container.path)
    if config is None and not all(pair.alpha_key for pair in layout.pairs):
        raise CheckpointError(
            f"{container.path}: PEFT keeps alpha in {adapter.CONFIG_NAME}, which is not in "
            f"{container.path.parent}; without it the strength of this LoRA is unknown",
            next_command=f"copy the {adapter.CONFIG_NAME} that was saved with the file into that folder",
        )
    return config


def _with_alpha(
    container: Container,
    data: memoryview,
    target: Target,
    pair: formats.Pair,
    config: adapter.AdapterConfig | None,
) -> Target:
    inside = None if pair.alpha_key is None else _alpha(container, pair.alpha_key, data)
    outside = None if config is None else config.alpha_for(pair.module, target.rank)
    # bfloat16 holds an alpha to 0.4 %
    if inside is not None and outside is not None and not math.isclose(inside, outside, rel_tol=5e-3):
        raise CheckpointError(
            f"{container.path}: contradicts itself: {pair.alpha_key!r} is {inside:g}, "
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


def _norm(container: Container, data: memoryview, target: Target) -> float:
    """Frobenius norm of a target's update; NaN or infinite if its weights are, infinite beyond float32."""
    down = container.tensor(target.down_key, data).float64()
    up = container.tensor(target.up_key, data).float64()
    if np.isnan(down).any() or np.isnan(up).any():
        return math.nan
    if np.isinf(down).any() or np.isinf(up).any():
        return math.inf
    # ||B A||_F^2 = tr(A^T B^T B A) = sum((B^T B) * (A A^T)), two rank x rank matrices
    with np.errstate(over="ignore", invalid="ignore"):
        squared = float(np.sum((up.T @ up) * (down @ down.T)))
        norm = target.scale * math.sqrt(max(squared, 0.0)) if math.isfinite(squared) else math.inf
    return norm if norm <= np.finfo(np.float32).max else math.inf


def _health(norms: Mapping[str, float]) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """What is wrong with the weights, and which targets change nothing."""
    nan = [name for name, norm in norms.items() if math.isnan(norm)]
    inf = [name for name, norm in norms.items() if math.isinf(norm)]
    zero = [name for name, norm in norms.items() if norm == 0.0]
    return tuple(_problems(nan, inf, zero, len(norms))), tuple(zero)


def _problems(nan: list[str], inf: list[str], zero: list[str], total: int) -> Iterable[Problem]:
    if nan:
        yield _problem("nan", nan, total, "have weights that are NaN: the training diverged")
    if inf:
        yield _problem("inf", inf, total, "have infinite weights or an update beyond float32")
    if len(zero) == total:
        yield _problem("zero_b", zero, total, "change nothing (B @ A is zero): it was not trained")
    elif zero:
        yield _problem("zero_some", zero, total, "change nothing (B @ A is zero): remove or train them")


def _problem(code: str, names: list[str], total: int, words: str) -> Problem:
    sentence = f"{len(names)} of {total} targets {words}; the first is {names[0]}"
    return Problem(code=code, words=sentence, targets=tuple(names))
