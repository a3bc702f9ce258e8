"""The race of a run: renders its looks, drops who cannot win, and leaves the winner to be gated in full.

The race looks at the seeds that the gate looks at, so that the winner's gate renders nothing twice; what that
selection does to the gate's error rates is measured in `benchmarks/evidence`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pytest_wanlora.durations import duration
from pytest_wanlora.errors import JobError, SettingsError, WanloraError
from pytest_wanlora.phrases import LANGUAGES, Language, digits, number_of
from pytest_wanlora.reports.race import CAUSES
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.results.race import Entrant, RaceCard
from pytest_wanlora.run.judge import degenerates
from pytest_wanlora.run.looks import Comparison
from pytest_wanlora.run.losses import FEWEST, Losses
from pytest_wanlora.run.questions import with_trigger
from pytest_wanlora.verdict.evidence import Plan
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.race import Race, Rules, Standing
from pytest_wanlora.verdict.reasons import reason
from pytest_wanlora.verdict.tie_break import TieBreak

if TYPE_CHECKING:
    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.looks import Settled
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.verdict.evidence import Floats


class Why(NamedTuple):
    """Why a race stopped or a candidate fails, in each language."""

    en: str
    ko: str

    @classmethod
    def of(cls, key: str, **fields: object) -> Why:
        """One of the sentences of `reports.race`."""
        return cls(CAUSES[key].say("en", **fields), CAUSES[key].say("ko", **fields))


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
        looks = tuple(look for look in self.plan.looks if look >= FEWEST)
        if not looks:
            most = gate.suite.seeds.most
            raise SettingsError(
                f"--wanlora-race: {most} seeds a scenario at most; allowed: 3 or more, fewer say nothing "
                "of how videos scatter",
                next_command=gate.settings.again(f"--wanlora-seeds=3:{max(8, most)}"),
            )
        self.rules = Rules(looks)
        self.losses = Losses(judge, looks[-1])
        self.videos = dict.fromkeys([each.name for each in gate.candidates], 0)
        self.found: dict[str, tuple[Floats, Floats]] = {}
        self.reused = dict(self.videos)
        self.failures: dict[str, Why] = {}
        #: Without its first video; of one cause the text that came first, by its first line.
        self.causes: dict[str, Why] = {}
        self.texts: dict[str, str] = {}
        self.race = Race(tuple(self.videos), self.rules)
        self.stopped: Why | None = None

    @property
    def most(self) -> int:
        """Videos of all candidates at the last look."""
        return len(self.gate.candidates) * len(self.gate.scenarios) * self.rules.looks[-1]

    def run(self) -> RaceCard:
        """Race, and say what came of it."""
        race, taken = self.race, 0
        for n in self.rules.looks:
            running = race.still_in
            self.stopped = self._beyond(len(running), n, taken, taken)
            losses: dict[str, Floats] = {}
            if not self.stopped:
                # all of the look at once: a cluster renders them side by side
                self._extend(running, n)
            for name in running:
                self.stopped = self.stopped or self._late()
                if self.stopped:
                    break
                if (found := self._losses(self.gate.candidate(name), n)) is not None:
                    losses[name] = found
            if self.stopped:
                # a look that not everybody has had is none
                break
            taken = n
            kept = race.look(losses, frozenset(self.failures))
            self.say(
                f"race: {n} seeds each: {len(kept)} of {len(running)} go on"
                + (f", {race.leader} ahead" if race.leader else "")
            )
            if race.over:
                break
        winner = race.leader
        while winner is not None and not self.stopped:
            tied = TieBreak({name: self.found[name][1] for name in race.finalists}, self.rules)
            winner = self._break(tied, taken)
            race.fail(self.failures)
            if winner is not None:
                break
            # all of them fail: those that were behind are asked
            winner = race.leader
        if not race.standings:
            raise _unknown(self.gate, self.stopped, self.rules.looks)
        # the most that it may take to its end: what is dropped is not known before
        enough = sum(_takes(self.gate, len(self.videos), self.rules.looks[-1], 0, 0, self.rules.looks))
        known = [name for name in self.videos if np.isfinite(race.standings[name].loss)] or list(self.videos)
        gated = winner or min(known, key=lambda name: race.standings[name].loss)
        return self._card(winner, gated, self._on(f"--wanlora-budget={enough}") if self.stopped else "")

    def _on(self, *changed: str) -> str:
        """The command that goes on from here, with the videos so far."""
        cache = () if self.gate.settings.cache else ("--wanlora-cache",)
        return self.gate.settings.again(*changed, *cache, without=["--wanlora-no-cache"])

    def ended(self, error: BaseException) -> RaceCard:
        """What was known of a race that an error or Ctrl-C ended: nobody is gated."""
        self.race.fail(self.failures)
        mended = error.next_command if isinstance(error, WanloraError) else None
        if isinstance(error, WanloraError):
            self.stopped = self.stopped or Why.of("error", message=error.message)
        else:
            words = str(error)
            self.stopped = Why.of("ended", message=words) if words else Why.of("interrupted")
        announced = self.gate.board.announced()
        for each in self.gate.candidates:
            jobs = self.gate.jobs(each, self.gate.scenarios, self.gate.seeds(self.rules.looks[-1]))
            results = self.gate.known([job for job in jobs if job.key in announced])
            self.videos[each.name] = len(results)
            self.reused[each.name] = sum(result.reused for result in results)
        return self._card(self.race.leader, "", mended or self._on())

    def _break(self, tied: TieBreak, taken: int) -> str | None:
        """Find who of those that could not be told apart loses least where it is worst.

        Args:
            tied: Before its first look.
            taken: Seeds of the last look of the race.

        Returns:
            The winner, or who is ahead where `stopped` says why it stopped before its end.
        """
        first = tied.winner
        if first is not None and len(tied.worst) > 1:
            self.say(
                f"race: tie-break of {len(tied.worst)} that cannot be told apart: {first} loses least where "
                f"it is worst, {tied.worst[first][0]:+z.2f} fail bands"
            )
        while (step := tied.next_look()) is not None:
            name, n = step
            if found := self._beyond(1, n, len(tied.worst[name]) - 1, taken) or self._late():
                self.stopped = found
                return tied.winner
            self._extend([name], n)
            taken = max(taken, n)
            out = self._losses(self.gate.candidate(name), n) is None or name in self.failures
            tied.look(name, None if out else self.found[name][1])
            self.say(
                f"race: tie-break: {name} with {n} seeds: "
                + ("it fails" if out else f"{tied.worst[name][0]:+z.2f} fail bands where it is worst")
            )
        return tied.winner

    def _extend(self, names: Sequence[str], n: int) -> None:
        seeds = self.gate.seeds(n)
        candidates = [self.gate.candidate(name) for name in names]
        self.gate.extend(
            [job for each in candidates for job in self.gate.jobs(each, self.gate.scenarios, seeds)]
        )

    def _card(self, winner: str | None, gated: str, next_command: str) -> RaceCard:
        unseen = Standing(0, np.nan, np.nan, np.nan, np.nan, "in", "")
        standings = dict.fromkeys(self.videos, unseen)
        # what is known before the first look is of its videos
        standings |= dict.fromkeys(self.failures, replace(unseen, n=self.rules.looks[0], state="failed"))
        standings |= self.race.standings
        stopped = self.stopped or Why("", "")
        return RaceCard(
            objective=self.gate.suite.objective,
            looks=self.rules.looks,
            alpha=self.rules.alpha,
            margin=self.rules.margin,
            winner=winner,
            gated=gated,
            not_told_apart=tuple(name for name in self.race.finalists if name != winner),
            entrants=tuple(
                Entrant.of(
                    standings[each.name],
                    name=each.name,
                    checkpoint=each.name.removesuffix(f"@{digits(each.scale)}"),
                    scale=each.scale,
                    strengths=each.strengths,
                    videos=self.videos[each.name],
                    **self._measured(each.name),
                    why=failed.en,
                    why_ko=failed.ko,
                )
                for each in self.gate.candidates
                for failed in [self._why(each.name)]
            ),
            most=self.most,
            reused=sum(self.reused.values()),
            stopped=stopped.en,
            stopped_ko=stopped.ko,
            next_command=next_command,
            seconds=self.clock() - self.began,
        )

    def _why(self, name: str) -> Why:
        """Why a candidate fails; what several fail of is told without the video, in which they differ."""
        cause = self.causes.get(name)
        shared = cause is not None and [*self.causes.values()].count(cause) > 1
        return cause if cause and shared else self.failures.get(name) or Why("", "")

    def _measured(self, name: str) -> dict[str, Any]:
        """What is known of a candidate from all its videos."""
        if name not in self.found:
            return {}
        losses, worst = self.found[name]
        return {"seeds": len(losses) - 1, "loss": float(losses[0]), "worst": float(worst[0])}

    def _late(self) -> Why | None:
        budget = self.gate.settings.budget
        late = (
            budget is not None and budget.seconds is not None and self.clock() - self.began > budget.seconds
        )
        return Why.of("spent", budget=budget.text) if budget is not None and late else None

    def _beyond(self, running: int, n: int, had: int, taken: int) -> Why | None:
        """Why a look is beyond the budget, which keeps what the winner's gate may take.

        Args:
            running: Candidates that take it.
            n: Its seeds.
            had: Seeds that they have had.
            taken: Most seeds that anybody has had.
        """
        budget = self.gate.settings.budget
        if budget is None:
            return None
        used = sum(self.videos.values()) + _base(self.gate, taken)
        more, gate = _takes(self.gate, running, n, had, taken, self.rules.looks)
        if budget.videos is not None and used + more + gate > budget.videos:
            return Why.of("videos", budget=budget.videos, used=used, more=more, gate=gate)
        if budget.seconds is not None and used:
            # of what is left, at the speed so far
            needed = (self.clock() - self.began) / used * (more + gate)
            if self.clock() - self.began + needed > budget.seconds:
                told = {each: duration(needed, each) for each in LANGUAGES}
                return Why(
                    *(CAUSES["seconds"].say(each, budget=budget.text, needed=told[each]) for each in told)
                )
        return None

    def _losses(self, candidate: Candidate, n: int) -> Floats | None:
        """A candidate's losses at a look; None, and why in `failures`, where it has none."""
        gate = self.gate
        pairs = dict.fromkeys([each.id for each in gate.scenarios], n)
        settled = gate.judge.looks.look(
            Comparison(candidate, gate.scenarios, self.losses.compared, self.plan, pairs)
        )
        self.videos[candidate.name] = sum(len(of) for of in settled.results.values())
        self.reused[candidate.name] = sum(each.reused for of in settled.results.values() for each in of)
        why = self._failure(candidate, settled)
        if why is not None:
            self.failures[candidate.name] = why
        if settled.broken or degenerates(settled.results):
            return None
        self.found[candidate.name] = self.losses.with_worst(settled.results)
        return self.found[candidate.name][0]

    def _failure(self, candidate: Candidate, settled: Settled) -> Why | None:
        """Why a candidate certainly fails the gate; None if it may pass."""
        if settled.broken:
            error: WanloraError = next(iter(settled.broken.values()))
            if isinstance(error, JobError) and error.video:
                text = self.texts.setdefault(error.cause.partition("\n")[0], error.cause)
                self.causes[candidate.name] = Why.of("error", message=text)
            return Why.of("error", message=_without(error.message, candidate.name))
        if lost := degenerates(settled.results):
            (scenario, seed), why = next(iter(lost.items()))
            return Why.of("degenerate", scenario=scenario, seed=seed, why=why)
        if settled.assessment is not None and settled.assessment.failed:
            return Why(*(_certain(settled.assessment.failed, each) for each in LANGUAGES))
        for name, of in settled.results.items():
            judged = self.gate.judge.single_videos(candidate.name, name, {name: of})
            if judged.verdict.fails:
                return Why(f"{name}: {judged.reason}", f"{name}: {reason(judged, 'ko')}")
        return None


def _without(message: str, name: str) -> str:
    return message.removeprefix(f"{name}, ").removeprefix(f"{name}: ")


def _certain(places: Collection[str], language: Language) -> str:
    named = [Page.ALL_SCENARIOS.say(language) if each == ALL else each for each in sorted(places)]
    return CAUSES["loss"].say(language, places=", ".join(named))


def _takes(gate: Gate, running: int, n: int, had: int, taken: int, looks: Sequence[int]) -> tuple[int, int]:
    """Videos of a look, and of the winner's gate up to the last after it; see `Course._beyond`."""
    each, most = len(gate.scenarios), max(n, taken)
    triggered = len(with_trigger(gate.suite, gate.scenarios)) - each
    first, last = looks[0], looks[-1]
    return (
        running * (n - had) * each + _base(gate, most) - _base(gate, taken),
        # the winner may be one that was dropped after the first look
        (last - first) * each + last * triggered + _base(gate, last) - _base(gate, most),
    )


def _base(gate: Gate, n: int) -> int:
    """Videos of the base model that the baseline lacks of the first seeds: rendered once for all."""
    pairs = dict.fromkeys([each.id for each in gate.scenarios], n)
    return sum(map(len, gate.judge.standard.missing(pairs).values()))


def _unknown(gate: Gate, stopped: Why | None, looks: Sequence[int]) -> JobError:
    enough = sum(_takes(gate, len(gate.candidates), looks[0], 0, 0, looks))
    why = "" if stopped is None else stopped.en
    return JobError(
        f"--wanlora-race: {why}, and not every candidate had the first look: nothing is known",
        next_command=gate.settings.again(f"--wanlora-budget={enough}"),
    )


def beyond_budget(gate: Gate) -> JobError | None:
    """What ends a race before its first look, as far as that is known before it begins; else None.

    Args:
        gate: The run, examined; nothing is rendered.
    """
    budget, candidates = gate.settings.budget, len(gate.candidates)
    if not gate.settings.race or budget is None or budget.videos is None or gate.blocked or candidates < 2:
        return None
    looks = [n for n in Plan.between(gate.suite.seeds.first, gate.suite.seeds.most).looks if n >= FEWEST]
    standard = gate.judge.standard
    if standard.baseline.candidate is not None:
        # of an accepted checkpoint nothing is rendered, and no look goes beyond it
        looks = [n for n in looks if n <= min(standard.stored_seeds(each.id) for each in gate.scenarios)]
    if not looks:
        return None
    more, rest = _takes(gate, candidates, looks[0], 0, 0, looks)
    if more + rest <= budget.videos:
        return None
    return _unknown(gate, Why.of("videos", budget=budget.videos, used=0, more=more, gate=rest), looks)


def plan_line(gate: Gate) -> str:
    """What a race may take, before it begins."""
    scenarios, candidates = len(gate.scenarios), len(gate.candidates)
    first, most = gate.suite.seeds.first, gate.suite.seeds.most
    limit = "" if gate.settings.budget is None else f"; budget {gate.settings.budget.text}"
    return (
        f"race: {number_of(candidates, 'candidate')} on the same seeds, {max(first, FEWEST)} to {most} of "
        f"{number_of(scenarios, 'scenario')}: "
        f"{number_of(candidates * scenarios * max(first, FEWEST), 'video')} "
        f"at the first look, {candidates * scenarios * most} if nobody is dropped{limit}"
    )
