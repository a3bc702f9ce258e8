"""Every packaged suite at full size with random weights, one after the other; 45 GB of disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from diffsynth.models import wan_video_dit

from benchmarks.gpu.kinds import changed, job_of, measure
from pytest_wanlora.environment import FLASH_4, detect, installed
from pytest_wanlora.studio.attention import pinned_attention
from pytest_wanlora.studio.denoiser import FeedForward
from pytest_wanlora.studio.pipeline import Studio
from tools.hollow_wan.kinds import DENOISERS, assemble_kind

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


needs_flash = pytest.mark.skipif(installed(FLASH_4) is None, reason="needs the extra flash")


@needs_flash
def test_a_suite_may_name_flash_attention_4(folder: Path) -> None:
    suite, _ = assemble_kind(folder, "wan2.2-ti2v-5b-i2v", device="cuda:0")
    found = []
    for attention in ("torch", FLASH_4):
        small = changed(suite, height=256, width=256, frames=5, steps=3, attention=attention)
        studio = Studio(small, detect("bfloat16", attention=attention), cache_dir=folder / "cache")
        found.append(studio.render(job_of(studio, None)[0], None).frames.astype(int))
    # random weights make much of a bfloat16 that is rounded the other way
    assert 0 < np.abs(found[1] - found[0]).mean() < 3


@needs_flash
@pytest.mark.parametrize("keys", [1560, 512])
def test_flash_attention_4_is_attention_and_the_same_in_every_batch(keys: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, length, 1024, device="cuda") for length in (1560, keys, keys))
    half = [each.to(torch.bfloat16) for each in (q, k, v)]
    with torch.no_grad(), pinned_attention("cuda"):
        expected = wan_video_dit.flash_attention(*(each.float() for each in half), num_heads=8)
    with torch.no_grad(), pinned_attention("cuda", FLASH_4):
        found = wan_video_dit.flash_attention(*half, num_heads=8)
        alone = [wan_video_dit.flash_attention(*(each[[n]] for each in half), num_heads=8) for n in (0, 1)]
    # weights of the attention and their sums are rounded to bfloat16, 8 bits
    assert float((found.float() - expected).abs().max()) < 0.01 * float(expected.abs().max())
    assert torch.equal(found, torch.cat(alone))
