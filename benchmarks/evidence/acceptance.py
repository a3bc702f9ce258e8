"""The table that the rule is accepted by: `python -m benchmarks.evidence.acceptance [--bank held-out]`.

Plays gates of every kind with the looks of both packaged suites, on a bank and in made-up worlds, and prints
a row for each: shares that fail, are undecided, pass and pass with everything shown, and the mean number of
videos. A kind whose videos the bank lacks is named and left out. With `--kept FILE` it goes on where it was
cut short.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.evidence.bank import BANKS, BASE, Side, read
from benchmarks.evidence.fixtures import NEUTRAL, Ground
from benchmarks.evidence.gates import Pairing, Stage, draw
from benchmarks.evidence.losses import Loss
from benchmarks.evidence.replay import VIDEOS, GateResult, run_gate
from benchmarks.evidence.scenarios import CHECKPOINTS, REPORT_LOSS
from benchmarks.evidence.study import rules
from benchmarks.evidence.tables import interval
from benchmarks.evidence.worlds import NOISES, TOLERANCES, WORLDS, gate
from benchmarks.markdown import Marks, table
from pytest_wanlora.files import write_whole
from pytest_wanlora.suite import load
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.judgement import Verdict

#: First and last look of the packaged suites.
PACKAGED = ((3, 16), (3, 8))
#: Last looks at which false alarms are counted too: no setting may raise them.
SETTINGS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64)
#: Base seeds of a baseline that was measured with more than the last look takes.
STORED = (32, 64)
HEAD = (
    "gates",
    "looks",
    "fail by a comparison",
    "by a broken video",
    "undecided",
    "pass",
    "all shown",
    "videos",
)
MARKS = Marks("benchmarks.evidence.acceptance")
#: Share of the videos that are ruined.
RARE = 0.125
RUINED = ("noise", "mush", "near-black", "near-grey", "wrong-scenario")


@dataclass(frozen=True)
class Row:
    """One kind of gate.

    Attributes:
        name: In the table.
        looks: First and last.
        model: A condition of the bank, or a world.
        neutral: Whether its means are moved onto the base's.
        pairing: How seeds are drawn.
        loss: Planted.
        ruined: Kind of the videos that replace an eighth of them.
        noise: Of a world; 0: a bank's.
        share: Gates, in units of those asked for.
        stored: Base seeds that the baseline has, if that is more than the last look takes.
    """

    name: str
    looks: tuple[int, int]
    model: str
    neutral: bool = False
    pairing: Pairing = "paired"
    loss: Loss | None = None
    ruined: str = ""
    noise: float = 0.0
    share: int = 1
    stored: int = 0

    @property
    def design(self) -> str:
        """Looks, and the seeds of the baseline where there are more."""
        return f"{self.looks[0]} to {self.looks[1]}" + (f", {self.stored} stored" if self.stored else "")


def rows() -> Iterator[Row]:
    """Every kind, with the looks of both packaged suites; the base with all settings of seeds."""
    scenarios = [scenario.id for scenario in load("tiny").scenarios]
    for looks in PACKAGED:
        # false alarms by a single video are rarer than 1 in 200: more gates tell how rare
        yield Row("base, other seeds", looks, BASE, pairing="unpaired", share=6)
        for model in NEUTRAL:
            yield Row(f"{model}, lost nothing", looks, model, neutral=True, share=6)
            yield Row(f"{model}, labels swapped", looks, model, neutral=True, pairing="swapped", share=6)
        yield from (Row(model, looks, model) for model in CHECKPOINTS)
        for place in scenarios:
            loss = Loss(place, REPORT_LOSS)
            yield Row(f"the report's loss in {place}", looks, NEUTRAL[0], neutral=True, loss=loss)
        for kind in RUINED:
            yield Row(f"1 in 8 videos: {kind}", looks, NEUTRAL[0], neutral=True, ruined=kind)
        for world in WORLDS:
            for noise in NOISES:
                yield Row(f"{world}, {noise:g} bands", looks, world, noise=noise)
    for looks, stored in product(PACKAGED, STORED):
        yield Row("base, other seeds", looks, BASE, pairing="unpaired", share=6, stored=stored)
        yield from (
            Row(f"{model}, lost nothing", looks, model, neutral=True, share=6, stored=stored)
            for model in NEUTRAL
        )
        yield from (Row(model, looks, model, stored=stored) for model in CHECKPOINTS)
    for looks in ((min(3, most), most) for most in SETTINGS):
        if looks in PACKAGED:
            continue
        yield Row("base, other seeds", looks, BASE, pairing="unpaired")
        yield Row(f"{NEUTRAL[1]}, lost nothing", looks, NEUTRAL[1], neutral=True)


@cache
def _ground(part: str) -> Ground:
    return Ground.of("held-out" if part == "held-out" else "design")


@cache
def _ruined(part: str) -> dict[str, Side]:
    """Sides of ruined videos, which `Ground` leaves out where they have no score."""
    whole = read(BANKS[part], load("tiny")).sides
    mark = f"{BASE}+ruined-"
    return {name.removeprefix(mark): side for name, side in whole.items() if name.startswith(mark)}


def _with_ruined(side: Side, ruined: Side, number: int) -> Side:
    """A side whose videos are ruined with the chance `RARE`, each on its own."""
    generator = np.random.default_rng((number, 8))
    scores, features = {}, {}
    for name in side.scenarios:
        rare = generator.random(side.size) < RARE
        scores[name] = np.where(rare, ruined.scores[name], side.scores[name])
        features[name] = np.where(rare[:, None], ruined.features[name], side.features[name])
    return replace(side, scores=scores, features=features)


def _gates(row: Row, part: str, gates: int) -> Iterator[GateResult]:
    first, most = row.looks
    plan = Plan.between(first, most)
    if row.noise:
        # a broken video, which long tails bring, is not to end a gate before its comparisons are made
        plan = replace(plan, stop_at_failure=False)
        for number in range(gates):
            yield run_gate(gate(row.model, number, noise=row.noise, pairs=most), TOLERANCES, plan)
        return
    ground = _ground(part)
    side = ground.side(row.model, neutral=row.neutral, loss=row.loss)
    stage = Stage(side, ground.bank.base, ground.references)
    for number in range(gates):
        if row.ruined:
            spoilt = _with_ruined(side, _ruined(part)[row.ruined], number)
            stage = Stage(spoilt, ground.bank.base, ground.references)
        drawn = draw(number, ground.bank.base.size, row.pairing, pairs=most, stored=row.stored)
        yield run_gate(stage.pairs(drawn), ground.suite.tolerances, plan)


def played(row: Row, part: str, gates: int) -> tuple[str, ...]:
    """The row's cells in the table."""
    if row.ruined and row.ruined not in _ruined(part):
        return row.name, row.design, *["the bank has no such videos"] * 6
    found = list(_gates(row, part, row.share * gates))
    compared = sum(_compared(result) for result in found)
    broken = sum(any(i[1] == VIDEOS and v.fails for i, v in result.verdicts.items()) for result in found)
    shares = (
        np.mean([getattr(result, name) for result in found]) for name in ("undecided", "passes", "shown")
    )
    videos = np.mean([sum(result.pairs.values()) for result in found])
    return (
        row.name,
        row.design,
        _share(compared, len(found)),
        _share(broken, len(found)) + (f"; expected {_expected(row, part, gates):.1%}" if row.ruined else ""),
        *(f"{share:.1%}" for share in shares),
        f"{videos:.1f}",
    )


def _share(some: int, gates: int) -> str:
    low, high = interval(some, gates)
    return f"{some / gates:.1%} ({low:.1%} to {high:.1%})"


def _expected(row: Row, part: str, gates: int) -> float:
    """Share of gates that hold a ruined video among those that they would render of the sound candidate."""
    sound = _gates(replace(row, ruined=""), part, gates)
    return float(np.mean([1.0 - (1.0 - RARE) ** sum(result.pairs.values()) for result in sound]))


def _compared(result: GateResult) -> bool:
    """Whether an item other than the single videos fails."""
    return any(verdict is Verdict.FAIL and item[1] != VIDEOS for item, verdict in result.verdicts.items())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", choices=sorted(BANKS), default="held-out")
    parser.add_argument("--gates", type=int, default=500, help="of each kind (default: 500)")
    parser.add_argument("--only", default="", help="rows whose name has this text")
    parser.add_argument("--kept", type=Path, help="file of finished kinds: they are not played again")
    parser.add_argument("--docs", type=Path, help="also put the table between the marks of this document")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    wanted = [row for row in rows() if arguments.only in row.name]
    # a process a core: threads of their own would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    made_of = f"{arguments.bank}, {arguments.gates} gates, rules {rules()}"
    kept: dict[str, list[str]] = {}
    if arguments.kept and arguments.kept.exists():
        record = json.loads(arguments.kept.read_text(encoding="utf-8"))
        kept = record["kinds"] if record["made_of"] == made_of else {}
    with ProcessPoolExecutor(arguments.processes) as pool:
        pending = {
            pool.submit(played, row, arguments.bank, arguments.gates): str(row)
            # the longest first
            for row in sorted(wanted, key=lambda row: -row.share)
            if str(row) not in kept
        }
        for future in as_completed(pending):
            kept[pending[future]] = list(future.result())
            print(f"{len(kept)} of {len(wanted)} kinds", file=sys.stderr, flush=True)
            if arguments.kept:
                write_whole(arguments.kept, json.dumps({"made_of": made_of, "kinds": kept}).encode())
    found = table(HEAD, [tuple(kept[str(row)]) for row in wanted])
    print(found)
    if arguments.docs:
        MARKS.write(arguments.docs, found)


if __name__ == "__main__":
    main()
