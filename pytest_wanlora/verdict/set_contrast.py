"""Two sets of videos compared by their distances to one reference, paired by scenario and seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.verdict.evidence import Contrast, Floats, sign_flip
from pytest_wanlora.verdict.fvd import Rows, Videos, _distances, distance

#: A baseline closer to the reference than this many standard errors cannot be told from the reference
#: itself; a relative change is then taken of that distance, the smallest that can be told.
_RESOLVED = 2.0
#: Degrees of freedom of what is taken for likely before any pair is seen: a video deviates as the base's of
#: its seed does.
_SHARED_FREEDOM = 4.0
#: Sets of n base videos whose mean distance is the baseline's, at least.
_SETS = 32


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
    least: float
    kvd_difference: float
    kvd_statistic: float
    p_value: float


def compare(videos: Videos, candidate: Rows, baseline: Rows, stored: Rows | None = None) -> SetContrast:
    """Compare two sets, paired by scenario and seed.

    Args:
        videos: Products of all videos concerned.
        candidate: Rows, (scenarios, n), n >= 3: every scenario has the same seeds, so that each weighs the
            same and a seed's noise, which its scenarios share, counts once.
        baseline: Rows of the pairs.
        stored: Rows of all seeds that the baseline has, (scenarios, N), the first n those of the pairs; None:
            no others. They make the estimates better (`_controlled`); the test is on the pairs alone.

    Raises:
        ValueError: The two do not pair, or there are fewer than three seeds.
    """
    candidate, baseline = np.atleast_2d(candidate), np.atleast_2d(baseline)
    if candidate.shape != baseline.shape or candidate.shape[1] < 3:
        raise ValueError(f"pairs of shapes {candidate.shape} and {baseline.shape}; allowed: equal, 3 or more")
    (c_fvd, c_floor), (b_fvd, b_floor) = distance(videos, candidate), distance(videos, baseline)
    scatter = _influence(videos, candidate), _influence(videos, baseline)
    contrast = _contrast(c_fvd - c_floor, b_fvd - b_floor, *scatter)
    if stored is not None and stored.shape[1] > candidate.shape[1]:
        contrast = _controlled(
            contrast, *scatter, _at_size(videos, stored, candidate.shape[1]), stored.shape[1]
        )
    smallest = _RESOLVED * float(np.sqrt(contrast.baseline_variance.sum()))
    if float(contrast.baseline) <= smallest:
        # the change is kept, only what it is divided by is raised
        raised = contrast.candidate + smallest - contrast.baseline
        contrast = replace(contrast, candidate=raised, baseline=np.asarray(smallest))
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


def _at_size(videos: Videos, stored: Rows, n: int) -> float:
    """Mean distance above its floor of sets of n seeds: what is left of the floor at n is in it too."""
    # a fixed seed: the same baseline always gives the same distance
    generator, known = np.random.default_rng(0), stored.shape[1]
    sets: list[NDArray[np.intp]] = []
    while len(sets) < _SETS:
        sets += list(generator.permutation(known)[: known // n * n].reshape(-1, n))
    fvd, floor = _distances(videos, stored[:, np.array(sets)].swapaxes(0, 1))
    return float((fvd - floor).mean())


def _controlled(plain: Contrast, c_scatter: Floats, b_scatter: Floats, known: float, seeds: int) -> Contrast:
    """The contrast with a control variate: the base videos of the pairs, whose mean over more seeds is known.

    With C and B the estimates of the n pairs and K that of all N seeds of the baseline, the candidate's is
    C - beta (B - K) and the baseline's K. beta 1 takes the differences of the pairs, 0 lets the two sides be
    independent; it is the regression of C on B over the pairs, shrunk to 1. With o = 1 - n / N and R
    the estimate of the seeds beyond the pairs, these are C - beta o (B - R) and (1 - o) B + o R: pairs
    and further seeds are two strata (Cochran 1977, "Sampling techniques", chapter 12, double sampling).
    """
    n = c_scatter.size
    outside, freedom = 1.0 - n / seeds, n - 1.0
    own = float(b_scatter @ b_scatter)
    slope = float(b_scatter @ c_scatter) / own if own > 0.0 else 1.0
    beta = (freedom * slope + _SHARED_FREEDOM) / (freedom + _SHARED_FREEDOM)
    beta = min(max(beta, 0.0), 1.0)
    pairs = _contrast(
        # equal videos are no change, to the bit
        known + float(plain.candidate - plain.baseline) + (1.0 - beta) * (float(plain.baseline) - known),
        known,
        c_scatter - beta * outside * b_scatter,
        (1.0 - outside) * b_scatter,
    )
    # the variance of R is that of B, times n / (N - n)
    further = outside * float(plain.baseline_variance[0]) * n / seeds
    return replace(
        pairs,
        candidate_variance=np.append(pairs.candidate_variance, beta**2 * further),
        baseline_variance=np.append(pairs.baseline_variance, further),
        covariance=np.append(pairs.covariance, beta * further),
        pairs=(n, n),
    )


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
