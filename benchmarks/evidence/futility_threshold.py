"""How the chance was chosen below which an item gets no more videos: gates on design seeds alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.evidence.bank import BASE
from benchmarks.evidence.fixtures import NEUTRAL, Ground
from benchmarks.evidence.gates import Design
from benchmarks.evidence.losses import Loss
from benchmarks.evidence.scenarios import CHECKPOINTS, Cell
from benchmarks.evidence.simulate import Player, own_player
from pytest_wanlora.verdict.evidence import Plan

__all__ = ["FUTILITIES", "measured"]

#: From never stopping for it to stopping as soon as the last look would rather not fail the item.
FUTILITIES = (0.0, 0.05, 0.1, 0.15, 0.2)
#: The losses of 1.5 bands that are hardest to catch, by the condition whose scatter they have.
_HARD = (
    ("epoch-2@1", "test3_action", "fvd"),
    ("epoch-2@1", "test2_nature", "fvd"),
    ("epoch-2@1", "test2_nature", "clip"),
    ("epoch-0@1", "test2_nature", "fvd"),
    ("epoch-0@1", "test2_nature", "clip"),
    ("epoch-0@1", "test2_nature", "temporal"),
)


def measured(ground: Ground, gates: int, processes: int = 1) -> dict[str, dict[str, dict[str, Any]]]:
    """Tallies by cell and design.

    Args:
        ground: Of design seeds.
        gates: Of each cell.
        processes: More than one read the design bank for themselves.
    """
    designs = {
        f"{futility:g}": Design(replace(Plan.between(3, 16), futility=futility)) for futility in FUTILITIES
    }
    designs["16 at once"] = Design(Plan((16,)))
    names = tuple(designs)
    wanted = [Cell("false alarms", "base, other seeds", BASE, 1.0, pairing="unpaired", designs=names)]
    wanted += [
        Cell("false alarms", f"{model}, lost nothing", model, 1.0, neutral=True, designs=names)
        for model in NEUTRAL
    ]
    wanted += [Cell("checkpoints", name, name, 1.0, designs=names) for name in CHECKPOINTS]
    for model, place, metric in _HARD:
        loss = Loss(place, {metric: 1.5 * ground.suite.tolerances[metric].fail})
        name = f"{metric} of {place}, scatter of {model}"
        wanted.append(Cell("losses", name, model, 1.0, neutral=True, loss=loss, designs=names))
    named = [f"{cell.part}/{cell.name}" for cell in wanted]
    if processes == 1:
        player = Player(ground)
        return dict(zip(named, (player.play(cell, gates, designs) for cell in wanted), strict=True))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return dict(
            zip(named, pool.map(partial(_elsewhere, gates=gates, designs=designs), wanted), strict=True)
        )


def _elsewhere(cell: Cell, gates: int, designs: Mapping[str, Design]) -> dict[str, dict[str, Any]]:
    return own_player("design").play(cell, gates, designs)
