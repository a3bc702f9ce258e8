"""Figures that somebody else has stated about the same scores, held against what the scores give."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pytest_wanlora.metrics import overall
from pytest_wanlora.reports.limits import limit_summaries
from pytest_wanlora.reports.summary import averages, rows
from pytest_wanlora.verdict.judgement import ALL

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord

MEAN: Final = "mean"
"""The scenario of a figure that is a plain mean over scenarios."""

Figure = Literal[
    "baseline",
    "value",
    "difference",
    "percent",
    "mark",
    "baseline_share",
    "share",
    "baseline_formula",
    "formula",
]
#: A figure at the very edge of its rounding may be rounded either way.
_EDGE: Final = 1e-9


@dataclass(frozen=True)
class Stated:
    """One figure as its source prints it.

    Attributes:
        scenario: Scenario id, `"all"` for all videos pooled, or `MEAN`.
        metric: Metric id.
        figure: Which figure: a value of either side, `"difference"` of the two, `"percent"` of the baseline,
            `"mark"` a verdict, `"baseline_share"` and `"share"` of the metric's absolute limit in percent,
            `"baseline_formula"` and `"formula"` an `overall` held against 0.4 temporal + 0.3 sharpness +
            0.3 colour of the same videos.
        text: The number as printed, without unit, such as `"-23.5"`: its decimals are its precision. Of a
            mark the verdict.
    """

    scenario: str
    metric: str
    figure: Figure
    text: str


@dataclass(frozen=True)
class Disagreement:
    """A stated figure that the scores do not give.

    Attributes:
        stated: What the source states.
        computed: What the scores give, with two decimals more; of a mark the verdict. Empty if they do not
            give the figure at all.
    """

    stated: Stated
    computed: str


def disagreements(record: RunRecord, candidate: str, stated: Iterable[Stated]) -> tuple[Disagreement, ...]:
    """The stated figures that are off by more than their own rounding.

    Args:
        record: The run.
        candidate: Whose figures.
        stated: What a source states of it.
    """
    figures = _Figures(record, candidate)
    return tuple(
        Disagreement(each, computed) for each in stated if (computed := figures.against(each)) is not None
    )


class _Figures:
    """What the record gives for each figure."""

    def __init__(self, record: RunRecord, candidate: str) -> None:
        self._rows = {(row.scenario, row.metric): row for row in rows(record, candidate)}
        self._means = averages(record, candidate)
        self._limits = {row.metric: row for row in limit_summaries(record, candidate)}
        self._formulas = {
            role: _formulas(record, candidate if role == "candidate" else None)
            for role in ("candidate", "baseline")
        }

    def against(self, stated: Stated) -> str | None:
        """The computed figure if the stated one is off."""
        if stated.figure == "mark":
            row = self._rows.get((ALL if stated.scenario == MEAN else stated.scenario, stated.metric))
            verdict = "" if row is None else row.judgement.verdict.value
            return None if verdict == stated.text else verdict
        value = self._number(stated)
        if value is None:
            return ""
        decimals = len(stated.text.partition(".")[2])
        if abs(value - float(stated.text)) <= 0.5 * 10.0**-decimals + _EDGE:
            return None
        sign = "+" if stated.figure in ("difference", "percent") else ""
        return f"{value:{sign}.{decimals + 2}f}"

    def _number(self, stated: Stated) -> float | None:
        limit = self._limits.get(stated.metric)
        if stated.figure in ("share", "baseline_share"):
            share = (
                None if limit is None else (limit.share if stated.figure == "share" else limit.baseline_share)
            )
            return None if share is None else 100.0 * share
        if stated.figure in ("formula", "baseline_formula"):
            role = "candidate" if stated.figure == "formula" else "baseline"
            return self._formulas[role].get(stated.scenario)
        if stated.scenario == MEAN:
            mean = self._means.get(stated.metric)
            if mean is None:
                return None
            found = (mean.baseline, mean.value, mean.difference, mean.relative)
        else:
            row = self._rows.get((stated.scenario, stated.metric))
            if row is None:
                return None
            found = (row.baseline, row.value, row.difference, row.relative)
        number = found[("baseline", "value", "difference", "percent").index(stated.figure)]
        if number is None:
            return None
        return 100.0 * number if stated.figure == "percent" else number


def _formulas(record: RunRecord, candidate: str | None) -> dict[str, float]:
    """`overall` by its formula from each scenario's videos; of the baseline for no candidate."""
    by_scenario: dict[str, list[float]] = {}
    for video in record.videos:
        own = video.role == "baseline" if candidate is None else video.candidate == candidate
        parts = [video.scores.get(metric) for metric in ("temporal", "sharpness_pct", "color")]
        known = [part for part in parts if part is not None]
        if own and len(known) == len(parts):
            by_scenario.setdefault(video.scenario, []).append(overall(*known))
    return {scenario: math.fsum(of) / len(of) for scenario, of in by_scenario.items()}
