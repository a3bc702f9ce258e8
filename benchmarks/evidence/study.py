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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.evidence import bank, futility_threshold, fvd_rule, sample_size
from benchmarks.evidence.fixtures import Ground
from benchmarks.evidence.losses import true_changes
from benchmarks.evidence.scenarios import Cell, cells
from benchmarks.evidence.simulate import Player, own_player
from pytest_wanlora import verdict
from pytest_wanlora.files import write_whole

__all__ = ["run"]


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
        "needed": lambda: sample_size.needed_pairs(ground),
        "choosing": lambda: futility_threshold.measured(
            Ground.of("design"), max(2, round(0.4 * gates)), processes
        ),
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
    return _one(own_player("held-out"), cell, gates)


def _keep(record: dict[str, Any], path: Path, seconds: float) -> None:
    record["seconds"] += seconds
    write_whole(path, (json.dumps(record) + "\n").encode())


def rules() -> str:
    """Digest of the code that decides and that plays gates."""
    found = hashlib.sha256()
    for file in sorted(Path(verdict.__file__).parent.glob("*.py")):
        found.update(_code(file))
    for name in ("gates.py", "losses.py"):
        found.update(_code(Path(__file__).parent / name))
    return found.hexdigest()


def _head(ground: Ground, gates: int) -> dict[str, Any]:
    """What makes two records one: seeds, rules, gates."""
    return {
        "bank": ground.bank.sha256,
        "design_bank": hashlib.sha256(bank.content(bank.BANKS["design"])).hexdigest(),
        "seeds": ground.bank.base.size,
        "gates": gates,
        "rules": rules(),
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
