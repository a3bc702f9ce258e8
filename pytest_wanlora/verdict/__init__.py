"""What is said of a checkpoint: verdicts with their evidence, and whether it may be published.

`judgement` holds the words; `limits` and `regressions` judge one item; `bands` names a change; `evidence`,
`fvd_evidence` and `noise` say how sure it is, `items` for all items of a run, `multiplicity` for all of
them together; `prediction` says what more videos would bring and `sequential` where they are needed;
`replay` plays whole gates from scores; `decision` puts everything together. All are pure functions.
"""

from __future__ import annotations

from pytest_wanlora.verdict.bands import band, frozen, rule
from pytest_wanlora.verdict.decision import Decision, RunOutcome, decide, run_problem
from pytest_wanlora.verdict.judgement import (
    ALL,
    Evidence,
    ItemId,
    ItemOutcome,
    Judgement,
    Kind,
    PytestOutcome,
    ToleranceLike,
    Verdict,
    Worst,
)
from pytest_wanlora.verdict.limits import judge_limit, judge_set_limit
from pytest_wanlora.verdict.regressions import judge_regression, judge_set
from pytest_wanlora.verdict.sequential import assess

__all__ = [
    "ALL",
    "Decision",
    "Evidence",
    "ItemId",
    "ItemOutcome",
    "Judgement",
    "Kind",
    "PytestOutcome",
    "RunOutcome",
    "ToleranceLike",
    "Verdict",
    "Worst",
    "assess",
    "band",
    "decide",
    "frozen",
    "judge_limit",
    "judge_regression",
    "judge_set",
    "judge_set_limit",
    "rule",
    "run_problem",
]
