"""The study: whole gates of many kinds, played on held-out seeds of the bank, and what they came to.

One cell is one kind of gate (which candidate, with which loss, seeds drawn how) under one or more designs. A
record is plain data; it is written after every cell, so that a study that was cut short goes on.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file

from benchmarks.evidence import bank, choosing, fvd_rule, resolving
from benchmarks.evidence.bank import Bank, Side
from benchmarks.evidence.gates import DESIGNS, Design, Pairing, Stage, Tally, draw, play, with_scores
from benchmarks.evidence.losses import Loss, References, neutral, planted, true_changes
from pytest_wanlora import verdict
from pytest_wanlora.atomic import write_whole
from pytest_wanlora.suite import Suite, load
from pytest_wanlora.tiny.registration import FOLDER
from pytest_wanlora.verdict.fvd_evidence import ReferenceSet
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.pairs import PairedScores

__all__ = ["NEUTRAL", "REPORT_LOSS", "SIZES", "Cell", "Ground", "Player", "cells", "run"]

#: What test2 of the report of 2025-11-11 lost: sharpness 45 %, colour 33 %, a Fréchet distance x3.5.
REPORT_LOSS = {"sharpness": 0.45, "color": 0.33, "fvd": 2.5}
#: Sizes of a loss, in fail bands.
SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)
#: Candidates that lost nothing; their scatter is that of a mild LoRA and of a strong one.
NEUTRAL = ("epoch-2@1", "epoch-0@1")
_CURVES = ("test2_nature", ALL)
_ASKED_FOR = 1.5


@dataclass(frozen=True)
class Ground:
    """What every cell stands on.

    Attributes:
        suite: Scenarios and tolerances.
        bank: The seeds that are used, and no others.
        references: By scenario and pooled.
    """

    suite: Suite
    bank: Bank
    references: References

    @classmethod
    def of(cls, part: Literal["design", "held-out"] = "held-out") -> Ground:
        """Read a bank and prepare the reference sets of the tiny suite."""
        suite = load("tiny")
        sets = {
            name: rows.astype(np.float64)
            for name, rows in load_file(FOLDER / "reference.safetensors").items()
        }
        category = {each.id: each.category for each in suite.scenarios}
        references = {name: ReferenceSet.of(sets[kind]) for name, kind in category.items()}
        references[ALL] = ReferenceSet.of(
            np.concatenate([sets[kind] for kind in dict.fromkeys(category.values())])
        )
        whole = bank.read(bank.BANKS[part], suite)
        # all videos of the one that stands still are degenerate: it fails with no statistics at all
        judged = {name: side for name, side in whole.sides.items() if not any(side.degenerate().values())}
        return cls(suite, replace(whole, sides=judged), references)

    @cached_property
    def neutral(self) -> Mapping[str, Side]:
        """Candidates that lost nothing, by the condition whose scatter they have."""
        return {
            name: neutral(self.bank.sides[name], self.bank.base, self.references, self._sharpness)
            for name in NEUTRAL
        }

    @property
    def _sharpness(self) -> float:
        return self.suite.scoring.sharpness_reference

    @property
    def metrics(self) -> tuple[str, ...]:
        """Ids of all that is gated on."""
        return (*(metric.id for metric in self.bank.base.metrics), "fvd")

    def side(self, cell: Cell) -> Side:
        """The candidate of a cell."""
        if not cell.neutral:
            return self.bank.sides[cell.model]
        side = self.neutral[cell.model]
        if cell.loss is None:
            return side
        return planted(side, self.bank.base, cell.loss, self.references, self._sharpness)


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
    designs: tuple[str, ...] = ("sequential", "fixed", "single")
    about: Mapping[str, Any] = field(default_factory=dict)


def cells(ground: Ground) -> Iterator[Cell]:
    """Yield all cells, those of one model and its loss-free features next to each other."""
    four, all_five = (
        ("sequential", "fixed", "tiny", "single"),
        tuple(name for name in DESIGNS if name != "strict"),
    )
    yield Cell("false alarms", "base, other seeds", bank.BASE, 2.0, pairing="unpaired", designs=all_five)
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
                designs=all_five,
            )
    places = [each.id for each in ground.suite.scenarios]
    for place in places:
        yield Cell(
            "report", place, NEUTRAL[0], 0.2, neutral=True, loss=Loss(place, REPORT_LOSS), designs=four
        )
    checkpoints = [name for name in ground.bank.conditions if not name.startswith(bank.BASE)]
    for name in checkpoints:
        yield Cell("real", name, name, 0.4, designs=all_five)
    # the size that is asked for comes first
    yield from sorted(_losses(ground, places), key=lambda cell: cell.about["size"] != _ASKED_FOR)
    # every other step of what was done to the base on purpose: the steps in between add time, and little else
    spoilt = [name for name in ground.bank.conditions if name not in checkpoints]
    for kind in dict.fromkeys(name.split("-")[0] for name in spoilt):
        steps = sorted((name for name in spoilt if name.startswith(f"{kind}-")), key=_strength)
        for name in steps[::2]:
            yield Cell("real", name, name, 0.2, designs=all_five)


def _losses(ground: Ground, places: Sequence[str]) -> Iterator[Cell]:
    """Yield losses of one metric in one place: all sizes for the mild scatter in two places, else one."""
    asked = ("sequential", "fixed", "single", "tiny", "patient")
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
                designs=asked if size == _ASKED_FOR else ("sequential", "fixed", "single"),
                about={"metric": metric, "place": place, "size": size},
            )


def _strength(condition: str) -> float:
    return float(condition.rpartition("-")[2])


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
        side = ground.side(cell)
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


def run(
    ground: Ground,
    path: Path,
    gates: int,
    *,
    say: Callable[[str], None],
    only: Sequence[Cell] | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Play all cells that the record lacks.

    Args:
        ground: The seeds.
        path: The record; one of other seeds, rules or gates is begun anew.
        gates: The unit; every cell takes its share of it.
        say: Progress.
        only: These cells alone, without what follows from the bank as a whole.
        processes: More than one play cells of the held-out bank side by side.
    """
    wanted = list(cells(ground) if only is None else only)
    head = _head(ground, gates)
    record: dict[str, Any] = {**head, "cells": {}, "seconds": 0.0}
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if {key: stored.get(key) for key in head} == head:
            record = stored
    extra: dict[str, Callable[[], Any]] = {
        "changes": lambda: _changes(ground),
        "fvd rule": lambda: fvd_rule.measured(ground, max(2, round(0.2 * gates))),
        "needed": lambda: resolving.needed_pairs(ground),
        "choosing": lambda: choosing.measured(Ground.of("design"), max(2, round(0.4 * gates))),
    }
    for name, make in extra.items() if only is None else ():
        if name not in record:
            started = time.perf_counter()
            record[name] = make()
            say(name)
            _keep(record, path, time.perf_counter() - started)
    missing = [cell for cell in wanted if f"{cell.part}/{cell.name}" not in record["cells"]]
    work, done, began = sum(cell.share for cell in missing), 0.0, time.perf_counter()
    for cell, tallies, seconds in _played(ground, missing, gates, processes):
        record["cells"][f"{cell.part}/{cell.name}"] = {**cell.about, "model": cell.model, "designs": tallies}
        done += cell.share
        left = (time.perf_counter() - began) / done * (work - done)
        number = next(iter(tallies.values()))["gates"]
        say(f"{cell.part}: {cell.name}, {number} gates; about {left:.0f} s to go")
        _keep(record, path, seconds)
    # the order of a study that was never cut short
    order = [f"{cell.part}/{cell.name}" for cell in wanted]
    record["cells"] = {name: record["cells"][name] for name in order}
    return record


def _played(
    ground: Ground, missing: Sequence[Cell], gates: int, processes: int
) -> Iterator[tuple[Cell, dict[str, Any], float]]:
    """Play cells here, or in processes that read the bank for themselves, and yield each as it is done."""
    if processes == 1:
        player = Player(ground)
        for cell in missing:
            yield _one(player, cell, gates)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for future in as_completed([pool.submit(_elsewhere, cell, gates) for cell in missing]):
            yield future.result()


def _one(player: Player, cell: Cell, gates: int) -> tuple[Cell, dict[str, Any], float]:
    started = time.perf_counter()
    tallies = player.play(cell, max(2, round(gates * cell.share)))
    return cell, tallies, time.perf_counter() - started


def _elsewhere(cell: Cell, gates: int) -> tuple[Cell, dict[str, Any], float]:
    return _one(_own_player(), cell, gates)


@cache
def _own_player() -> Player:
    """The player of a process, which keeps the gates of the last model."""
    return Player(Ground.of())


def _keep(record: dict[str, Any], path: Path, seconds: float) -> None:
    record["seconds"] += seconds
    write_whole(path, (json.dumps(record) + "\n").encode())


def _head(ground: Ground, gates: int) -> dict[str, Any]:
    """What makes two records one: seeds, rules, gates."""
    rules = hashlib.sha256()
    for file in sorted(Path(verdict.__file__).parent.glob("*.py")):
        rules.update(_code(file))
    for name in ("gates.py", "losses.py"):
        rules.update(_code(Path(__file__).parent / name))
    return {
        "bank": ground.bank.sha256,
        "design_bank": hashlib.sha256(bank.BANKS["design"].read_bytes()).hexdigest(),
        "seeds": ground.bank.base.size,
        "gates": gates,
        "rules": rules.hexdigest(),
        "tolerances": {name: ground.suite.tolerances[name].fail for name in ground.metrics},
    }


def _code(file: Path) -> bytes:
    """A module without its words: a better docstring is no other rule."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = [*node.body[1:], ast.Pass()]
    return ast.unparse(tree).encode()


def _changes(ground: Ground) -> dict[str, dict[str, float]]:
    """Each candidate's largest true losses, in fail bands, by item."""
    found = {}
    sides = {**ground.bank.sides, **{f"{name}, lost nothing": side for name, side in ground.neutral.items()}}
    for name, side in sides.items():
        if name == bank.BASE:
            continue
        changes = true_changes(side, ground.bank.base, ground.references)
        bands = {item: change / ground.suite.tolerances[item[1]].fail for item, change in changes.items()}
        worst = sorted(bands, key=lambda item: -bands[item])[:4]
        found[name] = {f"{place}/{metric}": round(bands[place, metric], 4) for place, metric in worst}
    return found
