"""The safetensors file itself: refused when it is something else, then header, then bytes."""

from __future__ import annotations

import difflib
import math
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import dangling, from_here, listing, parse_json
from pytest_wanlora.phrases import number_of

SUFFIX = ".safetensors"
PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})

# safetensors name -> (torch's name, numpy type that holds the same bits)
FLOATS: Mapping[str, tuple[str, str]] = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "F8_E4M3": ("float8_e4m3fn", "u1"),
    "F8_E5M2": ("float8_e5m2", "u1"),
}
# an alpha may also be a whole number
NUMBERS: Mapping[str, tuple[str, str]] = {
    **FLOATS,
    "I64": ("int64", "<i8"),
    "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"),
    "I8": ("int8", "i1"),
    "U8": ("uint8", "u1"),
}
_STORAGE = dict(NUMBERS.values())
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8}
_BITS |= {"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64, "BOOL": 8}
_BITS |= {"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8}

# bytes that the library reads; a larger number is of another kind of file
_LONGEST_HEADER = 100_000_000

SHARD = re.compile(r"-(?P<number>[0-9]{5})-of-(?P<total>[0-9]{5})$")
#: What trainers keep beside a LoRA to go on from; of a file that no LoRA is.
STATE = re.compile(
    r"(?i)(?<![a-z])(optimi[sz]er|optim|scheduler|random_states|rng_state|scaler|training_args)(?![a-z])"
)


def is_safetensors(path: Path) -> bool:
    """Whether a file's name says so, in letters of either case, and does not hide it."""
    return path.suffix.lower() == SUFFIX and not path.name.startswith(".")


def left_out(path: Path) -> bool:
    """Whether a file is of a checkpoint, in a format that is never read."""
    kept = path.suffix.lower() in PICKLE_SUFFIXES | {".gguf"} and not path.name.startswith(".")
    return kept and not STATE.search(path.stem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tensor of the header.

    Attributes:
        dtype: safetensors' name, ``BF16``.
        start: Offset of the first byte from the beginning of the file.
        size: Length in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """The bits of one tensor, so that they reach torch unchanged.

    Attributes:
        dtype: torch's name of the type: ``float64``, ``float32``, ``float16``, ``bfloat16``,
            ``float8_e4m3fn`` or ``float8_e5m2``.
        shape: (rows, columns).
        data: Little endian, row by row; read-only.

    Example:
        >>> Tensor(dtype="bfloat16", shape=(1, 2), data=bytes([0x80, 0x3F, 0, 0])).float64()
        array([[1., 0.]])
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @property
    def bits(self) -> NDArray[Any]:
        """The stored values; types that numpy lacks as unsigned integers (bfloat16 as uint16)."""
        return np.frombuffer(self.data, dtype=_STORAGE[self.dtype]).reshape(self.shape)

    def float64(self) -> NDArray[np.float64]:
        """Every value, exactly, as float64 in ``shape``."""
        return as_float64(self.bits, self.dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A safetensors file whose header was accepted.

    Attributes:
        size: Bytes of the whole file.
        entries: By key, in file order.
        metadata: The header's ``__metadata__``.
        stamp: (device, inode, size, mtime in ns) when the header was read.
    """

    path: Path
    size: int
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    stamp: tuple[int, int, int, int]

    def read(self) -> memoryview:
        """The bytes of the whole file, the very one whose header was read, in memory of their own.

        Raises:
            CheckpointError: The file cannot be read, or changed since the header was.
        """
        data = np.empty(self.size, np.uint8).data  # fewer page faults than bytes have
        try:
            with self.path.open("rb") as file:
                count = file.readinto(data)
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if _stamp(status) != self.stamp or count != self.size:
            raise CheckpointError(
                f"{self.path}: changed while it was being read "
                f"({self.size} bytes before, {status.st_size} now): is it still being written? "
                "allowed: a file that nothing writes",
                next_command=listing(self.path),
            )
        return data

    def tensor(self, key: str, data: memoryview) -> Tensor:
        """The tensor ``key`` in ``data``, what ``read`` gave; a view, not a copy."""
        entry = self.entries[key]
        torch_name, _ = NUMBERS[entry.dtype]
        view = data[entry.start : entry.start + entry.size].toreadonly()
        return Tensor(dtype=torch_name, shape=entry.shape, data=view)


def as_float64(bits: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    """Widen stored values to float64, exactly.

    Returns:
        The values in the same shape. The two 8-bit types follow the OCP 8-bit floating point
        specification: e4m3fn has no infinity and one NaN a sign, e5m2 is the upper byte of float16.
    """
    if dtype == "float8_e4m3fn":
        return np.take(_e4m3_table(), bits)
    if dtype == "bfloat16":
        bits = (bits.astype(np.uint32) << 16).view(np.float32)
    elif dtype == "float8_e5m2":
        bits = (bits.astype(np.uint16) << 8).view(np.float16)
    with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is widened
        widened: NDArray[np.float64] = bits.astype(np.float64)
    return widened


def open_container(path: Path) -> Container:
    """Read the header of a safetensors file; nothing of its data.

    Returns:
        What the header says; offsets lie within the file, cover it and do not overlap.

    Raises:
        CheckpointError: Missing, no file, unreadable, a pickle, something else in disguise,
            truncated, or one shard of several.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(path) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    _refuse_by_name(path, status.st_mode)
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise _unreadable(path, error) from error
    _refuse_by_content(path, head)
    try:
        entries, metadata = read_header(path, status.st_size)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: {error}, allowed are {', '.join(FLOATS)}",
            next_command="save the LoRA as bfloat16, float16 or float32",
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: {status.st_size} bytes that are no whole safetensors file: "
            f"{wrong_size(path, status.st_size) or error}; allowed: a whole one, whose SHA-256 is that of "
            "the file that it was copied from",
            next_command=f"sha256sum {shlex.quote(str(path))}",
        ) from error
    return Container(path=path, size=status.st_size, entries=entries, metadata=metadata, stamp=_stamp(status))


def wrong_size(path: Path, size: int) -> str | None:
    """Why a file is not as long as its header says; None where it is, or has no header that can be read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > _LONGEST_HEADER:
                return None
            if length + 8 > size:
                return f"it was cut off, in its header of {length} bytes"
            header = parse_json(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        more = size - 8 - length - max(ends)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    if more > 0:
        return f"it is too long, by {number_of(more, 'byte')} behind the last tensor"
    return f"it was cut off, {number_of(-more, 'byte')} before the end of the last tensor" if more else None


def read_header(path: Path, size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read the header of any safetensors file, of a model as of a LoRA.

    Returns:
        Its tensors by key, in the order in which they lie in the file, and its ``__metadata__``.

    Raises:
        SafetensorError: It is no whole safetensors file.
        OSError: It cannot be read.
        ValueError: A tensor is of a type whose size is not known.
    """
    found = []
    with safe_open(str(path), framework="numpy") as handle:
        for key in handle.offset_keys():
            view = handle.get_slice(key)
            found.append((key, str(view.get_dtype()), tuple(view.get_shape())))
        metadata = dict(handle.metadata() or {})
    # The library has checked that the tensors lie end to end and fill the file; it does not tell the
    # offsets, which follow from that, counted back from the end.
    sizes = [_nbytes(key, dtype, shape) for key, dtype, shape in found]
    start = size - sum(sizes)
    entries = {}
    for (key, dtype, shape), length in zip(found, sizes, strict=True):
        entries[key] = Entry(dtype=dtype, shape=shape, start=start, size=length)
        start += length
    return entries, metadata


def _stamp(status: Any) -> tuple[int, int, int, int]:  # noqa: ANN401 - os.stat_result has no public protocol
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _nbytes(key: str, dtype: str, shape: tuple[int, ...]) -> int:
    if dtype not in _BITS:
        raise ValueError(f"{key!r} is of type {dtype}")
    return math.prod(shape) * _BITS[dtype] // 8


def _missing(path: Path) -> CheckpointError:
    folder = path.parent
    if (link := dangling(path)) is not None:
        return CheckpointError(f"{path}: {link}", next_command=listing(path))
    if not folder.is_dir():
        return CheckpointError(
            f"{path}: no such file, nor is there a folder {folder}", next_command=listing(path)
        )
    near, names = alike(path), _neighbours(folder)
    if not names:
        return CheckpointError(
            f"{path}: no such file, and no .safetensors file lies in {folder}", next_command=listing(path)
        )
    beside = ", ".join([each.name for each in near] or names[:3])
    return CheckpointError(
        f"{path}: no such file; in the same folder lie: {beside}",
        # one of another name altogether would be a guess
        next_command=None if near else listing(path),
        options={"--lora": from_here(near[0])} if near else None,
    )


def alike(path: Path) -> list[Path]:
    """Up to three files beside one that is missing whose names are like its own, the most alike first."""
    # every name ends in the same suffix, which may be mistyped or left out
    stems: dict[str, list[str]] = {}
    for name in _neighbours(path.parent):
        stems.setdefault(name[: -len(SUFFIX)], []).append(name)
    ways = (difflib.get_close_matches(typed, list(stems), 3, 0.5) for typed in (path.stem, path.name))
    near = next(filter(None, ways), [])
    return [path.parent / name for stem in near for name in stems[stem]][:3]


def _neighbours(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if is_safetensors(entry) and entry.exists())
    except OSError:
        return []


def _unreadable(path: Path, error: OSError | ValueError) -> CheckpointError:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CheckpointError(
        f"{str(path)!r}: cannot be read: {words}",
        next_command=listing(path),
    )


def _refuse_by_name(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise CheckpointError(
            f"{path}: is a folder, a checkpoint is one .safetensors file",
            next_command=listing(path),
        )
    if not stat.S_ISREG(mode):
        raise CheckpointError(
            f"{path}: is not a regular file (a pipe or a device)",
            next_command=listing(path),
        )
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise _pickle(path, f"its suffix is {path.suffix!r}")
    shard = SHARD.search(path.stem)
    if shard and int(shard["total"]) > 1:
        raise CheckpointError(
            f"{path}: is part {int(shard['number'])} of {int(shard['total'])}; "
            "half a LoRA is not judged, allowed is a LoRA in one file",
            next_command="merge the parts into one .safetensors file",
        )


def _refuse_by_content(path: Path, head: bytes) -> None:
    if not head:
        raise CheckpointError(
            f"{path}: is empty (0 bytes), as after a copy to a full disk; allowed: safetensors",
            next_command=f"df -h {shlex.quote(str(path.parent))}",
        )
    # A header length (below 100 MB) followed by JSON. Asked first, since the length's low bytes may
    # spell anything: 19280 is "PK".
    if head[4:8] == bytes(4) and head[8:9] == b"{":
        return
    if head.startswith(b"version https://git-lfs"):
        folder, name = shlex.quote(str(path.parent)), shlex.quote(path.name)
        raise CheckpointError(
            f"{path}: is a Git LFS pointer, the weights themselves were not downloaded",
            next_command=f"git -C {folder} lfs pull --include {name}",
        )
    if head.startswith(b"PK"):
        raise _pickle(path, "it starts with 'PK', as what torch.save writes does")
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise _pickle(path, f"it starts with 0x80 0x{head[1]:02x}")
    if head.startswith(b"GGUF"):
        raise CheckpointError(
            f"{path}: is a GGUF file, allowed is safetensors",
            next_command="export the LoRA as .safetensors from the tool that trained it",
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise CheckpointError(
            f"{path}: is a web page (HTML), not the file behind its download button; allowed: safetensors",
            next_command=f"head -c 300 {shlex.quote(str(path))}",
        )
    if text.startswith((b"{", b"[")):
        raise CheckpointError(
            f"{path}: is JSON text, not safetensors (an error answer saved by a download, or an index file)",
            next_command=f"head -c 300 {shlex.quote(str(path))}",
        )


def _pickle(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: is a pickle ({why}); opening one can run any code, so it is never opened; "
        "allowed is .safetensors",
        next_command="save it as .safetensors where it was trained (safetensors.torch.save_file)",
    )


def _e4m3_table() -> NDArray[np.float64]:
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value = np.where((code & 127) == 127, np.nan, value)
    return np.where(code >> 7 == 1, -value, value)
