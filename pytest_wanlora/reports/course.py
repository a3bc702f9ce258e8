"""Where the training stands, read from several checkpoints of one run in their order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pytest_wanlora.reports.summary import rows
from pytest_wanlora.reports.trend import TrendPoint, mean_loss
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_wanlora.results.run_record import RunRecord

Direction = Literal["improving", "worsening", "mixed", "unknown"]


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


def direction(points: Sequence[TrendPoint]) -> Direction:
    """Where the change to the worse goes over the points of one metric and place, in their order."""
    changes = [point.change for point in points]
    known = [change for change in changes if change is not None]
    if len(known) < 2 or len(known) != len(changes):
        return "unknown"
    steps = [later - earlier for earlier, later in pairwise(known)]
    if all(step < 0.0 for step in steps):
        return "improving"
    return "worsening" if all(step > 0.0 for step in steps) else "mixed"


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
    if now.verdict not in (Verdict.WARN, Verdict.FAIL) or now.change <= 0.0:
        return False
    lost = now.change - before.change
    high = None if before.evidence is None else before.evidence.high
    low = None if now.evidence is None else now.evidence.low
    if high is None or low is None:
        return lost > now.fail
    return lost > now.warn and low > high


def still_falling(record: RunRecord) -> tuple[float, float] | None:
    """The mean loss of the first and the last checkpoint if it fell with every one between.

    Args:
        record: The run, its checkpoints in the order of training.

    Returns:
        In fail bands; None with fewer than two checkpoints, or where it did not fall all the way.
    """
    names = [card.name for card in record.candidates if card.sha256 is not None]
    losses = [mean_loss(record, name) for name in names]
    known = [loss[0] for loss in losses if loss is not None]
    if len(known) < 2 or len(known) != len(losses):
        return None
    falls = all(later < earlier for earlier, later in pairwise(known))
    return (known[0], known[-1]) if falls else None
