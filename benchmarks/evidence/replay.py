"""Play whole gates from scores that are already there, as a run would render them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
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
from pytest_wanlora.verdict.videos import Bounds

__all__ = ["VIDEOS", "GateResult", "run_gate"]

#: Stands for a metric in the item of a scenario's single videos.
VIDEOS = "videos"


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

    @property
    def undecided(self) -> bool:
        """Whether no item fails and one is undecided."""
        return not self.fails and Verdict.UNDECIDED in self.verdicts.values()

    @property
    def passes(self) -> bool:
        """Whether the checkpoint may be published."""
        return not any(verdict.fails for verdict in self.verdicts.values())

    @property
    def shown(self) -> bool:
        """Whether it passes and every comparison is shown to be within its band."""
        return self.passes and all(found.decisive for found in self.assessment.evidence.values())


def run_gate(
    scores: PairedScores,
    tolerances: Mapping[str, ToleranceLike],
    plan: Plan,
    *,
    undecided: Literal["block", "warn"] = "block",
) -> GateResult:
    """Play one whole gate: look, render more of what is not settled, look again, judge.

    Args:
        scores: As many pairs in each scenario as the last look takes, in the order they would be rendered.
        tolerances: By metric id.
        plan: Looks and levels.
        undecided: What a change beyond its band that is not proven does.

    Raises:
        ValueError: A scenario has fewer pairs than the last look.
    """
    available = scores.pairs()
    if min(available.values()) < plan.looks[-1]:
        raise ValueError(f"pairs: {available}; allowed: at least {plan.looks[-1]} in each scenario")
    pairs = dict.fromkeys(available, plan.looks[0])
    if scores.stored is None:
        # a baseline has the seeds of the last look
        scores = replace(scores, stored=scores.first(dict.fromkeys(available, plan.looks[-1])).baseline)
    while True:
        seen = scores.first(pairs)
        assessment = assess(seen, tolerances, plan)
        broken = broken_scenarios(seen, tolerances)
        if not assessment.unsettled or (broken and plan.stop_at_failure):
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
            undecided=undecided,
            motion_change=None if moved is None else moved.change,
            motion_tolerance=tolerances.get("motion"),
        )[0]
    verdicts |= _by_band(seen, tolerances, settled=verdicts)
    verdicts |= dict.fromkeys(_still(seen), Verdict.DEGENERATE)
    verdicts |= {(name, VIDEOS): Verdict.FAIL if name in broken else Verdict.PASS for name in pairs}
    return GateResult(verdicts, pairs, any(map(_failing, verdicts.values())), assessment)


def _failing(verdict: Verdict) -> bool:
    return verdict.fails and verdict is not Verdict.UNDECIDED


def broken_scenarios(scores: PairedScores, tolerances: Mapping[str, ToleranceLike]) -> list[str]:
    """Scenarios with a broken video."""
    found = []
    stored = scores.baseline if scores.stored is None else scores.stored
    for name, own in scores.candidate.items():
        for row, metric in enumerate(scores.metrics):
            bounds = Bounds.of(metric, stored[name][row], tolerances[metric.id].fail)
            if any(bounds.beyond(metric, value) is not None for value in own[row].tolist()):
                found.append(name)
                break
    return found


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
                verdicts[scenario, metric.id] = _uncalled(band(metric, base, value, tolerances[metric.id])[1])
        if scores.sets is not None and (scenario, FVD.id) not in settled:
            videos, candidate, baseline = scores.sets.of(scenario, min(pairs[name] for name in chosen))
            # one video has no spread, so no distance: not measured, which does not pass
            verdicts[scenario, FVD.id] = Verdict.ERROR
            if candidate.size >= 2:
                base, value = (distance(videos, rows.ravel())[0] for rows in (baseline, candidate))
                verdicts[scenario, FVD.id] = _uncalled(band(FVD, base, value, tolerances[FVD.id])[1])
    return verdicts


def _uncalled(verdict: Verdict) -> Verdict:
    """A verdict by the band alone, which may call nothing a failure."""
    return Verdict.UNDECIDED if verdict is Verdict.FAIL else verdict


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
