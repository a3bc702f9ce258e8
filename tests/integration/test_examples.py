"""The example LoRAs through the real gate: the embedded model renders, nothing is faked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint, results
from pytest_wanlora.verdict.judgement import Judgement
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


def judged(folder: Path) -> Sequence[Judgement]:
    """The judgements of the newest run."""
    return results.load(max(folder.glob(".wanlora/runs/*/results.json"))).judgements


class TestStory:
    def test_epoch_2_may_be_published_and_the_cache_says_so_again(self, tmp_path: Path) -> None:
        shutil.copy(EXAMPLES / "epoch-2.safetensors", tmp_path)
        first = gate(tmp_path, "--lora", "epoch-2.safetensors")
        assert first.returncode == pytest.ExitCode.OK, first.stdout
        assert re.search(r"epoch-2 may be published: all \d+ items pass", first.stdout)
        assert "80 of 80 targets patched" in first.stdout
        before = judged(tmp_path)
        again = gate(tmp_path, "--lora", "epoch-2.safetensors")
        assert again.returncode == pytest.ExitCode.OK, again.stdout
        assert judged(tmp_path) == before
        assert "0 videos rendered" in again.stdout or "reused" in again.stdout

    def test_epoch_0_fails_on_nature_and_not_on_urban(self, tmp_path: Path) -> None:
        shutil.copy(EXAMPLES / "epoch-0.safetensors", tmp_path)
        done = gate(tmp_path, "--lora", "epoch-0.safetensors")
        assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
        failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")}
        assert "wanlora::test_regression[epoch-0-test2_nature-clip]" in failed
        assert not any("test1_korean_city" in nodeid for nodeid in failed)
        assert "wanlora::test_checkpoint[epoch-0]" not in failed
        # the reason, in words and numbers
        assert "FAIL: CLIPScore of test2_nature (epoch-0)" in done.stdout
        assert re.search(r"\d% worse \(band: warn from 1\.00%, fail beyond 5\.00%\)", done.stdout)


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
        # in one word: in two pytest would take the settings of this repository for those of the run
        done = gate(tmp_path, f"--lora={EXAMPLES / 'broken' / name}.safetensors")
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
