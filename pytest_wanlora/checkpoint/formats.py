"""The dialects of Wan LoRA keys: which keys belong together, and to which layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from pytest_wanlora.checkpoint import names
from pytest_wanlora.checkpoint.refusals import ALLOWED, PLAIN, refuse_by_name
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.registry import Extension, ExtensionFile, extensions

Kind = Literal["lora", "lokr", "loha", "diff"]

#: What PEFT puts before every module; only such files have their alpha in another file.
PEFT: Final = "base_model.model."
_AFTER_BLOCKS: Final = 10_000
_KEY = re.compile(
    r"(?P<module>.+?)(?:"
    r"\.(?P<half>lora_A|lora_B|lora_down|lora_up)(?:(?P<adapter>\.[^.]+)?\.weight)?"
    r"|[._](?P<old>lora(?:_linear_layer)?)\.(?P<side>down|up|A|B)\.weight"
    r"|\.(?P<alpha>alpha|lora_alpha)"
    r"|\.(?P<diff>diff|diff_b|diff_m|w_norm|b_norm)"
    r"|\.(?P<factor>lokr_w[12](?:_[ab])?|hada_w[12]_[ab])"
    r")"
)
_SIDES: Final[Mapping[str, str]] = {"A": "lora_A", "down": "lora_A", "B": "lora_B", "up": "lora_B"}
_MISSING: Final[Mapping[str, str]] = {"lora_A": "lora_A (lora_down)", "lora_B": "lora_B (lora_up)"}
# reported names of the usual pairs of a prefix and a way to name layers
_USUAL: Final[Mapping[tuple[str, str], str]] = {
    ("diffusion_model.", "wan"): "comfyui",
    ("lora_unet__", "flat"): "wan-fun",
    ("lora_unet_", "flat"): "kohya",
    ("transformer.", "diffusers"): "diffusers",
    ("", "diffusers"): "diffusers",
    ("pipe.dit.", "wan"): "pipe.dit",
    ("lycoris_", "flat"): "lycoris",
    ("lycoris_", "flat diffusers"): "lycoris",
}
_NAMINGS: Final[Mapping[str, str]] = {
    "wan": "Wan's names",
    "diffusers": "diffusers' names",
    "flat": "underscored names",
    "flat diffusers": "diffusers' names with underscores",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The keys of one target.

    Attributes:
        name: The layer in the model's own names, `blocks.0.self_attn.q`; with `.bias` where its bias is
            changed.
        module: As the file calls it, without prefix.
        kind: How the update is made of the tensors.
        keys: Part to key: `lora_A` (rank, in) and `lora_B` (out, rank); `diff`; LyCORIS's names of factors.
    """

    name: str
    module: str
    kind: Kind
    keys: Mapping[str, str]
    alpha_key: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a file's keys were understood.

    Attributes:
        format: `diffsynth`, `pipe.dit` (the same, prefix not removed when saved), `bare`, `comfyui`, `peft`,
            `diffusers`, `kohya`, `wan-fun`, `lycoris`, one of an installed package, or in words a prefix and
            names that no program writes together.
        diffusers: Whether layers have diffusers' names.
        underscored: Whether names are as kohya's scripts write them, which always write alpha too.
        groups: Sorted by block number, then name.
        strays: Keys of differences of what no Wan model has; harmless where they are zero.
    """

    format: str
    prefix: str
    diffusers: bool
    underscored: bool
    groups: tuple[Group, ...]
    strays: tuple[str, ...]


@dataclass(frozen=True)
class LoraFormat:
    """A LoRA format of another package, named by an entry point of the group `wanlora.lora_formats`.

    Attributes:
        detect: Whether a file with these keys has the format; it must be false for every other format.
        to_name: The key in the model's own names, `blocks.0.self_attn.q.lora_A.weight`, `.lora_B.weight` or
            `.alpha`; None for a key that the format does not have, and then the file is refused.
        files: What it needs on this machine.
    """

    detect: Callable[[Collection[str]], bool]
    to_name: Callable[[str], str | None]
    files: tuple[ExtensionFile, ...] = ()


@cache
def added_formats() -> tuple[Extension[LoraFormat], ...]:
    """The formats of installed packages."""
    return extensions(
        "wanlora.lora_formats", LoraFormat, taken=(*_USUAL.values(), "diffsynth", "bare", "peft")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Key:
    key: str
    prefix: str
    module: str
    part: str  # lora_A, lora_B, alpha, diff, or a factor
    style: tuple[str, str]  # how halves of a LoRA are called, and the adapter's name; empty for other parts
    bias: bool = False

    @property
    def name(self) -> str | None:
        own = names.own_name(self.module)
        return own if own is None or not self.bias else f"{own}.bias"


def layout(path: Path, keys: Iterable[str], called: Mapping[str, str] | None = None) -> Layout:
    """Sort the keys of a file into targets.

    Args:
        called: What to take a key for, by key, where that is not the key itself (`experts.split`).

    Returns:
        The format and its targets, each with all its parts.

    Raises:
        CheckpointError: A key is of a refused kind or unknown, a part of a target is missing, formats
            are mixed, two keys mean the same, or a target is no layer of a Wan model.
    """
    keys, called = tuple(keys), called or {}
    plain = tuple(called.get(key, key) for key in keys)
    added = [each for each in added_formats() if each.value.detect(plain)]
    if len(added) > 1:
        several = " and ".join(f"{each.name} of {each.distribution}" for each in added)
        raise CheckpointError(
            f"{path}: the formats {several} both read this file; allowed is one",
            next_command=f"pip uninstall {added[0].distribution.partition(' ')[0]}",
        )
    refuse_by_name(path, plain)
    to_name: Callable[[str], str | None] = added[0].value.to_name if added else str
    parsed = _parse_all(path, keys, lambda key: to_name(called.get(key, key)))
    _refuse_mixed(path, parsed)
    parts_of: dict[str, set[str]] = {}
    for item in parsed:
        parts_of.setdefault(item.module, set()).add(item.part)
    # programs add a difference whole, whatever alpha stands beside it
    parsed = tuple(
        item for item in parsed if item.part != "alpha" or parts_of[item.module] != {"alpha", "diff"}
    )
    _refuse_unknown_layers(path, parsed)
    known: dict[str, dict[str, _Key]] = {}
    strays = []
    for item in parsed:
        name = item.name
        if name is None:
            strays.append(item.key)
            continue
        parts = known.setdefault(name, {})
        if item.part in parts:
            raise CheckpointError(
                f"{path}: {parts[item.part].key!r} and {item.key!r} are both {item.part} of {name!r}, "
                "allowed is one",
                next_command="save the LoRA again from one adapter",
            )
        parts[item.part] = item
    groups = tuple(_group(path, name, known[name]) for name in sorted(known, key=_order))
    prefix = parsed[0].prefix
    diffusers = any(names.is_diffusers(item.module) for item in parsed)
    return Layout(
        format=added[0].name if added else _format(parsed, diffusers),
        prefix=prefix,
        diffusers=diffusers,
        underscored=prefix.startswith(("lora_unet_", "lora_transformer_", "lycoris_")),
        groups=groups,
        strays=tuple(strays),
    )


def _parse_all(path: Path, keys: tuple[str, ...], to_name: Callable[[str], str | None]) -> tuple[_Key, ...]:
    called = {key: to_name(key) for key in keys}
    parsed = {key: None if name is None else _parse(name, key) for key, name in called.items()}
    unknown = [key for key, item in parsed.items() if item is None]
    if len(unknown) == len(keys):
        raise CheckpointError(
            f"{path}: no LoRA in it: {number_of(len(keys), 'tensor')} such as {keys[0]!r}, expected are "
            "names such as "
            "'blocks.0.self_attn.q.lora_A.default.weight' (a full model is not a LoRA)",
            next_command="give the LoRA file that the training saved, not the model",
        )
    if unknown:
        raise CheckpointError(
            f"{path}: {unknown[0]!r} ({len(unknown)} of {number_of(len(keys), 'key')}) is unknown and "
            "would be dropped; "
            f"{ALLOWED}",
            next_command=PLAIN,
        )
    return tuple(item for item in parsed.values() if item is not None)


def taken_apart(key: str) -> tuple[str, str] | None:
    """A key's module as it is written, and what follows it; None for a key that no part of a LoRA has.

    Example:
        >>> taken_apart("diffusion_model.blocks.0.ffn.0.lora_A.weight")
        ('diffusion_model.blocks.0.ffn.0', '.lora_A.weight')
    """
    found = _KEY.fullmatch(key)
    return None if found is None else (found["module"], key[len(found["module"]) :])


def _parse(name: str, key: str) -> _Key | None:
    found = _KEY.fullmatch(name)
    if found is None:
        return None
    prefix, module = names.split(found["module"])
    if found["diff"] == "diff_m" and not module.endswith("modulation"):
        module = f"{module}.modulation"
    style = ("", "")
    if found["half"]:
        part = _SIDES[found["half"].removeprefix("lora_")]
        style = ("AB" if found["half"] in _SIDES.values() else "down/up", found["adapter"] or "")
    elif found["old"]:
        part, style = _SIDES[found["side"]], (found["old"], "")
    elif found["diff"]:
        part = "diff"
    else:
        part = found["factor"] or "alpha"
    bias = found["diff"] in ("diff_b", "b_norm")
    return _Key(key=key, prefix=prefix, module=module, part=part, style=style, bias=bias)


def _refuse_mixed(path: Path, parsed: tuple[_Key, ...]) -> None:
    styles: dict[tuple[str, str], _Key] = {}
    prefixes: dict[str, _Key] = {}
    for item in parsed:
        prefixes.setdefault(item.prefix, item)
        if item.style[0]:
            styles.setdefault(item.style, item)
    for different in (styles, prefixes):
        if len(different) > 1:
            one, other = (*different.values(),)[:2]
            raise CheckpointError(
                f"{path}: mixes formats: {one.key!r} beside {other.key!r}, allowed is one in a file",
                next_command="save the LoRA again with one tool",
            )
    if all(item.part == "alpha" for item in parsed):
        raise CheckpointError(
            f"{path}: only alphas such as {parsed[0].key!r}, no lora_A or lora_B", next_command=PLAIN
        )


def _refuse_unknown_layers(path: Path, parsed: tuple[_Key, ...]) -> None:
    """Refuse targets that no Wan model has; differences are left for `reading`: zeros change nothing."""
    whole = {item.module: item for item in parsed if item.part != "diff"}
    unknown = [item for item in whole.values() if not names.is_linear(item.name or "")]
    if not unknown:
        return
    first = unknown[0]
    why, next_command = names.why_unknown(first.module)
    if len(unknown) == len(whole):
        raise CheckpointError(
            f"{path}: none of its {number_of(len(whole), 'target')} is a layer of a Wan model; the first is "
            f"{first.module!r}, expected are names such as 'blocks.0.self_attn.q': {why}",
            next_command=next_command,
        )
    counted = "1 target is" if len(unknown) == 1 else f"{len(unknown)} targets are"
    raise CheckpointError(
        f"{path}: {counted} no layer of a Wan model (of {len(whole)}): {first.key!r}: {first.module!r} is no "
        f"layer of a Wan model: {why}",
        next_command=next_command,
    )


def _group(path: Path, name: str, found: Mapping[str, _Key]) -> Group:
    keys = {part: item.key for part, item in found.items() if part != "alpha"}
    kinds = {_kind(part) for part in keys}
    first = next(iter(found.values()))
    if len(kinds) > 1:
        raise CheckpointError(
            f"{path}: {' and '.join(map(repr, keys.values()))} all change {name!r}; programs disagree on "
            "what that means, allowed is one kind for a layer",
            next_command="save the LoRA again from one training",
        )
    kind: Kind = next(iter(kinds), "lora")
    if missing := _missing(kind, keys):
        raise CheckpointError(
            f"{path}: {first.key!r} has no partner: {_MISSING.get(missing, missing)} of {name!r} is missing",
            next_command="save the LoRA again; was the file filtered or cut?",
        )
    alpha = found.get("alpha")
    return Group(
        name=name,
        module=first.module,
        kind=kind,
        keys=keys,
        alpha_key=None if alpha is None else alpha.key,
    )


def _kind(part: str) -> Kind:
    if part.startswith("lokr"):
        return "lokr"
    return "loha" if part.startswith("hada") else "diff" if part == "diff" else "lora"


def _missing(kind: Kind, keys: Mapping[str, str]) -> str | None:
    """The first part that a target lacks."""
    if kind == "lokr":
        sides: list[str] = []
        for whole in ("lokr_w1", "lokr_w2"):
            sides += [whole] if whole in keys else [f"{whole}_a", f"{whole}_b"]
            if whole not in keys and not any(f"{whole}_{letter}" in keys for letter in "ab"):
                return whole
    else:
        factors = [f"hada_w{number}_{letter}" for number in (1, 2) for letter in "ab"]
        sides = {"lora": ["lora_A", "lora_B"], "loha": factors, "diff": ["diff"]}[kind]
    return next((part for part in sides if part not in keys), None)


def _format(parsed: tuple[_Key, ...], diffusers: bool) -> str:
    prefix = parsed[0].prefix
    flat = not any("." in item.module for item in parsed)
    naming = ("flat diffusers" if diffusers else "flat") if flat else ("diffusers" if diffusers else "wan")
    if PEFT in prefix:
        return "peft"
    if not prefix and naming == "wan":
        return "diffsynth" if any(item.style[1] for item in parsed) else "bare"
    return _USUAL.get((prefix, naming), f"{prefix or 'no prefix'} and {_NAMINGS[naming]}")


def _order(name: str) -> tuple[int, str]:
    block, layer = names.wan_layer(name) or (None, name)
    return (_AFTER_BLOCKS if block is None else block, layer)
