"""A LoRA format: `wan/blocks/0/self_attn/q/A`, with `/` between the parts of a name."""

from __future__ import annotations

from collections.abc import Collection

from pytest_wanlora import LoraFormat

ENDINGS = {"A": "lora_A.weight", "B": "lora_B.weight", "alpha": "alpha"}


def detect(keys: Collection[str]) -> bool:
    """Whether every key begins with `wan/`, as no other format has it."""
    return bool(keys) and all(key.startswith("wan/") for key in keys)


def to_name(key: str) -> str | None:
    """The key in the model's own names."""
    layer, _, half = key.removeprefix("wan/").rpartition("/")
    return f"{layer.replace('/', '.')}.{ENDINGS[half]}" if half in ENDINGS else None


SLASH = LoraFormat(detect=detect, to_name=to_name)
