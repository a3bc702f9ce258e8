"""What a run record amounts to: the one place that turns judgements into keys and numbers for every view.

Pure functions of the record, without a word of any language: `words` holds those, by key. `comparisons`
makes the rows, outcomes, averages and targets, `bounds` the limits, `trend` and `course` look over several
checkpoints, `next_steps` says what to do.
"""

from __future__ import annotations

from pytest_wanlora.reports.bounds import (
    EACH,
    LimitRow,
    is_rapa,
    limit_rows,
    limit_summaries,
    published_scorers,
)
from pytest_wanlora.reports.next_steps import Step, StepKey, next_steps
from pytest_wanlora.reports.summary import (
    Average,
    Outcome,
    OutcomeKind,
    Row,
    Target,
    averages,
    metrics_of,
    outcome,
    outcomes,
    rows,
    scenarios_of,
    targets,
)
from pytest_wanlora.reports.trend import (
    Best,
    BestReason,
    Direction,
    Overfit,
    TrendPoint,
    best,
    direction,
    mean_loss,
    overfit,
    trend,
)

__all__ = [
    "EACH",
    "Average",
    "Best",
    "BestReason",
    "Direction",
    "LimitRow",
    "Outcome",
    "OutcomeKind",
    "Overfit",
    "Row",
    "Step",
    "StepKey",
    "Target",
    "TrendPoint",
    "averages",
    "best",
    "direction",
    "is_rapa",
    "limit_rows",
    "limit_summaries",
    "mean_loss",
    "metrics_of",
    "next_steps",
    "outcome",
    "outcomes",
    "overfit",
    "published_scorers",
    "rows",
    "scenarios_of",
    "targets",
    "trend",
]
