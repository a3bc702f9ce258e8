"""Read a model's weights from safetensors files into a GPU's memory, several parts at a time.

DiffSynth reads tensor after tensor through a memory map: one core copies pages, and the GPU waits. Here
threads read parts of the files into pinned memory, upload them and round them there; the bits are the same.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pytest_wanlora.checkpoint.container import NUMBERS, Entry, read_header

#: From the page cache of a machine with 32 cores more gain little: see docs/performance.md.
_THREADS: Final = 8
_PART_BYTES: Final = 2**26
#: Bytes at multiples of which compiled code and matrix products expect a weight to begin.
_ALIGNMENT: Final = 16
_DTYPES: Final = {name: getattr(torch, known) for name, (known, _) in NUMBERS.items()} | {"BOOL": torch.bool}


@dataclass(frozen=True)
class _Placed:
    """A tensor of a file, and the place of its first value among all that the file holds."""

    name: str
    entry: Entry
    first: int

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = _DTYPES[self.entry.dtype]
        return found

    @property
    def count(self) -> int:
        return math.prod(self.entry.shape)


@dataclass(frozen=True)
class _Part:
    """Neighbouring values of one type, of however many tensors."""

    path: Path
    dtype: torch.dtype
    start: int
    first: int
    count: int


class Reading:
    """Tensors of a model that are being read in the background.

    Args:
        paths: Its safetensors files.
        dtype: What every value is rounded to.
        device: Where they go; on a CPU nothing is gained.
        threads: How many read; each has 64 MiB of pinned memory.

    Raises:
        OSError: A file cannot be opened.
        SafetensorError: It is no safetensors file.
        ValueError: It holds values of a type that is not known here.
    """

    def __init__(
        self, paths: Sequence[Path], dtype: torch.dtype, device: str, *, threads: int = _THREADS
    ) -> None:
        self._device = torch.device(device)
        self._blocks: list[tuple[Tensor, list[_Placed]]] = []
        parts = []
        for path in paths:
            placed = _placed(path)
            block = torch.empty(sum(each.count for each in placed), dtype=dtype, device=device)
            self._blocks.append((block, placed))
            parts += [(part, block) for part in _parts(path, placed)]
        if self._device.type == "cuda":
            # this stream may still write to the blocks' memory, which the threads' streams do not wait for
            torch.cuda.synchronize(self._device)
        reader = _Reader(self._device)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="wanlora-weights")
        self._tasks = [pool.submit(reader.read, part, block) for part, block in parts]
        pool.shutdown(wait=False)

    def result(self) -> dict[str, Tensor]:
        """Wait for all tensors.

        Returns:
            By name. Those of one file lie in one block of memory, which lives as long as one of them does.

        Raises:
            OSError: A file cannot be read, or is shorter than its header says.
        """
        for task in self._tasks:
            task.result()
        found: dict[str, Tensor] = {}
        for block, placed in self._blocks:
            for each in placed:
                values = block[each.first : each.first + each.count].view(each.entry.shape)
                found[each.name] = values if values.data_ptr() % _ALIGNMENT == 0 else values.clone()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # the threads' queues hold memory that nothing else could use
        return found


class _Reader:
    """Reads parts on several threads, each with its own pinned memory and CUDA stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._own = threading.local()

    def read(self, part: _Part, block: Tensor) -> None:
        size = part.count * part.dtype.itemsize
        staging = self._staging()[:size]
        with part.path.open("rb") as file:
            file.seek(part.start)
            count = file.readinto(staging.numpy().data)
        if count != size:
            raise OSError(f"{part.path} ends {size - count} bytes before its header says")
        target = block[part.first : part.first + part.count]
        if self._device.type != "cuda":
            target.copy_(staging.view(part.dtype))
            return
        with torch.cuda.stream(self._own.stream):
            target.copy_(staging.to(self._device, non_blocking=True).view(part.dtype))
            self._own.stream.synchronize()

    def _staging(self) -> Tensor:
        if not hasattr(self._own, "staging"):
            pinned = self._device.type == "cuda"
            self._own.staging = torch.empty(_PART_BYTES, dtype=torch.uint8, pin_memory=pinned)
            if pinned:
                self._own.stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # untyped in torch
        return self._own.staging  # type: ignore[no-any-return]  # a thread's own values have no types


def _placed(path: Path) -> list[_Placed]:
    entries, _ = read_header(path, path.stat().st_size)
    if unknown := sorted({entry.dtype for entry in entries.values()} - _DTYPES.keys()):
        raise ValueError(f"{path} holds values of type {', '.join(unknown)}")
    counts = (math.prod(entry.shape) for entry in entries.values())
    firsts = itertools.accumulate(counts, initial=0)
    return [
        _Placed(name, entry, first) for (name, entry), first in zip(entries.items(), firsts, strict=False)
    ]


def _parts(path: Path, placed: Sequence[_Placed]) -> Iterator[_Part]:
    for dtype, neighbours in itertools.groupby(placed, lambda each: each.dtype):
        run = list(neighbours)
        count, most = sum(each.count for each in run), _PART_BYTES // dtype.itemsize
        for done in range(0, count, most):
            start = run[0].entry.start + done * dtype.itemsize
            yield _Part(path, dtype, start, run[0].first + done, min(most, count - done))
