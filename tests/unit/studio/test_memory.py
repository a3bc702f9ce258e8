from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pytest_wanlora.errors import StudioError
from pytest_wanlora.studio.memory import explained, peak_memory, watch_memory
from tests.unit.studio.random_wan import write_suite

SAID = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB of which "
    "1.06 GiB is free. Including non-PyTorch memory, this process has 22.61 GiB memory in use."
)


def test_out_of_memory_names_the_figures_and_the_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 * gib, 24 * gib))
    for name, value in (("memory_allocated", 20), ("max_memory_allocated", 21), ("memory_reserved", 22)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value * gib)
    with pytest.raises(StudioError) as caught, explained("x, seed 0", "cuda", write_suite(folder, batch=2)):
        raise torch.OutOfMemoryError(SAID)
    assert str(caught.value).splitlines()[:2] == [
        "x, seed 0: the GPU's memory ran out: CUDA out of memory. Tried to allocate 2.00 GiB",
        "GPU cuda: 24.0 GiB in all, 1.0 GiB free; this process holds 20.0 GiB and had 21.0 GiB before it "
        "needed more; others hold 1.0 GiB",
    ]
    for words in ("sampling.batch: 1 instead of 2", "sampling.tiled: true", "model.vram_limit", "nvidia-smi"):
        assert words in str(caught.value)


def test_on_a_cpu_there_is_nothing_to_measure(folder: Path) -> None:
    watch_memory("cpu")
    assert peak_memory("cpu") is None
    with pytest.raises(StudioError, match="memory ran out"), explained("x", "cpu", write_suite(folder)):
        raise torch.OutOfMemoryError(SAID)
