"""P-values adjusted for the number of items, and predictions of the verdict at the last look."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np

from pytest_wanlora.verdict import special
from pytest_wanlora.verdict.evidence import Contrast, Floats

#: Chance of a verdict to be settled by `needed` videos if the change is really as large as it was seen.
_POWER = 0.8
_MOST_VIDEOS = 10_000
# halvings of the bracket: a level is then exact to 1e-9 of alpha
_HALVINGS = 30


def holm(p_values: Floats, sizes: Floats | None = None, shares: Sequence[float] | Floats = (1.0,)) -> Floats:
    """Adjust p-values for their number (Holm 1979, "A simple sequentially rejective ... procedure").

    Items whose adjusted value is at most alpha hold together: the chance that any of them is a false claim is
    at most alpha, however the items depend on each other.

    An item that can hardly be claimed falsely takes up hardly any of that chance. Where `sizes` says so, an
    item counts for what it can take at most instead of for a whole one (Tarone 1990, "A modified Bonferroni
    method for discrete data"; stepwise in Hommel and Krummenauer 1998).

    Args:
        p_values: (m,), from 0 to 1.
        sizes: (m, looks), the most that the chance of a false claim of each item can be at each look, at any
            level; None: 1.
        shares: (looks,), what part of a level each look may spend.

    Returns:
        (m,), in the order given.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    ordered = p_values[order]
    if sizes is None:
        taken = np.broadcast_to(ordered[:, None], (ordered.size, ordered.size))
    else:
        spent = ordered[:, None, None] * np.asarray(shares, dtype=np.float64)
        taken = np.minimum(spent, np.asarray(sizes, dtype=np.float64)[order]).sum(axis=-1)
    # a row is the item whose turn it is, its columns those that are still to come; itself it counts in full
    stepped = ordered + np.triu(taken, 1).sum(axis=1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def beyond_by_chance(contrast: Contrast, ratio: Floats | float, looks: Sequence[int]) -> Floats:
    """Chance that a candidate which lost nothing lies beyond a ratio to the baseline, at a look or after it.

    The scatter of the pairs at hand is taken for the true one. Small chances, which matter here, then come
    out too high on average (from 4 normally distributed pairs 2.8 % for 2.3 %, and 0.6 % for 0.1 %), so an
    item is rather counted for too much; Student's tail would do so several times over.

    Args:
        contrast: Of the pairs so far.
        ratio: Candidate / baseline, above 1 or below it, shape (...) or a number.
        looks: Pairs of each stratum, ascending.

    Returns:
        Shape (..., looks), from 0 to 1; 1 where the baseline is not above 0.
    """
    gap = np.asarray(np.abs(np.asarray(ratio) - 1.0) * contrast.baseline)[..., None]
    at_looks, _ = contrast.spread(ratio, looks)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(at_looks > 0.0, gap / at_looks, np.inf)
    at_each = special.ndtr(-reach)
    onwards = np.cumsum(at_each[..., ::-1], axis=-1)[..., ::-1]
    return np.where(gap > 0.0, np.minimum(onwards, 1.0), 1.0)


def levels(sizes: Floats, shares: Sequence[float] | Floats, alpha: float) -> Floats:
    """The largest p-value with which each item holds although no other does.

    Args:
        sizes: As for `holm`, (m, looks).
        shares: As for `holm`, (looks,).
        alpha: For all items together.

    Returns:
        (m,), from `alpha / m` to `alpha`.
    """
    sizes, shares = np.asarray(sizes, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    low, high = np.zeros(len(sizes)), np.full(len(sizes), alpha)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        # a row is the item whose level it is, its columns what the others take at that level
        taken = np.minimum(middle[:, None, None] * shares, sizes).sum(axis=-1)
        holds = middle + taken.sum(axis=1) - np.diagonal(taken) <= alpha
        low, high = np.where(holds, middle, low), np.where(holds, high, middle)
    return low


def chance_beyond(contrast: Contrast, ratio: float, *, most: int, higher_is_better: bool) -> float:
    """Chance that the estimate from all pairs will be beyond a ratio to the baseline, to the worse.

    This is the predictive distribution under a flat prior (Spiegelhalter, Freedman and Blackburn 1986,
    "Monitoring clinical trials: conditional or predictive power?"). With s the scatter of a pair, the mean of
    `most` pairs deviates from that of the first n by s sqrt(1/n - 1/most): what it loses in variance.

    Args:
        contrast: Of one item of one scenario, from n pairs, 2 <= n < most.
        ratio: Candidate / baseline.
        most: Pairs at the last look.
        higher_is_better: Direction.
    """
    loss = float(ratio * contrast.baseline - contrast.candidate) * (1.0 if higher_is_better else -1.0)
    error, degrees = (float(value) for value in contrast.spread(ratio))
    scatter = math.sqrt(max(error**2 - float(contrast.spread(ratio, (most,))[0][0]) ** 2, 0.0))
    if scatter == 0.0:
        return float(loss > 0.0)
    return float(special.stdtr(degrees, loss / scatter))


def chance_significant(statistic: float, *, pairs: int, most: int, level: float) -> float:
    """Chance that the t test of all pairs will be significant.

    Args:
        statistic: The candidate's loss in standard errors, from the pairs so far; may be infinite.
        pairs: Those, 2 <= pairs < most.
        most: Pairs at the last look.
        level: Its one-sided level, above 0 and below 1.
    """
    if not math.isfinite(statistic):
        return float(statistic > 0.0)
    wanted = float(special.stdtrit(most - 1.0, 1.0 - level))
    growth = most / pairs
    ahead = statistic * math.sqrt(growth) - wanted
    return float(special.stdtr(pairs - 1.0, ahead / math.sqrt(growth - 1.0)))


def needed(gap: float, error: float, pairs: int, tail: float) -> int | None:
    """Pairs that would settle a difference of this size, with 80 % power.

    Args:
        gap: Distance of the estimate from the value in question, in the unit of `error`.
        error: Standard error that `pairs` pairs gave.
        pairs: From 2.
        tail: One-sided level of the test.

    Returns:
        The smallest such number, at least 2; None beyond 10,000, where the difference is as good as zero.
    """
    if not (math.isfinite(gap) and math.isfinite(error)) or gap <= 0.0:
        return None

    def settled(number: int) -> bool:
        quantiles = special.stdtrit(number - 1.0, 1.0 - tail) + special.stdtrit(number - 1.0, _POWER)
        return bool(quantiles * error * math.sqrt(pairs / number) <= gap)

    # both quantiles fall with the number
    numbers = range(2, _MOST_VIDEOS + 1)
    at = bisect.bisect_left(numbers, True, key=settled)
    return None if at == len(numbers) else numbers[at]
