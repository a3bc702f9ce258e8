"""The rule for `fvd` against the naive one: the relative change of the raw distance, compared by the band."""

from __future__ import annotations

from typing import Any

from benchmarks.evidence.bands import band
from benchmarks.evidence.bank import Side
from benchmarks.evidence.fixtures import NEUTRAL, Ground
from benchmarks.evidence.gates import DESIGNS, Pairing, Stage, draw, play
from benchmarks.evidence.losses import Loss
from benchmarks.evidence.scenarios import REPORT_LOSS
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.fvd import distance
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.pairs import PairedScores

__all__ = ["measured", "naive"]

_NUMBERS = (4, 8, 16)


def naive(pairs: PairedScores, tolerance: Any, n: int) -> bool:  # noqa: ANN401  ToleranceLike
    """Whether any raw distance of the first n videos, a scenario's or that of all, is beyond the band."""
    if pairs.sets is None:
        return False
    for scenario in (*pairs.candidate, ALL):
        videos, candidate, baseline = pairs.sets.of(scenario, n)
        before, after = (distance(videos, rows)[0] for rows in (baseline, candidate))
        if band(METRICS["fvd"], before, after, tolerance)[1].fails:
            return True
    return False


def measured(ground: Ground, gates: int) -> dict[str, dict[str, float]]:
    """Share of gates in which any `fvd` fails, by kind of gate and rule."""
    band_size, mild = ground.suite.tolerances["fvd"].fail, NEUTRAL[0]
    kinds: dict[str, tuple[Side, Pairing]] = {
        "base, other seeds": (ground.bank.base, "unpaired"),
        **{f"{name}, lost nothing": (ground.side(name, neutral=True), "paired") for name in NEUTRAL},
    }
    for word, size in (("1.5 x band", 1.5 * band_size), ("x3.5", REPORT_LOSS["fvd"])):
        loss = Loss("test2_nature", {"fvd": size})
        lost = ground.side(mild, neutral=True, loss=loss)
        kinds[f"{mild}, fvd of test2_nature {word}"] = (lost, "paired")
    found = {}
    for name, (side, pairing) in kinds.items():
        stage = Stage(side, ground.bank.base, ground.references)
        counts = dict.fromkeys([f"raw, {n} videos" for n in _NUMBERS] + ["sequential", "fixed"], 0)
        for number in range(gates):
            pairs = stage.pairs(draw(number, ground.bank.base.size, pairing))
            for n in _NUMBERS:
                counts[f"raw, {n} videos"] += naive(pairs, ground.suite.tolerances["fvd"], n)
            for design in ("sequential", "fixed"):
                verdicts = play(pairs, ground.suite.tolerances, DESIGNS[design]).verdicts
                counts[design] += any(each.fails for (_, metric), each in verdicts.items() if metric == "fvd")
        found[name] = {"gates": float(gates), **{rule: float(count) for rule, count in counts.items()}}
    return found
