"""Write large safetensors files as their tensors are drawn, without ever holding a file in memory."""

from __future__ import annotations

import json
import os
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from tools.hollow_wan.parts import Entry

_CODES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_PIECE = 1 << 26  # bytes a write
_WRITERS = 8
_WAITING = 64  # pieces that may wait for a writer: 4 GiB


def header(listed: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a safetensors file: length, names, shapes and places of its tensors."""
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    for entry in listed:
        table[entry.name] = {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [place, place + entry.size],
        }
        place += entry.size
    text = json.dumps(table, separators=(",", ":")).encode()
    # the format wants the data to start at a multiple of 8, and allows blanks for it
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def draw(entry: Entry, seed: int, device: str) -> Tensor:
    """Draw one tensor; the same name, seed and kind of device give the same numbers."""
    value = torch.empty(entry.shape, dtype=entry.dtype, device=device)
    if entry.std == 0.0:
        return value.fill_(entry.mean)
    generator = torch.Generator(device).manual_seed(zlib.crc32(f"{seed} {entry.name}".encode()))
    return value.normal_(entry.mean, entry.std, generator=generator)


def write(path: Path, listed: Sequence[Entry], *, seed: int, device: str) -> int:
    """Draw the tensors of a file and write them, several pieces at a time.

    The numbers are drawn on the device and written beside that, since one thread writes slower than a disk.

    Args:
        path: The file.
        listed: Its tensors, in order.
        seed: Of the numbers.
        device: Where they are drawn.

    Returns:
        Bytes written.

    Raises:
        OSError: It cannot be written.
    """
    begin = header(listed, {"format": "pt", "hollow": "random weights"})
    with path.open("wb") as file, ThreadPoolExecutor(_WRITERS) as pool:
        file.write(begin)
        file.flush()
        place = len(begin)
        waiting: deque[Future[None]] = deque()
        for entry in listed:
            data = _bytes(draw(entry, seed, device))
            for start in range(0, len(data), _PIECE):
                piece = data[start : start + _PIECE]
                waiting.append(pool.submit(_write_at, file.fileno(), piece, place + start))
                if len(waiting) > _WAITING:
                    waiting.popleft().result()
            place += entry.size
        for future in waiting:
            future.result()
    return place


def _bytes(value: Tensor) -> memoryview:
    flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return flat.numpy().data


def _write_at(descriptor: int, data: memoryview, place: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, place)
        data, place = data[written:], place + written
