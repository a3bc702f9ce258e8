"""Broken LoRAs at the real gate, and the good example in every format; `test_wheel` gates the good ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint
from tests import loras

EXAMPLES = Path(__file__).parents[2] / "examples"


def gate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pytest` in a folder of its own, as a user would type it."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )


class TestBroken:
    @pytest.mark.parametrize(
        ("name", "code", "words"),
        [
            ("untrained", pytest.ExitCode.TESTS_FAILED, "80 of 80 targets change nothing"),
            ("nan", pytest.ExitCode.TESTS_FAILED, "NaN"),
            ("truncated", pytest.ExitCode.USAGE_ERROR, "truncated.safetensors"),
            ("other-width", pytest.ExitCode.USAGE_ERROR, "dim 256"),
        ],
    )
    def test_it_is_refused_before_a_model_is_loaded(
        self, tmp_path: Path, name: str, code: int, words: str
    ) -> None:
        done = gate(tmp_path, "--lora", f"{EXAMPLES / 'broken' / name}.safetensors")
        assert done.returncode == code, done.stdout + done.stderr
        assert words in done.stdout + done.stderr
        assert "next: " in done.stdout + done.stderr
        assert not list(tmp_path.glob(".wanlora/cache/*/result.json"))


@pytest.mark.parametrize("variant", loras.FORMATS)
def test_every_format_of_epoch_2_is_the_same_lora_bit_for_bit(tmp_path: Path, variant: str) -> None:
    path = EXAMPLES / "epoch-2.safetensors"
    own = checkpoint.weights(checkpoint.read(path))
    other = loras.write_as(tmp_path, loras.read_state(path), variant)
    assert checkpoint.weights(checkpoint.read(other)) == own
