"""The kinds of gates that the study plays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from benchmarks.evidence import bank
from benchmarks.evidence.fixtures import NEUTRAL, Ground
from benchmarks.evidence.gates import DESIGNS, Pairing
from benchmarks.evidence.losses import Loss
from pytest_wanlora.verdict.judgement import ALL

__all__ = ["CHECKPOINTS", "REPORT_LOSS", "SIZES", "Cell", "cells"]

#: What test2 of the report of 2025-11-11 lost: sharpness 45 %, colour 33 %, a Fréchet distance x3.5.
REPORT_LOSS = {"sharpness": 0.45, "color": 0.33, "fvd": 2.5}
#: Sizes of a loss, in fail bands.
SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)
#: The example LoRAs at full strength.
CHECKPOINTS = ("epoch-0@1", "epoch-1@1", "epoch-2@1")
_ALL = tuple(DESIGNS)
_FOUR = ("sequential", "fixed", "tiny", "single")
_THREE = ("sequential", "fixed", "single")
_CURVES = ("test2_nature", ALL)
_ASKED_FOR = 1.5


@dataclass(frozen=True)
class Cell:
    """One kind of gate.

    Attributes:
        part: Of the study.
        name: Unique within the part.
        model: A condition of the bank.
        share: Gates, in units of those asked for.
        neutral: Whether its means are moved onto the base's first.
        loss: Planted after that.
        pairing: How seeds are drawn.
        designs: Played on the same draws.
        about: Metric, place and size, for tables.
    """

    part: str
    name: str
    model: str
    share: float
    neutral: bool = False
    loss: Loss | None = None
    pairing: Pairing = "paired"
    designs: tuple[str, ...] = _ALL
    about: Mapping[str, Any] = field(default_factory=dict)


def cells(ground: Ground) -> Iterator[Cell]:
    """Yield all cells, those of one model and its loss-free features next to each other."""
    yield Cell("false alarms", "base, other seeds", bank.BASE, 2.0, pairing="unpaired")
    for model in NEUTRAL:
        pairings: tuple[tuple[Pairing, str], ...] = (
            ("paired", "lost nothing"),
            ("swapped", "labels swapped"),
        )
        for pairing, word in pairings:
            yield Cell(
                "false alarms",
                f"{model}, {word}",
                model,
                2.0,
                neutral=True,
                pairing=pairing,
            )
    places = [each.id for each in ground.suite.scenarios]
    for place in places:
        yield Cell(
            "report", place, NEUTRAL[0], 0.2, neutral=True, loss=Loss(place, REPORT_LOSS), designs=_FOUR
        )
    checkpoints = [name for name in ground.bank.conditions if not name.startswith(bank.BASE)]
    for name in checkpoints:
        yield Cell("real", name, name, 0.4)
    # the size that is asked for comes first
    yield from sorted(_losses(ground, places), key=lambda cell: cell.about["size"] != _ASKED_FOR)
    # every other step of what was done to the base on purpose: the steps in between add time, and little else
    # ruined videos are no step of anything: `acceptance` mixes single ones in
    spoilt = [name for name in ground.bank.conditions if name not in checkpoints and "+ruined-" not in name]
    for kind in dict.fromkeys(name.split("-")[0] for name in spoilt):
        steps = sorted((name for name in spoilt if name.startswith(f"{kind}-")), key=_strength)
        for name in steps[::2]:
            yield Cell("real", name, name, 0.2)


def _losses(ground: Ground, places: Sequence[str]) -> Iterator[Cell]:
    """Yield losses of one metric in one place: all sizes for the mild scatter in two places, else one."""
    for model, metric, place in product(NEUTRAL, ground.metrics, (*places, ALL)):
        curve = model == NEUTRAL[0] and place in _CURVES
        for size in SIZES if curve else (_ASKED_FOR,):
            yield Cell(
                "sizes",
                f"{model} {metric} {place} {size:g}",
                model,
                0.2,
                neutral=True,
                loss=Loss(place, {metric: size * ground.suite.tolerances[metric].fail}),
                designs=_ALL if size == _ASKED_FOR else _THREE,
                about={"metric": metric, "place": place, "size": size},
            )


def _strength(condition: str) -> float:
    return float(condition.rpartition("-")[2])
