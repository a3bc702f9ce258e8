"""The run record, `results.json`: the only source of every report (`run_record`), and what it is made of."""

from __future__ import annotations

from pytest_wanlora.results.folders import point_latest, records
from pytest_wanlora.results.merging import merge
from pytest_wanlora.results.run_record import (
    BaselineCard,
    CandidateCard,
    Failure,
    Pair,
    Part,
    RunRecord,
    SetScores,
    SuiteCard,
    Totals,
    Video,
    json_schema,
    load,
    runs_so_far,
    write,
)
from pytest_wanlora.results.training_data import (
    CorrelationCard,
    ScenarioShare,
    SuspicionCard,
    TrainingDataCard,
)

__all__ = [
    "BaselineCard",
    "CandidateCard",
    "CorrelationCard",
    "Failure",
    "Pair",
    "Part",
    "RunRecord",
    "ScenarioShare",
    "SetScores",
    "SuiteCard",
    "SuspicionCard",
    "Totals",
    "TrainingDataCard",
    "Video",
    "json_schema",
    "load",
    "merge",
    "point_latest",
    "records",
    "runs_so_far",
    "write",
]
