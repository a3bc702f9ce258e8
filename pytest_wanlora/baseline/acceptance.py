"""When a measurement becomes a baseline, and what that changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pytest_wanlora.baseline.contents import Baseline
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.decision import decide
from pytest_wanlora.verdict.evidence import change
from pytest_wanlora.verdict.judgement import ItemId, Judgement


def refusals(
    new: Baseline,
    judgements: Iterable[Judgement],
    expected: Iterable[ItemId],
    *,
    seeds: Mapping[str, Iterable[int]],
) -> tuple[str, ...]:
    """Say why a measurement may not become a baseline.

    Args:
        judgements: Of its limits and of the checkpoint itself.
        expected: The items that the suite demands of it.
        seeds: Scenario to the seeds that a whole measurement has.

    Returns:
        One line a reason: what fails, what was not judged, which videos are missing. Empty: accept it.
    """
    wanted = tuple(expected)
    lines = []
    if wanted:
        decision = decide(judgements, wanted)
        lines += [f"{judged.item}: {judged.verdict}: {judged.explained}" for judged in decision.failing]
        lines += [f"{item}: not measured" for item in decision.unmeasured]
        if not decision.publishable and not lines:
            lines.append(decision.reason)
    for scenario, demanded in sorted(seeds.items()):
        missing = sorted(set(demanded) - set(new.scores.get(scenario, {})))
        if missing:
            word = "seed" if len(missing) == 1 else "seeds"
            lines.append(f"{scenario}: no video for {word} {', '.join(map(str, missing))}")
    return tuple(lines)


def losses(old: Baseline | None, wanted: Mapping[str, Iterable[int]]) -> tuple[str, ...]:
    """Say where a measurement is smaller than the one that it would replace: `scenario: seeds 8 -> 2`."""
    if old is None:
        return ()
    found = []
    for scenario in sorted(old.scores):
        before, now = set(old.seeds(scenario)), set(wanted.get(scenario, ()))
        if len(now) < len(before):
            found.append(f"{scenario}: seeds {len(before)} -> {len(now) or 'none, the scenario is gone'}")
    return tuple(found)


def changes(old: Baseline | None, new: Baseline) -> tuple[str, ...]:
    """What an update changes, a line for each scenario and metric: `old -> new`, and by how much."""
    lines = []
    for scenario in sorted(new.scores):
        for metric in METRICS.values():
            now = _mean(new, scenario, metric.id)
            if now is None:
                continue
            before = None if old is None else _mean(old, scenario, metric.id)
            shown = "none" if before is None else metric.format(before)
            line = f"{scenario}  {metric.id}  {shown} -> {metric.format(now)}"
            if before is not None:
                worse = float(change(before, now, metric.higher_is_better))
                if worse == 0.0:
                    line += "  unchanged"
                elif math.isfinite(worse):
                    line += f"  {abs(worse):.1%} {'worse' if worse > 0 else 'better'}"
            lines.append(line)
    return tuple(lines)


def _mean(baseline: Baseline, scenario: str, metric: str) -> float | None:
    values = baseline.metric(metric, [scenario]).get(scenario, {}).values()
    if values:
        return math.fsum(values) / len(values)
    return baseline.sets.get(scenario, {}).get(metric)
