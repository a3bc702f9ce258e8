"""LoRAs of a model with two experts: files that hold both, and pairs of files as one checkpoint."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pytest_wanlora.checkpoint.record import Checkpoint, Problem
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import from_here, json_sha256
from pytest_wanlora.phrases import number_of

#: The experts of a model that has two, in the order in which they denoise.
EXPERTS: Final = ("high", "low")

# diffusers calls them transformer and transformer_2, ai-toolkit transformer_1 and transformer_2
_MARK: Final = re.compile(
    r"(?:^|(?<=\.))(?:(?P<high>transformer_1|high_noise(?:_model)?)|"
    r"(?P<low>transformer_2|dit_?2|low_noise(?:_model)?))\."
)
# what a name says, the clear words first: `low_light_high_noise` is a high-noise file
_NAMES: Final = (
    re.compile(r"(?i:(?<![a-z])(high|low)[ ._-]?noise(?![a-z]))|(?<=[a-z])(High|Low)Noise(?![a-z])"),
    re.compile(r"(?i:(?<![a-z])(high|low|hn|ln)(?![a-z]))|(?<=[a-z0-9])(High|Low|HIGH|LOW)(?![a-z])"),
)


def split(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Which expert the keys of a file are for, if its keys say so.

    Returns:
        Expert -> key of the file -> the key without the word for the expert. Empty where no key has such a
        word; else a key without one is the high-noise expert's, as diffusers writes them (`transformer.`
        beside `transformer_2.`).

    Example:
        >>> split(["transformer_2.blocks.0.ffn.0.lora_A.weight"])
        {'low': {'transformer_2.blocks.0.ffn.0.lora_A.weight': 'blocks.0.ffn.0.lora_A.weight'}}
    """
    found: dict[str, dict[str, str]] = {}
    marked = False
    for key in keys:
        mark = _MARK.search(key)
        marked |= mark is not None
        expert = "high" if mark is None or mark["high"] else "low"
        # DiffSynth's second expert is pipe.dit2, and its first pipe.dit
        own = "dit." if mark is not None and (mark["low"] or "").startswith("dit") else ""
        plain = key if mark is None else f"{key[: mark.start()]}{own}{key[mark.end() :]}"
        found.setdefault(expert, {})[key] = plain
    return {name: found[name] for name in EXPERTS if name in found} if marked else {}


def half_of(path: Path, halves: Mapping[str, dict[str, str]], expert: str) -> dict[str, str]:
    """The keys of one expert in a file that names its experts.

    Raises:
        CheckpointError: The file has none for it.
    """
    if expert not in halves:
        has = next(iter(halves))
        raise CheckpointError(
            f"{path}: given as the {expert}-noise LoRA, and its keys name the {has}-noise expert alone, such "
            f"as {next(iter(halves[has]))!r}",
            options={"--lora": f"{has}={from_here(path)}"},
        )
    return halves[expert]


def refuse_dropped(path: Path, inside: Mapping[str, dict[str, str]], given: Mapping[str, Path]) -> None:
    """Refuse a file with the LoRAs of both experts that is given for one of them: the other would be dropped.

    Args:
        path: The file.
        inside: Its keys by expert, see `split`.
        given: What is given for each expert.

    Raises:
        CheckpointError: Names the expert that would be dropped.
    """
    # a file for one expert alone is refused by `half_of` where it is given for the other
    kept = [each for each, other in given.items() if os.path.realpath(other) == os.path.realpath(path)]
    dropped = [each for each in inside if each not in kept]
    if len(inside) == 1 or not dropped:
        return
    keys = inside[dropped[0]]
    such = f"{number_of(len(keys), 'key')} such as {next(iter(keys))!r}"
    raise CheckpointError(
        f"{path}: given as the {kept[0]}-noise LoRA alone; it has the {dropped[0]}-noise expert's too, which "
        f"would be dropped ({such}); allowed: the file for both",
        options={"--lora": from_here(path)},
    )


def named_in(text: str) -> tuple[str, str] | None:
    """What a file's or folder's name says about its expert.

    Returns:
        The expert, and the name without the word for it; None where it names none, or both.

    Example:
        >>> named_in("seoul_000002000_high_noise")
        ('high', 'seoul_000002000')
        >>> named_in("Wan2.2-T2V-A14B_low_noise_lora")
        ('low', 'Wan2.2-T2V-A14B_lora')
        >>> named_in("epoch-4")
    """
    for pattern in _NAMES:
        found = list(pattern.finditer(text))
        experts = {"high" if (each[1] or each[2]).lower().startswith("h") else "low" for each in found}
        if len(experts) == 1:
            before, after = text[: found[-1].start()], text[found[-1].end() :]
            rest = before.rstrip(" ._-") + (after if before.strip(" ._-") else after.lstrip(" ._-"))
            return experts.pop(), rest
        if experts:
            return None
    return None


def says_noise(text: str) -> bool:
    """Whether a name says its expert in words that mean nothing else: `high_noise`, not `high`."""
    return _NAMES[0].search(text) is not None


def pair(name: str, halves: Mapping[str, Checkpoint], strengths: Mapping[str, float]) -> Checkpoint:
    """Make one checkpoint of the LoRAs of a model's experts.

    Returns:
        A checkpoint with the targets of both, each named after its expert, `high:blocks.0.ffn.0`. Its SHA-256
        is the file's where both are of one file, else a digest of both digests by expert. A LoRA that is
        broken breaks the pair.
    """
    halves = {expert: halves[expert] for expert in EXPERTS if expert in halves}
    parts = tuple(halves.values())
    first = parts[0]
    digests = {expert: each.sha256 for expert, each in halves.items()}
    one_file = len({each.path for each in parts}) == 1 and len(parts) > 1 and parts[0].keys != parts[1].keys
    return Checkpoint(
        path=first.path,
        name=name,
        sha256=first.sha256 if one_file else json_sha256(digests),
        size=sum({each.path: each.size for each in parts}.values()),
        format=_joined(each.format for each in parts),
        dtype=_joined(each.dtype for each in parts),
        parameters=sum(each.parameters for each in parts),
        targets=tuple(
            dataclasses.replace(target, name=f"{expert}:{target.name}")
            for expert, each in halves.items()
            for target in each.targets
        ),
        alpha_source=_joined(each.alpha_source for each in parts),
        metadata={
            f"{expert}: {key}": value
            for expert, each in halves.items()
            for key, value in each.metadata.items()
        },
        norms={
            f"{expert}:{target}": norm
            for expert, each in halves.items()
            for target, norm in each.norms.items()
        },
        zero_targets=tuple(
            f"{expert}:{target}" for expert, each in halves.items() for target in each.zero_targets
        ),
        problems=_of_experts(halves, "problems"),
        warnings=(*_contradictions(halves), *_of_experts(halves, "warnings")),
        hints=(*_unusual(halves), *_of_experts(halves, "hints")),
        zero_differences=sum(each.zero_differences for each in parts),
        keys=tuple(key for each in parts for key in each.keys),
        experts=halves,
        strengths={expert: strengths[expert] for expert in halves},
    )


def _joined(texts: Iterable[str]) -> str:
    return "+".join(dict.fromkeys(texts))


def _of_experts(halves: Mapping[str, Checkpoint], what: str) -> tuple[Problem, ...]:
    return tuple(
        dataclasses.replace(
            problem,
            words=f"{expert}-noise LoRA: {problem.words}",
            targets=tuple(f"{expert}:{target}" for target in problem.targets),
        )
        for expert, each in halves.items()
        for problem in getattr(each, what)
    )


def _contradictions(halves: Mapping[str, Checkpoint]) -> Iterable[Problem]:
    """Names of files, or of their folders, that say the other expert."""
    if len({each.path for each in halves.values()}) == 1 < len(halves):
        return
    for expert, each in halves.items():
        for name in (each.path.stem, each.path.absolute().parent.name):
            said = named_in(name)
            if said is not None:
                if said[0] != expert:
                    words = (
                        f"{each.path.name} is given as the {expert}-noise LoRA, and {name!r} says {said[0]}"
                    )
                    yield Problem(code="expert_name", words=words, targets=())
                break


def _unusual(halves: Mapping[str, Checkpoint]) -> Iterable[Problem]:
    experts = tuple(halves)
    if len(halves) == 1:
        other = next(name for name in EXPERTS if name not in halves)
        words = f"only the {experts[0]}-noise expert has a LoRA; the {other}-noise one is the base model's"
        yield Problem(code="one_expert", words=words, targets=())
    elif len({each.sha256 for each in halves.values()}) == 1 and len({h.keys for h in halves.values()}) == 1:
        words = "both experts have the same LoRA"
        yield Problem(code="same_for_both", words=words, targets=())
