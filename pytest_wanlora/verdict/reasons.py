"""Parts of the sentences that judgements give as their reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict.judgement import Evidence, ToleranceLike, Verdict


def first(things: list[str], most: int = 3) -> str:
    """The first few of a list, and how many more there are."""
    more = len(things) - most
    return ", ".join(things[:most]) + (f" and {more} more" if more > 0 else "")


def degenerate_words(degenerate: Mapping[tuple[str, int], str]) -> str:
    """Videos that cannot be scored, with why; by scenario and seed."""
    return first([f"{name} seed {seed}: {why}" for (name, seed), why in sorted(degenerate.items())])


def direction(metric: Metric, change: float, verdict: Verdict) -> str:
    """Worse or better; a rise that is warned of is not called better, only higher or lower.

    Args:
        metric: Of what.
        change: Relative change to the worse, not 0.
        verdict: What is said of it.
    """
    if change > 0.0:
        return "worse"
    if verdict is Verdict.WARN:
        return "higher" if metric.higher_is_better else "lower"
    return "better"


def worded(metric: Metric, change: float, tolerance: ToleranceLike, verdict: Verdict) -> str:
    """A relative change beside its band."""
    band = f"band: warn from {tolerance.warn:.2%}, fail beyond {tolerance.fail:.2%}"
    if change == 0.0:
        size = "no change"
    else:
        way = direction(metric, change, verdict)
        size = f"infinitely {way}" if math.isinf(change) else f"{abs(change):.1%} {way}"
    return f"{size} ({band})"


def sureness(evidence: Evidence | None, n: int) -> str:
    """How sure a change is: interval, n, what would have been enough, and what more seeds would say."""
    if evidence is None:
        return "one seed: the band alone decides" if n == 1 else "the band alone decides"
    if evidence.low is None or evidence.high is None:
        return f"n = {evidence.n}, no interval: the baseline cannot be told from 0"
    interval = f"{evidence.level:.0%} interval of the loss {evidence.low:+.1%} to {evidence.high:+.1%}"
    parts = [f"{interval}, n = {evidence.n}"]
    if not evidence.tested:
        parts.append("too few seeds for a test: the band alone decides")
    elif evidence.weak:
        enough = "more than 10,000" if evidence.n_enough is None else f"about {evidence.n_enough}"
        parts.append(f"weak evidence, {enough} would have been enough")
    if evidence.tested and not evidence.decisive and evidence.chance_to_fail is not None:
        parts.append(f"a chance of {evidence.chance_to_fail:.0%} that all seeds would fail it")
    return "; ".join(parts)
