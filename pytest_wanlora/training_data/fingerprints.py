"""Short fingerprints of prompts: equal for equal prompts, and MinHash bands that similar ones share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BANDS: Final = 12
ROWS: Final = 3
"""Minima a band. Two prompts of Jaccard similarity s share a band with probability 1 - (1 - s**3)**12:
0.9998 at 0.8, 0.95 at 0.6, 0.35 at 0.33 (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
section 3.4)."""

# words; syllables and characters of Korean, Chinese and Japanese one by one
_UNIT: Final = re.compile(r"[가-힣ぁ-ヿ㐀-鿿]|[^\W_가-힣ぁ-ヿ㐀-鿿]+(?:'[a-z]+)?")
_SYLLABLE: Final = re.compile("[가-힣ぁ-ヿ㐀-鿿]")
_LITTLE: Final = (
    "a an the and or of in on at to from by with for into onto over under near next up down out as is are "
    "was were be being been it its his her their he she they this that there while"
)
_PARTICLES: Final = "은는이가을를의에서도와과로고있다한하습니들" + "的了着在一个只和与是上里中正"
_SAY_LITTLE: Final = frozenset([*_LITTLE.split(), *_PARTICLES])
_FEW: Final = 4


def _constants() -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint64]]:
    """Odd multipliers and masks of the hash functions, and of the bands, the same in every process."""
    count = BANDS * ROWS
    stream = np.frombuffer(hashlib.shake_128(b"pytest-wanlora minhash 2").digest(16 * count), dtype="<u4")
    multipliers = stream[:count].astype(np.uint32) | np.uint32(1)
    masks = stream[count : 2 * count].astype(np.uint32)
    bands = stream[2 * count :].astype("<u4").view("<u8").astype(np.uint64)[:count] | np.uint64(1)
    return multipliers, masks, bands


_MULTIPLIERS, _MASKS, _BAND_MULTIPLIERS = _constants()


def digest(text: str) -> int:
    """A 64-bit fingerprint of a text: equal for equal texts, and else different but once in 2**64."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def units(folded: str) -> tuple[str, ...]:
    """What two prompts are compared by: the different words, in Korean, Chinese and Japanese the characters.

    Args:
        folded: A text that `rules.fold` returned. Words such as `the` count only if there are no others.

    Returns:
        At least one unit, in their order.
    """
    found = dict.fromkeys(_UNIT.findall(folded))
    return tuple(each for each in found if each not in _SAY_LITTLE) or tuple(found) or ("",)


def similarity(first: Sequence[str], second: Sequence[str]) -> float:
    """How similar two prompts are, 0 to 1, by what `units` returned of them.

    Where they differ in one word (two characters), it is the share of the longer one that both have, so that
    one of four words changed is 0.8, as is one of six characters. Of four words or fewer the first is what
    the prompt is about, and another one there is another prompt. Else it is the Jaccard similarity, less
    where several words differ: two in fifteen are often another subject or place in the same sentence.
    """
    shared, most = len(set(first) & set(second)), max(len(first), len(second))
    either = len(first) + len(second) - shared
    if _SYLLABLE.match(first[0]) or _SYLLABLE.match(first[-1]):
        # one character that is another says more than one that is added
        return shared / (either if most - shared > 2 else most + 0.25 * (most < either))
    if most - shared <= 1 and (most > _FEW or first[0] == second[0]):
        return (shared + 1) / (most + 1)
    return shared / (either + (most < either))


def minhash(folded: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint32]]:
    """MinHash signatures of the units of many texts: one key a band, and the lowest byte of every minimum.

    Returns:
        Keys of shape (texts, `BANDS`): two texts whose keys are equal in one column may be similar. Sketches
        of shape (texts, `BANDS * ROWS`): the share of equal bytes estimates the Jaccard similarity. How many
        units there are, shape (texts,).
    """
    sets = [units(text) for text in folded]
    begins = np.cumsum([0, *map(len, sets)])[:-1]
    hashes = np.array([crc32(unit.encode("utf-8", "surrogatepass")) for each in sets for unit in each])
    hashes = hashes.astype(np.uint32)
    keys = np.zeros((len(folded), BANDS), dtype=np.uint64)
    sketches = np.zeros((len(folded), BANDS * ROWS), dtype=np.uint8)
    for number in range(BANDS * ROWS):
        hashed = hashes ^ _MASKS[number]
        hashed *= _MULTIPLIERS[number]
        hashed ^= hashed >> np.uint32(15)
        hashed *= _MULTIPLIERS[-1 - number]
        minima = np.minimum.reduceat(hashed, begins).astype(np.uint64)
        band = keys[:, number // ROWS]
        band += minima * _BAND_MULTIPLIERS[number]
        band ^= band >> np.uint64(29)
        sketches[:, number] = minima & np.uint64(0xFF)
    return keys, sketches, np.array([len(each) for each in sets], dtype=np.uint32)
