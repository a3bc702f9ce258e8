"""Play whole gates from scores that are already there, as a run would render them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.evidence.bands import band
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.bands import frozen, rule
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.fvd import distance
from pytest_wanlora.verdict.items import FVD, Item
from pytest_wanlora.verdict.judgement import ALL, ToleranceLike, Verdict
from pytest_wanlora.verdict.pairs import PairedScores
from pytest_wanlora.verdict.sequential import Assessment, assess

__all__ = ["GateResult", "run_gate"]


@dataclass(frozen=True)
class GateResult:
    """A gate that was played from a bank of scores.

    Attributes:
        verdicts: By item.
        pairs: Rendered in each scenario.
        fails: Whether any item fails.
        assessment: What the pairs told at the end.
    """

    verdicts: Mapping[Item, Verdict]
    pairs: Mapping[str, int]
    fails: bool
    assessment: Assessment


def run_gate(
    scores: PairedScores,
    tolerances: Mapping[str, ToleranceLike],
    plan: Plan,
    *,
    weak: Literal["warn", "fail"] = "warn",
) -> GateResult:
    """Play one whole gate: look, render more of what is not settled, look again, judge.

    Args:
        scores: As many pairs in each scenario as the last look takes, in the order they would be rendered.
        tolerances: By metric id.
        plan: Looks and levels.
        weak: Verdict on weak evidence beyond the band.

    Raises:
        ValueError: A scenario has fewer pairs than the last look.
    """
    available = scores.pairs()
    if min(available.values()) < plan.looks[-1]:
        raise ValueError(f"pairs: {available}; allowed: at least {plan.looks[-1]} in each scenario")
    pairs = dict.fromkeys(available, plan.looks[0])
    while True:
        seen = scores.first(pairs)
        assessment = assess(seen, tolerances, plan, weak=weak, powers=False)
        if not assessment.unsettled:
            break
        for scenario in assessment.unsettled:
            pairs[scenario] = plan.following(pairs[scenario]) or pairs[scenario]
    verdicts = {}
    for item, found in assessment.evidence.items():
        moved = assessment.evidence.get((item[0], "motion"))
        verdicts[item] = rule(
            METRICS[item[1]],
            found.change,
            tolerances[item[1]],
            found,
            weak=weak,
            motion_change=None if moved is None else moved.change,
            motion_tolerance=tolerances.get("motion"),
        )[0]
    verdicts |= _by_band(seen, tolerances, settled=verdicts)
    verdicts |= dict.fromkeys(_still(seen), Verdict.DEGENERATE)
    return GateResult(verdicts, pairs, any(verdict.fails for verdict in verdicts.values()), assessment)


def _by_band(
    scores: PairedScores, tolerances: Mapping[str, ToleranceLike], *, settled: Collection[Item]
) -> dict[Item, Verdict]:
    """The items that have no evidence, by their band alone."""
    pairs = scores.pairs()
    verdicts = {}
    for scenario in (*pairs, ALL):
        chosen = list(pairs) if scenario == ALL else [scenario]
        for row, metric in enumerate(scores.metrics):
            if (scenario, metric.id) not in settled:
                base, value = (
                    float(np.mean([side[name][row].mean() for name in chosen]))
                    for side in (scores.baseline, scores.candidate)
                )
                verdicts[scenario, metric.id] = band(metric, base, value, tolerances[metric.id])[1]
        if scores.sets is not None and (scenario, FVD.id) not in settled:
            videos, candidate, baseline = scores.sets.of(scenario, min(pairs[name] for name in chosen))
            # one video has no spread, so no distance: not measured, which does not pass
            verdicts[scenario, FVD.id] = Verdict.ERROR
            if candidate.size >= 2:
                base, value = (distance(videos, rows.ravel())[0] for rows in (baseline, candidate))
                verdicts[scenario, FVD.id] = band(FVD, base, value, tolerances[FVD.id])[1]
    return verdicts


def _still(scores: PairedScores) -> list[Item]:
    """The motion of every scenario with a frozen video, and that of all."""
    ids = [metric.id for metric in scores.metrics]
    if "motion" not in ids:
        return []
    sides = scores.candidate, scores.baseline
    still = [
        name
        for name in scores.candidate
        if frozen(*(dict(enumerate(side[name][ids.index("motion")].tolist())) for side in sides))
    ]
    return [(name, "motion") for name in ([*still, ALL] if still else [])]
