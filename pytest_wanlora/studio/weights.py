"""Read a model's weights from safetensors files into a GPU's memory, several parts at a time.

DiffSynth reads tensor after tensor through a memory map: one core copies pages, and the GPU waits. Here
threads read parts of the files into pinned memory, upload them and round them there; the bits are the same.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor

__all__ = ["Reading"]

_THREADS: Final = 4
_PART_BYTES: Final = 2**26
#: Bytes at multiples of which compiled code and matrix products expect a weight to begin.
_ALIGNMENT: Final = 16
_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class _Entry:
    """A tensor of a file: its first byte there, and its first value among all that the file holds."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    first: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class _Part:
    """Neighbouring values of one type, of however many tensors."""

    path: Path
    dtype: torch.dtype
    start: int
    first: int
    count: int


class Reading:
    """Tensors of a model that are being read, beside whatever else the process does.

    Args:
        paths: Its safetensors files.
        dtype: What every value is rounded to.
        device: Where they go; on a CPU nothing is gained.

    Raises:
        OSError: A file cannot be opened.
        SafetensorError: It is no safetensors file.
        ValueError: It holds values of a type that is not known here.
    """

    def __init__(self, paths: Sequence[Path], dtype: torch.dtype, device: str) -> None:
        self._device = torch.device(device)
        self._blocks: list[tuple[Tensor, list[_Entry]]] = []
        parts = []
        for path in paths:
            entries = _entries(path)
            total = entries[-1].first + entries[-1].count if entries else 0
            block = torch.empty(total, dtype=dtype, device=device)
            self._blocks.append((block, entries))
            parts += [(part, block) for part in _parts(path, entries)]
        if self._device.type == "cuda":
            # this queue may still have to write where the blocks lie; those of the threads would not wait
            torch.cuda.synchronize(self._device)
        reader = _Reader(self._device)
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="wanlora-weights")
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
        for block, entries in self._blocks:
            for entry in entries:
                values = block[entry.first : entry.first + entry.count].view(entry.shape)
                found[entry.name] = values if values.data_ptr() % _ALIGNMENT == 0 else values.clone()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # the threads' queues hold memory that nothing else could use
        return found


class _Reader:
    """Reads parts on several threads, each with pinned memory and a queue of the GPU of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._own = threading.local()

    def read(self, part: _Part, block: Tensor) -> None:
        size = part.count * part.dtype.itemsize
        staging = self._staging()[:size]
        with part.path.open("rb", buffering=0) as file:
            file.seek(part.start)
            _fill(file.readinto, staging.numpy().data, part.path)
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


def _fill(readinto: Callable[[memoryview], int | None], memory: memoryview, path: Path) -> None:
    done = 0
    while done < len(memory):
        count = readinto(memory[done:])
        if not count:
            raise OSError(f"{path} ends {len(memory) - done} bytes before its header says")
        done += count


def _entries(path: Path) -> list[_Entry]:
    with safe_open(path, framework="pt") as file:
        names = file.offset_keys()
        views = [file.get_slice(name) for name in names]
        found = [(str(view.get_dtype()), tuple(view.get_shape())) for view in views]
    if unknown := sorted({dtype for dtype, _ in found} - _DTYPES.keys()):
        raise ValueError(f"{path} holds values of type {', '.join(unknown)}")
    sizes = [math.prod(shape) * _DTYPES[dtype].itemsize for dtype, shape in found]
    # the library has checked that the tensors lie end to end and fill the file
    start, first = path.stat().st_size - sum(sizes), 0
    entries = []
    for name, (dtype, shape), size in zip(names, found, sizes, strict=True):
        entries.append(_Entry(name, _DTYPES[dtype], shape, start, first))
        start += size
        first += entries[-1].count
    return entries


def _parts(path: Path, entries: Sequence[_Entry]) -> Iterator[_Part]:
    for dtype, neighbours in itertools.groupby(entries, lambda entry: entry.dtype):
        run = list(neighbours)
        count, most = sum(entry.count for entry in run), _PART_BYTES // dtype.itemsize
        for done in range(0, count, most):
            start = run[0].start + done * dtype.itemsize
            yield _Part(path, dtype, start, run[0].first + done, min(most, count - done))
