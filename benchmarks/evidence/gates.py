"""Whole gates, played with the package's own decision on videos drawn from a bank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.bands import band
from benchmarks.evidence.bank import Side
from benchmarks.evidence.losses import References
from benchmarks.evidence.replay import GateResult, run_gate
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.evidence import Floats, Plan
from pytest_wanlora.verdict.fvd import Videos, distance
from pytest_wanlora.verdict.judgement import ALL, ToleranceLike, Verdict
from pytest_wanlora.verdict.pairs import PairedScores, PairedSets

__all__ = ["DESIGNS", "Design", "Draw", "Stage", "Tally", "draw", "play", "with_scores"]

_PAIRS = 32  # those of the longest design
_SEED = 20251111


@dataclass(frozen=True)
class Design:
    """A way to decide.

    Attributes:
        plan: Looks and levels.
    """

    plan: Plan

    @property
    def single(self) -> bool:
        """One video a prompt, compared by its band alone."""
        return self.plan.looks == (1,)


DESIGNS: Mapping[str, Design] = {
    "sequential": Design(Plan.between(3, 16)),
    "tiny": Design(Plan.between(3, 8)),
    "fixed": Design(Plan((16,))),
    "patient": Design(Plan.between(3, 32)),
    "single": Design(Plan((1,))),
}
"""The suite's default looks; those of the tiny suite; 16 videos at once; twice as many at most; one video."""


@dataclass(frozen=True)
class Draw:
    """Seeds of one gate: columns of the bank, the same in every scenario as in a real run.

    Attributes:
        candidate: (n,).
        baseline: (N,), N >= n: the same ones, or none of them; then further seeds that the baseline has.
        swapped: (N,), pairs and further seeds whose labels are exchanged.
    """

    candidate: NDArray[np.intp]
    baseline: NDArray[np.intp]
    swapped: NDArray[np.bool_]


Pairing = Literal["paired", "unpaired", "swapped"]


def draw(number: int, size: int, pairing: Pairing, pairs: int = _PAIRS, stored: int = 0) -> Draw:
    """Draw the seeds of a gate without replacement; the same number gives the same gate.

    Args:
        number: Of the gate.
        size: Seeds in the bank.
        pairing: `"paired"`: both sides have the same seeds, as in a real run; `"unpaired"`: no seed in
            common; `"swapped"`: paired, and a coin decides for each pair which side is called candidate,
            so that the two are interchangeable.
        pairs: How many.
        stored: Seeds that the baseline has, if that is more.
    """
    generator = np.random.default_rng((_SEED, number))
    chosen = generator.permutation(size)
    candidate = chosen[:pairs]
    before, known = pairs if pairing == "unpaired" else 0, max(pairs, stored)
    coin = generator.random(known) < 0.5
    swapped = coin if pairing == "swapped" else np.zeros(known, dtype=np.bool_)
    return Draw(candidate, chosen[before : before + known], swapped)


class Stage:
    """Two sides, with all products of their features taken once.

    Args:
        candidate: N videos a scenario.
        baseline: The base's, as many.
        references: By scenario and pooled.
    """

    def __init__(self, candidate: Side, baseline: Side, references: References) -> None:
        self.candidate, self.baseline = candidate, baseline
        both = {
            name: np.concatenate([candidate.features[name], baseline.features[name]])
            for name in baseline.scenarios
        }
        self._videos = {name: Videos.of(rows, references[name]) for name, rows in both.items()}
        self._pooled = Videos.of(np.concatenate(list(both.values())), references[ALL])

    def pairs(self, drawn: Draw) -> PairedScores:
        """The pairs of one gate, as a run would hand them to the decision."""
        n = drawn.candidate.size
        (own, rows), (stored, known) = (self._side(drawn, other) for other in (False, True))
        candidate, baseline = ({name: of[:, :n] for name, of in side.items()} for side in (own, stored))
        further = stored if known.size > n else None
        return PairedScores(
            self.baseline.metrics, candidate, baseline, self._sets(rows[:n], known), stored=further
        )

    def _side(self, drawn: Draw, other: bool) -> tuple[dict[str, Floats], NDArray[np.intp]]:
        """Scores by scenario and rows of a scenario's features, of the candidate or of the other side."""
        is_base = drawn.swapped != other
        candidate = np.concatenate([drawn.candidate, drawn.baseline[drawn.candidate.size :]])
        scores = {
            name: np.where(
                is_base,
                self.baseline.scores[name][:, drawn.baseline],
                self.candidate.scores[name][:, candidate],
            )
            for name in self.baseline.scenarios
        }
        return scores, np.where(is_base, drawn.baseline + self.candidate.size, candidate)

    def _sets(self, candidate: NDArray[np.intp], baseline: NDArray[np.intp]) -> PairedSets:
        n, names = candidate.size, self.baseline.scenarios
        own = np.concatenate([candidate, baseline])
        width, videos_of = self.candidate.size + self.baseline.size, own.size
        videos = {ALL: _taken(self._pooled, np.concatenate([own + width * i for i in range(len(names))]))}
        for i, name in enumerate(names):
            videos[name] = _padded(
                _taken(self._videos[name], own), before=videos_of * i, size=videos_of * len(names)
            )
        rows = [
            {name: start + videos_of * i + np.arange(count) for i, name in enumerate(names)}
            for start, count in ((0, n), (n, n), (n, baseline.size))
        ]
        return PairedSets(videos, *rows)


def with_scores(pairs: PairedScores, candidate: Side, drawn: Draw) -> PairedScores:
    """The same gate with other scores of the candidate, whose features are the same."""
    return replace(
        pairs, candidate={name: candidate.scores[name][:, drawn.candidate] for name in pairs.candidate}
    )


def _taken(videos: Videos, rows: NDArray[np.intp]) -> Videos:
    square = np.ix_(rows, rows)
    return replace(
        videos,
        linear=videos.linear[square],
        weighted=videos.weighted[square],
        kernel=videos.kernel[square],
        outward=videos.outward[rows],
    )


def _padded(videos: Videos, *, before: int, size: int) -> Videos:
    """The same under row numbers from `before`; there is nothing in the other rows."""
    n = videos.outward.size
    inside = slice(before, before + n)

    def square(values: Floats) -> Floats:
        wide = np.full((size, size), np.nan)
        wide[inside, inside] = values
        return wide

    outward = np.full(size, np.nan)
    outward[inside] = videos.outward
    return replace(
        videos,
        linear=square(videos.linear),
        weighted=square(videos.weighted),
        kernel=square(videos.kernel),
        outward=outward,
    )


def play(pairs: PairedScores, tolerances: Mapping[str, ToleranceLike], design: Design) -> GateResult:
    """Play one gate.

    One video a prompt has no distance of its own; then the distance of all prompts' videos together is
    compared by its band, as the peers do it.
    """
    if not design.single:
        return run_gate(pairs, tolerances, design.plan)
    result = run_gate(replace(pairs, sets=None), tolerances, design.plan)
    verdicts = dict(result.verdicts)
    if pairs.sets is not None:
        videos, *sides = pairs.sets.of(ALL, 1)
        value, base = (distance(videos, rows.ravel())[0] for rows in sides)
        verdicts[ALL, "fvd"] = band(METRICS["fvd"], base, value, tolerances["fvd"])[1]
    return replace(
        result,
        verdicts=verdicts,
        fails=any(verdict.fails for verdict in verdicts.values()),
    )


@dataclass
class Tally:
    """What many gates of one kind came to.

    Attributes:
        gates: How many.
        failed: Gates that failed.
        videos: Rendered in all gates together.
        squares: Sum of the squares of the videos of a gate.
        named: Failing verdicts by item.
        warned: Warnings by item.
        alone: Gates that failed by items that were not certain themselves, only seconded.
        stopped: Scenarios by the pairs that were rendered of them.
    """

    gates: int = 0
    failed: int = 0
    videos: int = 0
    squares: int = 0
    named: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    seconded: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)

    def add(self, result: GateResult) -> None:
        """Count one gate."""
        rendered = sum(result.pairs.values())
        self.gates += 1
        self.failed += result.fails
        self.videos += rendered
        self.squares += rendered**2
        for (scenario, metric), verdict in result.verdicts.items():
            self.named[f"{scenario}/{metric}"] += verdict.fails
            self.warned[f"{scenario}/{metric}"] += verdict is Verdict.WARN
        for (scenario, metric), found in result.assessment.evidence.items():
            self.seconded[f"{scenario}/{metric}"] += found.seconded
        for scenario, pairs in result.pairs.items():
            self.stopped[f"{scenario}/{pairs}"] += 1

    def merge(self, other: Tally) -> None:
        """Count the gates of another tally too."""
        for name in ("gates", "failed", "videos", "squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("named", "warned", "seconded", "stopped"):
            getattr(self, name).update(getattr(other, name))

    def record(self) -> dict[str, Any]:
        """As plain data, without what never happened."""
        counters = {
            name: {key: count for key, count in sorted(getattr(self, name).items()) if count}
            for name in ("named", "warned", "seconded", "stopped")
        }
        return {
            "gates": self.gates,
            "failed": self.failed,
            "videos": self.videos,
            "squares": self.squares,
            **counters,
        }
