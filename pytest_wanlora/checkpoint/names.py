"""Names of the layers of Wan's video transformer, in its own words, diffusers' and kohya's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_INDEX: Final = r"(?:0|[1-9][0-9]{0,3})"
# the model's own name -> diffusers'; linear layers, by their place
_BLOCK_LAYERS: Final[Mapping[str, str]] = {
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
_OTHER_LAYERS: Final[Mapping[str, str]] = {
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
# what has weights and is no linear layer; diffusers' norm2 is left out, for the model's own norm2 has none
_BLOCK_PARAMETERS: Final[Mapping[str, str]] = {
    "self_attn.norm_q": "attn1.norm_q",
    "self_attn.norm_k": "attn1.norm_k",
    "cross_attn.norm_q": "attn2.norm_q",
    "cross_attn.norm_k": "attn2.norm_k",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
    "norm3": "norm3",
    "modulation": "modulation",
}
_OTHER_PARAMETERS: Final = ("head.modulation", "img_emb.proj.0", "img_emb.proj.4")
#: Kinds of layers that only models with an image as a condition have (Wan2.1 I2V and FLF2V).
IMAGE_LAYERS: Final = ("cross_attn.k_img", "cross_attn.v_img", "cross_attn.norm_k_img", "img_emb.")

_IN_BLOCK = {**_BLOCK_LAYERS, **_BLOCK_PARAMETERS}
_OUTSIDE = {**_OTHER_LAYERS, **{name: name for name in _OTHER_PARAMETERS}}
# any name with its dots as underscores -> ours; no name of one dialect is another layer's in another
_FLAT_IN_BLOCK = {
    name.replace(".", "_"): ours for ours, theirs in _IN_BLOCK.items() for name in (ours, theirs)
}
_FLAT_OUTSIDE = {name.replace(".", "_"): ours for ours, theirs in _OUTSIDE.items() for name in (ours, theirs)}
_BLOCK = re.compile(rf"blocks\.(?P<index>{_INDEX})\.(?P<layer>.+)")
_FLAT_BLOCK = re.compile(rf"blocks_(?P<index>{_INDEX})_(?P<layer>.+)")
_DIFFUSERS = re.compile(r"(^|[._])(attn1|attn2|ffn[._]net|condition_embedder)[._]|^proj_out$")

# what stands before a layer's name, repeatedly and in any order
_PREFIXES: Final = (
    "base_model.model.",
    "diffusion_model.",
    "model.",
    "pipe.dit.",
    "dit.",
    "transformer.",
    "unet.",
    "lora_unet__",
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
)
# what torch.compile, DDP, FSDP, activation checkpointing and DiffSynth put around modules
_WRAPPERS: Final = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_WITHIN = re.compile(rf"(?<=\.)(?:{'|'.join(map(re.escape, _WRAPPERS))}|processor\.)")

# a part of a name -> which relative of the Wan models has it
_RELATIVES: Final = (
    (r"(^|[._])vace_", "VACE (vace_blocks)"),
    (r"(^|[._])(face_adapter|face_encoder|motion_encoder|pose_patch_embedding)", "Animate"),
    (r"(^|[._])(audio_injector|casual_audio_encoder|frame_packer|trainable_cond_mask|cond_encoder)", "S2V"),
    (r"(^|[._])(control_adapter|ref_conv|cam_encoder|camera)", "Fun Control or Camera"),
)
_FAMILIES: Final = (
    (r"(^|[._])(double_blocks|single_blocks)[._]", "HunyuanVideo or FLUX"),
    (r"(^|[._])single_transformer_blocks[._]", "HunyuanVideo or FLUX, in diffusers' names"),
    (r"(^|[._])transformer_blocks[._]", "LTX-Video, CogVideoX, Qwen-Image or another one"),
    (r"(^|[._])(joint_blocks|context_block)[._]", "Stable Diffusion 3 or another one"),
    (r"(^|[._])((down|up|input|output)_blocks|(mid|middle)_block)[._]", "an image UNet"),
    (r"(^|[._])(layers|noise_refiner|context_refiner)[._][0-9]+[._]", "Lumina, Z-Image or a language model"),
)


def split(module: str) -> tuple[str, str]:
    """Take known prefixes and wrappers off a module's name.

    Args:
        module: As the file has it, without `.lora_A.weight` and the like.

    Returns:
        What was taken off the front, and the rest.

    Example:
        >>> split("base_model.model.diffusion_model.blocks.0.ffn.0")
        ('base_model.model.diffusion_model.', 'blocks.0.ffn.0')
    """
    rest, taken = _WITHIN.sub("", module), ""
    while (
        prefix := next((each for each in (*_PREFIXES, *_WRAPPERS) if rest.startswith(each)), None)
    ) is not None:
        rest, taken = rest[len(prefix) :], taken + ("" if prefix in _WRAPPERS else prefix)
    return taken, rest


def own_name(module: str) -> str | None:
    """The model's own name of a layer.

    Args:
        module: Without prefixes: its own, diffusers' or kohya's name, or one that is half converted.

    Returns:
        `blocks.0.self_attn.q`; None when a Wan model has no such layer.
    """
    flat = module.replace(".", "_")
    found = _FLAT_BLOCK.fullmatch(flat)
    if found is None:
        return _FLAT_OUTSIDE.get(flat)
    layer = _FLAT_IN_BLOCK.get(found["layer"])
    return None if layer is None else f"blocks.{found['index']}.{layer}"


def diffusers_name(name: str) -> str | None:
    """Diffusers' name of a layer that the model calls `blocks.0.self_attn.q`; None where it has none.

    The table is diffusers' own (`loaders/lora_conversion_utils.py`).
    """
    found = _BLOCK.fullmatch(name)
    if found is None:
        return _OTHER_LAYERS.get(name)
    layer = _BLOCK_LAYERS.get(found["layer"])
    return None if layer is None else f"blocks.{found['index']}.{layer}"


def is_diffusers(module: str) -> bool:
    """Whether a layer's name without prefixes is diffusers'."""
    return _DIFFUSERS.search(module) is not None


def is_linear(name: str) -> bool:
    """Whether a layer, by the model's own name, is a linear one or the patch embedding."""
    return diffusers_name(name) is not None


def wan_layer(name: str) -> tuple[int | None, str] | None:
    """Take the name of a layer or parameter of the Wan video model apart.

    Args:
        name: In the model's own names; of a pair's target after its expert, `high:blocks.0.ffn.0`.

    Returns:
        (block, layer within the block) or (None, name) for a layer outside the blocks; None when
        the name is of no layer that a Wan model has.

    Example:
        >>> wan_layer("blocks.12.ffn.0")
        (12, 'ffn.0')
    """
    name = name.rpartition(":")[2].removesuffix(".bias")
    found = _BLOCK.fullmatch(name)
    if found and found["layer"] in _IN_BLOCK:
        return int(found["index"]), found["layer"]
    return (None, name) if name in _OUTSIDE else None


def needs_image(name: str) -> bool:
    """Whether only a model with an image as a condition has a layer, by the model's own name."""
    layer = wan_layer(name)
    return layer is not None and layer[1].startswith(IMAGE_LAYERS)


def why_unknown(module: str) -> tuple[str, str]:
    """What a module, without known prefixes, may be that no Wan text-to-video model has, and what to do."""
    for pattern, model in _RELATIVES:
        if re.search(pattern, module):
            return (
                f"it was trained for another Wan model: {model}",
                "gate a LoRA of the text-to-video model, or of TI2V-5B; no suite loads that model",
            )
    for pattern, family in _FAMILIES:
        if re.search(pattern, module):
            return (
                f"it belongs to another model family: {family}",
                "check which model it was trained for; other model families cannot be judged",
            )
    parts = re.split(r"(?<=\.)", module)
    for number in range(1, len(parts)):
        if own_name("".join(parts[number:])) is not None:
            prefix = "".join(parts[:number])
            return (
                f"the prefix {prefix!r} is unknown, what follows it is a layer of a Wan model",
                f"save the LoRA again without {prefix!r} in its keys",
            )
    if _BLOCK.fullmatch(module) or _FLAT_BLOCK.fullmatch(module.replace(".", "_")):
        return (
            "no Wan model has this layer in a block (are layers fused, such as q, k and v?)",
            "save the LoRA again in the layers of the model that it was trained on",
        )
    return (
        "nothing in its name is of a Wan model",
        "check which model it was trained for; other model families cannot be judged",
    )
