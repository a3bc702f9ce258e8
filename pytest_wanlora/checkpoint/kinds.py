"""How an update of a weight is made of a file's tensors, for numpy's arrays and torch's tensors alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint.formats import Kind


def shape_of(kind: Kind, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of an update.

    Returns:
        (out, in), or a difference's own shape; None where the parts do not fit together.
    """
    if kind == "diff":
        return shapes["diff"]
    if kind == "lora":
        return _product(shapes["lora_B"], shapes["lora_A"])
    if kind == "loha":
        one, other = (_product(shapes[f"hada_w{n}_a"], shapes[f"hada_w{n}_b"]) for n in (1, 2))
        return one if one == other else None
    sides = [
        shapes[f"lokr_w{n}"]
        if f"lokr_w{n}" in shapes
        else _product(shapes[f"lokr_w{n}_a"], shapes[f"lokr_w{n}_b"])
        for n in (1, 2)
    ]
    first, second = sides
    return None if first is None or second is None else (first[0] * second[0], first[1] * second[1])


def rank_of(kind: Kind, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """What alpha is divided by; 0 where the kind, or LoKr with two whole factors, takes no alpha.

    LyCORIS divides by the rank of whichever factor is decomposed, and so does ComfyUI
    (`comfy/weight_adapter/lokr.py`, `loha.py`).
    """
    rows = {"lora": ("lora_A",), "loha": ("hada_w1_b",), "lokr": ("lokr_w2_b", "lokr_w1_b"), "diff": ()}
    return next((shapes[part][0] for part in rows[kind] if part in shapes), 0)


def update(kind: Kind, parts: Mapping[str, Any]) -> Any:  # noqa: ANN401 - numpy's or torch's arrays
    """The update with scale 1.

    Args:
        kind: Of the target.
        parts: Arrays of one library and one type.

    Returns:
        B A; for LoHa (w1_a w1_b) * (w2_a w2_b), for LoKr the Kronecker product of w1 and w2, each a product
        of two where it is decomposed (Yeh et al. 2023, arXiv:2309.14859, equations 5 and 6).
    """
    if kind == "diff":
        return parts["diff"]
    if kind == "lora":
        return parts["lora_B"] @ parts["lora_A"]
    if kind == "loha":
        return (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
    first, second = kronecker_factors(parts)
    rows, columns = first.shape[0] * second.shape[0], first.shape[1] * second.shape[1]
    return (first[:, None, :, None] * second[None, :, None, :]).reshape(rows, columns)


def kronecker_factors(parts: Mapping[str, Any]) -> tuple[Any, Any]:
    """The two whole factors of LoKr."""
    first, second = (
        parts[f"lokr_w{n}"] if f"lokr_w{n}" in parts else parts[f"lokr_w{n}_a"] @ parts[f"lokr_w{n}_b"]
        for n in (1, 2)
    )
    return first, second


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...] | None:
    fits = len(left) == len(right) == 2 and left[1] == right[0]
    return (left[0], right[1]) if fits else None
