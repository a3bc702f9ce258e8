"""Races between many candidates, drawn from a bank of videos and played with the package's own rule.

``python -m benchmarks.evidence.races BANK... --races 500 --out races.json`` takes the candidates of the banks
by their names, `RUN-EPOCH@STRENGTH`, and plays races between all epochs and strengths of a run on seeds drawn
without replacement, the same in all scenarios and for all candidates. Beside the race stands what people do
without one: the best of one video of each prompt, and successive halving.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence import bank
from benchmarks.evidence.bank import Side
from benchmarks.evidence.fixtures import reference_sets
from benchmarks.evidence.gates import Draw, Stage
from benchmarks.evidence.losses import References
from benchmarks.evidence.replay import broken_scenarios, run_gate
from pytest_wanlora.suite import Suite, load
from pytest_wanlora.verdict import fvd
from pytest_wanlora.verdict.evidence import Floats, Plan
from pytest_wanlora.verdict.race import Race, Rules, Sample, Yardstick
from pytest_wanlora.verdict.sequential import assess
from pytest_wanlora.verdict.tie_break import TieBreak

#: Seeds of the last look, as in a suite that names none.
MOST = 16
PLAN = Plan.between(3, MOST)
RULES = Rules(PLAN.looks)
_SEED = 20261129
#: What two candidates may differ by and still be called equally good, in fail bands.
CLOSE = 0.25
#: What the command line may change of them.
_RULES = ("alpha", "margin", "spending", "prior_freedom", "doubt")
#: Seeds, and the share of the candidates that goes on, of successive halving; its last round has all seeds.
_HALVING = (3, 6, 12, MOST)


@dataclass(frozen=True)
class Field:
    """The candidates of one run, as a bank has them.

    Attributes:
        name: Of the run.
        suite: Scenarios and tolerances.
        references: By scenario and pooled.
        base: The model without LoRA.
        sides: By candidate.
    """

    name: str
    suite: Suite
    references: References
    base: Side
    sides: Mapping[str, Side]

    @cached_property
    def truth(self) -> Mapping[str, float]:
        """The loss of each candidate over all videos of the bank, in fail bands."""
        yardstick = self.yardstick(_values(self.base, self.references))
        base = _values(self.base, self.references)
        return {
            name: float(yardstick.losses(_values(side, self.references), base)[0])
            for name, side in self.sides.items()
        }

    @cached_property
    def worst(self) -> Mapping[str, float]:
        """The largest true loss of one comparison of each candidate, in fail bands."""
        base = _values(self.base, self.references)
        worst = replace(self.yardstick(base), objective="worst")
        return {
            name: float(worst.losses(_values(side, self.references), base)[0])
            for name, side in self.sides.items()
        }

    def yardstick(self, stored: Sample) -> Yardstick:
        """What losses are measured in, from the baseline's seeds."""
        suite = self.suite
        return Yardstick.of(
            stored,
            self.base.scenarios,
            self.base.metrics,
            suite.tolerances,
            {name: self.references[name] for name in self.base.scenarios},
        )

    @cached_property
    def stages(self) -> Mapping[str, Stage]:
        """Each candidate and the base, with the products of their features."""
        return {name: Stage(side, self.base, self.references) for name, side in self.sides.items()}


def _values(side: Side, references: References) -> Sample:
    """Of all videos of a side; nothing is left out of so many, but for the scatter of its distances."""
    means = np.hstack([side.scores[name].mean(axis=1) for name in side.scenarios])
    above = []
    for name in side.scenarios:
        videos = fvd.Videos.of(side.features[name], references[name])
        above.append(np.subtract(*fvd.distance(videos, np.arange(side.size))))
    row = np.concatenate([means, above])
    return Sample(np.tile(row, (side.size + 1, 1)))


def fields(paths: Iterable[Path]) -> list[Field]:
    """The runs of banks whose conditions are named `RUN-EPOCH@STRENGTH`; several banks are put end to end."""
    suite = load("tiny")
    banks = [bank.read(path, suite) for path in paths]
    joined = {name: _joined([each.sides[name] for each in banks]) for name in banks[0].sides}
    sound = {name: side for name, side in joined.items() if not any(side.degenerate().values())}
    runs = dict.fromkeys(name.partition("-")[0] for name in sound if name != bank.BASE and "+" not in name)
    references = reference_sets(suite)
    return [
        Field(
            run,
            suite,
            references,
            sound[bank.BASE],
            {name: side for name, side in sound.items() if name.startswith(f"{run}-")},
        )
        for run in runs
    ]


def _joined(sides: Sequence[Side]) -> Side:
    first = sides[0]
    return replace(
        first,
        scores={name: np.hstack([side.scores[name] for side in sides]) for name in first.scenarios},
        features={name: np.vstack([side.features[name] for side in sides]) for name in first.scenarios},
    )


@dataclass(frozen=True)
class Played:
    """One race.

    Attributes:
        winner: Recommended candidate; None where the race has no winner that passes its gate.
        first: Who won the race, whether or not it passes.
        videos: Rendered in the race and the winner's gate.
        race_videos: Of those, in the race.
        regret: How much more the winner of the race truly loses than the best, in fail bands.
        equals: How many could not be told from the winner.
        best_among: Whether the truly best is the winner or among those.
        beyond: Largest true loss of one comparison of the recommended candidate, in fail bands.
        eye: Regret of the best of one video a prompt.
        halving: Regret of successive halving.
        halving_videos: What that rendered.
    """

    winner: str | None
    first: str
    videos: int
    race_videos: int
    regret: float
    equals: int
    best_among: bool
    beyond: float | None
    eye: float
    halving: float
    halving_videos: int


class _Drawn:
    """One race's seeds, and the samples that its looks take."""

    def __init__(self, field: Field, number: int) -> None:
        if field.base.size < MOST:
            raise ValueError(f"a bank of {field.base.size} seeds; allowed: {MOST} or more")
        self.field = field
        generator = np.random.default_rng((_SEED, number))
        self.seeds: NDArray[np.intp] = generator.permutation(field.base.size)[:MOST]
        self._sampled: dict[tuple[str, int], Sample] = {}
        self.yardstick = field.yardstick(self.sample(bank.BASE, MOST))

    def sample(self, name: str, n: int) -> Sample:
        if (name, n) not in self._sampled:
            side = self.field.base if name == bank.BASE else self.field.sides[name]
            chosen = self.seeds[:n]
            self._sampled[name, n] = Sample.of(
                {place: scores[:, chosen] for place, scores in side.scores.items()},
                {place: rows[chosen] for place, rows in side.features.items()},
                self.field.references,
            )
        return self._sampled[name, n]

    def losses(self, names: Iterable[str], n: int) -> dict[str, Floats]:
        base = self.sample(bank.BASE, n)
        return {name: self.yardstick.losses(self.sample(name, n), base) for name in names}

    def worst(self, name: str, n: int) -> Floats:
        worst = replace(self.yardstick, objective="worst")
        return worst.losses(self.sample(name, n), self.sample(bank.BASE, n))

    def failed(self, names: Iterable[str], n: int) -> AbstractSet[str]:
        """Candidates of which an item has failed for certain, or a video is broken."""
        tolerances = self.field.suite.tolerances
        found = set()
        for name in names:
            pairs = self.field.stages[name].pairs(self._draw)
            pairs = replace(pairs, stored=pairs.baseline).first(dict.fromkeys(pairs.pairs(), n))
            told = assess(pairs, tolerances, PLAN)
            if told.failed or broken_scenarios(pairs, tolerances):
                found.add(name)
        return found

    @property
    def _draw(self) -> Draw:
        return Draw(self.seeds, self.seeds, np.zeros(MOST, dtype=np.bool_))

    def gate(self, name: str) -> tuple[bool, int]:
        """Whether a candidate passes its gate, and the videos of it that were rendered."""
        result = run_gate(self.field.stages[name].pairs(self._draw), self.field.suite.tolerances, PLAN)
        return result.passes, sum(result.pairs.values())

    def by_eye(self) -> str:
        """The best of one video a prompt: the least mean loss of its scores, in fail bands."""
        yardstick, seed = self.yardstick, self.seeds[0]

        def row(side: Side) -> Floats:
            return np.hstack([scores[:, seed] for scores in side.scores.values()])

        base = row(self.field.base)
        items = base.size
        means = {
            name: float(
                np.maximum(yardstick.sign[:items] * (base - row(side)) / yardstick.band[:items], -1.0).mean()
            )
            for name, side in self.field.sides.items()
        }
        return min(means, key=means.__getitem__)

    def halving(self) -> tuple[str, int]:
        """Successive halving, and its videos."""
        names, videos, before = list(self.field.sides), 0, 0
        scenarios = len(self.field.base.scenarios)
        for n in _HALVING:
            videos += len(names) * (n - before) * scenarios
            found = {name: float(of[0]) for name, of in self.losses(names, n).items()}
            names = sorted(names, key=found.__getitem__)[: max(1, len(names) // 2)]
            before = n
        return names[0], videos


def play(number: int, field: Field, rules: Rules = RULES) -> Played:
    """Play one race; the same number draws the same seeds."""
    drawn, names = _Drawn(field, number), tuple(field.sides)
    race, used = Race(names, rules), dict.fromkeys(names, 0)
    for n in rules.looks:
        running = race.still_in
        used |= dict.fromkeys(running, n)
        race.look(drawn.losses(running, n), drawn.failed(running, n))
        if race.over:
            break
    first = _winner(drawn, race, used) or min(names, key=lambda name: race.standings[name].loss)
    scenarios = len(field.base.scenarios)
    videos = scenarios * sum(used.values())
    passes, gated = drawn.gate(first)
    best = min(field.truth, key=field.truth.__getitem__)
    eye, (halved, halving_videos) = drawn.by_eye(), drawn.halving()

    def regret(name: str) -> float:
        return field.truth[name] - field.truth[best]

    return Played(
        winner=first if passes else None,
        first=first,
        videos=videos + max(0, gated - scenarios * used[first]),
        race_videos=videos,
        regret=regret(first),
        equals=len({*race.finalists} - {first}),
        best_among=best in {first, *race.finalists},
        beyond=field.worst[first] if passes else None,
        eye=regret(eye),
        halving=regret(halved),
        halving_videos=halving_videos,
    )


def _winner(drawn: _Drawn, race: Race, used: dict[str, int]) -> str | None:
    """The race's tie-break, as `run.race.Course` holds it; counts its seeds in `used`."""
    while race.leader is not None:
        tied = TieBreak({name: drawn.worst(name, used[name]) for name in race.finalists}, race.rules)
        while (step := tied.next_look()) is not None:
            name, n = step
            used[name] = n
            out = drawn.failed([name], n)
            tied.look(name, None if out else drawn.worst(name, n))
            race.fail(out)
        if tied.winner is not None:
            return tied.winner
    return None


def summary(field: Field, played: Sequence[Played]) -> dict[str, Any]:
    """What many races of one run came to."""
    most = len(field.sides) * MOST * len(field.base.scenarios)
    losses = sorted(field.truth.values())
    count = len(played)
    return {
        "run": field.name,
        "candidates": len(field.sides),
        "races": count,
        "second_behind": losses[1] - losses[0],
        "within_close": sum(loss - losses[0] <= CLOSE for loss in losses),
        "cost": sum(each.videos for each in played) / count / most,
        "race_cost": sum(each.race_videos for each in played) / count / most,
        "close": sum(each.regret <= CLOSE for each in played),
        "exact": sum(each.regret == 0.0 for each in played),
        "best_among": sum(each.best_among for each in played),
        "equals": sum(each.equals for each in played) / count,
        "recommended": sum(each.winner is not None for each in played),
        "beyond_band": sum(each.beyond is not None and each.beyond > 1.0 for each in played),
        "beyond_1.5": sum(each.beyond is not None and each.beyond > 1.5 for each in played),
        "eye_close": sum(each.eye <= CLOSE for each in played),
        "halving_close": sum(each.halving <= CLOSE for each in played),
        "halving_cost": sum(each.halving_videos for each in played) / count / most,
        "truth": field.truth,
        "worst": field.worst,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("banks", nargs="+", type=Path)
    parser.add_argument("--races", type=int, default=500)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--out", type=Path, required=True)
    for name in _RULES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(RULES, name))
    arguments = parser.parse_args()
    chosen = {name: getattr(arguments, name) for name in _RULES}
    rules = replace(RULES, **chosen)
    found = []
    for field in fields(arguments.banks):
        _ = field.truth, field.worst, field.stages
        with multiprocessing.Pool(arguments.processes) as pool:
            played = pool.map(partial(play, field=field, rules=rules), range(arguments.races), chunksize=4)
        told = summary(field, played)
        print(
            json.dumps({key: value for key, value in told.items() if not isinstance(value, dict)}), flush=True
        )
        found.append(told)
    arguments.out.write_text(json.dumps({"rules": asdict(rules), "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
