from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pytest_wanlora import checkpoint
from tests import loras

NAME = "blocks.0.self_attn.q"
DOWN, UP = f"{NAME}.lora_A.default.weight", f"{NAME}.lora_B.default.weight"


def values_of(dtype: str, bad: float) -> loras.Raw:
    values = np.full((16, 4), 0.5)
    values[3, 1] = bad
    return loras.encode(values, dtype)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "F8_E5M2"])
@pytest.mark.parametrize(("code", "bad"), [("nan", np.nan), ("inf", np.inf), ("inf", -np.inf)])
def test_one_bad_number_is_a_problem_in_every_type(tmp_path: Path, dtype: str, code: str, bad: float) -> None:
    state = loras.random_lora(dtype=dtype) | {UP: values_of(dtype, bad)}
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert [(problem.code, problem.targets) for problem in read.problems] == [(code, (NAME,))]
    assert read.problems[0].words.startswith("1 of 20 targets")
    assert np.isnan(read.norms[NAME])


def test_a_nan_is_seen_in_e4m3_which_has_no_infinity(tmp_path: Path) -> None:
    state = loras.random_lora(dtype="F8_E4M3")
    state[DOWN] = loras.Raw("F8_E4M3", (4, 16), b"\x01" * 63 + b"\xff")
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert [problem.code for problem in read.problems] == ["nan"]


def test_an_update_beyond_float32_is_infinite(tmp_path: Path) -> None:
    state = loras.random_lora(dtype="F64")
    state |= {
        DOWN: loras.encode(np.full((4, 16), 1e200), "F64"),
        UP: loras.encode(np.full((16, 4), 1e200), "F64"),
    }
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert [problem.code for problem in read.problems] == ["inf"]


@pytest.mark.parametrize("dtype", list(loras.BITS))
def test_zero_b_everywhere_is_an_untrained_lora(tmp_path: Path, dtype: str) -> None:
    state = {
        key: loras.Raw(dtype, raw.shape, bytes(len(raw.data))) if "lora_B" in key else raw
        for key, raw in loras.random_lora(dtype=dtype).items()
    }
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert [problem.code for problem in read.problems] == ["zero_b"]
    assert "not trained" in read.problems[0].words
    assert len(read.zero_targets) == 20


@pytest.mark.parametrize("half", [DOWN, UP])
def test_some_zero_targets_are_named(tmp_path: Path, half: str) -> None:
    state = loras.random_lora()
    state[half] = loras.Raw("BF16", state[half].shape, bytes(len(state[half].data)))
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert read.problems == ()
    assert [(warning.code, warning.targets) for warning in read.warnings] == [("zero_some", (NAME,))]
    assert read.warnings[0].words.startswith("1 of 20 targets change nothing")
    assert read.zero_targets == (NAME,)


def _cancelled(state: loras.State, key: str, off: float, dtype: str) -> loras.State:
    """The same with halves of twice the rank whose products cancel to `off` of their size."""
    rng = np.random.default_rng(3)
    down, up = rng.normal(size=(4, 16)), rng.normal(size=(16, 4))
    less = -up * (1.0 + off * rng.normal(size=up.shape))
    return state | {
        key: loras.encode(np.vstack([down, down]), dtype),
        key.replace("lora_A", "lora_B"): loras.encode(np.hstack([up, less]), dtype),
    }


@pytest.mark.parametrize("off", [2e-7, 1e-8])
@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_what_is_left_of_halves_that_cancel_is_no_update(tmp_path: Path, dtype: str, off: float) -> None:
    state = loras.random_lora(dtype=dtype)
    one = checkpoint.read(loras.write(tmp_path / "a.safetensors", _cancelled(state, DOWN, off, dtype)))
    assert (one.zero_targets, one.problems) == ((NAME,), ())
    assert [warning.code for warning in one.warnings] == ["zero_some"]
    for key in [key for key in state if "lora_A" in key]:
        state = _cancelled(state, key, off, dtype)
    every = checkpoint.read(loras.write(tmp_path / "b.safetensors", state))
    assert [problem.code for problem in every.problems] == ["zero_b"]


def test_halves_that_cancel_in_part_are_an_update(tmp_path: Path) -> None:
    state = _cancelled(loras.random_lora(dtype="F32"), DOWN, 1e-5, "F32")
    assert checkpoint.read(loras.write(tmp_path / "a.safetensors", state)).zero_targets == ()


@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16"])
@pytest.mark.parametrize(("size", "nothing"), [(1e-30, True), (1e-12, True), (1e-9, True), (1e-6, False)])
def test_an_update_that_no_weight_can_carry_is_none(
    tmp_path: Path, dtype: str, size: float, nothing: bool
) -> None:
    rng = np.random.default_rng(4)
    tiny = {
        DOWN: loras.encode(rng.normal(size=(4, 16)) * size**0.5, dtype),
        UP: loras.encode(rng.normal(size=(16, 4)) * size**0.5, dtype),
    }
    found = checkpoint.read(loras.write(tmp_path / "a.safetensors", loras.random_lora(dtype=dtype) | tiny))
    assert found.zero_targets == ((NAME,) if nothing else ())
    assert [warning.code for warning in found.warnings] == (["zero_some"] if nothing else [])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rank=st.integers(1, 64),
    dtype=st.sampled_from(["F32", "BF16", "F16"]),
    power=st.floats(-6.0, 0.0),
)
def test_a_trained_target_is_never_taken_for_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rank: int, dtype: str, power: float
) -> None:
    rng = np.random.default_rng(seed)
    # B after one step of Adam at a rate from 1e-6 on, A as it is initialised
    up = 10.0**power * np.sign(rng.normal(size=(16, rank)))
    down = rng.uniform(-1, 1, size=(rank, 16)) * 0.25
    state = loras.random_lora() | {DOWN: loras.encode(down, dtype), UP: loras.encode(up, dtype)}
    path = loras.write(tmp_path_factory.mktemp("trained") / "a.safetensors", state)
    assert checkpoint.read(path).zero_targets == ()


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    state = loras.random_lora()
    state[UP] = loras.encode(np.full((16, 4), -0.0), "BF16")
    assert checkpoint.read(loras.write(tmp_path / "a.safetensors", state)).zero_targets == (NAME,)


@settings(max_examples=40, deadline=None)
@given(
    up=arrays(np.float64, (6, 3), elements=st.floats(-10, 10)),
    down=arrays(np.float64, (3, 5), elements=st.floats(-10, 10)),
    alpha=st.sampled_from([0.5, 3.0, 48.0]),
)
@example(up=np.full((6, 3), 2e-162), down=np.full((3, 5), 1.0), alpha=48.0)
def test_the_norm_is_that_of_the_whole_update(
    tmp_path_factory: pytest.TempPathFactory,
    up: NDArray[np.float64],
    down: NDArray[np.float64],
    alpha: float,
) -> None:
    state = {
        "text_embedding.0.lora_A.weight": loras.encode(down, "F64"),
        "text_embedding.0.lora_B.weight": loras.encode(up, "F64"),
        "text_embedding.0.alpha": loras.encode(alpha, "F64"),
    }
    path = loras.write(tmp_path_factory.mktemp("norm") / "a.safetensors", state)
    expected = np.linalg.norm(alpha / 3 * up @ down)
    # Near 0 the root of a rounded square is off by the root of the rounding, and below 1e-154 float64 rounds
    # the square itself to a multiple of 5e-324.
    bound = 1e-7 * float(alpha / 3 * np.linalg.norm(up) * np.linalg.norm(down)) + 1e-150
    assert checkpoint.read(path).norms["text_embedding.0"] == pytest.approx(expected, rel=1e-9, abs=bound)


class TestHints:
    """What is unusual is told, and refuses nothing."""

    def read(self, folder: Path, state: loras.State) -> checkpoint.Checkpoint:
        found = checkpoint.read(loras.write(folder / "a.safetensors", state))
        assert (found.problems, found.warnings) == ((), ())
        return found

    def test_an_even_lora_has_none(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, loras.random_lora(blocks=6)).hints == ()

    def test_the_example_loras_have_none(self) -> None:
        files = sorted((Path(checkpoint.__file__).parent.parent / "examples").glob("epoch-*.safetensors"))
        assert len(files) == 3
        assert [checkpoint.read(file).hints for file in files] == [(), (), ()]

    @pytest.mark.parametrize(("factor", "told"), [(5.0, True), (0.2, True), (2.0, False), (0.5, False)])
    def test_a_layer_far_from_its_kind_is_told(self, tmp_path: Path, factor: float, told: bool) -> None:
        state = loras.random_lora(blocks=6, dtype="F32", layers=("self_attn.q", "ffn.0"))
        values = np.frombuffer(state[UP].data, "<f4").reshape(16, 4) * factor
        hints = self.read(tmp_path, state | {UP: loras.encode(values)}).hints
        assert [(hint.code, hint.targets) for hint in hints] == ([("outlier", (NAME,))] if told else [])

    def test_an_update_in_one_direction_is_told(self, tmp_path: Path) -> None:
        state = loras.random_lora(blocks=1, dtype="F32")
        rng = np.random.default_rng(1)
        down, up = rng.normal(size=(4, 16)), rng.normal(size=(16, 4))
        down[1:] *= 1e-2
        (hint,) = self.read(tmp_path, state | {DOWN: loras.encode(down), UP: loras.encode(up)}).hints
        assert (hint.code, hint.targets) == ("one_direction", (NAME,))

    def test_a_block_that_learned_nothing_is_told(self, tmp_path: Path) -> None:
        state = loras.random_lora(blocks=6, dtype="F32")
        weak = {
            key: loras.encode(np.frombuffer(raw.data, "<f4").reshape(raw.shape) * 1e-3)
            for key, raw in state.items()
            if key.startswith("blocks.3.") and "lora_B" in key
        }
        hints = {hint.code: hint for hint in self.read(tmp_path, state | weak).hints}
        assert hints["dead_block"].targets == ("3",)
        assert len(hints["outlier"].targets) == 10


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), rank=st.integers(4, 12), power=st.floats(2.0, 6.0))
def test_the_share_of_one_direction_is_that_of_the_singular_values(
    seed: int, rank: int, power: float
) -> None:
    from pytest_wanlora.checkpoint import health

    rng = np.random.default_rng(seed)
    sizes = 1.0 / np.arange(1, rank + 1) ** power
    up, down = rng.normal(size=(40, rank)) * sizes, rng.normal(size=(rank, 30))
    squares = np.linalg.svd(up @ down, compute_uv=False) ** 2
    found = health._largest(up.T @ up, down @ down.T)
    assert found <= squares[0] * (1 + 1e-9)
    if squares[0] / squares.sum() > 0.9:
        assert found == pytest.approx(squares[0], rel=1e-6)
