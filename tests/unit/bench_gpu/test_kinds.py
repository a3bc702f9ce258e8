"""The packaged suites at full size: what is measured of them, tried on the embedded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu import kinds
from pytest_wanlora.suite import load, packaged
from tools.hollow_wan import parts
from tools.hollow_wan.kinds import DENOISERS, VAE21, listed

PAIR = Path(__file__).parents[3] / "pytest_wanlora" / "examples" / "pair"


def test_every_suite_of_a_full_size_model_is_measured() -> None:
    assert set(DENOISERS) == {name for name in packaged() if not name.startswith("tiny")} - {"wan2.2-ti2v-5b"}


@pytest.mark.parametrize(
    ("part", "digest"), [("vae", VAE21), *(("dit", each) for each in sorted(set(DENOISERS.values())))]
)
def test_the_files_are_those_that_diffsynth_knows(part: str, digest: str) -> None:
    entries = listed(part, digest)
    assert parts.model_hash(entries) == digest
    assert {entry.dtype for entry in entries} == {torch.bfloat16}


@pytest.mark.parametrize("name", DENOISERS)
def test_the_suites_have_the_shapes_of_their_models(name: str) -> None:
    """By the weights that DiffSynth builds for each."""
    architecture = load(name).model.architecture
    shapes = {entry.name: entry.shape for entry in listed("dit", DENOISERS[name])}
    assert shapes["blocks.0.ffn.0.weight"] == (architecture.ffn_dim, architecture.dim)
    assert shapes["text_embedding.0.weight"][1] == architecture.text_dim
    assert f"blocks.{architecture.blocks - 1}.ffn.0.weight" in shapes
    assert f"blocks.{architecture.blocks}.ffn.0.weight" not in shapes
    assert ("blocks.0.cross_attn.k_img.weight" in shapes) is architecture.image_layers
    if architecture.in_dim is not None:
        assert shapes["patch_embedding.weight"][1] == architecture.in_dim


def test_a_pair_is_measured(tmp_path: Path) -> None:
    paths = {expert: PAIR / f"cities_{expert}_noise.safetensors" for expert in ("high", "low")}
    suite = load("tiny-pair")
    found = kinds.exact(suite, paths, tmp_path, (32, 64, 5))
    assert found == {"patched": 160, "expected": 160, "weights_back": True, "frames_equal": True}
    small = kinds.changed(suite, height=32, width=64, frames=5, cfg_merge=False)
    row = {"suite": "tiny-pair", **found, **kinds.speed(small, tmp_path, twelve=True)}
    row["stock_seconds"], _ = kinds.stock_seconds(small, tmp_path)
    # both guidances; 2 x 1 x 2 tokens that attend to each other and to the text
    of, tokens = suite.model.architecture, 4
    layers = 2 * tokens * (6 * of.dim**2 + 2 * of.dim * of.ffn_dim) + 4 * tokens * (tokens + 512) * of.dim
    assert row["step_tflops"] * row["step_ms"] * 1e9 == pytest.approx(2 * of.blocks * layers)
    assert row["alone_ms"] > 0
    # differences of two times: on a busy machine they may be anything
    assert np.isfinite([row["seconds"], row["stock_seconds"]]).all()
    shown = kinds.table([row, {"suite": "other", "error": "it failed"}])
    assert "| tiny-pair | 160 | 160 | True | True |" in shown
    assert shown.endswith("other: it failed\n")
