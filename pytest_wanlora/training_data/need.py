"""Which categories a run needs more of: the rule of `data balance --toward`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from pytest_wanlora.errors import DataError, RecordError

FACTORS: Final = {"fail": Fraction(2), "warn": Fraction(3, 2)}
"""What the share of a category is multiplied by, by the worst verdict on its scenarios."""


_NAME_IT: Final = "name one with --candidate"


@dataclass(frozen=True)
class Outcome:
    """One comparison of a run.

    Attributes:
        scenario: Scenario id.
        category: The scenario's category.
        verdict: Of the comparison with the baseline.
    """

    scenario: str
    category: str
    verdict: str


def raised(base: Mapping[str, Fraction], outcomes: Iterable[Outcome]) -> dict[str, Fraction]:
    """Raise the shares of the categories that regressed.

    Each category's share is multiplied by 2 if a comparison of one of its scenarios failed, else by 3/2 if
    one is a warning, else by 1; then all are divided by their sum. Other verdicts raise nothing: what was not
    measured, or not against this baseline, says nothing about the data.

    Args:
        base: Shares to start from, with the sum 1.
        outcomes: The run's comparisons.

    Returns:
        Exact shares with the sum 1.

    Raises:
        DataError: Nothing regressed, or what did has no share to raise.
    """
    factors = dict.fromkeys(base, Fraction(1))
    regressed: set[str] = set()
    for outcome in outcomes:
        factor = FACTORS.get(outcome.verdict)
        if factor is not None:
            regressed.add(outcome.category)
            if outcome.category in factors:
                factors[outcome.category] = max(factor, factors[outcome.category])
    if not regressed:
        raise DataError(
            "--toward: no comparison of the run warns or fails, so no category needs more",
            next_command="leave --toward out and say the shares with --share",
        )
    weights = {name: share * factors[name] for name, share in base.items()}
    if all(weights[name] == base[name] for name in base):
        raise DataError(
            f"--toward: {', '.join(sorted(regressed))} regressed but have no share to raise; "
            f"there are {', '.join(base)}",
            next_command="give them one with --share",
        )
    total = sum(weights.values(), Fraction(0))
    return {name: weight / total for name, weight in weights.items()}


def outcomes(run: Path, candidate: str | None = None) -> list[Outcome]:
    """The comparisons of a run.

    Args:
        run: A `results.json`, or its folder.
        candidate: Whose comparisons; may be left out where the run has one candidate.

    Returns:
        One outcome for each comparison of a scenario; pooled items and limits are left out.

    Raises:
        DataError: The record cannot be read, has several candidates, or none of that name.
    """
    # pydantic and scipy come with it; only --toward needs them
    from pytest_wanlora import results

    try:
        record = results.load(run)
    except RecordError as error:
        raise DataError(
            f"--toward: {error.message}; a run's folder or its results.json is needed",
            next_command="ls .wanlora/runs",
        ) from error
    names = [card.name for card in record.candidates]
    if candidate is None and len(names) != 1:
        raise DataError(
            f"{run}: the run has {len(names)} candidates: {', '.join(names)}", next_command=_NAME_IT
        )
    if candidate is not None and candidate not in names:
        raise DataError(f"{run}: there is no candidate {candidate!r}; there are {', '.join(names)}")
    return [
        Outcome(item.scenario, record.suite.prompts[item.scenario].category, item.verdict.value)
        for item in record.judgements
        if item.kind == "regression"
        and item.candidate == (candidate or names[0])
        and item.scenario in record.suite.prompts
    ]


def equal_shares(categories: Iterable[str]) -> dict[str, Fraction]:
    """The same share for every category, where `--toward` is given none to start from.

    Args:
        categories: At least one.
    """
    names = list(categories)
    return dict.fromkeys(names, Fraction(1, len(names)))
