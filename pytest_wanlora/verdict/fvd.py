"""The evidence for `fvd`: a Fréchet distance freed of its small-sample floor, and a paired test on `kvd`.

At 4 to 48 videos most of a Fréchet distance is bias: a perfect model would score hundreds too. Two facts make
it usable for a comparison nevertheless.

* The floor can be told. Subsets of n videos of the reference set itself show how much of the trace of
  (S S_r)^(1/2) is lost at n; a set of smaller spread loses it in proportion to the root of its spread. What
  is left after the floor is near the distance at infinite n (within 10 % on Gaussian features of 400
  dimensions, broad or narrow, n from 4 to 48), and its relative change is what the band is put on.
* The difference of two kernel distances to one reference is a sum of one number a pair: how much further out
  the candidate's video lies than the baseline's, by the witness function of the other pairs and the
  reference. Swapping the labels within a pair flips the sign of that number and of no other, so the
  permutation test is exact and takes no resampling.

A bootstrap of a Fréchet distance is not used: resampled duplicates raise the bias again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.frechet import FEWEST_COMPARED, pairwise_kernel
from pytest_wanlora.verdict import special
from pytest_wanlora.verdict.evidence import Floats

Rows = NDArray[np.intp]
"""Row numbers of one set, (scenarios, seeds)."""

_SUBSETS = 24
_SIZES = 16
_LARGEST_SUBSET = 96


@dataclass(frozen=True)
class ReferenceSet:
    """A reference set, prepared for many distances to it.

    Attributes:
        features: float64 (m, D).
        mean: (D,).
        root: (D, D), symmetric square root of the covariance, 1 / (m - 1).
        trace: Of the covariance.
        sizes: Numbers n of videos, ascending from 2.
        deficits: For each, how much smaller the trace of (S S_r)^(1/2) comes out, on average, for n of the
            reference's own videos than for all of them.
    """

    features: Floats
    mean: Floats
    root: Floats
    trace: float
    sizes: Floats
    deficits: Floats

    @classmethod
    def of(cls, features: NDArray[Any]) -> ReferenceSet:
        """Prepare a reference set.

        Args:
            features: (m, D), m >= 4, finite.

        Raises:
            ScoringError: Another shape, too few rows, or values that are not finite.
        """
        rows = _checked(features, "the reference set", at_least=FEWEST_COMPARED)
        mean = rows.mean(axis=0)
        centred = rows - mean
        values, vectors = np.linalg.eigh(centred.T @ centred / (len(rows) - 1))
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        trace = float(np.maximum(values, 0.0).sum())
        return cls(rows, mean, root, trace, *_deficits(centred @ root, trace))

    def deficit(self, n: int) -> float:
        """The deficit for n videos; beyond the largest size it falls as the root of n."""
        within = float(np.interp(np.log(n), np.log(self.sizes), self.deficits))
        return within * min(1.0, float(np.sqrt(self.sizes[-1] / n)))


def _deficits(weighted: Floats, trace: float) -> tuple[Floats, Floats]:
    """Sizes and their deficits, from random subsets of the weighted, centred reference, (m, D)."""
    # a fixed seed: the floor is a property of the file, the same in every run; the subsets are nested, so
    # that neighbouring sizes differ smoothly
    generator = np.random.default_rng(0)
    largest = min(_LARGEST_SUBSET, len(weighted) // 2)
    sizes = np.unique(np.geomspace(2, largest, _SIZES).round().astype(np.intp))
    kept = np.zeros(sizes.size)
    for _ in range(_SUBSETS):
        chosen = weighted[generator.permutation(len(weighted))[:largest]]
        gram = chosen @ chosen.T
        kept += [float(_nuclear(gram[:n, :n])) for n in sizes]
    return sizes.astype(np.float64), np.maximum(trace - kept / _SUBSETS, 0.0)


def _nuclear(grams: Floats) -> Floats:
    """Trace of (S S_r)^(1/2) from Gram matrices X S_r X^T of n videos, (..., n, n) -> (...)."""
    n = grams.shape[-1]
    rows = grams.mean(axis=-1, keepdims=True)
    centred = grams - rows - np.swapaxes(rows, -1, -2) + grams.mean(axis=(-1, -2), keepdims=True)
    # the first eigenvalue of a centred matrix is 0; its rounding error of 1e-16 would have a root of 1e-8
    values = np.linalg.eigvalsh(centred)[..., 1:]
    return np.asarray(np.sqrt(np.maximum(values, 0.0)).sum(axis=-1) / np.sqrt(n - 1.0))


@dataclass(frozen=True)
class Videos:
    """Features of N videos and all their products, taken once; every set is then a choice of rows.

    Attributes:
        reference: What they are measured against.
        linear: (N, N), products of features less the reference's mean.
        weighted: (N, N), the same through the reference's covariance.
        kernel: (N, N), polynomial kernel of degree 3.
        outward: (N,), mean kernel with the reference's videos.
    """

    reference: ReferenceSet
    linear: Floats
    weighted: Floats
    kernel: Floats
    outward: Floats

    @classmethod
    def of(cls, features: NDArray[Any], reference: ReferenceSet, *, contrasts: bool = True) -> Videos:
        """Take the products of N videos.

        Args:
            features: (N, D), finite.
            reference: Of the same D.
            contrasts: Whether two sets are to be told apart by kernels; a distance alone needs none, and they
                are then empty.

        Raises:
            ScoringError: Another shape, or values that are not finite.
        """
        rows = _checked(features, "the videos", at_least=1)
        if rows.shape[1] != reference.features.shape[1]:
            raise ScoringError(
                f"video features of {rows.shape[1]} dimensions and a reference of "
                f"{reference.features.shape[1]}; allowed: equal"
            )
        centred = rows - reference.mean
        weighted = centred @ reference.root
        none = np.empty((0, 0))
        return cls(
            reference=reference,
            linear=centred @ centred.T,
            weighted=weighted @ weighted.T,
            kernel=pairwise_kernel(rows, rows) if contrasts else none,
            outward=pairwise_kernel(rows, reference.features).mean(axis=1) if contrasts else np.empty(0),
        )


@dataclass(frozen=True)
class SetDistance:
    """One set of videos against a reference, at whatever numbers of videos its scenarios have.

    Attributes:
        distance: Fréchet distance as it is.
        floor: Part of it that the number of videos explains.
        low: Lower end of the interval of the distance above its floor, each tail with the chance asked for;
            None with fewer than 3 videos of a scenario.
        high: Upper end.
    """

    distance: float
    floor: float
    low: float | None
    high: float | None

    @property
    def above(self) -> float:
        """The distance above its floor: about what it would be with any number of videos."""
        return self.distance - self.floor

    @classmethod
    def of(cls, videos: Videos, rows: Sequence[NDArray[np.intp]], tail: float) -> SetDistance:
        """Measure a set.

        Args:
            videos: Products of its videos.
            rows: Of each scenario, (n,), n >= 2; column i is the same seed in all of them.
            tail: Chance left out on each side of the interval.
        """
        found = cls(*distance(videos, rows), None, None)
        fewest, most = (pick(len(each) for each in rows) for pick in (min, max))
        if fewest < 3:
            return found
        # a seed's videos share its noise, so they are left out together (delete-a-group jackknife)
        without = np.array(
            [
                np.subtract(*distance(videos, [each[np.arange(len(each)) != seed] for each in rows]))
                for seed in range(most)
            ]
        )
        error = float(np.sqrt((fewest - 1.0) / fewest * ((without - without.mean()) ** 2).sum()))
        reach = float(special.stdtrit(fewest - 1.0, 1.0 - tail)) * error
        return replace(found, low=found.above - reach, high=found.above + reach)


def distance(videos: Videos, rows: Rows | Sequence[NDArray[np.intp]]) -> tuple[float, float]:
    """Fréchet distance of a set to the reference, and the part of it that its small n explains.

    Floor: W / N + 2 sqrt(W / tr S_r) * deficit(N), with N all videos and W the mean trace of the variance
    within the scenarios: what differs between prompts is no sampling error.

    Args:
        videos: Products.
        rows: Of each scenario, (n,), n >= 2, or of one.

    Returns:
        The distance as `scoring.frechet.frechet_distance` gives it, and its floor.
    """
    sets = [np.atleast_1d(each) for each in (np.atleast_2d(rows) if isinstance(rows, np.ndarray) else rows)]
    within = np.mean([_spread(_grams(videos.linear, each)) for each in sets])
    fvd, floor = _told(videos, np.concatenate(sets)[None], np.atleast_1d(within))
    return float(fvd[0]), float(floor[0])


def leaving_out(features: NDArray[Any], reference: ReferenceSet) -> Floats:
    """Distance above its floor of one scenario's videos: of all, then without the first, the second, ...

    Args:
        features: (n, D), n >= 3, finite.
        reference: What they are measured against.

    Returns:
        (n + 1,).
    """
    centred = _checked(features, "the videos", at_least=3) - reference.mean
    weighted = centred @ reference.root
    nothing = np.empty(0)
    videos = Videos(reference, centred @ centred.T, weighted @ weighted.T, nothing, nothing)
    n = len(centred)
    whole = np.subtract(*distance(videos, np.arange(n)))
    kept = np.array([np.delete(np.arange(n), left_out) for left_out in range(n)])
    return np.concatenate([[whole], np.subtract(*_distances(videos, kept[:, None, :]))])


def _distances(videos: Videos, sets: Rows) -> tuple[Floats, Floats]:
    """Distances and floors of many sets at once; rows (sets, scenarios, n)."""
    within = _spread(_grams(videos.linear, sets)).mean(axis=-1)
    return _told(videos, sets.reshape(len(sets), -1), within)


def _told(videos: Videos, every: Rows, within: Floats) -> tuple[Floats, Floats]:
    """Distances and floors of sets, (sets, videos), with the spread within their scenarios, (sets,)."""
    n = every.shape[1]
    linear = _grams(videos.linear, every)
    spread, offset = _spread(linear), linear.mean(axis=(-2, -1))
    reference = videos.reference
    cross = _nuclear(_grams(videos.weighted, every))
    fvd = np.maximum(offset + spread + reference.trace - 2.0 * cross, 0.0)
    share = within / reference.trace if reference.trace > 0.0 else np.zeros_like(within)
    return fvd, within / n + 2.0 * np.sqrt(share) * reference.deficit(n)


def _grams(products: Floats, rows: Rows) -> Floats:
    """Products among each set's rows, (..., n) -> (..., n, n)."""
    return products[rows[..., :, None], rows[..., None, :]]


def _spread(grams: Floats) -> Floats:
    """Trace of the variance from products of n videos, (..., n, n) -> (...)."""
    n = grams.shape[-1]
    squares = np.trace(grams, axis1=-2, axis2=-1)
    return np.asarray(np.maximum(squares - n * grams.mean(axis=(-2, -1)), 0.0) / (n - 1))


def _checked(features: NDArray[Any], what: str, *, at_least: int) -> Floats:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] < at_least:
        raise ScoringError(
            f"features of {what} have shape {rows.shape}; allowed: (n, D) with n >= {at_least}"
        )
    if not np.isfinite(rows).all():
        raise ScoringError(f"features of {what} hold values that are not finite")
    return rows
