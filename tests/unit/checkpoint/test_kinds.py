"""Updates that are no product of two matrices, beside numpy's own products and LyCORIS's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_wanlora import checkpoint
from pytest_wanlora.checkpoint import kinds
from pytest_wanlora.errors import CheckpointError
from tests import loras

Parts = dict[str, NDArray[np.float64]]
Shapes = dict[str, tuple[int, ...]]
NAME = "blocks.0.self_attn.q"
RNG = np.random.default_rng(0)


def matrix(*shape: int) -> NDArray[np.float64]:
    return RNG.normal(0.0, 0.3, shape)


LOHA: Shapes = {"hada_w1_a": (16, 3), "hada_w1_b": (3, 16), "hada_w2_a": (16, 2), "hada_w2_b": (2, 16)}
LOKR: dict[str, Shapes] = {
    "whole": {"lokr_w1": (4, 2), "lokr_w2": (4, 8)},
    "second decomposed": {"lokr_w1": (4, 2), "lokr_w2_a": (4, 3), "lokr_w2_b": (3, 8)},
    "both decomposed": {
        "lokr_w1_a": (4, 2),
        "lokr_w1_b": (2, 2),
        "lokr_w2_a": (4, 3),
        "lokr_w2_b": (3, 8),
    },
    "first decomposed": {"lokr_w1_a": (4, 2), "lokr_w1_b": (2, 2), "lokr_w2": (4, 8)},
}
RANKS = {"whole": 0, "second decomposed": 3, "both decomposed": 3, "first decomposed": 2}


def factor(parts: Parts, name: str) -> NDArray[np.float64]:
    return parts[name] if name in parts else parts[f"{name}_a"] @ parts[f"{name}_b"]


def read(
    folder: Path, parts: Parts, alpha: float | None, prefix: str = "diffusion_model."
) -> checkpoint.Checkpoint:
    state = {f"{prefix}{NAME}.{part}": loras.encode(each, "F64") for part, each in parts.items()}
    if alpha is not None:
        state[f"{prefix}{NAME}.alpha"] = loras.encode(alpha, "F64")
    return checkpoint.read(loras.write(folder / "a.safetensors", state))


@pytest.mark.parametrize("alpha", [None, 1.0, 6.0])
@pytest.mark.parametrize("case", list(LOKR))
def test_lokr_is_a_kronecker_product(tmp_path: Path, case: str, alpha: float | None) -> None:
    parts = {name: matrix(*shape) for name, shape in LOKR[case].items()}
    expected = np.kron(factor(parts, "lokr_w1"), factor(parts, "lokr_w2"))
    scale = 1.0 if alpha is None or not RANKS[case] else alpha / RANKS[case]
    found = read(tmp_path, parts, alpha)
    (target,) = found.targets
    assert (target.name, target.kind, target.shape, target.scale) == (NAME, "lokr", (16, 16), scale)
    np.testing.assert_allclose(kinds.update("lokr", parts), expected, rtol=1e-14)
    assert found.norms[NAME] == pytest.approx(scale * np.linalg.norm(expected), rel=1e-12)
    assert found.describe()["kinds"] == {"lokr": 1}


@pytest.mark.parametrize("alpha", [None, 1.0, 6.0])
def test_loha_is_a_hadamard_product(tmp_path: Path, alpha: float | None) -> None:
    parts = {name: matrix(*shape) for name, shape in LOHA.items()}
    expected = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
    scale = 1.0 if alpha is None else alpha / 3
    found = read(tmp_path, parts, alpha, prefix="lycoris_")
    (target,) = found.targets
    assert (target.kind, target.shape, target.scale) == ("loha", (16, 16), scale)
    np.testing.assert_array_equal(kinds.update("loha", parts), expected)
    assert found.norms[NAME] == pytest.approx(scale * np.linalg.norm(expected), rel=1e-12)


def test_lycoris_computes_the_same() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("lycoris")
    from lycoris import functional

    def tensors(shapes: Shapes) -> dict[str, object]:
        return {name: torch.from_numpy(matrix(*shape)) for name, shape in shapes.items()}

    for shapes in LOKR.values():
        parts = tensors(shapes)
        given = [parts.get(f"lokr_w{number}{letter}") for number in (1, 2) for letter in ("", "_a", "_b")]
        theirs = functional.lokr.kron_weight(*given)
        torch.testing.assert_close(kinds.update("lokr", parts), theirs, rtol=1e-14, atol=0.0)
    parts = tensors(LOHA)
    order = ("hada_w1_b", "hada_w1_a", "hada_w2_b", "hada_w2_a")
    theirs = functional.loha.HadaWeight.apply(*(parts[name] for name in order), torch.tensor(1))
    torch.testing.assert_close(kinds.update("loha", parts), theirs, rtol=1e-14, atol=0.0)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), more=st.integers(1, 5), rank=st.integers(1, 3))
def test_shapes_are_those_of_the_updates(rows: int, columns: int, more: int, rank: int) -> None:
    for kind, parts in (
        ("lora", {"lora_A": matrix(rank, columns), "lora_B": matrix(rows, rank)}),
        (
            "lokr",
            {
                "lokr_w1": matrix(rows, more),
                "lokr_w2_a": matrix(more, rank),
                "lokr_w2_b": matrix(rank, columns),
            },
        ),
        (
            "loha",
            {f"hada_w{n}_a": matrix(rows, rank) for n in (1, 2)}
            | {f"hada_w{n}_b": matrix(rank, columns) for n in (1, 2)},
        ),
        ("diff", {"diff": matrix(rows, columns, more)}),
    ):
        shapes = {name: each.shape for name, each in parts.items()}
        assert kinds.shape_of(kind, shapes) == kinds.update(kind, parts).shape  # type: ignore[arg-type]  # of the four


def test_a_large_loha_is_measured_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {name: matrix(*shape) for name, shape in LOHA.items()}
    whole = read(tmp_path, parts, None).norms[NAME]
    monkeypatch.setattr("pytest_wanlora.checkpoint.health._CHUNK", 40)
    assert read(tmp_path, parts, None).norms[NAME] == pytest.approx(whole, rel=1e-14)


DIFFERENCES = {
    "self_attn.q.diff": ("blocks.0.self_attn.q", (16, 16)),
    "self_attn.q.diff_b": ("blocks.0.self_attn.q.bias", (16,)),
    "ffn.0.diff_b": ("blocks.0.ffn.0.bias", (32,)),
    "norm3.diff": ("blocks.0.norm3", (16,)),
    "norm3.diff_b": ("blocks.0.norm3.bias", (16,)),
    "norm3.w_norm": ("blocks.0.norm3", (16,)),
    "norm3.b_norm": ("blocks.0.norm3.bias", (16,)),
    "self_attn.norm_k.diff": ("blocks.0.self_attn.norm_k", (16,)),
    "diff_m": ("blocks.0.modulation", (1, 6, 16)),
    "modulation.diff": ("blocks.0.modulation", (1, 6, 16)),
}


@pytest.mark.parametrize("key", list(DIFFERENCES))
def test_differences_are_targets_of_their_own(tmp_path: Path, key: str) -> None:
    name, shape = DIFFERENCES[key]
    value = matrix(*shape)
    state = loras.rewrite(loras.random_lora(blocks=1, layers=("cross_attn.q", "ffn.2")), "comfyui")
    state[f"diffusion_model.blocks.0.{key}"] = loras.encode(value, "F64")
    found = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    (target,) = (each for each in found.targets if each.kind == "diff")
    assert (target.name, target.shape, target.scale, target.rank) == (name, shape, 1.0, 0)
    assert found.norms[name] == pytest.approx(np.linalg.norm(value), rel=1e-12)
    assert found.ranks == (4,)
    own = checkpoint.weights(found)[f"{name}.diff"]
    np.testing.assert_array_equal(own.bits, value)


def test_a_file_of_differences_alone_has_no_rank(tmp_path: Path) -> None:
    state = {"diffusion_model.head.head.diff": loras.encode(np.ones((12, 16)))}
    found = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert (found.rank, found.ranks, found.dim, found.describe()["alphas"]) == (0, (), 16, [])


REFUSED: dict[str, tuple[Shapes, str]] = {
    "one layer twice": ({f"{NAME}.diff": (16, 16)}, "programs disagree"),
    "a matrix for a norm": ({"blocks.0.norm3.diff": (16, 16)}, "allowed are 1 dimensions"),
    "a bias as a matrix": ({"blocks.0.ffn.0.diff_b": (32, 1)}, "allowed are 1 dimensions"),
    "a factor is missing": ({"blocks.1.ffn.0.lokr_w1": (4, 2)}, "lokr_w2 of 'blocks.1.ffn.0' is missing"),
    "half a factor": (
        {"blocks.1.ffn.0.lokr_w1": (4, 2), "blocks.1.ffn.0.lokr_w2_a": (4, 2)},
        "lokr_w2_b of 'blocks.1.ffn.0' is missing",
    ),
    "a LoHa without its second product": (
        {"blocks.1.ffn.0.hada_w1_a": (32, 2), "blocks.1.ffn.0.hada_w1_b": (2, 16)},
        "hada_w2_a of 'blocks.1.ffn.0' is missing",
    ),
    "factors that do not fit": (
        {f"blocks.1.ffn.0.{name}": (3, 3) if name == "hada_w2_b" else shape for name, shape in LOHA.items()},
        "do not fit together",
    ),
    "two widths": ({"blocks.1.norm3.diff": (24,)}, "contradicts itself"),
    "a Tucker decomposition": ({"blocks.1.ffn.0.lokr_t2": (2, 2)}, "Tucker"),
    "another model's difference": (
        {"double_blocks.0.img_attn.norm.diff": (16,)},
        "this difference is not zero",
    ),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_cannot_be_applied_is_refused(tmp_path: Path, what: str) -> None:
    more, words = REFUSED[what]
    state = loras.random_lora(blocks=1) | {key: loras.encode(matrix(*shape)) for key, shape in more.items()}
    with pytest.raises(CheckpointError, match=words):
        checkpoint.read(loras.write(tmp_path / "a.safetensors", state))


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_differences_of_zero_are_left_out_and_counted(tmp_path: Path, dtype: str) -> None:
    state = loras.random_lora(blocks=1, dtype=dtype) | {
        key: loras.encode(np.zeros(shape), dtype)
        for key, shape in (
            ("blocks.0.norm3.diff", (16,)),
            ("blocks.0.norm3.diff_b", (16,)),
            ("blocks.0.some_other_layer.diff", (7,)),
        )
    }
    found = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert (len(found.targets), found.zero_differences, found.warnings, found.problems) == (10, 3, (), ())


def test_a_file_of_zero_differences_alone_changes_nothing(tmp_path: Path) -> None:
    state = {
        "blocks.0.norm3.diff": loras.encode(np.zeros(16)),
        "blocks.0.ffn.0.diff_b": loras.encode(np.zeros(32)),
    }
    with pytest.raises(CheckpointError, match="changes nothing: all its 2 differences are zero"):
        checkpoint.read(loras.write(tmp_path / "a.safetensors", state))


@pytest.mark.parametrize(
    ("dtype", "size", "warned"),
    [
        ("F16", 1e-5, True),
        ("F16", 1e-3, False),
        ("F32", 1e-23, True),
        ("F32", 1e-5, True),
        ("F32", 1e-3, False),
        ("BF16", 1e-21, True),
    ],
)
def test_an_update_below_what_its_type_holds_changes_nothing(
    tmp_path: Path, dtype: str, size: float, warned: bool
) -> None:
    state = loras.random_lora(dtype=dtype)
    state[f"{NAME}.lora_A.default.weight"] = loras.encode(np.full((4, 16), size), dtype)
    state[f"{NAME}.lora_B.default.weight"] = loras.encode(np.full((16, 4), size), dtype)
    found = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert found.problems == ()
    assert [each.targets for each in found.warnings] == ([(NAME,)] if warned else [])
    assert math.isfinite(found.norms[NAME])
