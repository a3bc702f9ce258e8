"""The training data of the candidates in a run record."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pytest_wanlora.schemas import Count, Finite, Sha256, Share, StrictModel


class ScenarioShare(StrictModel):
    """How common the category of one scenario is in the training data.

    Attributes:
        category: Of the scenario.
        prompts: Training prompts of that category; None for a category that no word list knows.
        share: The same as a share of all prompts, 0 to 1.
        rare: Below an equal share of the categories and below half of the largest, and still so if every
            undecided prompt belonged to it.
    """

    category: str
    prompts: Count | None
    share: Share | None
    rare: bool


class SuspicionCard(StrictModel):
    """A scenario that regressed and whose category is rare; a suspicion, no proof.

    Attributes:
        key: Kind of the suspicion: `rare` where nothing contradicts it, `rare_but` where scenarios of a
            category no more common did not regress.
        candidate: Whose regression.
        scenario: Scenario id.
        category: Its category.
        share: Share of the category, 0 to 1.
        metric: Of the failed comparisons the one that is furthest beyond its band.
        change: Its relative change to the worse; None if it is undefined.
        commonest: The category with the largest share.
        commonest_share: That share.
        against: The scenarios that speak against it.
    """

    key: Literal["rare", "rare_but"]
    candidate: str
    scenario: str
    category: str
    share: Share
    metric: str
    change: Finite | None
    commonest: str
    commonest_share: Share
    against: tuple[str, ...] = ()


class CorrelationCard(StrictModel):
    """Spearman's rank correlation of a category's share and its scenarios' change to the worse.

    Attributes:
        key: Kind of the result: `the_rarer_the_worse`, or `chance` where it cannot be told from chance.
        candidate: Whose changes.
        scenarios: How many.
        categories: Of how many categories.
        rho: From -1 (the rarer, the worse) to 1.
        p_value: One-sided, that a rho as low is chance.
    """

    key: Literal["the_rarer_the_worse", "chance"]
    candidate: str
    scenarios: Count
    categories: Count
    rho: Annotated[float, Field(ge=-1, le=1)]
    p_value: Annotated[float, Field(ge=0, le=1)]


class TrainingDataCard(StrictModel):
    """The training data of the candidates, for comparison with the verdicts.

    Attributes:
        file: Name of the metadata file, without its folder.
        sha256: Of the file.
        rows: Its rows.
        prompts: Rows with a prompt; every share is one of these.
        counts: Prompts by category, in the order of the word lists, `other` last.
        shares: The same as shares, 0 to 1; their sum is 1.
        languages: Prompts by language.
        undecided: Prompts that no word decides; all of them count for `other`.
        ties: Prompts that words of several categories decide alike.
        folded: Prompts by category that no scenario has; they count for `other`.
        ignored: Text that nearly all prompts share, left out, with the share of those that have it.
        scenarios: By scenario id, in the suite's order.
        suspicions: By candidate in their order; empty where the numbers carry none.
        correlations: One a candidate, where there are enough scenarios and categories.
    """

    file: str
    sha256: Sha256
    rows: Count
    prompts: Count
    counts: dict[str, Count]
    shares: dict[str, Share]
    languages: dict[str, Count]
    undecided: Count
    ties: Count
    folded: dict[str, Count] = Field(default_factory=dict)
    ignored: dict[str, Share] = Field(default_factory=dict)
    scenarios: dict[str, ScenarioShare]
    suspicions: tuple[SuspicionCard, ...] = ()
    correlations: tuple[CorrelationCard, ...] = ()
