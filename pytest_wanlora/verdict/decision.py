"""Whether a checkpoint may be published."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pytest_wanlora.scoring.metric import METRICS
from pytest_wanlora.verdict.judgement import (
    ALL,
    ItemId,
    Judgement,
    Verdict,
)

__all__ = ["Decision", "decide"]


@dataclass(frozen=True)
class Decision:
    """Whether a checkpoint may be published.

    Attributes:
        publishable: Nothing fails, and everything that was expected was judged, once.
        failing: Judgements that fail, worst first.
        warnings: Judgements that warn.
        unmeasured: Items that were expected and not judged.
        reason: One sentence.
    """

    publishable: bool
    failing: tuple[Judgement, ...]
    warnings: tuple[Judgement, ...]
    unmeasured: tuple[ItemId, ...]
    reason: str


def decide(judgements: Iterable[Judgement], expected: Collection[ItemId]) -> Decision:
    """Decide on one checkpoint; whatever was not measured did not pass.

    Args:
        judgements: In any order.
        expected: All items that the suite demands of this checkpoint.
    """
    ordered = sorted(judgements, key=lambda j: (-j.verdict.severity, j.item))
    failing = tuple(j for j in ordered if j.verdict.fails)
    seen = [j.item for j in ordered]
    unmeasured = tuple(sorted(set(expected) - set(seen)))
    repeated = len(seen) != len(set(seen))
    publishable = not (failing or unmeasured or repeated) and bool(expected)
    return Decision(
        publishable=publishable,
        failing=failing,
        warnings=tuple(j for j in ordered if j.verdict is Verdict.WARN),
        unmeasured=unmeasured,
        reason=_reason(failing, unmeasured, repeated=repeated, expected=len(expected)),
    )


def _reason(
    failing: tuple[Judgement, ...], unmeasured: tuple[ItemId, ...], *, repeated: bool, expected: int
) -> str:
    if not expected:
        return "nothing was to be measured: the suite and the selection leave no item"
    parts = []
    if failing:
        scenarios = sorted({j.scenario for j in failing if j.scenario not in ("", ALL)})
        metrics = [m for m in METRICS if any(j.metric == m for j in failing)]
        where = f" in {', '.join(scenarios)}" if scenarios else ""
        what = f" ({', '.join(metrics)})" if metrics else ""
        parts.append(f"{len(failing)} of {expected} items fail{where}{what}")
    if unmeasured:
        parts.append(f"{len(unmeasured)} of {expected} were not measured, the first {unmeasured[0]}")
    if repeated:
        parts.append("an item was judged more than once")
    return "; ".join(parts) if parts else f"all {expected} items pass"
