"""What the last look would say: whether further videos could still make an item fail.

The verdict at the last look is predicted from the pairs at hand by its predictive distribution under a flat
prior (Spiegelhalter, Freedman and Blackburn 1986, "Monitoring clinical trials: conditional or predictive
power?"): the mean of the pairs still to come lies about the one that was seen, as uncertain as that one is
itself plus their own scatter. An item that would hardly fail needs no more videos, whether it is well within
its band or scatters so much that the last look could not prove a loss either.
"""

from __future__ import annotations

import math

from scipy import special

from pytest_wanlora.verdict.evidence import Contrast


def chance_beyond(contrast: Contrast, ratio: float, *, most: int, higher_is_better: bool) -> float:
    """Chance that the estimate from all pairs will lie beyond a ratio to the baseline, to the worse.

    With s the scatter of a pair, the mean of `most` pairs lies about that of the first n with a deviation of
    s sqrt(1/n - 1/most).

    Args:
        contrast: Of one item of one scenario, from n pairs, 2 <= n < most.
        ratio: Candidate / baseline.
        most: Pairs at the last look.
        higher_is_better: Direction.
    """
    loss = float(ratio * contrast.baseline - contrast.candidate) * (1.0 if higher_is_better else -1.0)
    error, degrees = (float(value) for value in contrast.spread(ratio))
    scatter = error * math.sqrt(1.0 - contrast.total / most)
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
