"""LoRAs that a suite lays on its model below baseline and candidate, and the experts that they lie on."""

from __future__ import annotations

import filecmp
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.errors import WanloraError
from pytest_wanlora.files import from_here
from pytest_wanlora.run.findings import Finding
from pytest_wanlora.run.inputs import ModelFiles

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.suite import Suite


def unfit(suite: Suite, files: ModelFiles, stacked: dict[str, Checkpoint]) -> Iterator[Finding]:
    """LoRAs below baseline and candidate that cannot be read, are broken, or do not fit the model.

    Args:
        suite: Names them.
        files: What is on this disk.
        stacked: Takes the others, by their keys.
    """
    for number, each in enumerate(suite.stack):
        halves = {
            expert: path
            for expert, name, _ in each.files()
            for path in files.found.get(f"stack[{number}].{name}", ())
        }
        for expert, path in halves.items():
            key = f"stack[{number}].{expert or 'lora'}"
            try:
                checkpoint = checkpoints.read_half(path, expert, halves)
            except WanloraError as error:
                yield Finding(key, f"{suite.where(key)}: {key}: {error.message}", suite.show(key))
                continue
            wrong = [f"{problem.words}; allowed: a LoRA of this model" for problem in checkpoint.problems]
            wrong += suites.other_shapes(suite, checkpoint)
            if wrong:
                yield Finding(
                    key,
                    f"{suite.where(key)}: {key}: {path}: {wrong[0]}",
                    f"python -m pytest_wanlora inspect {shlex.quote(str(path))}",
                )
            else:
                stacked[key] = checkpoint


def one_expert(suite: Suite, files: ModelFiles, stacked: Mapping[str, Checkpoint]) -> Iterator[Finding]:
    """Two experts whose weights, and LoRAs below, are the same, whatever their files are called."""
    if suite.model.experts is None:
        return
    texts = [suite.model.experts.of(name).dit for name in checkpoints.EXPERTS]
    found = [
        [path for number in range(len(each)) for path in files.found.get(f"{key}[{number}]", ())]
        for key, each in suite.model.denoisers.values()
    ]
    if texts[0] != texts[1] and not (all(found) and _equal(*found)):
        return
    for number in range(len(suite.stack)):
        halves = [stacked.get(f"stack[{number}].{name}") for name in checkpoints.EXPERTS]
        known = [half.weights for half in halves if half is not None]
        # of what could not be read nothing is said
        if len(known) < len(halves) or known[0] != known[1]:
            return
    key = "model.experts.low.dit[0]"
    also = ", with the same LoRAs under stack" if suite.stack else ""
    yield Finding(
        key,
        f"{suite.where(key)}: {key}: {texts[1][0]}: the same weights as high{also}: two experts would be "
        "one; allowed: the low-noise expert's own",
        suite.show(key),
    )


def warnings(suite: Suite, stacked: Mapping[str, Checkpoint], loras: Sequence[Checkpoint]) -> Iterator[str]:
    """What of the LoRAs below baseline and candidate does not make them unfit."""
    seen: dict[object, str] = {}
    for key, each in stacked.items():
        for problem in (*each.warnings, *suites.other_model(suite, each)):
            yield f"{suite.where(key)}: {key}: {problem.words}"
        known = (key.rpartition(".")[2], each.weights)
        if (first := seen.setdefault(known, key)) != key:
            yield (
                f"{suite.where(key)}: {key}: {from_here(each.path)} is the LoRA of {first} again: "
                "their strengths add up"
            )
    for lora in loras:
        for expert, half in (lora.experts or {"lora": lora}).items():
            if below := seen.get((expert, half.weights)):
                yield (
                    f"{from_here(half.path)} is gated and is the LoRA of {below} ({suite.where(below)}) too: "
                    "the baseline has it once, the candidate twice"
                )


def _equal(some: Sequence[Path], others: Sequence[Path]) -> bool:
    """Whether files are the same, or copies; those of two trainings differ in their first tensors."""
    try:
        return len(some) == len(others) and all(
            one.samefile(other) or filecmp.cmp(one, other, shallow=False)
            for one, other in zip(some, others, strict=True)
        )
    except OSError:
        return False
