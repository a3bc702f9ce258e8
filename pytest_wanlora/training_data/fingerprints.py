"""Short fingerprints of prompts: equal for equal prompts, and MinHash bands that similar ones share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHINGLE: Final = 4
"""Letters a shingle: two prompts are as similar as their sets of runs of four letters (Jaccard)."""

BANDS: Final = 6
ROWS: Final = 4
"""Minima a band. Two prompts of similarity s share at least one band with probability 1 - (1 - s**4)**6: 0.96
at
0.8, 0.998 at 0.9, 0.32 at 0.5 (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4)."""

_NO_LETTER = re.compile(r"[\W_]+")
_PLANE = 0x10000
_END = 0x110000  # no character: after each text, a part of its last runs
# Odd multipliers of a polynomial over four letters, and of the finalizer of a 32-bit mixer by C. Wellons.
_LETTERS: Final = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F], dtype=np.uint32)
_MIX: Final = (np.uint32(0x21F0AAAD), np.uint32(0x735A2D97))


def _constants() -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint64]]:
    """Odd multipliers and masks of the hash functions, and of the bands, the same in every process."""
    count = BANDS * ROWS
    stream = np.frombuffer(hashlib.shake_128(b"pytest-wanlora minhash 1").digest(16 * count), dtype="<u4")
    multipliers = stream[:count].astype(np.uint32) | np.uint32(1)
    masks = stream[count : 2 * count].astype(np.uint32)
    bands = stream[2 * count :].astype("<u4").view("<u8").astype(np.uint64)[:count] | np.uint64(1)
    return multipliers, masks, bands


_MULTIPLIERS, _MASKS, _BAND_MULTIPLIERS = _constants()


def digest(text: str) -> int:
    """A 64-bit fingerprint of a text: equal for equal texts, and else different but once in 2**64.

    Args:
        text: Any text.
    """
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def squeeze(folded: str) -> str:
    """The letters and digits of a folded text.

    Args:
        folded: A text that `rules.fold` returned.
    """
    return _NO_LETTER.sub("", folded)


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of two squeezed texts' sets of shingles, 0 to 1.

    Args:
        first: A text that `squeeze` returned.
        second: Another.
    """
    return jaccard(shingles(first), shingles(second))


def shingles(squeezed: str) -> frozenset[str]:
    """The runs of `SHINGLE` letters that begin at a letter of a squeezed text or at its end; never empty.

    Args:
        squeezed: A text that `squeeze` returned.
    """
    ended = squeezed + "\n" * SHINGLE
    return frozenset(ended[at : at + SHINGLE] for at in range(len(squeezed) + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Size of the intersection over size of the union, 0 to 1.

    Args:
        first: A set, not empty.
        second: Another.
    """
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)


def minhash(folded: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """MinHash signatures of many texts' shingles: one key a band, and the lowest byte of every minimum.

    Args:
        folded: Texts that `rules.fold` returned; at least one.

    Returns:
        Keys of shape (texts, `BANDS`): two texts whose keys are equal in one column may be similar. Sketches
        of shape (texts, `BANDS * ROWS`): the share of equal bytes estimates the similarity.
    """
    letters, begins = _letters(folded)
    hashes = _shingle_hashes(letters)[letters[: 1 - SHINGLE] > 0]
    keys = np.zeros((len(folded), BANDS), dtype=np.uint64)
    sketches = np.zeros((len(folded), BANDS * ROWS), dtype=np.uint8)
    for number in range(BANDS * ROWS):
        hashed = hashes ^ _MASKS[number]
        hashed *= _MULTIPLIERS[number]
        minima = np.minimum.reduceat(hashed, begins).astype(np.uint64)
        band = keys[:, number // ROWS]
        band += minima * _BAND_MULTIPLIERS[number]
        band ^= band >> np.uint64(29)
        sketches[:, number] = minima & np.uint64(0xFF)
    return keys, sketches


def _letters(folded: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Squeeze all texts at once.

    Returns:
        The letters of all texts, each text followed by `_END` and zeros; and where its runs begin among the
        runs that begin at a letter or an end.
    """
    joined = np.frombuffer("".join(folded).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kept = _kept()[np.minimum(joined, _PLANE - 1)]
    borders = np.cumsum([0, *map(len, folded)])
    counts = np.diff(np.concatenate(([0], np.cumsum(kept)))[borders])
    texts = np.arange(len(folded))
    letters = np.zeros(int(counts.sum()) + SHINGLE * len(folded), dtype=np.uint32)
    letters[np.arange(int(counts.sum())) + np.repeat(SHINGLE * texts, counts)] = joined[kept]
    letters[np.cumsum(counts) + SHINGLE * texts] = _END
    return letters, np.cumsum(counts + 1) - (counts + 1)


@cache
def _kept() -> NDArray[np.bool_]:
    """Which characters of the basic plane `squeeze` keeps; what lies beyond is kept with the last entry."""
    kept = np.array([_NO_LETTER.match(chr(code)) is None for code in range(_PLANE)])
    kept[-1] = True
    return kept


def _shingle_hashes(letters: NDArray[np.uint32]) -> NDArray[np.uint32]:
    count = len(letters) - (SHINGLE - 1)
    hashes = np.zeros(count, dtype=np.uint32)
    for offset in range(SHINGLE):
        hashes += letters[offset : offset + count] * _LETTERS[offset]
    for shift, multiplier in zip((16, 15), _MIX, strict=True):
        hashes ^= hashes >> np.uint32(shift)
        hashes *= multiplier
    hashes ^= hashes >> np.uint32(15)
    return hashes
