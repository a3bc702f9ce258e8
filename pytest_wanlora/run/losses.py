"""Losses of a run's candidates, each one number in fail bands: what a race and a watch compare."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_wanlora.errors import WanloraError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.items import FVD
from pytest_wanlora.verdict.race import Sample, Yardstick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.jobs.job import JobResult
    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.judge import Judge
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.verdict.evidence import Floats

#: Looks with fewer seeds cannot say how a distance scatters.
FEWEST = 3


class Losses:
    """Measures losses by the suite's objective, against the first seeds of the baseline.

    Args:
        judge: Of the run; its baseline must fit the run.
        most: Seeds of the last look, which say how large a fail band is.

    Attributes:
        compared: Ids of the metrics that the loss is taken over.
    """

    def __init__(self, judge: Judge, most: int) -> None:
        self.gate, self.standard = judge.gate, judge.standard
        suite = self.gate.suite
        self.video = tuple(
            METRICS[name] for name in METRICS if name in suite.tolerances and METRICS[name].level == "video"
        )
        self.compared = [metric.id for metric in self.video]
        self.compared += [FVD.id] if FVD.id in suite.tolerances else []
        self.references = (
            {each.id: self.standard.reference_set([each.id]) for each in self.gate.scenarios}
            if FVD.id in self.compared
            else {}
        )
        scenarios = [each.id for each in self.gate.scenarios]
        self.yardstick = Yardstick.of(
            # seeds that the baseline lacks are rendered when a look needs them
            self._stored(max(FEWEST, min(most, *map(self.standard.stored_seeds, scenarios)))),
            scenarios,
            self.video,
            suite.tolerances,
            self.references,
            suite.objective,
        )

    def of(self, results: Mapping[str, Sequence[JobResult]]) -> Floats:
        """The loss of all n seeds, then without each of them, (n + 1,).

        Args:
            results: By scenario, all of the run's; the first n seeds of each, none degenerate.
        """
        return self.yardstick.losses(*self._samples(results))

    def with_worst(self, results: Mapping[str, Sequence[JobResult]]) -> tuple[Floats, Floats]:
        """The same, and beside it the largest loss of one comparison, whatever the objective is."""
        samples = self._samples(results)
        worst = replace(self.yardstick, objective="worst")
        return self.yardstick.losses(*samples), worst.losses(*samples)

    def _samples(self, results: Mapping[str, Sequence[JobResult]]) -> tuple[Sample, Sample]:
        """A candidate's first n seeds, and the baseline's."""
        n = len(next(iter(results.values())))
        own = Sample.of(
            {
                name: np.array([[each.scores[metric.id] for each in of] for metric in self.video])
                for name, of in results.items()
            },
            self._features({name: [each.features["video"] for each in of] for name, of in results.items()}),
            self.references,
        )
        return own, self._stored(n)

    def _stored(self, n: int) -> Sample:
        """The baseline's first n seeds."""
        scenarios, seeds = [each.id for each in self.gate.scenarios], self.gate.seeds(n)
        baseline = self.standard.extended(dict.fromkeys(scenarios, n))
        return Sample.of(
            {
                name: np.array(
                    [[baseline.scores[name][seed][each.id] for seed in seeds] for each in self.video]
                )
                for name in scenarios
            },
            self._features({name: [baseline.features[name, seed] for seed in seeds] for name in scenarios}),
            self.references,
        )

    def _features(self, vectors: Mapping[str, Sequence[NDArray[np.float32]]]) -> dict[str, Floats]:
        return (
            {name: np.stack(of).astype(np.float64) for name, of in vectors.items()} if self.references else {}
        )


def losses_of(gate: Gate, names: Collection[str]) -> dict[str, dict[int, tuple[float, ...]]]:
    """Losses of some candidates of a run at each look that they have whole; nothing is rendered.

    Args:
        gate: The run.
        names: Of candidates whose comparison with the baseline was judged.
    """
    standard = gate.judge.standard
    needed = max(FEWEST, gate.suite.seeds.first)
    if not names or any(standard.stored_seeds(each.id) < needed for each in gate.scenarios):
        return {}
    looks = [look for look in gate.judge.looks.plan(gate.scenarios).looks if look >= FEWEST]
    if not looks:
        return {}
    try:
        losses = Losses(gate.judge, looks[-1])
        own = [each for each in gate.candidates if each.name in names]
        return {each.name: _at_looks(gate, losses, each, looks) for each in own}
    except WanloraError:
        # a reference set that is missing, or a base video that is lost, has failed its items
        return {}


def _at_looks(
    gate: Gate, losses: Losses, candidate: Candidate, looks: Sequence[int]
) -> dict[int, tuple[float, ...]]:
    announced = gate.board.announced()
    results = {}
    for scenario in gate.scenarios:
        jobs = gate.jobs(candidate, [scenario], gate.seeds(looks[-1]))
        found = gate.known([job for job in jobs if job.key in announced])
        whole = [result.seed for result in found if result.degenerate is None] == list(gate.seeds(len(found)))
        results[scenario.id] = found if whole else ()
    n = min(map(len, results.values()))
    return {
        look: tuple(losses.of({name: of[:look] for name, of in results.items()}).tolist())
        for look in looks
        if look <= n
    }
