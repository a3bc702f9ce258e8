from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora import checkpoint
from pytest_wanlora.checkpoint import formats
from pytest_wanlora.checkpoint.container import as_float64
from pytest_wanlora.errors import CheckpointError
from tests import loras


@given(st.integers(0, 255))
def test_e4m3_is_sign_exponent_mantissa(code: int) -> None:
    value = as_float64(np.array([code], np.uint8), "float8_e4m3fn").item()
    exponent, mantissa = code >> 3 & 15, code & 7
    if code & 127 == 127:
        assert np.isnan(value)
    elif exponent == 0:
        assert value == (-1) ** (code >> 7) * mantissa * 2.0**-9
    else:
        assert value == (-1) ** (code >> 7) * (8 + mantissa) * 2.0 ** (exponent - 10)


@given(st.floats(width=32, allow_nan=False))
def test_bfloat16_is_the_upper_half_of_float32(value: float) -> None:
    upper = np.array([value], np.float32).view(np.uint32) >> 16
    widened = as_float64(upper.astype(np.uint16), "bfloat16").item()
    assert np.float32(widened).view(np.uint32) == upper[0] << 16


def test_a_header_whose_length_spells_a_pickle_is_none(tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", loras.random_lora(), {"pad": ""})
    size = int.from_bytes(path.read_bytes()[:8], "little")
    for wanted in (0x4B50, 0x0280 + 0x4000, 0x7B + 0x4000):  # "PK", a pickle's protocol 2, "{"
        content = path.read_bytes()
        header = content[8 : 8 + size] + b" " * (wanted - size)
        target = tmp_path / f"{wanted}.safetensors"
        target.write_bytes(wanted.to_bytes(8, "little") + header + content[8 + size :])
        assert checkpoint.weights(checkpoint.read(target)) == checkpoint.weights(checkpoint.read(path))


def test_a_file_without_suffix_is_judged_by_its_content(tmp_path: Path) -> None:
    path = loras.write(tmp_path / "lora.sft", loras.random_lora())
    assert checkpoint.read(path).format == "diffsynth"


@pytest.mark.parametrize("blocks", [3, 2], ids=["another size", "the same size"])
def test_a_file_that_changes_under_the_reader_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    path = loras.write(tmp_path / "a.safetensors", loras.random_lora())
    layout = formats.layout

    def still_training(where: Path, keys: Any, called: Any) -> formats.Layout:  # noqa: ANN401 - passed on
        loras.write(path, loras.random_lora(seed=1, blocks=blocks))
        os.utime(path, (1, 1))  # the clock of a file system may be too coarse to tell two writes apart
        return layout(where, keys, called)

    monkeypatch.setattr(formats, "layout", still_training)
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        checkpoint.read(path)
