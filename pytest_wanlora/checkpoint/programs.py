"""How programs read LoRA files of Wan models: rules, each with the place in the source that says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

Keys = tuple[str, ...]
Seen = Callable[[str], str | None]


class Rule(NamedTuple):
    """What a program does.

    Attributes:
        text: The name of a module with `{wan}`, `{diffusers}` or `{flat}` (underscores) for the layer, an
            ending of a key, or a sentence.
    """

    text: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Program:
    """What one version of a program reads.

    Attributes:
        name: As `--for` takes it.
        version: Of the program, with the commit or release that was read.
        alphas: Endings of alphas that it reads; a scale is 1 where it reads none.
        strict: It refuses a file of which it does not read every key.
        metadata: It reads the alpha that diffusers keeps in the header.
        seen: Of all keys in file order, how it sees each; None for one that it leaves out in silence.
        refuses: Of all keys, why it refuses the file; None where it does not.
    """

    name: str
    version: str
    modules: tuple[Rule, ...]
    endings: tuple[Rule, ...]
    alphas: tuple[Rule, ...]
    strict: Rule | None = None
    metadata: Rule | None = None
    seen: Callable[[Keys], Seen] = lambda keys: str
    refuses: Callable[[Keys], Rule | None] = lambda keys: None


def _rules(source: str, *texts: str) -> tuple[Rule, ...]:
    return tuple(Rule(text, source) for text in texts)


_DIFFERENCES: Final = (".diff", ".diff_b")
_LOKR: Final = tuple(f".lokr_w{n}{letter}" for n in (1, 2) for letter in ("", "_a", "_b"))
_LOHA: Final = tuple(f".hada_w{n}_{letter}" for n in (1, 2) for letter in "ab")
_AB: Final = (".lora_A.weight", ".lora_B.weight")
_DOWN_UP: Final = (".lora_down.weight", ".lora_up.weight")


def _seen_by_comfyui(keys: Keys) -> Seen:
    # only this key tells it that a file is Wan-Fun's
    fun = "lora_unet__blocks_0_cross_attn_k.lora_down.weight" in keys
    return lambda key: re.sub("^lora_unet__", "lora_unet_", key) if fun else key


COMFYUI: Final = Program(
    name="comfyui",
    version="0.3.64 (a125cd8)",
    # Wan-Fun's names: comfy/lora_convert.py:15,39
    modules=_rules("comfy/lora.py:183-186", "lora_unet_{flat}", "diffusion_model.{wan}"),
    endings=(
        *_rules("comfy/weight_adapter/lora.py:93-129", *_AB, *_DOWN_UP, ".lora_A", ".lora_B"),
        *_rules("comfy/weight_adapter/lora.py:94-96", "_lora.down.weight", "_lora.up.weight"),
        *_rules("comfy/weight_adapter/lora.py:96", ".lora.down.weight", ".lora.up.weight"),
        *_rules(
            "comfy/weight_adapter/lora.py:98",
            ".lora_linear_layer.down.weight",
            ".lora_linear_layer.up.weight",
        ),
        *_rules("comfy/weight_adapter/lora.py:99", ".lora_A.default.weight", ".lora_B.default.weight"),
        *_rules("comfy/lora.py:60-82", *_DIFFERENCES, ".w_norm", ".b_norm"),
        *_rules("comfy/weight_adapter/lokr.py:114-155", *_LOKR),
        *_rules("comfy/weight_adapter/loha.py:160-180", *_LOHA),
    ),
    alphas=_rules("comfy/lora.py:41, comfy/weight_adapter/lora.py:174", ".alpha"),
    seen=_seen_by_comfyui,
)
DIFFSYNTH: Final = Program(
    name="diffsynth",
    version="2.1.12",
    modules=_rules("diffsynth/utils/lora/general.py:26-29", "{wan}", "diffusion_model.{wan}"),
    endings=(
        *_rules("diffsynth/utils/lora/general.py:13-24", *_AB, *_DOWN_UP),
        Rule(".lora_A.*.weight", "diffsynth/utils/lora/general.py:23"),
        Rule(".lora_B.*.weight", "diffsynth/utils/lora/general.py:23"),
    ),
    alphas=_rules("diffsynth/utils/lora/general.py:31", ".alpha"),
)


def _seen_by_wan2gp(keys: Keys) -> Seen:
    """Its own renaming (models/wan/modules/model.py, preprocess_loras)."""
    adapter, kohya = ".default." in keys[0], keys[0].startswith("lora_unet_")

    def seen(key: str) -> str | None:
        if re.search(r"modulation\.diff$|cross_attn\.[kv]_img|img_emb\.", key):
            return None
        if adapter:
            key = key.replace(".default.", ".")
        if kohya:
            key = re.sub("lora_unet__?blocks_", "diffusion_model.blocks.", key)
            key = re.sub("_(cross_attn|self_attn|ffn)_", r".\1.", key)
        return key

    return seen


WAN2GP: Final = Program(
    name="wan2gp",
    version="1767a59 with mmgp 3.7.10 (04b8d1f)",
    modules=_rules("src/mmgp/offload.py:1385", "{wan}", "diffusion_model.{wan}", "transformer.{wan}"),
    endings=(
        *_rules("src/mmgp/offload.py:1477-1486", *_AB, *_DOWN_UP),
        *_rules(
            "src/mmgp/offload.py:1399",
            *(".lora.down.weight", ".lora.up.weight", ".lora.A.weight", ".lora.B.weight"),
            *(".lora_A.default.weight", ".lora_B.default.weight"),
        ),
        *_rules("src/mmgp/offload.py:1456-1460", *_DIFFERENCES),
        *_rules("src/mmgp/offload.py:1468-1475", ".lokr_w1", ".lokr_w2"),
    ),
    alphas=_rules("src/mmgp/offload.py:1622", ".alpha"),
    strict=Rule("it refuses a file of which it does not know every key", "src/mmgp/offload.py:1480-1493"),
    seen=_seen_by_wan2gp,
)


def _seen_by_musubi(keys: Keys) -> Seen:
    """One kind a file: that of the first key which tells one (src/musubi_tuner/utils/lora_utils.py:25-34)."""
    words = {"lora_down": "lora", "hada_w1_a": "hada", "lokr_w1": "lokr"}
    kinds = (kind for key in sorted(keys) for word, kind in words.items() if word in key)
    kind = next(kinds, "lora")

    def seen(key: str) -> str | None:
        return key if key.endswith(".alpha") or f".{kind}_" in key else None

    return seen


MUSUBI: Final = Program(
    name="musubi",
    version="0.3.4 (30c658c)",
    modules=_rules("src/musubi_tuner/utils/lora_utils.py:148-149", "lora_unet_{flat}"),
    endings=(
        *_rules("src/musubi_tuner/utils/lora_utils.py:161-165", *_DOWN_UP),
        *_rules(
            "src/musubi_tuner/networks/lokr.py:373-398",
            *(".lokr_w1", ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b"),
        ),
        *_rules("src/musubi_tuner/networks/loha.py:309-321", *_LOHA),
    ),
    alphas=_rules("src/musubi_tuner/utils/lora_utils.py:163-173", ".alpha"),
    seen=_seen_by_musubi,
)

_CONVERSION: Final = "diffusers/loaders/lora_conversion_utils.py"
_LOADER: Final = "diffusers/loaders/lora_pipeline.py"
_LEFT: Final = "ValueError: `state_dict` should be empty at this point"


def _refused_as_comfyui(keys: Keys) -> Rule | None:
    """What `_convert_non_diffusers_wan_lora_to_diffusers` raises."""
    own = {key.removeprefix("diffusion_model.") for key in keys}
    if not any(key.startswith("blocks.") for key in own):
        return Rule("ValueError: min() of an empty set, for no key is of a block", f"{_CONVERSION}:1844")
    down, up = ("lora_A", "lora_B") if any("lora_A" in key for key in own) else ("lora_down", "lora_up")
    image = all(any(part in key for key in own) for part in ("k_img", "v_img"))
    blocks = r"blocks\.[0-9]+\.(?:(?:self|cross)_attn\.[qkvo]|ffn\.[02]" + (
        r"|cross_attn\.[kv]_img)" if image else ")"
    )
    halves = rf"\.(?:{down}|{up})\.weight"
    outside = r"(?:time_projection\.1|head\.head|(?:text|time)_embedding\.[02]|img_emb\.proj\.[13])"
    handled = re.compile(rf"{blocks}(?:{halves}|\.alpha|\.diff_b)|{outside}(?:{halves}|\.diff_b)|.*\.diff.*")
    projected = any(key.startswith("time_projection") and key.endswith(".weight") for key in own)
    for key in sorted(own):
        if not handled.fullmatch(key) and (projected or "time_projection" not in key):
            return Rule(f"{_LEFT}, such as {key!r}", f"{_CONVERSION}:2085")
    for layer in sorted({key.rsplit(".", 1)[0] for key in own if key.endswith((".alpha", ".diff_b"))}):
        embedding = re.fullmatch(r"(?:text|time)_embedding\.[02]", layer)
        alone = f"{layer}.{down}.weight" not in own
        if alone and (embedding or f"{layer}.alpha" in own):
            return Rule(f"KeyError: '{layer}.{down}.weight'", f"{_CONVERSION}:1894-2047")
    if "head.head.diff" in own and "head.head.diff_b" not in own:
        return Rule("KeyError: 'proj_out.lora_B.bias'", f"{_CONVERSION}:2030")
    return None


def _seen_as_comfyui(keys: Keys) -> Seen:
    projected = any("time_projection" in key and key.endswith(".weight") for key in keys)

    def seen(key: str) -> str | None:
        left_out = (
            (key.endswith((".diff", ".diff_b")) and "norm" in key)
            or (key.endswith(".diff") and not key.endswith("head.head.diff"))
            or (key.endswith(".diff_b") and "img_emb" in key)
            or ("time_projection" in key and not projected)
        )
        return None if left_out else key

    return seen


def _refused_as_kohya(keys: Keys) -> Rule | None:
    """What `_convert_musubi_wan_lora_to_diffusers` raises: it wants all layers of all blocks, with alpha."""
    own = {key.removeprefix("lora_unet_") for key in keys}
    blocks = [found[1] if (found := re.search("blocks_([^_]*)", key)) else None for key in own]
    if None in blocks:
        return Rule("IndexError: a key is of no block", f"{_CONVERSION}:2098")
    layers = [f"{place}_attn_{letter}" for place in ("self", "cross") for letter in "qkvo"] + [
        "ffn_0",
        "ffn_2",
    ]
    if all(any(part in key for key in own) for part in ("k_img", "v_img")):
        layers += ["cross_attn_k_img", "cross_attn_v_img"]
    wanted = {
        f"blocks_{block}_{layer}{end}"
        for block in range(len(set(blocks)))
        for layer in layers
        for end in (*_DOWN_UP, ".alpha")
    }
    if missing := sorted(wanted - own):
        return Rule(f"KeyError: {missing[0]!r}", f"{_CONVERSION}:2112-2143")
    return Rule(_LEFT, f"{_CONVERSION}:2146") if own - wanted else None


def _refused_as_diffusers(keys: Keys) -> Rule | None:
    if any("lora" not in key for key in keys):
        return Rule(
            "ValueError: Invalid LoRA checkpoint, for a key lacks the word lora (.alpha, .diff)",
            f"{_LOADER}:4227",
        )
    own = [key for key in sorted(keys) if key.startswith("transformer.")]
    if own and not any("lora_B" in key for key in map(_renamed(own), own)):
        return Rule("IndexError: no key has lora_B", "diffusers/utils/peft_utils.py:158")
    if own and not any(re.search(r"\.(attn[12]|net)\.|condition_embedder|proj_out", key) for key in own):
        return Rule("ValueError: Target modules not found in the base model", "peft/tuners/tuners_utils.py")
    return None


def _renamed(keys: list[str]) -> Callable[[str], str]:
    """The renaming of older halves, which takes place where the first key has no lora_A."""
    if not keys or "lora_A" in keys[0]:
        return str
    # diffusers/utils/state_dict_utils.py:45-57
    pattern = re.compile(r"(?:\.lora|(?<=\.to_[qkv])_lora)\.(down|up)")
    return lambda key: pattern.sub(lambda found: ".lora_A" if found[1] == "down" else ".lora_B", key)


_DIFFUSERS: Final = "0.42.1"
DIFFUSERS_OF_COMFYUI: Final = Program(
    name="diffusers",
    version=_DIFFUSERS,
    modules=_rules(f"{_CONVERSION}:1840-2090", "diffusion_model.{wan}"),
    endings=_rules(f"{_CONVERSION}:1849-2072", *_AB, *_DOWN_UP, *_DIFFERENCES),
    alphas=_rules(f"{_CONVERSION}:1855-1864", ".alpha"),
    seen=_seen_as_comfyui,
    refuses=_refused_as_comfyui,
)
DIFFUSERS_OF_KOHYA: Final = Program(
    name="diffusers",
    version=_DIFFUSERS,
    modules=_rules(f"{_CONVERSION}:2093-2151", "lora_unet_{flat}"),
    endings=_rules(f"{_CONVERSION}:2093-2151", *_DOWN_UP),
    alphas=_rules(f"{_CONVERSION}:2101-2110", ".alpha"),
    refuses=_refused_as_kohya,
)
DIFFUSERS_OWN: Final = Program(
    name="diffusers",
    version=_DIFFUSERS,
    modules=_rules("diffusers/loaders/peft.py:210", "transformer.{diffusers}"),
    endings=_rules("diffusers/loaders/peft.py:238-259", *_AB),
    alphas=(),
    metadata=Rule("lora_adapter_metadata", "diffusers/utils/peft_utils.py:496"),
    seen=lambda keys: _renamed([key for key in sorted(keys) if key.startswith("transformer.")]),
    refuses=_refused_as_diffusers,
)


def _diffusers(keys: Keys) -> Program:
    # diffusers/loaders/lora_pipeline.py:4140-4143
    if any(key.startswith("diffusion_model.") for key in keys):
        return DIFFUSERS_OF_COMFYUI
    return DIFFUSERS_OF_KOHYA if any(key.startswith("lora_unet_") for key in keys) else DIFFUSERS_OWN


#: By name, of a file's keys the program as it reads such files.
PROGRAMS: Final[dict[str, Callable[[Keys], Program]]] = {
    "comfyui": lambda keys: COMFYUI,
    "diffusers": _diffusers,
    "diffsynth": lambda keys: DIFFSYNTH,
    "wan2gp": lambda keys: WAN2GP,
    "musubi": lambda keys: MUSUBI,
}
