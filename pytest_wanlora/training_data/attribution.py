"""Why it may have regressed: the share of a scenario's category in the training data beside its judgements.

A suspicion is raised only where the numbers carry it, and it is a suspicion: that a category is rare and its
scenario regressed does not prove that the one caused the other. The words for it are the reports'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.results.training_data import CorrelationCard, SuspicionCard

if TYPE_CHECKING:
    from pytest_wanlora.verdict.judgement import Judgement

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
    candidate: str,
    shares: Mapping[str, float],
    judgements: Iterable[Judgement],
    categories: Mapping[str, str],
    *,
    undecided: float = 0.0,
) -> tuple[tuple[SuspicionCard, ...], CorrelationCard | None]:
    """Put the shares of the training data beside a run's judgements of one candidate.

    A scenario regressed if one of its own comparisons with the baseline has the verdict `fail`.

    Args:
        shares: Share of the training prompts by category, 0 to 1, as `report.Report.shares`. A scenario's
            category that is not in it has the share 0.
        judgements: The run's judgements; limits, the pooled items and scenarios without a category are left
            out.
        categories: Category by scenario id.
        undecided: As in `is_rare`.

    Returns:
        A suspicion for each scenario that regressed and whose category is rare; and the correlation, None
        where there are too few scenarios or categories, or no scenario differs.
    """
    compared = [item for item in judgements if item.kind == "regression" and item.scenario in categories]
    compared = [item for item in compared if item.scenario != _POOLED]
    failed: dict[str, list[Judgement]] = {}
    for item in compared:
        if item.verdict == "fail":
            failed.setdefault(item.scenario, []).append(item)
    # what was not measured speaks neither for a suspicion nor against it
    unsound = {item.scenario for item in compared if item.verdict not in _SOUND}
    sound = [name for name in dict.fromkeys(item.scenario for item in compared) if name not in unsound]
    found = [
        _suspicion(candidate, scenario, items, shares, categories, sound)
        for scenario, items in failed.items()
        if is_rare(categories[scenario], shares, undecided=undecided)
    ]
    return tuple(found), _correlation(candidate, compared, shares, categories)


def _excess(item: Judgement) -> float | None:
    """The change in units of the band that it fails at, which makes metrics comparable."""
    if item.change is None or not item.fail or not math.isfinite(item.change):
        return None
    return item.change / item.fail


def _suspicion(
    candidate: str,
    scenario: str,
    items: Sequence[Judgement],
    shares: Mapping[str, float],
    categories: Mapping[str, str],
    sound: Sequence[str],
) -> SuspicionCard:
    category = categories[scenario]
    share = shares.get(category, 0.0)
    worst = max(items, key=lambda item: _excess(item) or 0.0)
    commonest = max(shares, key=lambda name: shares[name])
    against = tuple(name for name in sound if shares.get(categories[name], 0.0) <= share)
    return SuspicionCard(
        key="rare_but" if against else "rare",
        candidate=candidate,
        scenario=scenario,
        category=category,
        share=share,
        metric=worst.metric,
        change=worst.change,
        commonest=commonest,
        commonest_share=shares[commonest],
        against=against,
    )


def _correlation(
    candidate: str,
    compared: Sequence[Judgement],
    shares: Mapping[str, float],
    categories: Mapping[str, str],
) -> CorrelationCard | None:
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
    return CorrelationCard(
        key="the_rarer_the_worse" if p_value <= LEVEL else "chance",
        candidate=candidate,
        scenarios=len(worst),
        categories=len(names),
        # rounding may carry a perfect order beyond 1
        rho=min(max(rho, -1.0), 1.0),
        p_value=p_value,
    )


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
