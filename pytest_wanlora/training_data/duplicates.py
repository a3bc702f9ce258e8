"""Which prompts say the same: exact and near duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.training_data.fingerprints import similarity, units

THRESHOLD = 0.8
"""Similarity from which on two prompts are near duplicates: one word of four or more changed."""

_KEPT_A_BUCKET = 8
_SMALL_BUCKET = 8
# One of four words changed is a similarity of 0.8 and a Jaccard similarity of 0.6, whose estimate from 36
# minima is too low by 0.2 for 1 in 150 pairs.
_SLACK = 0.4
# One of many words changed lowers both alike.
_MANY, _SLACK_OF_MANY = 16, 0.15


@dataclass(frozen=True)
class Duplicates:
    """What repeats what, by row.

    Attributes:
        kept: For each row the row that stands for it: itself if it is kept; int64, shape (rows,). Rows
            without a prompt stand for themselves.
        exact: Whether the row's prompt is the very text of the kept one; bool, shape (rows,).
    """

    kept: NDArray[np.int64]
    exact: NDArray[np.bool_]

    @property
    def exact_count(self) -> int:
        """Rows that repeat another row's prompt letter by letter."""
        return int(np.count_nonzero(self.exact))

    @property
    def near_count(self) -> int:
        """Rows that repeat another row's prompt nearly."""
        own = np.arange(len(self.kept))
        return int(np.count_nonzero((self.kept != own) & ~self.exact))

    def groups(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Kept rows with the rows that repeat them, the largest group first."""
        own = np.arange(len(self.kept))
        repeats = np.flatnonzero(self.kept != own)
        order = repeats[np.argsort(self.kept[repeats], kind="stable")]
        starts = np.flatnonzero(np.diff(self.kept[order], prepend=-1))
        members = np.split(order, starts[1:]) if len(starts) else []
        yield from sorted(
            ((int(self.kept[rows[0]]), rows) for rows in members), key=lambda group: -len(group[1])
        )


@dataclass(frozen=True)
class Signatures:
    """What near duplicates are told by before any prompt is read again.

    Attributes:
        keys: uint64, shape (rows, bands); see `fingerprints.minhash`.
        sketches: uint8, shape (rows, minima).
        sizes: Units of the prompts; uint32, shape (rows,).
    """

    keys: NDArray[np.uint64]
    sketches: NDArray[np.uint8]
    sizes: NDArray[np.uint32]


def find(
    prompts: Sequence[str],
    digests: NDArray[np.uint64],
    order: NDArray[np.uint64],
    signatures: Signatures | None,
    *,
    text_of: Callable[[str], str],
    among: NDArray[np.bool_],
    threshold: float = THRESHOLD,
) -> Duplicates:
    """Find the duplicates among all prompts.

    Rows are taken in the order of their fingerprints, so that neither the order of the file nor a seed
    changes which rows are kept. A row is dropped if a row kept before it is at least as similar as
    `threshold`. Rows that share no MinHash band are never compared (see `fingerprints.ROWS` for what that
    misses), and a row is compared with 8 kept ones of a band at most: among very many alike prompts some near
    duplicates are missed, none is made up.

    Args:
        digests: `fingerprints.digest` of each prompt, shape (rows,).
        order: A fingerprint of the whole row, which says who of several exact duplicates is kept.
        signatures: Of each prompt. None: exact duplicates only.
        text_of: What of a prompt is compared, folded.
        among: Rows that count, each with a prompt, bool, shape (rows,). The others stand for themselves.
        threshold: Similarity from 0 to 1.
    """
    rows = len(digests)
    kept = np.arange(rows, dtype=np.int64)
    # sorted by prompt, then by row: the first of each run of equal digests stays
    ranked = np.lexsort((order, digests))
    ranked = ranked[among[ranked]]
    first = np.flatnonzero(np.diff(digests[ranked], prepend=digests[ranked[:1]] ^ np.uint64(1)))
    runs = np.diff(np.append(first, len(ranked)))
    kept[ranked] = np.repeat(ranked[first], runs)
    exact = kept != np.arange(rows)
    if signatures is not None:
        targets = np.arange(rows, dtype=np.int64)
        for dropped, row in _near(prompts, ranked[first], signatures, text_of, threshold):
            targets[dropped] = row
        # the exact repeats of a dropped row are near repeats of what it repeats
        exact &= targets[kept] == kept
        kept = targets[kept]
    return Duplicates(kept, exact)


def _near(
    prompts: Sequence[str],
    unique: NDArray[np.int64],
    signatures: Signatures,
    text_of: Callable[[str], str],
    threshold: float,
) -> Iterator[tuple[int, int]]:
    """Pairs of a dropped and its kept row among rows of unique prompts, which come in their order."""
    sketches = signatures.sketches[unique]
    slack = np.where(signatures.sizes[unique] > _MANY, _SLACK_OF_MANY, _SLACK)
    least = np.floor(sketches.shape[1] * np.maximum(threshold - slack, 0.0))
    buckets, count = _shared_buckets(signatures.keys, unique, sketches, least)
    kept_in = np.full((count, _KEPT_A_BUCKET), -1, dtype=np.int32)
    filled = np.zeros(count, dtype=np.uint8)

    @lru_cache(maxsize=4096)
    def of(place: int) -> tuple[str, ...]:
        return units(text_of(prompts[unique[place]]))

    for place in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
        mine = buckets[place][buckets[place] >= 0]
        # a set: there are a handful of them, for which np.unique takes five times as long
        rivals = sorted(set(kept_in[mine].ravel().tolist()) - {-1})
        if rivals:
            alike = np.count_nonzero(sketches[rivals] == sketches[place], axis=1) >= least[place]
            likely = compress(rivals, alike.tolist())
            match = next((rival for rival in likely if similarity(of(place), of(rival)) >= threshold), None)
            if match is not None:
                yield int(unique[place]), int(unique[match])
                continue
        room = mine[filled[mine] < _KEPT_A_BUCKET]
        kept_in[room, filled[room]] = place
        filled[room] += 1


def _shared_buckets(
    keys: NDArray[np.uint64],
    unique: NDArray[np.int64],
    sketches: NDArray[np.uint8],
    least: NDArray[np.float64],
) -> tuple[NDArray[np.int32], int]:
    """Numbers of the buckets that rows share, -1 where one is alone: (rows, bands); and how many.

    In a small bucket a row also counts as alone if by the sketches it met the others there by chance.
    """
    numbers = np.full((len(unique), keys.shape[1]), -1, dtype=np.int32)
    total = 0
    for band in range(keys.shape[1]):
        column = keys[unique, band]
        order = np.argsort(column, kind="stable")
        first = np.diff(column[order], prepend=column[order[:1]] ^ np.uint64(1)) != 0
        bucket = np.cumsum(first) - 1
        sizes = np.bincount(bucket)
        small = sizes[bucket] <= _SMALL_BUCKET
        met = ~small
        for offset in range(1, _SMALL_BUCKET):
            one = np.flatnonzero((bucket[offset:] == bucket[:-offset]) & small[offset:])
            alike = sketches[order[one]] == sketches[order[one + offset]]
            one = one[np.count_nonzero(alike, axis=1) >= least[order[one]]]
            met[one] = met[one + offset] = True
        shared = np.zeros(len(sizes), dtype=bool)
        shared[bucket[met]] = True
        numbers[order[met], band] = (np.cumsum(shared) - 1 + total)[bucket[met]]
        total += int(np.count_nonzero(shared))
    return numbers, total
