"""How often the questions about a LoRA are answered wrongly: `python -m benchmarks.evidence.questions`.

Whole gates are played on the held-out seeds of the bank: the scores are those of a candidate that lost
nothing, so that all items of a gate share their budget, without FVD; a question is planted beside them.

* Bleed: the candidate's features are the base's, moved along a real LoRA's change of each seed by as much as
  the bleed over all seeds asks for.
* Spread over seeds: the base's features, drawn together around their mean.
* Likeness: the bank has no references. The scatter of a pair is that of the cosine of frames and caption
  (`clip` / 2.5) of the mild LoRA, and a gain is added; this tells the test, not an embedder.

* All of them at once, each of a size from which nothing is wrong: how often any item of such a gate fails.

Copies need clips, which the bank does not have: see `benchmarks.evidence.copies`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.fixtures import Ground
from benchmarks.evidence.gates import DESIGNS, Stage, draw
from pytest_wanlora.files import write_whole
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite.subject import Bleed, Collapse
from pytest_wanlora.verdict import questions
from pytest_wanlora.verdict.evidence import Contrast, Floats, Plan
from pytest_wanlora.verdict.judgement import Judgement, Verdict
from pytest_wanlora.verdict.pairs import PairedScores
from pytest_wanlora.verdict.questions import Question
from pytest_wanlora.verdict.sequential import assess

__all__ = ["Cell", "cells", "play"]

_BAND, _SPREAD, _GAIN = Bleed(), Collapse(), 0.1
_OTHER = ("test2_nature", "test3_action")
_SUBJECT = "test1_korean_city"
Plant = Callable[[Ground, NDArray[np.intp]], Question]


@dataclass(frozen=True)
class Cell:
    """Gates of one kind.

    Attributes:
        metric: What is asked.
        name: Of what is planted.
        size: How much: the value over all seeds.
        scenario: Where.
        plant: The question of a gate with given seeds.
        beside: What else is asked in the same gate.
    """

    metric: str
    name: str
    size: float
    scenario: str
    plant: Plant
    beside: tuple[Cell, ...] = ()


def cells(ground: Ground) -> Iterator[Cell]:
    """All cells; sizes at which nothing may fail, and sizes at which it must."""
    base = ground.bank.base
    together: list[Cell] = []

    def made(cell: Cell, *, harmless: bool) -> Cell:
        together.extend([cell] if harmless else ())
        return cell

    for scenario in _OTHER:
        stored = base.features[scenario]
        unit = questions.spread(stored)[0]
        for model in ("epoch-0@1", "epoch-2@1"):
            moved = ground.bank.sides[model].features[scenario] - stored
            truth = float(np.linalg.norm(moved, axis=1).mean()) / unit
            for size in (0.4, 0.7, 1.0):
                own = stored + moved * (size / truth)
                cell = Cell("bleed", f"as {model}", size, scenario, partial(_bleed, scenario, own))
                yield made(cell, harmless=size == _BAND.warn and model == "epoch-2@1")
    stored = base.features[_SUBJECT]
    for size in (1.0, 0.5, 0.25, 0.1):
        own = stored.mean(axis=0) + size * (stored - stored.mean(axis=0))
        cell = Cell("collapse", "drawn together", size, _SUBJECT, partial(_collapse, own))
        yield made(cell, harmless=size == _SPREAD.warn)
    for size in (0.0, 0.05, 0.1, 0.12, 0.15, 0.2):
        cell = Cell("likeness", f"a gain of {_GAIN:g} demanded", size, _SUBJECT, partial(_gain, size))
        yield made(cell, harmless=size == 1.5 * _GAIN)
    first, *others = together
    yield replace(first, metric="all", name="all that is harmless", beside=tuple(others))


def _bleed(scenario: str, own: Floats, ground: Ground, seeds: NDArray[np.intp]) -> Question:
    stored, drawn = ground.bank.base.features[scenario][seeds], own[seeds]
    make = partial(_first, questions.bleed, drawn, stored, _BAND.warn)
    return Question(METRICS["bleed"], _BAND.warn, _BAND.fail, make)


def _collapse(own: Floats, ground: Ground, seeds: NDArray[np.intp]) -> Question:
    stored, drawn = ground.bank.base.features[_SUBJECT][seeds], own[seeds]
    make = partial(_first, questions.collapse, drawn, stored, _SPREAD.warn)
    return Question(METRICS["collapse"], _SPREAD.warn, _SPREAD.fail, make)


def _gain(size: float, ground: Ground, seeds: NDArray[np.intp]) -> Question:
    sides = (ground.neutral["epoch-2@1"], ground.bank.base)
    own, stored = (side.of(_SUBJECT, "clip") / 2.5 for side in sides)
    own = own - own.mean() + stored.mean() + size
    make = partial(_first, questions.gain, own[seeds], stored[seeds], _GAIN)
    return Question(METRICS["likeness"], _GAIN, _GAIN, make, offset=1.0, demanded=True)


def _first(
    make: Callable[[Floats, Floats, float], Contrast],
    own: Floats,
    stored: Floats,
    warn: float,
    n: int,
) -> Contrast:
    return make(own[:n], stored, warn)


def play(
    pairs: PairedScores, asked: Mapping[tuple[str, str], Question], plan: Plan, ground: Ground
) -> tuple[Mapping[tuple[str, str], Verdict], Mapping[str, int], bool]:
    """Play one gate.

    Returns:
        The verdict of each question, the pairs that each scenario took, and whether any item fails.
    """
    whole = replace(pairs, questions=dict(asked))
    taken = dict.fromkeys(pairs.pairs(), plan.looks[0])
    while True:
        found = assess(whole.first(taken), ground.suite.tolerances, plan)
        if not found.unsettled:
            break
        taken |= {name: plan.following(taken[name]) or taken[name] for name in found.unsettled}
    verdicts = {}
    for item, question in asked.items():
        told = found.evidence[item]
        blank = Judgement("question", "played", *item, Verdict.ERROR, "")
        if question.demanded:
            judged = questions.judge_gain(
                blank,
                question,
                told,
                last=told.n >= plan.looks[-1],
                sides=(0.0, told.change),
                details={"first": 0.0, "last": 0.0},
            )
        else:
            judged = questions.judge_question(blank, question, told, undecided="block")
        verdicts[item] = judged.verdict
    others = any(
        each.significant and each.change > ground.suite.tolerances[metric].fail
        for (_, metric), each in found.evidence.items()
        if metric in ground.suite.tolerances
    )
    return verdicts, taken, others or Verdict.FAIL in verdicts.values()


def table(
    ground: Ground, gates: int, designs: tuple[str, ...], metrics: tuple[str, ...], size: float | None = None
) -> Iterator[Mapping[str, object]]:
    """A row for each cell of some metrics, or of one size of them, and design."""
    stage = Stage(ground.neutral["epoch-2@1"], ground.bank.base, ground.references)
    kept: dict[int, PairedScores] = {}
    for cell in (each for each in cells(ground) if each.metric in metrics and size in (None, each.size)):
        for design in designs:
            plan = DESIGNS[design].plan
            verdicts: Counter[str] = Counter()
            videos = failed = 0
            for number in range(gates):
                drawn = draw(number, ground.bank.base.size, "paired")
                if number not in kept:
                    kept[number] = replace(stage.pairs(drawn), sets=None)
                last = plan.looks[-1]
                pairs = kept[number].first(dict.fromkeys(kept[number].pairs(), last))
                pairs = replace(pairs, stored=pairs.baseline)
                planted = [
                    (each.scenario, each.plant(ground, drawn.candidate[:last]))
                    for each in (cell, *cell.beside)
                ]
                asked = {(place, question.metric.id): question for place, question in planted}
                found, taken, any_fails = play(pairs, asked, plan, ground)
                verdicts[next(iter(found.values()))] += 1
                videos, failed = videos + taken[cell.scenario], failed + any_fails
            yield {
                **{"metric": cell.metric, "planted": cell.name, "size": cell.size, "scenario": cell.scenario},
                **{"design": design, "gates": gates, "mean pairs": round(videos / gates, 1)},
                **{str(name): round(count / gates, 3) for name, count in sorted(verdicts.items())},
                "any item fails": round(failed / gates, 3),
            }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.questions", description=__doc__)
    parser.add_argument("--gates", type=int, default=500, help="of each cell (default: 500)")
    parser.add_argument("--designs", default="tiny,sequential", help="of gates.DESIGNS, with commas")
    parser.add_argument("--metrics", default="likeness,collapse,bleed,all", help="with commas")
    parser.add_argument(
        "--bank", help="design, held-out (default), or a file of render_bank", default="held-out"
    )
    parser.add_argument("--size", type=float, help="only cells of this size")
    parser.add_argument("--out", type=Path, help="a JSON record; by default lines are printed alone")
    arguments = parser.parse_args()
    rows = []
    named = arguments.bank
    for row in table(
        Ground.of(named if named in ("design", "held-out") else Path(named)),
        arguments.gates,
        tuple(arguments.designs.split(",")),
        tuple(arguments.metrics.split(",")),
        arguments.size,
    ):
        rows.append(row)
        print(json.dumps(row), file=sys.stdout, flush=True)
    if arguments.out is not None:
        write_whole(arguments.out, (json.dumps(rows, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
