"""Several checkpoints of one run: how each metric goes from one to the next, and which is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Literal

from pytest_wanlora.phrases import digits
from pytest_wanlora.reports.summary import metrics_of, rows, scenarios_of
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.verdict.race import Objective

BestReason = Literal[
    "only", "least_loss", "tie", "none", "none_measured", "run_failed", "race_stopped", "no_candidate"
]
Direction = Literal["improving", "worsening", "mixed", "steady", "unknown"]


@dataclass(frozen=True)
class TrendPoint:
    """One value of a metric's course over the checkpoints.

    Attributes:
        candidate: Name of the checkpoint.
        scenario: Scenario id, or `"all"`.
        value: The candidate's; None where it was not measured.
        verdict: Of the comparison with the baseline; None where it was not judged.
        baseline: The baseline's value.
        change: Relative change to the worse as it was judged.
        n: Videos the value rests on: distances of different n do not compare, their changes do.
        low: Lower bound of the change; None without an interval.
        high: Upper bound.
        warn: The metric's warn band; a smaller step is none.
    """

    candidate: str
    scenario: str
    value: float | None
    verdict: Verdict | None
    baseline: float | None = None
    change: float | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None
    warn: float = 0.0


@dataclass(frozen=True)
class Best:
    """The checkpoint to publish.

    Attributes:
        candidate: Its name; None if none may be published.
        reason_key: `"only"`: no other may be published; `"least_loss"`: the least loss of several;
            `"tie"`: as good as another, and earlier; `"none"`: something fails in each; `"none_measured"`:
            nothing fails, but not everything was measured; `"run_failed"`: everything passes, but the pytest
            run failed for another reason; `"race_stopped"`: the race ended before one was gated;
            `"no_candidate"`: the run has no checkpoint.
        numbers: `publishable`, `candidates` (how many), `loss` and `next_loss` (in fail bands),
            `comparisons` (the loss is taken over), `next` (name of the second); of `"none"`: `nearest` (name
            of the checkpoint with the fewest failing items and tests) and `failing` (how many it has);
            `exit_status` where `verify` refuses the run's receipts for it.
        strength: That the candidate was gated at, in words.
        objective: What the loss is: the mean or the largest.
    """

    candidate: str | None
    reason_key: BestReason
    numbers: Mapping[str, float | str] = field(default_factory=dict)
    strength: str = "1"
    objective: Objective = "mean"


@dataclass(frozen=True)
class Overfit:
    """A metric that was better in an earlier checkpoint of the run, for certain.

    Attributes:
        metric: Metric id, over all scenarios.
        earlier: Name of the checkpoint where it was best.
        before: Its relative change to the worse there.
        now: The same now.
    """

    metric: str
    earlier: str
    before: float
    now: float


def trend(record: RunRecord) -> dict[str, tuple[TrendPoint, ...]]:
    """Every metric over the checkpoints in the order of the command line, which is that of epochs.

    Args:
        record: The run.

    Returns:
        By metric: for each candidate its scenarios in the suite's order, then `"all"`. Empty without
        candidates that have a file.
    """
    names = [card.name for card in record.candidates if card.sha256 is not None]
    found = {(name, row.scenario, row.metric): row.judgement for name in names for row in rows(record, name)}
    return {
        metric: tuple(
            _point(name, scenario, found.get((name, scenario, metric)))
            for name in names
            for scenario in (*scenarios_of(record), ALL)
        )
        for metric in metrics_of(record)
        if names
    }


def _point(candidate: str, scenario: str, judged: Judgement | None) -> TrendPoint:
    if judged is None:
        return TrendPoint(candidate, scenario, None, None)
    return TrendPoint(
        candidate=candidate,
        scenario=scenario,
        value=judged.value,
        verdict=judged.verdict,
        baseline=judged.baseline,
        change=judged.change,
        n=judged.n,
        low=None if judged.evidence is None else judged.evidence.low,
        high=None if judged.evidence is None else judged.evidence.high,
        warn=judged.warn or 0.0,
    )


def objective(record: RunRecord) -> Objective:
    """What makes one checkpoint better than another, as the suite says."""
    return record.suite.objective or "mean"


def loss(record: RunRecord, candidate: str) -> tuple[float, int] | None:
    """How much worse a candidate is on the whole, in fail bands: what checkpoints of a run are ranked by.

    Each comparison of a scenario counts with its change to the worse as a share of its fail band, at least
    -1: no improvement buys off more than one band of loss. A rise that is suspicious counts as none.

    Args:
        record: The run.
        candidate: Name of the checkpoint.

    Returns:
        The mean or the largest, by the suite's objective, negative if better than the baseline, and the
        number of comparisons; None without any.
    """
    shares = [
        share
        for row in rows(record, candidate)
        if row.scenario != ALL and (share := _share(row.judgement)) is not None
    ]
    if not shares:
        return None
    whole = max(shares) if objective(record) == "worst" else math.fsum(shares) / len(shares)
    return whole, len(shares)


def best_first(record: RunRecord, names: Sequence[str]) -> tuple[str, ...]:
    """Names of checkpoints with the one to publish in front, then others that may be published."""
    first = best(record).candidate
    able = {card.name for card in record.candidates if card.publishable}
    return tuple(sorted(names, key=lambda name: (name != first, name not in able)))


def strengths(record: RunRecord) -> dict[float, dict[str, str]]:
    """Strength to checkpoint to the candidate that is both; empty unless there are several strengths."""
    cards = [card for card in record.candidates if card.sha256 is not None]
    found: dict[float, dict[str, str]] = {}
    for card in cards:
        found.setdefault(card.scale, {})[card.name.removesuffix(f"@{digits(card.scale)}")] = card.name
    return found if len(found) > 1 else {}


def _share(judged: Judgement) -> float | None:
    if judged.change is None or not judged.fail:
        return None
    if judged.verdict is Verdict.WARN and judged.change < 0.0:
        return 0.0
    return max(judged.change / judged.fail, -1.0)


def best(record: RunRecord) -> Best:
    """The publishable checkpoint with the least loss, and why it is that one.

    The difference to the next is not tested for significance: it ranks, it proves nothing.

    Args:
        record: The run.
    """
    cards = [card for card in record.candidates if card.sha256 is not None]
    counts: dict[str, float | str] = {
        "candidates": len(cards),
        "publishable": sum(card.publishable for card in cards),
    }
    if not cards:
        return Best(None, "no_candidate" if record.race is None else "race_stopped", counts)
    able = [card.name for card in cards if card.publishable]
    if not able:
        return _none(record, [card.name for card in cards], counts)
    losses = {name: loss(record, name) or (math.inf, 0) for name in able}
    # of equals the first: the one that was trained least
    ranked = sorted(able, key=lambda name: (losses[name][0], able.index(name)))
    first = ranked[0]
    counts |= {"loss": losses[first][0], "comparisons": losses[first][1]}
    if record.receipts_refused:
        counts["exit_status"] = record.exit_status
    strength = next(card.strength for card in cards if card.name == first)
    if len(ranked) == 1:
        return Best(first, "only", _finite(counts), strength)
    counts |= {"next": ranked[1], "next_loss": losses[ranked[1]][0]}
    same = losses[first][0] == losses[ranked[1]][0]
    return Best(first, "tie" if same else "least_loss", _finite(counts), strength, objective(record))


def _none(record: RunRecord, names: list[str], counts: dict[str, float | str]) -> Best:
    decisions = {name: record.decision(name) for name in names}
    failing = {name: len(made.failing) + len(made.tests) for name, made in decisions.items()}
    unmeasured = {name: len(made.unmeasured) for name, made in decisions.items()}
    nearest = min(names, key=lambda name: (failing[name] + unmeasured[name], names.index(name)))
    key: BestReason = "none" if all(failing.values()) else "none_measured"
    if not failing[nearest] and not unmeasured[nearest] and not record.partial:
        return Best(None, "run_failed", {**counts, "exit_status": record.exit_status})
    return Best(None, key, {**counts, "nearest": nearest, "failing": failing[nearest]})


def _finite(numbers: Mapping[str, float | str]) -> dict[str, float | str]:
    return {key: value for key, value in numbers.items() if isinstance(value, str) or math.isfinite(value)}


def direction(points: Sequence[TrendPoint]) -> Direction:
    """Where the change to the worse goes over the points of one metric and place, in their order.

    Only a step counts that is larger than the warn band and whose two intervals, where there are any, do not
    meet; what stays within that is `"steady"`.
    """
    changes = [point.change for point in points]
    known = [change for change in changes if change is not None]
    if len(known) < 2 or len(known) != len(changes):
        return "unknown"
    steps = {_step(earlier, later) for earlier, later in combinations(points, 2)} - {0}
    if not steps:
        return "steady"
    if len(steps) > 1:
        return "mixed"
    return "improving" if steps == {-1} else "worsening"


def _step(earlier: TrendPoint, later: TrendPoint) -> int:
    """-1 for an improvement that is more than noise, 1 for such a loss, else 0."""
    if earlier.change is None or later.change is None:
        return 0
    step = later.change - earlier.change
    if abs(step) <= max(earlier.warn, later.warn):
        return 0
    first, second = (earlier, later) if step > 0.0 else (later, earlier)
    if first.high is not None and second.low is not None and second.low <= first.high:
        return 0
    return 1 if step > 0.0 else -1


def overfit(record: RunRecord, candidate: str) -> Overfit | None:
    """The metric that has lost most since an earlier checkpoint and is now worse than the baseline.

    The loss since then must be larger than the metric's warn band, and the intervals of the two changes must
    not meet; without intervals it must be larger than the fail band.

    Args:
        record: The run, its checkpoints in the order of training.
        candidate: Name of the later checkpoint.
    """
    names = [card.name for card in record.candidates if card.sha256 is not None]
    earlier = names[: names.index(candidate)] if candidate in names else []
    now = {row.metric: row.judgement for row in rows(record, candidate) if row.scenario == ALL}
    found = [
        (judged.change - before.change, Overfit(metric, name, before.change, judged.change))
        for name in earlier
        for metric, before in _pooled(record, name).items()
        if (judged := now.get(metric)) is not None
        and judged.change is not None
        and before.change is not None
        and _lost_since(before, judged)
    ]
    return max(found, key=lambda each: each[0])[1] if found else None


def _pooled(record: RunRecord, candidate: str) -> dict[str, Judgement]:
    return {row.metric: row.judgement for row in rows(record, candidate) if row.scenario == ALL}


def _lost_since(before: Judgement, now: Judgement) -> bool:
    if before.change is None or now.change is None or now.warn is None or now.fail is None:
        return False
    if now.verdict not in (Verdict.WARN, Verdict.UNDECIDED, Verdict.FAIL) or now.change <= 0.0:
        return False
    lost = now.change - before.change
    high = None if before.evidence is None else before.evidence.high
    low = None if now.evidence is None else now.evidence.low
    if high is None or low is None:
        return lost > now.fail
    return lost > now.warn and low > high


def still_falling(record: RunRecord) -> tuple[float, float] | None:
    """The loss of the first and the last checkpoint if it fell with every one between.

    Args:
        record: The run, its checkpoints in the order of training.

    Returns:
        In fail bands; None with fewer than two checkpoints, or where it did not fall all the way.
    """
    names = [card.name for card in record.candidates if card.sha256 is not None]
    losses = [loss(record, name) for name in names]
    known = [found[0] for found in losses if found is not None]
    if len(known) < 2 or len(known) != len(losses):
        return None
    falls = all(later < earlier for earlier, later in pairwise(known))
    return (known[0], known[-1]) if falls else None
