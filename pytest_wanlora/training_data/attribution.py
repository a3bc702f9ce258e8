"""Why it may have regressed: the share of a scenario's category in the training data beside its judgements.

A suspicion is raised only where the numbers carry it, and it is a suspicion: that a category is rare and its
scenario regressed does not prove that the one caused the other. The words for it are the reports'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

LEAST_SCENARIOS: Final = 5
"""Scenarios from which on a rank correlation is computed."""

LEAST_CATEGORIES: Final = 3
"""Different shares from which on it is: with two there is nothing to rank."""

LEVEL: Final = 0.05
"""A rank correlation with a larger p-value cannot be told from chance."""

_MOST_EXACT = 7  # 7! = 5,040 arrangements
_SAMPLED = 9_999
_POOLED = "all"
_SOUND = frozenset({"better", "pass", "warn"})


class JudgementLike(Protocol):
    """What of a judgement is read here."""

    @property
    def kind(self) -> str:
        """`regression` for a comparison with the baseline."""

    @property
    def scenario(self) -> str:
        """Scenario id, `all` for the pooled item."""

    @property
    def metric(self) -> str:
        """Metric id."""

    @property
    def verdict(self) -> str:
        """`fail` for a regression that was found."""

    @property
    def change(self) -> float | None:
        """Relative change to the worse."""

    @property
    def fail(self) -> float | None:
        """The band beyond which the change fails."""


@dataclass(frozen=True)
class Suspicion:
    """A scenario that regressed and whose category is rare in the training data.

    Attributes:
        share: Share of the category, 0 to 1.
        metric: Of the failed comparisons the one that is furthest beyond its band.
        change: Its relative change to the worse; None if it is undefined.
        commonest: The category with the largest share.
        commonest_share: That share.
        against: Scenarios of a category at least as rare that did not regress, which speak against it.
    """

    scenario: str
    category: str
    share: float
    metric: str
    change: float | None
    commonest: str
    commonest_share: float
    against: tuple[str, ...]


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of a category's share and its scenarios' change to the worse.

    Attributes:
        rho: From -1 (the rarer, the worse) to 1.
        p_value: One-sided, that a rho as low is chance: the shares are permuted among the categories, since
            the scenarios of one category share theirs.
    """

    scenarios: int
    categories: int
    rho: float
    p_value: float


@dataclass(frozen=True)
class Suspicions:
    """What the training data may have to do with a run's regressions.

    Attributes:
        scenarios: One for each scenario that regressed and whose category is rare.
        correlation: None where there are too few scenarios or categories, or no scenario differs.
    """

    scenarios: tuple[Suspicion, ...]
    correlation: Correlation | None


def is_rare(category: str, shares: Mapping[str, float], *, undecided: float = 0.0) -> bool:
    """Whether a category is rare: below an equal share (1 / number of categories) and half of the largest.

    Args:
        category: One that is not in `shares` has the share 0.
        shares: Share of the prompts by category, 0 to 1.
        undecided: Share of the prompts whose category nobody knows. A category is rare only if it still were
            with all of them.
    """
    most = shares.get(category, 0.0) + undecided
    return bool(shares) and most < 1 / len(shares) and most < max(shares.values()) / 2


def suspect(
    shares: Mapping[str, float],
    judgements: Iterable[JudgementLike],
    categories: Mapping[str, str],
    *,
    undecided: float = 0.0,
) -> Suspicions:
    """Put the shares of the training data beside a run's judgements of one candidate.

    A scenario regressed if one of its own comparisons with the baseline has the verdict `fail`.

    Args:
        shares: Share of the training prompts by category, 0 to 1, as `report.Report.shares`. A scenario's
            category that is not in it has the share 0.
        judgements: The run's judgements; limits, the pooled items and scenarios without a category are left
            out.
        categories: Category by scenario id.
        undecided: As in `is_rare`.
    """
    compared = [item for item in judgements if item.kind == "regression" and item.scenario in categories]
    compared = [item for item in compared if item.scenario != _POOLED]
    failed: dict[str, list[JudgementLike]] = {}
    for item in compared:
        if item.verdict == "fail":
            failed.setdefault(item.scenario, []).append(item)
    # what was not measured speaks neither for a suspicion nor against it
    unsound = {item.scenario for item in compared if item.verdict not in _SOUND}
    sound = [name for name in dict.fromkeys(item.scenario for item in compared) if name not in unsound]
    found = [
        _suspicion(scenario, items, shares, categories, sound)
        for scenario, items in failed.items()
        if is_rare(categories[scenario], shares, undecided=undecided)
    ]
    return Suspicions(tuple(found), _correlation(compared, shares, categories))


def _excess(item: JudgementLike) -> float | None:
    """The change in units of the band that it fails at, which makes metrics comparable."""
    if item.change is None or not item.fail or not math.isfinite(item.change):
        return None
    return item.change / item.fail


def _suspicion(
    scenario: str,
    items: Sequence[JudgementLike],
    shares: Mapping[str, float],
    categories: Mapping[str, str],
    sound: Sequence[str],
) -> Suspicion:
    category = categories[scenario]
    share = shares.get(category, 0.0)
    worst = max(items, key=lambda item: _excess(item) or 0.0)
    commonest = max(shares, key=lambda name: shares[name])
    against = tuple(name for name in sound if shares.get(categories[name], 0.0) <= share)
    return Suspicion(
        scenario, category, share, worst.metric, worst.change, commonest, shares[commonest], against
    )


def _correlation(
    compared: Sequence[JudgementLike], shares: Mapping[str, float], categories: Mapping[str, str]
) -> Correlation | None:
    worst: dict[str, float] = {}
    for item in compared:
        excess = _excess(item)
        if excess is not None:
            worst[item.scenario] = max(excess, worst.get(item.scenario, -math.inf))
    names = sorted({categories[scenario] for scenario in worst})
    by_category = np.array([shares.get(name, 0.0) for name in names])
    if len(worst) < LEAST_SCENARIOS or len(set(by_category)) < LEAST_CATEGORIES:
        return None
    place = np.array([names.index(categories[scenario]) for scenario in worst])
    changes = _centred(np.array(list(worst.values())))
    if not changes.any():
        return None
    rho = _rho(by_category[place], changes)
    arranged = np.array([_rho(by_category[order][place], changes) for order in _arrangements(len(names))])
    # the arrangement that was seen is one of those that are possible
    p_value = float(np.mean(arranged <= rho + 1e-12))
    # rounding may carry a perfect order beyond 1
    return Correlation(len(worst), len(names), min(max(rho, -1.0), 1.0), p_value)


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    # takes a second to import, in every process of a run; most runs are not told of their training data
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = rankdata(values)
    centred: NDArray[np.float64] = ranks - ranks.mean()
    return centred


def _rho(shares: NDArray[np.float64], changes: NDArray[np.float64]) -> float:
    ranks = _centred(shares)
    return float(ranks @ changes / math.sqrt(float(ranks @ ranks) * float(changes @ changes)))


def _arrangements(count: int) -> Iterable[NDArray[np.int64]]:
    if count <= _MOST_EXACT:
        return [np.array(order) for order in permutations(range(count))]
    generator = np.random.default_rng(0)
    return [np.arange(count), *(generator.permutation(count) for _ in range(_SAMPLED))]
