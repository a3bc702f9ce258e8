"""Every packaged suite at full size with random weights, one after the other; 45 GB of disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.gpu.kinds import measure
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
