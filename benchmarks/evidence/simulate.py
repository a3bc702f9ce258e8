"""Plays the gates of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from benchmarks.evidence.fixtures import Ground
from benchmarks.evidence.gates import DESIGNS, Design, Stage, Tally, draw, play, with_scores
from benchmarks.evidence.scenarios import Cell
from pytest_wanlora.verdict.pairs import PairedScores

__all__ = ["Player", "own_player"]


class Player:
    """Plays cells; keeps the gates of the last model whose features a loss of scores leaves alone.

    Args:
        ground: Of all cells.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._kept: dict[int, PairedScores] = {}
        self._model = ""

    def play(
        self, cell: Cell, gates: int, designs: Mapping[str, Design] = DESIGNS
    ) -> dict[str, dict[str, Any]]:
        """Tallies of a cell, by design.

        Args:
            cell: Which gates.
            gates: How many.
            designs: Those that the cell names are taken from these.
        """
        ground = self._ground
        side = ground.side(cell.model, neutral=cell.neutral, loss=cell.loss)
        scores_only = cell.loss is not None and "fvd" not in cell.loss.sizes
        if scores_only and self._model != cell.model:
            self._kept, self._model = {}, cell.model
        origin = ground.neutral[cell.model] if scores_only else side
        stage = Stage(origin, ground.bank.base, ground.references)
        tallies = {design: Tally() for design in cell.designs}
        for number in range(gates):
            drawn = draw(number, ground.bank.base.size, cell.pairing)
            if scores_only:
                if number not in self._kept:
                    self._kept[number] = stage.pairs(drawn)
                pairs = with_scores(self._kept[number], side, drawn)
            else:
                pairs = stage.pairs(drawn)
            for design, tally in tallies.items():
                tally.add(play(pairs, ground.suite.tolerances, designs[design]))
        return {design: tally.record() for design, tally in tallies.items()}


@cache
def own_player(part: Literal["design", "held-out"]) -> Player:
    """The player of a process that plays for another one; it keeps the gates of the last model."""
    return Player(Ground.of(part))
