"""Whether `other_seeds` says what gates of other seeds do: `python -m benchmarks.evidence.other_seeds`.

Two gates of a kind are played on seeds that neither has in common with the other. What is said of the first
is sorted by its size, and beside the mean of each group stands the share of the second that ended otherwise.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.evidence.bank import BANKS, BASE
from benchmarks.evidence.fixtures import NEUTRAL, Ground
from benchmarks.evidence.gates import Draw, Stage, draw
from benchmarks.evidence.losses import Loss
from benchmarks.evidence.replay import VIDEOS, GateResult, broken_scenarios, run_gate
from benchmarks.evidence.tables import interval
from benchmarks.markdown import Marks, table
from pytest_wanlora.verdict.evidence import Floats, Plan
from pytest_wanlora.verdict.judgement import Details, Judgement
from pytest_wanlora.verdict.other_seeds import disagreement
from pytest_wanlora.verdict.pairs import PairedScores

MARKS = Marks("benchmarks.evidence.other_seeds")
HEAD = (
    "said",
    "gates",
    "mean of what is said",
    "other seeds disagree",
    "of gates that pass",
    "of those that do not",
)
EDGES = (0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0)
PLAN = Plan.between(3, 16)
#: Losses that lie about their band, in fail bands: what seeds decide.
NEAR = (0.7, 1.0, 1.3)
_MOST = PLAN.looks[-1]


def kinds(ground: Ground) -> Iterator[tuple[str, bool, Loss | None]]:
    """Condition, whether it is neutral, and its loss."""
    yield BASE, False, None
    yield from ((name, False, None) for name in ground.bank.conditions if not name.startswith(BASE))
    yield from ((name, True, None) for name in NEUTRAL)
    for metric, place in (("clip", "test2_nature"), ("fvd", "test3_action")):
        for size in NEAR:
            yield NEUTRAL[0], True, Loss(place, {metric: size * ground.suite.tolerances[metric].fail})


def said(scores: PairedScores, result: GateResult, ground: Ground) -> float:
    """What is said of a gate that was played."""
    tolerances, seen = ground.suite.tolerances, scores.first(result.pairs)
    judged = [
        Judgement(
            "regression",
            "candidate",
            *item,
            result.verdicts[item],
            "",
            change=found.change,
            fail=tolerances[item[1]].fail,
            evidence=found,
            n=found.n,
        )
        for item, found in result.assessment.evidence.items()
    ]
    stored = scores.first(dict.fromkeys(result.pairs, _MOST)).baseline
    for name in result.pairs:
        broken: Details = {"broken": tuple(_broken(seen, stored, name, ground))}
        judged.append(
            Judgement("videos", "candidate", name, "", result.verdicts[name, VIDEOS], "", details=broken)
        )
    sides = [
        {
            (name, metric.id): dict(enumerate(of[name][row].tolist()))
            for name in result.pairs
            for row, metric in enumerate(scores.metrics)
        }
        for of in (seen.candidate, seen.baseline)
    ]
    found = disagreement(judged, sides[0], sides[1], tuple(result.pairs), PLAN.looks)
    assert found is not None, "a gate of a bank is measured whole"
    return found


def _broken(
    seen: PairedScores, stored: Mapping[str, Floats], name: str, ground: Ground
) -> Iterator[tuple[str, int, str]]:
    for seed in range(seen.candidate[name].shape[1]):
        one = PairedScores(
            seen.metrics,
            {name: seen.candidate[name][:, [seed]]},
            {name: seen.baseline[name][:, [seed]]},
            stored=stored,
        )
        if broken_scenarios(one, ground.suite.tolerances):
            yield name, seed, ""


def played(part: str, number: int, gates: int) -> list[tuple[float, bool, bool]]:
    """Of each pair of gates of a kind: what is said of the first, whether it passes, and the second."""
    ground = Ground.of("held-out" if part == "held-out" else "design")
    model, neutral, loss = list(kinds(ground))[number]
    stage = Stage(ground.side(model, neutral=neutral, loss=loss), ground.bank.base, ground.references)
    found = []
    for gate in range(gates):
        # the base is compared with other seeds of itself
        drawn = draw(gate, ground.bank.base.size, "unpaired" if model == BASE else "paired", pairs=2 * _MOST)
        halves = [
            stage.pairs(Draw(drawn.candidate[cut], drawn.baseline[cut], drawn.swapped[cut]))
            for cut in (slice(_MOST), slice(_MOST, 2 * _MOST))
        ]
        results = [run_gate(half, ground.suite.tolerances, PLAN) for half in halves]
        found.append((said(halves[0], results[0], ground), results[0].passes, results[1].passes))
    return found


def rows(found: list[tuple[float, bool, bool]]) -> Iterator[tuple[str, ...]]:
    """A row for each size of what is said."""
    chance, passes, other = (np.array(column) for column in zip(*found, strict=True))
    differs = passes != other
    for low, high in pairwise(EDGES):
        mine = (chance >= low) & ((chance < high) | (high == 1.0))
        if mine.any():
            sides = [mine & passes, mine & ~passes]
            yield (
                f"{low:.0%} to {high:.0%}",
                str(mine.sum()),
                f"{chance[mine].mean():.0%}",
                _share(int(differs[mine].sum()), int(mine.sum())),
                *(f"{differs[side].mean():.0%} of {side.sum()}" if side.any() else "-" for side in sides),
            )


def _share(some: int, gates: int) -> str:
    low, high = interval(some, gates)
    return f"{some / gates:.0%} ({low:.0%} to {high:.0%})"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", choices=sorted(BANKS), default="held-out")
    parser.add_argument("--gates", type=int, default=60, help="pairs of each kind (default: 60)")
    parser.add_argument("--docs", type=Path, help="also put the table between the marks of this document")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    # a process a core: threads of their own would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    count = len(list(kinds(Ground.of())))
    with ProcessPoolExecutor(arguments.processes) as pool:
        parts = [pool.submit(played, arguments.bank, number, arguments.gates) for number in range(count)]
        made = table(HEAD, list(rows([each for part in parts for each in part.result()])))
    print(made)
    if arguments.docs:
        MARKS.write(arguments.docs, made)


if __name__ == "__main__":
    main()
