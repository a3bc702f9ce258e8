"""The race of a run: renders its looks, drops who cannot win, and leaves the winner to be gated in full.

The race looks at the seeds that the gate looks at, so that the winner's gate renders nothing twice; what that
selection does to the gate's error rates is measured in `benchmarks/evidence`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pytest_wanlora.errors import JobError, SettingsError, WanloraError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports.terminal import duration
from pytest_wanlora.run.judge import degenerates
from pytest_wanlora.run.looks import Comparison
from pytest_wanlora.verdict.items import FVD
from pytest_wanlora.verdict.race import Race, Rules, Sample, Standing, Yardstick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.looks import Settled
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.verdict.evidence import Floats, Plan

#: Looks with fewer seeds cannot say how a distance scatters.
_FEWEST: Final = 3
OBJECTIVES: Final[Mapping[str, str]] = {
    "mean": "better is the smaller mean loss: the mean, over all metrics and scenarios, of the change to the "
    "worse as a share of its fail band",
    "worst": "better is the smaller largest loss: the largest, of all metrics and scenarios, of the changes "
    "to the worse as shares of their fail bands",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a race.

    Attributes:
        winner: Name of the best candidate; None where all fail for certain.
        gated: Who is gated in full: the winner, or else who lost least.
        not_told_apart: Who could not be told from the winner.
        standings: By candidate; None: it got no whole look.
        videos: That each candidate got.
        most: Videos that rendering all of them to the last look would have taken.
        failures: Why a candidate is out that fails or could not be rendered.
        rules: How sure it is.
        objective: What the loss was.
        stopped: Why it stopped before its end; empty if it did not.
        seconds: How long it took.
    """

    winner: str | None
    gated: str
    not_told_apart: tuple[str, ...]
    standings: Mapping[str, Standing | None]
    videos: Mapping[str, int]
    most: int
    failures: Mapping[str, str]
    rules: Rules
    objective: str
    stopped: str
    seconds: float

    def sentences(self) -> Iterator[str]:
        """The answer, how sure it is, and what it cost; each for itself."""
        used, number = sum(self.videos.values()), len(self.videos)
        if self.winner is None:
            yield f"race: no winner: each of {number} candidates fails for certain; {self.gated} lost least"
        else:
            yield self._answer(self.winner)
            yield f"race: {OBJECTIVES[self.objective]}"
        for name, why in list(self.failures.items())[:5]:
            yield f"race: out: {name}: {why}"
        if len(self.failures) > 5:
            yield f"race: out, and {len(self.failures) - 5} more that fail for certain"
        if self.stopped:
            yield f"race: stopped before its end, {self.stopped}: who is best of those named is not known"
        yield (
            f"race: {used} videos of {self.most} in {duration(self.seconds)}; "
            f"what was dropped early saved {1.0 - used / self.most:.0%}"
        )

    def _answer(self, winner: str) -> str:
        standing = self.standings[winner]
        n = 0 if standing is None else standing.n
        loss = "" if standing is None else f" ({standing.loss:+.2f} fail bands)"
        if not self.not_told_apart:
            return f"race: {winner}{loss}; it can be told from every other candidate at n = {n}"
        names = " and ".join(
            [", ".join(self.not_told_apart[:-1]), self.not_told_apart[-1]]
            if len(self.not_told_apart) > 1
            else self.not_told_apart
        )
        verb = "are" if len(self.not_told_apart) > 1 else "is"
        sure = 1.0 - self.rules.alpha
        claim = (
            ""
            if self.stopped
            else f"; with {sure:.0%} confidence none of them is better than {self.rules.margin:g} fail bands "
            "below the best that it was compared with"
        )
        return f"race: {winner}{loss}; {names} {verb} not distinguishable from it at n = {n}{claim}"


class Course:
    """Runs the race of a gate.

    Args:
        gate: The run, prepared, with several candidates.
        say: Prints a line.
        clock: Seconds.
    """

    def __init__(
        self, gate: Gate, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.gate, self.say, self.clock = gate, say, clock
        self.began = clock()
        judge = gate.judge
        judge.standard.require(gate.scenarios)
        for scenario in gate.scenarios:
            judge.standard.require_seeds(scenario.id)
        self.plan: Plan = judge.looks.plan(gate.scenarios)
        looks = tuple(look for look in self.plan.looks if look >= _FEWEST)
        if not looks:
            most = gate.suite.seeds.most
            raise SettingsError(
                f"--wanlora-race: {most} seeds a scenario at most; allowed: 3 or more, fewer say nothing "
                "of how videos scatter",
                next_command=gate.settings.again(f"--wanlora-seeds=3:{max(8, most)}"),
            )
        self.rules = Rules(looks)
        self.video = tuple(
            METRICS[name]
            for name in METRICS
            if name in gate.suite.tolerances and METRICS[name].level == "video"
        )
        self.compared = [*(metric.id for metric in self.video)]
        self.compared += [FVD.id] if FVD.id in gate.suite.tolerances else []
        self.references = (
            {each.id: judge.standard.reference_set([each.id]) for each in gate.scenarios}
            if FVD.id in self.compared
            else {}
        )
        self.yardstick = Yardstick.of(
            self._stored(looks[-1]),
            [each.id for each in gate.scenarios],
            self.video,
            gate.suite.tolerances,
            self.references,
            gate.suite.objective,
        )
        self.videos = dict.fromkeys([each.name for each in gate.candidates], 0)
        self.failures: dict[str, str] = {}

    @property
    def most(self) -> int:
        """Videos of all candidates at the last look."""
        return len(self.gate.candidates) * len(self.gate.scenarios) * self.rules.looks[-1]

    def run(self) -> Outcome:
        """Race, and say what came of it."""
        race = Race(tuple(self.videos), self.rules)
        stopped, taken = "", 0
        for n in self.rules.looks:
            running = race.still_in
            stopped = self._beyond(running, n, taken)
            losses: dict[str, Floats] = {}
            if not stopped:
                # all of the look at once: a cluster renders them side by side
                candidates = [self.gate.candidate(name) for name in running]
                seeds = self.gate.seeds(n)
                self.gate.extend(
                    [job for each in candidates for job in self.gate.jobs(each, self.gate.scenarios, seeds)]
                )
            for name in running:
                stopped = stopped or self._late()
                if stopped:
                    break
                if (found := self._losses(self.gate.candidate(name), n)) is not None:
                    losses[name] = found
            if stopped:
                # a look that not everybody has had is none
                break
            taken = n
            kept = race.look(losses, frozenset(self.failures))
            self.say(
                f"race: {n} seeds each: {len(kept)} of {len(running)} go on"
                + (f", {race.ranked[0]} ahead" if race.ranked else "")
            )
            if race.over:
                break
        return self._outcome(race, stopped)

    def _outcome(self, race: Race, stopped: str) -> Outcome:
        if not race.standings:
            raise JobError(
                f"--wanlora-race: {stopped}, and not every candidate had the first look: nothing is known",
                next_command=self.gate.settings.again("--wanlora-budget=2h"),
            )
        ranked, standings = race.ranked, race.standings
        known = [name for name in self.videos if np.isfinite(standings[name].loss)] or list(self.videos)
        return Outcome(
            winner=ranked[0] if ranked else None,
            gated=ranked[0] if ranked else min(known, key=lambda name: standings[name].loss),
            not_told_apart=race.not_told_apart if ranked else (),
            standings={name: race.standings.get(name) for name in self.videos},
            videos=self.videos,
            most=self.most,
            failures=self.failures,
            rules=self.rules,
            objective=self.gate.suite.objective,
            stopped=stopped,
            seconds=self.clock() - self.began,
        )

    def _late(self) -> str:
        budget = self.gate.settings.budget
        late = (
            budget is not None and budget.seconds is not None and self.clock() - self.began > budget.seconds
        )
        return f"its budget of {budget.text} is spent" if budget is not None and late else ""

    def _beyond(self, running: Sequence[str], n: int, taken: int) -> str:
        """Why the next look is beyond the budget, which keeps what the winner's gate may take."""
        budget = self.gate.settings.budget
        if budget is None:
            return ""
        each = len(self.gate.scenarios)
        used, more = sum(self.videos.values()), len(running) * (n - taken) * each
        gate = (self.rules.looks[-1] - n) * each
        if budget.videos is not None and used + more + gate > budget.videos:
            return f"its budget is {budget.text} videos and the next look takes {more}, the gate up to {gate}"
        if budget.seconds is not None and used:
            # of what is left, at the speed so far
            needed = (self.clock() - self.began) / used * (more + gate)
            if self.clock() - self.began + needed > budget.seconds:
                return f"its budget is {budget.text}; the next look and the gate take {duration(needed)}"
        return ""

    def _losses(self, candidate: Candidate, n: int) -> Floats | None:
        """A candidate's losses at a look; None, and why in `failures`, where it has none."""
        gate = self.gate
        pairs = dict.fromkeys([each.id for each in gate.scenarios], n)
        settled = gate.judge.looks.look(
            Comparison(candidate, gate.scenarios, self.compared, self.plan, pairs)
        )
        self.videos[candidate.name] = sum(len(of) for of in settled.results.values())
        why = self._failure(candidate, settled)
        if why:
            self.failures[candidate.name] = why
        if settled.broken or degenerates(settled.results):
            return None
        own = Sample.of(
            {
                name: np.array([[each.scores[metric.id] for each in of] for metric in self.video])
                for name, of in settled.results.items()
            },
            self._features(
                {name: [each.features["video"] for each in of] for name, of in settled.results.items()}
            ),
            self.references,
        )
        return self.yardstick.losses(own, self._stored(n))

    def _failure(self, candidate: Candidate, settled: Settled) -> str:
        """Why a candidate certainly fails the gate; empty if it may pass."""
        if settled.broken:
            error: WanloraError = next(iter(settled.broken.values()))
            return error.message
        if lost := degenerates(settled.results):
            (scenario, seed), why = next(iter(lost.items()))
            return f"{scenario}, seed {seed}: {why}"
        if settled.assessment is not None and settled.assessment.failed:
            return f"a loss beyond its fail band is certain in {', '.join(sorted(settled.assessment.failed))}"
        for name, of in settled.results.items():
            judged = self.gate.judge.single_videos(candidate.name, name, {name: of})
            if judged.verdict.fails:
                return f"{name}: {judged.reason}"
        return ""

    def _stored(self, n: int) -> Sample:
        """The baseline's first n seeds."""
        baseline, seeds = self.gate.judge.standard.baseline, self.gate.seeds(n)
        scenarios = [each.id for each in self.gate.scenarios]
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


def plan_line(gate: Gate) -> str:
    """What a race may take, before it begins."""
    scenarios, candidates = len(gate.scenarios), len(gate.candidates)
    first, most = gate.suite.seeds.first, gate.suite.seeds.most
    limit = "" if gate.settings.budget is None else f"; budget {gate.settings.budget.text}"
    return (
        f"race: {candidates} candidates on the same seeds, {max(first, _FEWEST)} to {most} of "
        f"{scenarios} scenario{'s' * (scenarios > 1)}: {candidates * scenarios * max(first, _FEWEST)} videos "
        f"at the first look, {candidates * scenarios * most} if nobody is dropped{limit}"
    )
