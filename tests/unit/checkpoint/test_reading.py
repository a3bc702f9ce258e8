from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import checkpoint
from pytest_wanlora.checkpoint import experts
from pytest_wanlora.checkpoint.container import Tensor
from pytest_wanlora.errors import CheckpointError
from tests import loras

ALPHA_VARIANTS = [
    variant
    for variant, (_, _, _, alphas, _) in loras.FORMATS.items()
    if alphas or variant in (*loras.WITH_CONFIG, *loras.WITH_METADATA)
]
NAME = "blocks.0.self_attn.q"
DOWN, UP = f"{NAME}.lora_A.default.weight", f"{NAME}.lora_B.default.weight"


def bare(state: loras.State) -> dict[str, tuple[tuple[int, ...], bytes]]:
    return {key.replace(".default", ""): (raw.shape, raw.data) for key, raw in state.items()}


def bits(checkpoint_: checkpoint.Checkpoint) -> dict[str, tuple[tuple[int, ...], bytes]]:
    return {
        key: (tensor.shape, bytes(tensor.data)) for key, tensor in checkpoint.weights(checkpoint_).items()
    }


@pytest.mark.parametrize("dtype", list(loras.BITS))
@pytest.mark.parametrize("variant", list(loras.FORMATS))
def test_every_format_and_type_gives_back_the_bits_that_went_in(
    tmp_path: Path, variant: str, dtype: str
) -> None:
    state = loras.random_lora(dtype=dtype)
    read = checkpoint.read(loras.write_as(tmp_path, state, variant))
    assert read.format == loras.FORMATS[variant][-1]
    assert bits(read) == bare(state)
    assert {t.dtype for t in checkpoint.weights(read).values()} == {read.dtype}
    assert len(read.targets) == 20
    assert read.problems == ()


@pytest.mark.parametrize("variant", ALPHA_VARIANTS)
@pytest.mark.parametrize("alpha", [1.0, 3.0, 64.0])
def test_alpha_is_folded_into_a_in_float32(tmp_path: Path, variant: str, alpha: float) -> None:
    state = loras.random_lora(dtype="BF16", rank=4)
    read = checkpoint.read(loras.write_as(tmp_path, state, variant, alpha=alpha))
    loaded = checkpoint.weights(read)
    assert {target.alpha for target in read.targets} == {alpha}
    assert {target.scale for target in read.targets} == {alpha / 4}
    assert loaded[f"{NAME}.lora_A.weight"].dtype == "float32"
    before = Tensor(dtype="bfloat16", shape=state[DOWN].shape, data=state[DOWN].data).float64()
    np.testing.assert_array_equal(
        loaded[f"{NAME}.lora_A.weight"].bits, np.float32(before) * np.float32(alpha / 4)
    )
    assert (loaded[f"{NAME}.lora_B.weight"].dtype, loaded[f"{NAME}.lora_B.weight"].data) == (
        "bfloat16",
        state[UP].data,
    )


@pytest.mark.parametrize("variant", ALPHA_VARIANTS)
def test_alpha_equal_to_the_rank_touches_no_bit(tmp_path: Path, variant: str) -> None:
    state = loras.random_lora(dtype="F16", rank=4)
    assert bits(checkpoint.read(loras.write_as(tmp_path, state, variant, alpha=4.0))) == bare(state)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_alpha_is_read_in_any_type(tmp_path: Path, dtype: str) -> None:
    state = loras.rewrite(loras.random_lora(), "kohya")
    state = {k: loras.encode([8.0], dtype) if k.endswith("alpha") else raw for k, raw in state.items()}
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert {target.alpha for target in read.targets} == {8.0}


def test_alpha_may_be_a_whole_number(tmp_path: Path) -> None:
    state = loras.rewrite(loras.random_lora(), "comfyui-down")
    whole = loras.Raw("I64", (), (8).to_bytes(8, "little"))
    state = {key: whole if key.endswith("alpha") else raw for key, raw in state.items()}
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    assert {target.alpha for target in read.targets} == {8.0}


def test_a_file_that_changed_since_is_not_applied(tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", loras.random_lora(seed=0))
    read = checkpoint.read(path)
    loras.write(path, loras.random_lora(seed=1))
    with pytest.raises(CheckpointError, match="changed since it was read"):
        checkpoint.weights(read)


def test_the_files_of_a_pair_are_read_again(tmp_path: Path) -> None:
    halves = {
        name: checkpoint.read(loras.write(tmp_path / f"{name}.safetensors", loras.random_lora(seed=seed)))
        for seed, name in enumerate(("high", "low"))
    }
    both = experts.pair("pair", halves, dict.fromkeys(halves, 1.0))
    checkpoint.require_unchanged(both)
    loras.write(tmp_path / "low.safetensors", loras.random_lora(seed=2))
    with pytest.raises(CheckpointError, match=r"low\.safetensors: changed since it was read"):
        checkpoint.require_unchanged(both)
    (tmp_path / "high.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"high\.safetensors: cannot be read again") as caught:
        checkpoint.require_unchanged(both)
    assert caught.value.next_command == f"ls -l {tmp_path}"


def test_what_the_block_raised_over_a_changed_file_is_not_the_error(tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", loras.random_lora(seed=0))
    read = checkpoint.read(path)
    with pytest.raises(ZeroDivisionError), checkpoint.contents(read):
        _ = 1 / 0
    loras.write(path, loras.random_lora(seed=1))
    with pytest.raises(CheckpointError, match="changed since it was read"), checkpoint.contents(read):
        _ = 1 / 0


def test_a_file_that_lost_a_tensor_has_changed(tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", loras.random_lora(blocks=2))
    read = checkpoint.read(path)
    loras.write(path, loras.random_lora(blocks=1))
    with pytest.raises(CheckpointError, match="changed since it was read"):
        checkpoint.weights(read)


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    state = loras.random_lora(rank=4)
    read = checkpoint.read(loras.write_as(tmp_path, state, "bare-alpha", alpha=4.0))
    folded = checkpoint.read(loras.write_as(tmp_path / "folded", state, "bare-alpha", alpha=2.0))
    with checkpoint.contents(read) as found:
        assert found.file == read.path.read_bytes()
        assert found.starts.keys() == found.tensors.keys()
        for name, tensor in found.tensors.items():
            start = found.starts[name]
            assert isinstance(tensor.data, memoryview)
            assert tensor.data.obj is found.file.obj
            assert tensor.data.readonly
            assert tensor.data == found.file[start : start + len(tensor.data)]
    with checkpoint.contents(folded) as found:
        assert found.starts.keys() == {name for name in found.tensors if "lora_B" in name}


def test_folding_an_alpha_beyond_float32_is_refused(tmp_path: Path) -> None:
    state = loras.rewrite(loras.random_lora(dtype="F32"), "bare-alpha", alpha=1e30)
    state[f"{NAME}.lora_A.weight"] = loras.encode(np.full((4, 16), 1e20))
    state[f"{NAME}.lora_B.weight"] = loras.encode(np.full((16, 4), 1e-30))
    read = checkpoint.read(loras.write(tmp_path / "a.safetensors", state))
    with pytest.raises(CheckpointError, match="beyond float32"):
        checkpoint.weights(read)
