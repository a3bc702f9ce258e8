"""Keys that no part of a LoRA can be made of, and why: refused by name before anything is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.phrases import number_of

#: What can be applied, for the messages.
ALLOWED: Final = (
    "allowed are lora_A and lora_B (or lora_down and lora_up) and alpha, LoKr, LoHa and differences "
    "(.diff, .diff_b)"
)
PLAIN: Final = "train or export a plain LoRA (lora_A and lora_B, or lora_down and lora_up, per layer)"
_LONGEST_KEY: Final = 300

# pattern of the key, what it is, what to do
_REFUSED: Final = tuple(
    (re.compile(pattern), what, remedy)
    for pattern, what, remedy in (
        (
            r"(^|\.)(lora_magnitude_vector|dora_scale)(\.|$)",
            "DoRA's magnitudes would be ignored when the LoRA is applied",
            "train with use_dora off, or merge the magnitudes into a plain LoRA",
        ),
        (
            r"\.lora_(A|B|down|up)(\.[^.]+)?\.bias$",
            "a bias in a LoRA layer cannot be applied",
            "train with lora_bias off",
        ),
        (r"(^|\.)lora_embedding_[AB]", "a LoRA of an embedding table is not supported", PLAIN),
        (r"\.lora_mid\.", "LoCon's third factor (lora_mid) is not supported", PLAIN),
        (r"\.(lokr_t[12]|hada_t[12])$", "a Tucker decomposition (of a convolution) is not supported", PLAIN),
        (r"(^|\.)(oft_|boft_|ia3_|vera_lambda|glora)", "OFT, IA3, VeRA and GLoRA are not LoRA", PLAIN),
        (r"\.(set_weight|reshape_weight)$", "a weight beside the LoRA would be dropped", PLAIN),
        (r"modules_to_save", "a whole layer would be dropped", "train without modules_to_save"),
        (
            r"(^|[._])(transformer_[1-9]|dit_?2)[._]|^(diffusion_model\.)?(high|low)_noise(_model)?\.",
            "it names one of two experts (Wan2.2 A14B has a second expert) in a way that is not known here",
            "save the LoRA of each expert in a file of its own",
        ),
        (
            r"(^|\.)(text_encoders?(_[0-9])?|te[1-9]?|lora_te[1-9]?|cond_stage_model|conditioner|umt5\w*|t5\w*|"
            r"clip_[lgh])[._]|^lora_te",
            "a LoRA of the text encoder; only the video model's own layers are supported",
            "train or export without the text encoder",
        ),
        (
            r"^lora_unet_(down|mid|up|input|output)_|^unet\.(down|up|mid)_",
            "a LoRA of an image UNet, not of a Wan model",
            "check which model it was trained for",
        ),
    )
)


def refuse_by_name(path: Path, keys: tuple[str, ...]) -> None:
    """Refuse a file that has a key of a kind that cannot be applied.

    Raises:
        CheckpointError: Names the kind, its first key and what to do.
    """
    if not keys:
        raise CheckpointError(f"{path}: holds no tensors at all", next_command="save the LoRA again")
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
                f"{path}: {found[0]!r} ({len(found)} of {number_of(len(keys), 'key')}): {what}; {ALLOWED}",
                next_command=remedy,
            )
