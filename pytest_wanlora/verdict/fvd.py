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
from scipy import special

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.frechet import pairwise_kernel
from pytest_wanlora.verdict.evidence import Contrast, Floats, sign_flip

Rows = NDArray[np.intp]
"""Row numbers of one set, (scenarios, seeds)."""

_SUBSETS = 24
_SIZES = 16
_LARGEST_SUBSET = 96
#: A baseline closer to the reference than this many standard errors cannot be told from the reference
#: itself; a relative change is then taken of that distance, the smallest that can be told.
_RESOLVED = 2.0


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
        rows = _checked(features, "the reference set", at_least=4)
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
    def of(cls, features: NDArray[Any], reference: ReferenceSet) -> Videos:
        """Take the products of N videos.

        Args:
            features: (N, D), finite.
            reference: Of the same D.

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
        return cls(
            reference=reference,
            linear=centred @ centred.T,
            weighted=weighted @ weighted.T,
            kernel=pairwise_kernel(rows, rows),
            outward=pairwise_kernel(rows, reference.features).mean(axis=1),
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


@dataclass(frozen=True)
class SetContrast:
    """Two sets of videos against one reference.

    Attributes:
        candidate: Fréchet distance.
        baseline: The same for the baseline, at equal n.
        candidate_floor: Part of it that n explains.
        baseline_floor: The same for the baseline.
        contrast: Of the distances above their floors; scatter by the jackknife over seeds. Where the baseline
            cannot be told from the reference, its estimate is raised to the smallest distance that can be.
        resolved: False where that was needed.
        least: The smallest relative change that so many videos can tell: one trace of the reference's
            covariance, divided by their number, over the baseline's estimate.
        kvd_difference: Kernel distance of the candidate less that of the baseline.
        kvd_statistic: That difference in standard errors, over the pairs.
        p_value: Of that difference, by swapping labels within pairs.
    """

    candidate: float
    baseline: float
    candidate_floor: float
    baseline_floor: float
    contrast: Contrast
    resolved: bool
    least: float
    kvd_difference: float
    kvd_statistic: float
    p_value: float


def compare(videos: Videos, candidate: Rows, baseline: Rows) -> SetContrast:
    """Compare two sets, paired by scenario and seed.

    Args:
        videos: Products of all videos concerned.
        candidate: Rows, (scenarios, n), n >= 3: every scenario has the same seeds, so that each weighs the
            same and a seed's noise, which its scenarios share, counts once.
        baseline: Rows of the pairs.

    Raises:
        ValueError: The two do not pair, or there are fewer than three seeds.
    """
    candidate, baseline = np.atleast_2d(candidate), np.atleast_2d(baseline)
    if candidate.shape != baseline.shape or candidate.shape[1] < 3:
        raise ValueError(f"pairs of shapes {candidate.shape} and {baseline.shape}; allowed: equal, 3 or more")
    (c_fvd, c_floor), (b_fvd, b_floor) = distance(videos, candidate), distance(videos, baseline)
    scatter = _influence(videos, candidate), _influence(videos, baseline)
    contrast = _contrast(c_fvd - c_floor, b_fvd - b_floor, *scatter)
    smallest = _RESOLVED * float(np.sqrt(contrast.baseline_variance[0]))
    resolved = float(contrast.baseline) > smallest
    if not resolved:
        # the change is kept, only what it is divided by is raised
        contrast = _contrast(c_fvd - c_floor + smallest - (b_fvd - b_floor), smallest, *scatter)
    # the scenarios of a seed share its noise, so their labels are swapped together: one number a seed
    differences = pair_differences(videos, candidate.ravel(), baseline.ravel())
    differences = differences.reshape(candidate.shape).mean(axis=0)
    base = float(contrast.baseline)
    return SetContrast(
        candidate=c_fvd,
        baseline=b_fvd,
        candidate_floor=c_floor,
        baseline_floor=b_floor,
        contrast=contrast,
        resolved=resolved,
        least=videos.reference.trace / candidate.size / base if base > 0.0 else 0.0,
        kvd_difference=float(differences.mean()),
        kvd_statistic=_in_errors(differences),
        p_value=sign_flip(differences),
    )


def pair_differences(videos: Videos, candidate: NDArray[np.intp], baseline: NDArray[np.intp]) -> Floats:
    """What each pair brings to the difference of the two kernel distances.

    With k the kernel, h(x) its mean over the reference and (c_i, b_i) the pairs:
    KVD(C) - KVD(B) = mean of [k̄(c_i) - k̄(b_i)] - 2 [h(c_i) - h(b_i)], where k̄(x) is the sum of k(x, c_j) and
    k(x, b_j) over the other pairs j, divided by n - 1. The sum over j does not change when a label is swapped
    in pair j, so a swap in pair i flips the sign of its own number alone.

    Args:
        videos: Products.
        candidate: (n,) rows, n >= 2.
        baseline: (n,) rows of the same pairs.

    Returns:
        (n,), above zero where the candidate's video lies further out. Its mean is the difference.
    """
    c, b, kernel = candidate, baseline, videos.kernel
    # [k(c_i, c_j) + k(c_i, b_j)] - [k(b_i, c_j) + k(b_i, b_j)] for every j, without j = i
    rise = kernel[np.ix_(c, c)] + kernel[np.ix_(c, b)] - kernel[np.ix_(b, c)] - kernel[np.ix_(b, b)]
    others = (rise.sum(axis=1) - np.diagonal(rise)) / (c.size - 1)
    return np.asarray(others - 2.0 * (videos.outward[c] - videos.outward[b]))


def _in_errors(differences: Floats) -> float:
    """The mean in standard errors; infinite where nothing scatters."""
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(differences.size))
    if error == 0.0:
        return float(np.copysign(np.inf, mean)) if mean else 0.0
    return mean / error


def _influence(videos: Videos, rows: Rows) -> Floats:
    """Jackknife influence of each seed on the distance above its floor, (n,), mean 0."""
    n = rows.shape[1]
    kept = np.array([np.delete(np.arange(n), left_out) for left_out in range(n)])
    fvd, floor = _distances(videos, rows[:, kept].swapaxes(0, 1))
    remaining = fvd - floor
    return np.asarray((n - 1.0) * (remaining.mean() - remaining))


def _contrast(candidate: float, baseline: float, c_scatter: Floats, b_scatter: Floats) -> Contrast:
    n = c_scatter.size
    scale = n * (n - 1.0)
    return Contrast(
        candidate=np.asarray(candidate),
        baseline=np.asarray(baseline),
        candidate_variance=np.array([c_scatter @ c_scatter / scale]),
        baseline_variance=np.array([b_scatter @ b_scatter / scale]),
        covariance=np.array([c_scatter @ b_scatter / scale]),
        pairs=(n,),
    )


def _checked(features: NDArray[Any], what: str, *, at_least: int) -> Floats:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] < at_least:
        raise ScoringError(
            f"features of {what} have shape {rows.shape}; allowed: (n, D) with n >= {at_least}"
        )
    if not np.isfinite(rows).all():
        raise ScoringError(f"features of {what} hold values that are not finite")
    return rows
