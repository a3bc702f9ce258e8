"""Write a LoRA in the names of another program, and prove that both files change a model alike."""

from __future__ import annotations

import json
import shlex
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pytest_wanlora.checkpoint import adapter, names
from pytest_wanlora.checkpoint.container import Container, Tensor, open_container
from pytest_wanlora.checkpoint.formats import PEFT
from pytest_wanlora.checkpoint.reading import read, weights
from pytest_wanlora.checkpoint.record import Checkpoint, Target
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import listing
from pytest_wanlora.phrases import number_of

_AB: Final = {"lora_A": ".lora_A.weight", "lora_B": ".lora_B.weight"}
_TORCH_NAMES: Final = {"float32": "F32"}


@dataclass(frozen=True, kw_only=True)
class Format:
    """What a file is written as.

    Attributes:
        module: Name of the module of a layer.
        halves: Endings of A and B.
        alpha: Where alpha goes: a tensor where the file has one (`some`) or always (`all`), multiplied into A
            (`folded`), or `adapter_config.json` (`config`).
        kinds: What it has a place for besides A and B: `lokr`, `loha`, `diff`.
        modulations: Whether differences of modulations have a place.
    """

    module: Callable[[str], str]
    halves: Mapping[str, str]
    alpha: str
    kinds: tuple[str, ...] = ()
    modulations: bool = False


FORMATS: Final[Mapping[str, Format]] = {
    "comfyui": Format(
        module=lambda name: f"diffusion_model.{name}",
        halves=_AB,
        alpha="some",
        kinds=("lokr", "loha", "diff"),
        modulations=True,
    ),
    "diffusers": Format(
        module=lambda name: f"transformer.{names.diffusers_name(name)}", halves=_AB, alpha="folded"
    ),
    "diffsynth": Format(
        module=str,
        halves={"lora_A": ".lora_A.default.weight", "lora_B": ".lora_B.default.weight"},
        alpha="folded",
    ),
    "kohya": Format(
        module=lambda name: f"lora_unet_{name.replace('.', '_')}",
        halves={"lora_A": ".lora_down.weight", "lora_B": ".lora_up.weight"},
        alpha="all",
        kinds=("lokr", "loha", "diff"),
    ),
    "peft": Format(module=lambda name: f"{PEFT}{name}", halves=_AB, alpha="config"),
}


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A file that was written and read again.

    Attributes:
        files: All that was written, with `adapter_config.json` where there is one.
        folded: Targets into whose A alpha was multiplied.
        difference: Largest distance of an update of `folded` from the exact one, as a share of its norm.
    """

    path: Path
    files: tuple[Path, ...]
    targets: int
    folded: tuple[str, ...]
    difference: float


@dataclass(frozen=True)
class _Raw:
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


def convert(checkpoint: Checkpoint, to: str, path: Path) -> Converted:
    """Write a LoRA in another format, then read both files and compare every update.

    Args:
        checkpoint: What `read` gave.
        to: Of `FORMATS`.
        path: The new file; for `peft` its `adapter_config.json` is written beside it.

    Returns:
        What was written. Bits of tensors are the file's own, but for A where alpha is folded into it, in
        float32.

    Raises:
        CheckpointError: Something of the LoRA has no place in that format, a file of that name exists, or it
            cannot be written.
    """
    wanted = FORMATS[to]
    _refuse_what_has_no_place(checkpoint, to, wanted)
    container = open_container(checkpoint.path)
    own = weights(checkpoint)
    data = container.read()
    tensors: dict[str, _Raw] = {}
    for target in checkpoint.targets:
        tensors |= _tensors(container, data, target, wanted, own)
    beside = {path.parent / adapter.CONFIG_NAME: _config(checkpoint)} if wanted.alpha == "config" else {}
    metadata = {key: value for key, value in container.metadata.items() if key != adapter.METADATA_KEY}
    written: list[Path] = []
    try:
        for file, content in {**beside, path: _content(tensors, metadata)}.items():
            _write(file, content, written)
        difference = _prove(checkpoint, own, read(path))
    except BaseException:
        _delete(written)
        raise
    folded = tuple(
        target.name for target in checkpoint.targets if wanted.alpha == "folded" and _has_scale(target)
    )
    return Converted(
        path=path,
        files=tuple(written),
        targets=len(checkpoint.targets),
        folded=folded,
        difference=difference,
    )


def convert_halves(checkpoint: Checkpoint, to: str, paths: Mapping[str, Path]) -> tuple[Converted, ...]:
    """Write each expert's LoRA of one file as a file of its own; all of them or none.

    Args:
        checkpoint: With `experts`.
        to: Of `FORMATS`.
        paths: The new file of each expert.

    Raises:
        CheckpointError: As `convert`.
    """
    done: list[Converted] = []
    try:
        for expert, half in checkpoint.experts.items():
            done.append(convert(half, to, paths[expert]))
    except BaseException:
        for each in done:
            _delete(each.files)
        raise
    return tuple(done)


def _delete(files: Iterable[Path]) -> None:
    for file in files:
        with suppress(OSError):
            file.unlink()


def _has_scale(target: Target) -> bool:
    return target.alpha is not None and target.alpha != target.rank


def _refuse_what_has_no_place(checkpoint: Checkpoint, to: str, wanted: Format) -> None:
    lost = [
        target
        for target in checkpoint.targets
        if (target.kind != "lora" and target.kind not in wanted.kinds)
        or (target.name.endswith("modulation") and not wanted.modulations)
    ]
    if lost:
        others = [name for name, each in FORMATS.items() if each.modulations]
        raise CheckpointError(
            f"{checkpoint.path}: {len(lost)} of {number_of(len(checkpoint.targets), 'target')} "
            f"have no place in {to} files; the first is {lost[0].name} ({lost[0].kind})",
            next_command=f"python -m pytest_wanlora convert {shlex.quote(str(checkpoint.path))} "
            f"--to {others[0]}",
        )


def _tensors(
    container: Container, data: memoryview, target: Target, wanted: Format, own: Mapping[str, Tensor]
) -> dict[str, _Raw]:
    bias = target.name.endswith(".bias")
    module = wanted.module(target.name.removesuffix(".bias"))
    found: dict[str, _Raw] = {}
    for part, key in target.keys.items():
        entry = container.entries[key]
        raw = _Raw(entry.dtype, entry.shape, container.tensor(key, data).data)
        if part == "lora_A" and wanted.alpha == "folded" and _has_scale(target):
            folded = own[f"{target.name}.lora_A.weight"]
            raw = _Raw(_TORCH_NAMES[folded.dtype], folded.shape, folded.data)
        ending = wanted.halves.get(part) or f".{part}{'_b' if bias else ''}"
        found[f"{module}{ending}"] = raw
    if target.rank and (wanted.alpha == "all" or (wanted.alpha == "some" and target.alpha is not None)):
        found[f"{module}.alpha"] = _number(float(target.rank) if target.alpha is None else target.alpha)
    return found


def _number(value: float) -> _Raw:
    """A scalar in the smallest type that holds it."""
    single = np.float32(value)
    if float(single) == value:
        return _Raw("F32", (), single.tobytes())
    return _Raw("F64", (), np.float64(value).tobytes())


def _config(checkpoint: Checkpoint) -> bytes:
    """PEFT's config: the usual rank and alpha, and patterns for the targets with others."""
    alphas = {
        each.name: float(each.rank) if each.alpha is None else each.alpha for each in checkpoint.targets
    }
    ranks = {each.name: each.rank for each in checkpoint.targets}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(ranks),
        "rank_pattern": {_exactly(name): each for name, each in ranks.items() if each != rank},
        "alpha_pattern": {_exactly(name): each for name, each in alphas.items() if each != alpha},
        "use_dora": False,
        "use_rslora": False,
        "bias": "none",
    }
    return json.dumps(config, indent=2).encode()


def _exactly(name: str) -> str:
    return name.replace(".", r"\.")


def _content(tensors: Mapping[str, _Raw], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    offset = 0
    for key, raw in tensors.items():
        end = offset + len(raw.data)
        header[key] = {"dtype": raw.dtype, "shape": list(raw.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *(raw.data for raw in tensors.values())])


def _write(path: Path, content: bytes, written: list[Path]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            written.append(path)
            file.write(content)
    except FileExistsError as error:
        raise CheckpointError(
            f"{path}: exists, and is not replaced; allowed: another name with --out",
            next_command=listing(path),
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written: {error.strerror}; allowed: another place with --out",
            next_command=listing(path),
        ) from error


def _prove(old: Checkpoint, own: Mapping[str, Tensor], new: Checkpoint) -> float:
    """Compare what both files do, bit for bit; the largest share of an update that folding alpha has changed.

    Raises:
        CheckpointError: They differ.
    """
    theirs = weights(new)
    # alpha is already folded into what `weights` gives of a LoRA; other kinds have a scale beside
    scales = [
        {target.name: target.scale for target in each.targets if target.kind != "lora"} for each in (old, new)
    ]
    same = scales[0] == scales[1] and own.keys() == theirs.keys()
    if not same or any(_bits(own[name]) != _bits(theirs[name]) for name in own):
        raise CheckpointError(f"{new.path}: does not change a model as {old.path} does; it was deleted")
    container = open_container(old.path)
    data = container.read()
    return max(
        (_rounded(container, data, each, theirs) for each in old.targets if _has_scale(each)), default=0.0
    )


def _bits(tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    return tensor.dtype, tensor.shape, bytes(tensor.data)


def _rounded(container: Container, data: memoryview, target: Target, theirs: Mapping[str, Tensor]) -> float:
    """||B (s A - A')|| / ||B s A||, in float64, by two matrices of rank x rank."""
    if target.kind != "lora":
        return 0.0
    up = theirs[f"{target.name}.lora_B.weight"].float64()
    down = target.scale * container.tensor(target.keys["lora_A"], data).float64()
    changed = down - theirs[f"{target.name}.lora_A.weight"].float64()
    gram = up.T @ up
    norm, distance = (float(np.sqrt(max(np.sum(gram * (each @ each.T)), 0.0))) for each in (down, changed))
    return distance / norm if norm else 0.0
