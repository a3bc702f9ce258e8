"""The dialects of Wan LoRA keys, and their translation into the model's own layer names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.registry import Extension, ExtensionFile, extensions

_INDEX = r"(?:0|[1-9][0-9]{0,3})"
_BLOCK_LAYERS: Mapping[str, str] = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}
_OTHER_LAYERS: Mapping[str, str] = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "patch_embedding": "patch_embedding",
    "head.head": "proj_out",
}
# within a block and outside of them, each: their name -> ours
_DIFFUSERS = tuple({theirs: ours for ours, theirs in m.items()} for m in (_BLOCK_LAYERS, _OTHER_LAYERS))
_KOHYA = tuple({ours.replace(".", "_"): ours for ours in m} for m in (_BLOCK_LAYERS, _OTHER_LAYERS))
_DOTTED_BLOCK = re.compile(rf"blocks\.(?P<index>{_INDEX})\.(?P<layer>.+)")
_KOHYA_BLOCK = re.compile(rf"blocks_(?P<index>{_INDEX})_(?P<layer>.+)")
_DIFFUSERS_ONLY = re.compile(r"(^|\.)(attn1|attn2|ffn\.net|condition_embedder)\.|^proj_out$")

# the first that fits a key is its dialect, so a prefix of another comes after it
_PREFIXES: Mapping[str, str] = {
    "base_model.model.": "peft",
    "diffusion_model.": "comfyui",
    "lora_unet__": "wan-fun",
    "lora_unet_": "kohya",
    "transformer.": "diffusers",
    "pipe.dit.": "pipe.dit",
}
_KEY = re.compile(
    r"(?P<module>.+)\.(?:(?P<half>lora_A|lora_B|lora_down|lora_up)(?P<adapter>\.[^.]+)?\.weight|(?P<alpha>alpha))"
)
_DOWN = {"lora_A", "lora_down"}
_LONGEST_KEY = 300
_AFTER_BLOCKS = 10_000

_PLAIN = "train or export a plain LoRA (lora_A and lora_B, or lora_down and lora_up, per layer)"
# What is refused by name: pattern of the key, what it is, what to do.
_REFUSED: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), what, remedy)
    for pattern, what, remedy in (
        (r"(^|\.)lokr_", "LoKr (a Kronecker product) is not a LoRA", _PLAIN),
        (r"(^|\.)hada_", "LoHa (a Hadamard product) is not a LoRA", _PLAIN),
        (
            r"(^|\.)(lora_magnitude_vector|dora_scale)(\.|$)",
            "DoRA's magnitudes would be ignored when the LoRA is applied",
            "train with use_dora off, or merge the magnitudes into a plain LoRA",
        ),
        (r"\.diff_b$", "a bias difference (.diff_b) would be dropped when the LoRA is applied", _PLAIN),
        (r"\.diff$", "a weight difference (.diff) would be dropped when the LoRA is applied", _PLAIN),
        (
            r"\.lora_(A|B|down|up)(\.[^.]+)?\.bias$",
            "a bias in a LoRA layer cannot be applied",
            "train with lora_bias off",
        ),
        (r"(^|\.)lora_embedding_[AB]", "a LoRA of an embedding table is not supported", _PLAIN),
        (r"\.lora_mid\.", "LoCon's third factor (lora_mid) is not supported", _PLAIN),
        (r"(^|\.)(oft_|boft_|ia3_|vera_lambda|glora)", "OFT, IA3, VeRA and GLoRA are not LoRA", _PLAIN),
        (
            r"\.(w_norm|b_norm|set_weight|reshape_weight)$",
            "a weight beside the LoRA would be dropped",
            _PLAIN,
        ),
        (r"modules_to_save", "a whole layer would be dropped", "train without modules_to_save"),
        (
            r"^(transformer_[2-9]|pipe\.dit[2-9])\.",
            "a LoRA for a second expert (14B models have two) in one file",
            "save one file for each expert and gate each on its own",
        ),
        (
            r"^(text_encoder(_[2-9])?|te[1-9]?|lora_te[1-9]?|pipe\.text_encoder)[._]",
            "a LoRA of the text encoder; only the video model's own layers are supported",
            "train or export without the text encoder",
        ),
        (
            r"^(unet\.|lora_unet_(down|mid|up|input|output)_)",
            "a LoRA of an image UNet, not of a Wan model",
            "check which model it was trained for",
        ),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The keys of one target.

    Attributes:
        name: The layer in the model's own names: ``blocks.0.self_attn.q``.
        module: The same as the file calls it, without prefix.
        down_key: Key of A, (rank, in).
        up_key: Key of B, (out, rank).
        alpha_key: Key of alpha, if the file has one.
    """

    name: str
    module: str
    down_key: str
    up_key: str
    alpha_key: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a file's keys were understood.

    Attributes:
        format: ``diffsynth``, ``pipe.dit`` (the same, prefix not removed when saved), ``bare``,
            ``comfyui``, ``peft``, ``diffusers``, ``kohya``, ``wan-fun``, or one of an installed package.
        prefix: What stands before every module.
        pairs: Sorted by block number, then name.
    """

    format: str
    prefix: str
    pairs: tuple[Pair, ...]


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
    """The formats of installed packages.

    Raises:
        ExtensionError: One of them cannot be used.
    """
    return extensions("wanlora.lora_formats", LoraFormat, taken=(*_PREFIXES.values(), "diffsynth", "bare"))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Key:
    key: str
    prefix: str
    module: str
    half: str  # lora_A, lora_B, lora_down, lora_up or alpha
    adapter: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dialect:
    format: str
    prefix: str
    to_name: Callable[[str], str | None]


def layout(path: Path, keys: Iterable[str]) -> Layout:
    """Sort the keys of a file into targets.

    Args:
        path: Named in errors.
        keys: All keys of the file.

    Returns:
        The format and its targets, at least one, each with both halves.

    Raises:
        CheckpointError: A key is of a refused kind or unknown, half of a pair is missing, formats
            are mixed, two keys mean the same layer, or nothing is a layer of a Wan model.
    """
    keys = tuple(keys)
    added = [each for each in added_formats() if each.value.detect(keys)]
    if len(added) > 1:
        names = " and ".join(f"{each.name} of {each.distribution}" for each in added)
        raise CheckpointError(
            f"{path}: the formats {names} both read this file; allowed is one",
            next_command=f"pip uninstall {added[0].distribution.partition(' ')[0]}",
        )
    if not keys:
        raise CheckpointError(f"{path}: holds no tensors at all", next_command="save the LoRA again")
    _refuse_kinds(path, keys)
    parsed = _parse_all(path, keys, added[0].value.to_name if added else str)
    dialect = _Dialect(format=added[0].name, prefix="", to_name=str) if added else _dialect(path, parsed)
    halves: dict[str, dict[str, _Key]] = {}
    for item in parsed:
        name = dialect.to_name(item.module)
        if name is None:
            raise CheckpointError(
                f"{path}: {item.key!r}: {item.module!r} is no layer of a Wan model by the names that "
                f"{dialect.format} files use",
                next_command="check which model it was trained for; other model families cannot be judged",
            )
        kind = "alpha" if item.half == "alpha" else "down" if item.half in _DOWN else "up"
        known = halves.setdefault(name, {})
        if kind in known:
            raise CheckpointError(
                f"{path}: {known[kind].key!r} and {item.key!r} are both {kind} of {name!r}, allowed is one",
                next_command="save the LoRA again from one adapter",
            )
        known[kind] = item
    pairs = tuple(_pair(path, name, halves[name]) for name in sorted(halves, key=_order))
    if not any(wan_layer(pair.name) for pair in pairs):
        raise CheckpointError(
            f"{path}: none of its {len(pairs)} targets is a layer of a Wan model; the first is "
            f"{pairs[0].name!r}, expected are names such as 'blocks.0.self_attn.q'",
            next_command="check which model it was trained for; other model families cannot be judged",
        )
    return Layout(format=dialect.format, prefix=dialect.prefix, pairs=pairs)


def wan_layer(name: str) -> tuple[int | None, str] | None:
    """Take a layer name of the Wan video model apart.

    Args:
        name: In the model's own names.

    Returns:
        (block, layer within the block) or (None, name) for a layer outside the blocks; None when
        the name is of no layer that a Wan model has.

    Example:
        >>> wan_layer("blocks.12.ffn.0")
        (12, 'ffn.0')
    """
    found = _DOTTED_BLOCK.fullmatch(name)
    if found and found["layer"] in _BLOCK_LAYERS:
        return int(found["index"]), found["layer"]
    return (None, name) if name in _OTHER_LAYERS else None


def diffusers_name(module: str) -> str | None:
    """Translate diffusers' name of a Wan layer into the model's own.

    The table is diffusers' own (``lora_conversion_utils.py``), read backwards.

    Args:
        module: ``blocks.0.attn1.to_q``.

    Returns:
        ``blocks.0.self_attn.q``, or None when diffusers has no such layer.
    """
    return _translate(module, _DOTTED_BLOCK, *_DIFFUSERS)


def kohya_name(module: str) -> str | None:
    """Translate kohya's underscored name of a Wan layer into the model's own.

    Args:
        module: ``blocks_0_self_attn_q``.

    Returns:
        ``blocks.0.self_attn.q``, or None when there is no such layer. Underscores cannot be undone by
        rule (``self_attn``), so only the layers that a Wan model has are known.
    """
    return _translate(module, _KOHYA_BLOCK, *_KOHYA)


def _translate(
    module: str, block: re.Pattern[str], in_block: Mapping[str, str], outside: Mapping[str, str]
) -> str | None:
    found = block.fullmatch(module)
    if found is None:
        return outside.get(module)
    layer = in_block.get(found["layer"])
    return None if layer is None else f"blocks.{found['index']}.{layer}"


def _refuse_kinds(path: Path, keys: tuple[str, ...]) -> None:
    for key in keys:
        if len(key) > _LONGEST_KEY:
            raise CheckpointError(
                f"{path}: {key[:80]!r}... is a key of {len(key)} characters, allowed are {_LONGEST_KEY}",
                next_command="save the LoRA again",
            )
    for pattern, what, remedy in _REFUSED:
        found = [key for key in keys if pattern.search(key)]
        if found:
            raise CheckpointError(
                f"{path}: {found[0]!r} ({len(found)} of {len(keys)} keys): {what}; "
                "allowed are lora_A and lora_B (or lora_down and lora_up) and alpha",
                next_command=remedy,
            )


def _parse_all(path: Path, keys: tuple[str, ...], to_name: Callable[[str], str | None]) -> tuple[_Key, ...]:
    names = {key: to_name(key) for key in keys}
    parsed = {key: None if name is None else _parse(name, key) for key, name in names.items()}
    unknown = [key for key, item in parsed.items() if item is None]
    if len(unknown) == len(keys):
        raise CheckpointError(
            f"{path}: no LoRA in it: {len(keys)} tensors such as {keys[0]!r}, expected are names such as "
            "'blocks.0.self_attn.q.lora_A.default.weight' (a full model is not a LoRA)",
            next_command="give the LoRA file that the training saved, not the model",
        )
    if unknown:
        raise CheckpointError(
            f"{path}: {unknown[0]!r} ({len(unknown)} of {len(keys)} keys) is unknown and would be dropped; "
            "allowed are lora_A and lora_B (or lora_down and lora_up) and alpha",
            next_command=_PLAIN,
        )
    return tuple(item for item in parsed.values() if item is not None)


def _parse(name: str, key: str) -> _Key | None:
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    found = _KEY.fullmatch(name, len(prefix))
    if found is None:
        return None
    return _Key(
        key=key,
        prefix=prefix,
        module=found["module"],
        half=found["half"] or "alpha",
        adapter=found["adapter"] or "",
    )


def _dialect(path: Path, parsed: tuple[_Key, ...]) -> _Dialect:
    first: dict[tuple[str, str, bool], _Key] = {}
    prefixes: dict[str, _Key] = {}
    for item in parsed:
        prefixes.setdefault(item.prefix, item)
        if item.half != "alpha":
            first.setdefault((item.prefix, item.adapter, item.half in ("lora_A", "lora_B")), item)
    if len(first) > 1 or len(prefixes) > 1:
        one, other = (*(first if len(first) > 1 else prefixes).values(),)[:2]
        raise CheckpointError(
            f"{path}: mixes formats: {one.key!r} beside {other.key!r}, allowed is one in a file",
            next_command="save the LoRA again with one tool",
        )
    if not first:
        raise CheckpointError(
            f"{path}: only alphas such as {parsed[0].key!r}, no lora_A or lora_B", next_command=_PLAIN
        )
    prefix, adapter, _ = next(iter(first))
    if prefix in ("lora_unet_", "lora_unet__"):
        return _Dialect(format=_PREFIXES[prefix], prefix=prefix, to_name=kohya_name)
    either = prefix in ("", "base_model.model.")
    if prefix == "transformer." or (either and any(_DIFFUSERS_ONLY.search(item.module) for item in parsed)):
        return _Dialect(format=_PREFIXES.get(prefix, "diffusers"), prefix=prefix, to_name=diffusers_name)
    plain = "diffsynth" if adapter else "bare"
    return _Dialect(format=_PREFIXES.get(prefix, plain), prefix=prefix, to_name=str)


def _pair(path: Path, name: str, found: Mapping[str, _Key]) -> Pair:
    down, up, alpha = found.get("down"), found.get("up"), found.get("alpha")
    if down is None or up is None:
        there = next(iter(found.values()))
        missing = "lora_A (lora_down)" if down is None else "lora_B (lora_up)"
        raise CheckpointError(
            f"{path}: {there.key!r} has no partner: {missing} of {name!r} is missing",
            next_command="save the LoRA again; was the file filtered or cut?",
        )
    return Pair(
        name=name,
        module=down.module,
        down_key=down.key,
        up_key=up.key,
        alpha_key=None if alpha is None else alpha.key,
    )


def _order(name: str) -> tuple[int, str]:
    block, layer = wan_layer(name) or (None, name)
    return (_AFTER_BLOCKS if block is None else block, layer)
