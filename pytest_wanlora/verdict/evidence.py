"""How sure a change is: paired contrasts, intervals, tests, looks, and the videos that would be enough.

Everything is computed from one small object, `Contrast`: two estimates (the candidate's and the baseline's)
and how they scatter together over the pairs, by stratum. Means of scores (`paired`, `pooled`) and distances
of sets (`fvd`) both give one, so they are judged by the same rules.

Leading axes of all arrays are independent items (metrics), so that a study can put many through at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.verdict import special

Floats = NDArray[np.float64]

#: Looks with fewer pairs test nothing, and a plan that ends below it can prove no loss.
FEWEST_PAIRS = 3
#: Degrees of freedom that the scatter of the baseline's own seeds counts for: with it four pairs that agree
#: by luck no longer seem to have no scatter. Smyth 2004, "Linear models and empirical Bayes methods".
PRIOR_FREEDOM = 4.0
#: Variance of a pair's difference that is expected, as a share of the variance of the baseline's seeds.
PRIOR_SHARE = 1.0
#: Exponent of the share of `alpha` that is spent by a share of the pairs.
SPENDING = 2.0
#: Pairs of a scenario at which a run may look: the first of a plan, and all of these from there to its last.
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1000)
# up to here every sign pattern is counted; 2^16 sums take a millisecond
_EXACT_PAIRS = 16
_GRID = 2048


@dataclass(frozen=True)
class Contrast:
    """Two estimates from the same pairs, and their scatter.

    Attributes:
        candidate: The candidate's estimate, shape (...).
        baseline: The baseline's, shape (...).
        candidate_variance: What each stratum brings to the variance of the candidate's, shape (..., strata).
        baseline_variance: The same for the baseline's.
        covariance: Covariance of the two estimates, the same shape. The pairs share their noise, so it is
            usually positive, and what they share does not blur the comparison.
        pairs: Pairs in each stratum, at least 2 each. Strata after the first are of seeds that only the
            baseline has; theirs is the number that their scatter was told from, and more pairs leave them.
        prior: Variance of one pair's difference that the baseline's own seeds let expect, (...); None: not
            known.
        prior_freedom: Degrees of freedom that it counts for.
        skewness: Of the differences candidate - baseline, (...); None: taken as 0.
    """

    candidate: Floats
    baseline: Floats
    candidate_variance: Floats
    baseline_variance: Floats
    covariance: Floats
    pairs: tuple[int, ...]
    prior: Floats | None = None
    prior_freedom: float = 0.0
    skewness: Floats | None = None

    def spread(self, ratio: Floats | float, looks: Sequence[int] | None = None) -> tuple[Floats, Floats]:
        """Standard error of `candidate - ratio * baseline`, and its degrees of freedom.

        Strata are independent, with Welch and Satterthwaite's degrees of freedom. Where a prior variance is
        known, each stratum's is the mean of both, weighted by their degrees of freedom.

        Args:
            ratio: Shape (...) or a number.
            looks: What it would be with so many pairs of the same scatter, at each; None: as it is.

        Returns:
            Two arrays of shape (...), or (..., looks); degrees of freedom from 1.
        """
        by = np.asarray(ratio, dtype=np.float64)[..., None]
        parts = self.candidate_variance - 2.0 * by * self.covariance + by * by * self.baseline_variance
        parts = np.maximum(parts, 0.0)
        numbers = np.asarray(self.pairs, dtype=np.float64)
        freedom = numbers - 1.0
        if self.prior is not None:
            expected = self.prior_freedom * np.asarray(self.prior)[..., None] / numbers
            parts = (freedom * parts + expected) / (freedom + self.prior_freedom)
            freedom = freedom + self.prior_freedom
        if looks is not None:
            parts = np.repeat(parts[..., None, :], len(looks), axis=-2)
            parts[..., 0] *= self.pairs[0] / np.asarray(looks, dtype=np.float64)
        total = parts.sum(axis=-1)
        weight = (parts * parts / freedom).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            degrees = np.where(weight > 0.0, total * total / weight, freedom.sum())
        return np.sqrt(total), np.asarray(degrees)


def paired(candidate: Floats, baseline: Floats, stored: Floats | None = None) -> Contrast:
    """Contrast of two means over pairs.

    Args:
        candidate: (..., n), n >= 2; the last axis is the seed.
        baseline: (..., n), the same seeds in the same order.
        stored: (..., N): all seeds that the baseline has; None, or fewer than two: no prior scatter.

    Raises:
        ValueError: Shapes differ, or fewer than two pairs.
    """
    candidate = np.asarray(candidate, dtype=np.float64)
    baseline = np.asarray(baseline, dtype=np.float64)
    n = candidate.shape[-1]
    if candidate.shape != baseline.shape or n < 2:
        raise ValueError(f"pairs of shapes {candidate.shape} and {baseline.shape}; allowed: equal, 2 or more")
    means = candidate.mean(axis=-1), baseline.mean(axis=-1)
    left, right = candidate - means[0][..., None], baseline - means[1][..., None]
    scale = n * (n - 1.0)
    plain = Contrast(
        candidate=np.asarray(means[0]),
        baseline=np.asarray(means[1]),
        candidate_variance=(left * left).sum(axis=-1, keepdims=True) / scale,
        baseline_variance=(right * right).sum(axis=-1, keepdims=True) / scale,
        covariance=(left * right).sum(axis=-1, keepdims=True) / scale,
        pairs=(n,),
        skewness=_skewness(left - right),
    )
    if stored is None or stored.shape[-1] < 2:
        return plain
    freedom = min(PRIOR_FREEDOM, stored.shape[-1] - 1.0)
    return replace(plain, prior=PRIOR_SHARE * np.var(stored, axis=-1, ddof=1), prior_freedom=freedom)


def _skewness(centred: Floats) -> Floats:
    """Third central moment over the root of the cubed second one, (..., n) -> (...); 0 without scatter."""
    second, third = (np.mean(centred**power, axis=-1) for power in (2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(second > 0.0, third / second**1.5, 0.0)


def pooled(
    candidates: Sequence[Floats], baselines: Sequence[Floats], stored: Sequence[Floats] | None = None
) -> Contrast:
    """Contrast of the means over scenarios of their means, each scenario weighing the same whatever its n.

    The scenarios are the suite's own, not a sample of prompts: scatter between them is no error. They share
    their seeds, and with them noise: what a seed brings to the mean is one number, its scenarios' deviations
    together (a cluster). Seeds that only some scenarios have are clusters too, and no degrees of freedom.

    Args:
        candidates: One or more, (..., n) each, n >= 2; column i is the same seed in all of them.
        baselines: The pairs.
        stored: (..., N) each, all seeds that the baseline has.
    """
    share, most = 1.0 / len(candidates), max(each.shape[-1] for each in candidates)

    def clusters(sides: Sequence[Floats]) -> tuple[Floats, Floats]:
        """The mean, and what each seed brings to its error."""
        mean = np.asarray(sum(side.mean(axis=-1) for side in sides) * share)
        brought = np.zeros((*mean.shape, most))
        for side in sides:
            n = side.shape[-1]
            away = side - side.mean(axis=-1, keepdims=True)
            brought[..., :n] += share * away / math.sqrt(n * (n - 1.0))
        return mean, brought

    (candidate, left), (baseline, right) = clusters(candidates), clusters(baselines)
    plain = Contrast(
        candidate=candidate,
        baseline=baseline,
        candidate_variance=(left * left).sum(axis=-1, keepdims=True),
        baseline_variance=(right * right).sum(axis=-1, keepdims=True),
        covariance=(left * right).sum(axis=-1, keepdims=True),
        pairs=(min(each.shape[-1] for each in candidates),),
        skewness=_skewness(left - right),
    )
    if stored is None or min(each.shape[-1] for each in stored) < 2:
        return plain
    common = min(each.shape[-1] for each in stored)
    means = np.mean([each[..., :common] for each in stored], axis=0)
    freedom = min(PRIOR_FREEDOM, common - 1.0)
    return replace(plain, prior=PRIOR_SHARE * np.var(means, axis=-1, ddof=1), prior_freedom=freedom)


def change(
    baseline: Floats | float, value: Floats | float, higher_is_better: NDArray[np.bool_] | bool
) -> Floats:
    """Relative change to the worse: 0.05 is 5 % worse than the baseline, below 0 is better.

    Args:
        baseline: Shape (...).
        value: Shape (...).
        higher_is_better: Shape (...) or one for all.

    Returns:
        Shape (...). From a baseline of 0 any change is infinite, and no change is 0.
    """
    loss = np.where(higher_is_better, 1.0, -1.0) * (np.asarray(baseline) - np.asarray(value))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(loss == 0.0, 0.0, loss / np.abs(baseline)))


def interval(contrast: Contrast, tail: float, *, logarithmic: bool = True) -> tuple[Floats, Floats]:
    """Confidence interval of the ratio candidate / baseline, each tail with the chance given.

    The estimate is the ratio of the two means, so it is the change that a table shows; its standard error is
    the paired one of `candidate - ratio * baseline` at the estimate (delta method), the quantile Student's.
    On the log scale a loss and the gain that undoes it are the same distance, which keeps the two tails
    equal. Where 5 % are promised to lie outside, at most 8 % do on normal, skewed and two-peaked scores with
    a deviation of up to 0.6 of the mean and 4 to 16 pairs; with a BCa bootstrap it is 8 to 30 %. Scores of
    zero are allowed, which the mean of log ratios would not bear.

    Args:
        contrast: Of a baseline above 0; elsewhere the interval is the whole line.
        tail: Chance left out on each side, above 0 and below 0.5.
        logarithmic: False for distances, whose ratio may truly be 0 or below.

    Returns:
        Lower and upper bound, shape (...).
    """
    usable = contrast.baseline > 0.0
    base = np.where(usable, contrast.baseline, 1.0)
    ratio = contrast.candidate / base
    error, degrees = contrast.spread(ratio)
    reach = special.stdtrit(degrees, 1.0 - tail) * error / base
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        log = logarithmic & (ratio > 0.0)
        factor = np.where(log, np.exp(np.where(log, reach / np.where(log, ratio, 1.0), 0.0)), 1.0)
        low = np.where(log, ratio / factor, ratio - reach)
        high = np.where(log, ratio * factor, ratio + reach)
    return np.where(usable, low, -np.inf), np.where(usable, high, np.inf)


def t_worse(
    contrast: Contrast, higher_is_better: NDArray[np.bool_] | bool, *, logarithmic: bool = False
) -> tuple[Floats, Floats]:
    """How many standard errors worse the candidate is, and the degrees of freedom of that error.

    Args:
        contrast: Of two means.
        higher_is_better: Direction, shape (...) or one for all.
        logarithmic: Compare the logarithms, as `interval` does: for distances, whose scatter grows with them.
            A few large ones then do not hide that all are.

    Returns:
        Two arrays of shape (...); the first is infinite where the pairs do not scatter.
    """
    sign = np.where(higher_is_better, 1.0, -1.0)
    loss, ratio = sign * (contrast.baseline - contrast.candidate), np.asarray(1.0)
    if logarithmic and bool(np.all((contrast.baseline > 0.0) & (contrast.candidate > 0.0))):
        ratio = contrast.candidate / contrast.baseline
        loss = -sign * contrast.candidate * np.log(ratio)
    error, degrees = contrast.spread(ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0.0, loss / error, np.where(loss > 0.0, np.inf, -np.inf)), degrees


def p_worse(
    contrast: Contrast, higher_is_better: NDArray[np.bool_] | bool, *, logarithmic: bool = False
) -> Floats:
    """One-sided paired t test that the candidate is worse than the baseline at all.

    Where most videos are a little worse and few much better, t is too large far too often. Hall's cubic
    transformation ("On the removal of skewness by transformation", 1992) takes that out to the order of
    1 / n; it is used where it lowers t, never where it would raise it.

    Args:
        contrast: Of two means.
        higher_is_better: Direction, shape (...) or one for all.
        logarithmic: See `t_worse`.

    Returns:
        p-values, shape (...). 1 where candidate and baseline are equal in every pair.
    """
    t, degrees = t_worse(contrast, higher_is_better, logarithmic=logarithmic)
    if contrast.skewness is not None:
        turned = np.where(higher_is_better, -1.0, 1.0) * contrast.skewness / math.sqrt(min(contrast.pairs))
        with np.errstate(invalid="ignore"):
            straight = t + turned * t**2 / 3.0 + turned**2 * t**3 / 27.0 + turned / 6.0
        # without scatter t is infinite, and there is no skewness
        t = np.where(np.isfinite(t), np.minimum(t, straight), t)
    return np.asarray(special.stdtr(degrees, -t))


def sign_flip(differences: Floats) -> float:
    """Exact one-sided test that the mean difference is above zero, by swapping the labels within pairs.

    If candidate and baseline were interchangeable within each pair, every pattern of signs would be as likely
    as the one that was seen. Up to 16 pairs all patterns are counted; beyond, their distribution is built by
    convolution on a grid of 2048 steps of the largest difference, rounded so that p is never too small by
    more than the grid's error.

    Args:
        differences: (n,), above zero where the candidate is worse.

    Returns:
        Share of patterns whose sum is at least the one seen, from 2^-n to 1.
    """
    sizes = np.abs(np.asarray(differences, dtype=np.float64))
    top = float(sizes.max(initial=0.0))
    if top == 0.0:
        return 1.0
    if sizes.size <= _EXACT_PAIRS:
        sums = np.zeros(1)
        for size in sizes / top:
            sums = np.concatenate((sums + size, sums - size))
        seen = float((np.asarray(differences) / top).sum())
        return float(np.mean(sums >= seen - 1e-9 * sizes.size))
    steps = np.rint(sizes / top * _GRID).astype(np.int64)
    counts = np.ones(1)
    for step in steps:
        wider = np.zeros(counts.size + 2 * int(step))
        wider[: counts.size] += 0.5 * counts
        wider[wider.size - counts.size :] += 0.5 * counts
        counts = wider
    seen_steps = float((np.asarray(differences) / top * _GRID).sum())
    # rounding moves the sum by half a step a pair at most, by its root on average
    first = math.ceil(seen_steps - 0.5 * math.sqrt(sizes.size)) + (counts.size - 1) // 2
    return float(min(1.0, counts[max(first, 0) :].sum()))


@dataclass(frozen=True)
class Plan:
    """When a run looks at its scores, and what each look may spend.

    Attributes:
        looks: Pairs a scenario has at each look, ascending.
        alpha: Chance, over all items of a run and all looks, of calling any item worse that is not.
        tail: Chance, at each look, that an item's interval lies wholly on the wrong side of its band. The
            looks do not share it: whatever their number, every interval is a 90 % one, and a loss at the very
            edge of its band is passed early with a chance of `looks * tail` at most.
        futility: Render no more seeds for an item once the chance that the last look would fail it is at most
            this (`multiplicity.chance_significant`).
        stop_at_failure: Render no more seeds of a scenario once one of its items has failed for certain,
            although others are still open: the checkpoint is not publishable whatever they would say.
    """

    looks: tuple[int, ...]
    alpha: float = 0.05
    tail: float = 0.05
    futility: float = 0.1
    stop_at_failure: bool = True

    @classmethod
    def between(cls, first: int, most: int, **levels: Any) -> Plan:  # noqa: ANN401  passed to the fields
        """Look at `first` pairs, at each number of `LADDER` above it, and at `most`.

        Example:
            >>> Plan.between(3, 16).looks
            (3, 4, 6, 8, 12, 16)
        """
        if not 1 <= first <= most:
            raise ValueError(f"first is {first} and most is {most}; allowed: 1 <= first <= most")
        within = [step for step in LADDER if first < step < most]
        return cls(looks=tuple(dict.fromkeys((first, *within, most))), **levels)

    @property
    def tests(self) -> bool:
        """Whether the last look has enough pairs for a test; otherwise no comparison can fail."""
        return self.looks[-1] >= FEWEST_PAIRS

    def shares(self) -> tuple[float, ...]:
        """Share of `alpha` that each look may spend; none below three pairs.

        The power family of Kim and DeMets (1987), t^2 with t the share of the pairs of the last look: it
        leaves most to that look, where a test is sharpest, so that looking early costs little power. The
        levels add up to `alpha` (Bonferroni), so they hold for any dependence between the looks.
        """
        spent = [(n / self.looks[-1]) ** SPENDING if n >= FEWEST_PAIRS else 0.0 for n in self.looks]
        return tuple(float(now - before) for before, now in pairwise([0.0, *spent]))

    @property
    def tested_looks(self) -> tuple[tuple[int, float], ...]:
        """Pairs at each look that tests, and its share of `alpha`."""
        return tuple((n, share) for n, share in zip(self.looks, self.shares(), strict=True) if share > 0.0)

    @property
    def level(self) -> float:
        """Confidence level of every interval of the run."""
        return 1.0 - 2.0 * self.tail

    def taken(self, pairs: int) -> tuple[int, ...]:
        """Indices of the looks that so many pairs allow."""
        return tuple(i for i, n in enumerate(self.looks) if n <= pairs)

    def following(self, pairs: int) -> int | None:
        """Pairs at the next look; None after the last."""
        return next((n for n in self.looks if n > pairs), None)
