"""Every packaged suite at full size with random weights, one after the other; 45 GB of disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.kinds import measure
from pytest_wanlora.studio.denoiser import FeedForward
from tools.hollow_wan.kinds import DENOISERS

pytestmark = pytest.mark.gpu

# WANLORA_HOLLOW_KINDS names a folder to write the weights to; without it a temporary one is taken
FOLDER = os.environ.get("WANLORA_HOLLOW_KINDS")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(FOLDER) if FOLDER else tmp_path_factory.mktemp("kinds")


@pytest.mark.parametrize("name", DENOISERS)
def test_a_suite_at_full_size_is_exact_and_gives_its_weights_back(folder: Path, name: str) -> None:
    row = measure(name, folder, device="cuda:0", small=(256, 256, 5), timed=False)
    assert row["frames_equal"]
    assert row["weights_back"]
    assert row["patched"] == row["expected"]


def test_a_gelu_within_the_product_rounds_otherwise_at_most() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(256, 1024), torch.nn.GELU(approximate="tanh"), torch.nn.Linear(1024, 256)
    ).to("cuda", torch.bfloat16)
    x = torch.randn(2, 500, 256, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        expected = layers.float()(x.float())
        layers.to(torch.bfloat16).__class__ = FeedForward
        found = layers(x)
    assert found.shape == x.shape
    assert float((found.float() - expected).abs().max()) < 0.02 * float(expected.abs().max())
