"""Which of many candidates is best: a race on shared seeds that drops those which cannot win.

All candidates are rendered with the same seeds, so what is compared is the difference of two losses within a
seed, in which most of the noise cancels. A loss is one number, in fail bands (`Objective`); how it scatters
comes from the jackknife over seeds, a seed's videos of all scenarios left out together.

After each look a candidate is dropped if, at the look's share of alpha and with Bonferroni's correction over
its rivals, it is certainly not better than the leader by more than `margin`. The best candidate can only be
dropped by a comparison of which it is one side; there is one with each rival at each look, and their levels
add up to alpha. So with a chance of 1 - alpha the best was not dropped by anybody whom it betters by more
than the margin. Without a margin, equals would be rendered to the end: most of the cost, for nothing that
anybody could see. Maron and Moore 1994, "Hoeffding races"; Even-Dar, Mannor and Mansour 2006 for the margin;
Kim and DeMets 1987 for spending alpha by a power of the share of the seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict import fvd, special
from pytest_wanlora.verdict.evidence import Floats
from pytest_wanlora.verdict.judgement import ToleranceLike

Objective = Literal["mean", "worst"]
"""What a loss is: the mean, or the largest, over all comparisons of a scenario, of the change to the worse as
a share of its fail band, each at least -1."""
State = Literal["in", "no_better", "behind", "failed"]

#: A distance that is resolved less than this many standard errors is taken for as many; see `verdict.fvd`.
_RESOLVED = 2.0


@dataclass(frozen=True)
class Rules:
    """When a race looks, and how sure it is.

    Attributes:
        looks: Seeds at each look, ascending, 3 or more at the first.
        alpha: Chance that the best candidate is dropped although it is better than its leader by more than
            the margin.
        margin: Fail bands by which nobody needs to know who is better.
        spending: Exponent of the share of alpha that a share of the seeds has spent.
        prior_freedom: Degrees of freedom that the mean scatter of all rivals counts for beside a rival's own.
        doubt: Chance that the tie-break takes a worst comparison at its fail band for one within it.
    """

    looks: tuple[int, ...]
    alpha: float = 0.1
    margin: float = 0.25
    spending: float = 1.0
    prior_freedom: float = 8.0
    doubt: float = 0.2

    def level(self, look: int) -> float:
        """What one look may spend of alpha."""
        spent = [0.0, *((n / self.looks[-1]) ** self.spending for n in self.looks)]
        return self.alpha * float([after - before for before, after in pairwise(spent)][look])


@dataclass(frozen=True)
class Sample:
    """Values of everything that is compared, of one side.

    Attributes:
        values: (n + 1, items): of all n seeds, then without the first, without the second, ...
    """

    values: Floats

    @classmethod
    def of(
        cls,
        scores: Mapping[str, Floats],
        features: Mapping[str, Floats],
        references: Mapping[str, fvd.ReferenceSet],
    ) -> Sample:
        """Take the means and distances.

        Args:
            scores: By scenario, (M, n), the same seeds in each; finite.
            features: By scenario, (n, D); empty where no distance is compared.
            references: By scenario.
        """
        means = []
        for of in scores.values():
            n = of.shape[1]
            total = of.sum(axis=1)
            means.append(np.vstack([total / n, (total[:, None] - of).T / (n - 1)]))
        distances = [fvd.leaving_out(rows, references[name])[:, None] for name, rows in features.items()]
        return cls(np.hstack([*means, *distances]))


@dataclass(frozen=True)
class Yardstick:
    """What differences to the baseline are measured in: fail bands of each comparison.

    Attributes:
        band: (items,), value that one fail band to the worse is, above 0; infinite where none can be told.
        sign: (items,), 1 where higher is better.
        warn: (items,), warn bands in fail bands.
        two_sided: (items,), whether a rise beyond the band is suspicious.
        motion: (items,), number of the comparison of `motion` in the same scenario; -1 without.
        better: (items,), rise that counts as one, in fail bands.
        objective: Which loss.
    """

    band: Floats
    sign: Floats
    warn: Floats
    better: Floats
    two_sided: Floats
    motion: tuple[int, ...]
    objective: Objective

    @classmethod
    def of(
        cls,
        stored: Sample,
        scenarios: Sequence[str],
        metrics: Sequence[Metric],
        tolerances: Mapping[str, ToleranceLike],
        references: Mapping[str, fvd.ReferenceSet],
        objective: Objective = "mean",
    ) -> Yardstick:
        """From all seeds that the baseline has.

        Args:
            stored: The baseline, all its seeds.
            scenarios: In the order of the samples.
            metrics: Of videos, in the order of the samples.
            tolerances: By metric id.
            references: By scenario; empty where no distance is compared.
            objective: Which loss.
        """
        each = [metric for _ in scenarios for metric in metrics]
        sign = [1.0 if metric.higher_is_better else -1.0 for metric in each]
        bands = [tolerances[metric.id] for metric in each]
        fail = np.array([band.fail for band in bands])
        sizes = np.abs(stored.values[0, : len(each)])
        motion = [
            i - i % len(metrics) + at if (at := _place(metrics, "motion")) >= 0 else -1
            for i in range(len(each))
        ]
        if references:
            bands += [tolerances["fvd"]] * len(scenarios)
            n = len(stored.values) - 1
            above = stored.values[:, len(each) :]
            errors = np.sqrt((n - 1.0) / n * ((above[1:] - above[1:].mean(axis=0)) ** 2).sum(axis=0))
            base = np.maximum(above[0], _RESOLVED * errors)
            traces = np.array([references[name].trace for name in scenarios])
            fail = np.append(fail, np.maximum(tolerances["fvd"].fail, traces / n / base))
            sizes = np.append(sizes, base)
            sign += [-1.0] * len(scenarios)
            motion += [-1] * len(scenarios)
        band = fail * sizes
        return cls(
            band=np.where(band > 0.0, band, np.inf),
            sign=np.array(sign),
            warn=np.array([found.warn for found in bands]) / fail,
            better=np.array([found.better for found in bands]) / fail,
            two_sided=np.array([metric.two_sided for metric in each] + [False] * (len(bands) - len(each))),
            motion=tuple(motion),
            objective=objective,
        )

    def losses(self, candidate: Sample, baseline: Sample) -> Floats:
        """The loss of all n seeds, then without each of them, (n + 1,).

        Args:
            candidate: n seeds.
            baseline: The same seeds.
        """
        shares = self.sign * (baseline.values - candidate.values) / self.band
        # as `verdict.bands.rule` has it: what rises beyond its band, or while motion falls, is no gain
        rises = self.two_sided.astype(bool) & (
            (-shares[0] > 1.0) | ((-shares[0] >= self.better) & self._stiller(shares[0]))
        )
        shares = np.where(rises & (shares < 0.0), 0.0, np.maximum(shares, -1.0))
        found: Floats = shares.max(axis=1) if self.objective == "worst" else shares.mean(axis=1)
        return found

    def _stiller(self, shares: Floats) -> Floats:
        chosen = np.array(self.motion)
        return np.where(chosen >= 0, shares[chosen] >= self.warn[chosen], False)


def _place(metrics: Sequence[Metric], name: str) -> int:
    return next((i for i, metric in enumerate(metrics) if metric.id == name), -1)


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands.

    Attributes:
        n: Seeds of each scenario that were rendered of it.
        loss: In fail bands.
        behind: How far it is behind the leader; 0 of the leader itself.
        low: Lower bound of that, at the level of the look.
        high: Upper bound.
        state: `"in"` the race; `"no_better"`: out, certainly not better than the leader by more than the
            margin; `"behind"`: out, certainly worse than the leader; `"failed"`: out, it fails the gate.
        leader: Whom it was compared with.
    """

    n: int
    loss: float
    behind: float
    low: float
    high: float
    state: State
    leader: str


@dataclass
class Race:
    """A race: give it every look's losses, and it says who is still in.

    Args:
        names: All candidates; of equals the first wins.
        rules: When it looks, and how sure it is.

    Attributes:
        standings: By name; of those that are out, when they went out.
    """

    names: tuple[str, ...]
    rules: Rules
    standings: dict[str, Standing] = field(default_factory=dict)

    @property
    def still_in(self) -> tuple[str, ...]:
        """Who gets the next look's videos."""
        out = {name for name, standing in self.standings.items() if standing.state != "in"}
        return tuple(name for name in self.names if name not in out)

    @property
    def over(self) -> bool:
        """Whether further looks would change nothing."""
        taken = max((each.n for each in self.standings.values()), default=0)
        return len(self.still_in) <= 1 or taken >= self.rules.looks[-1]

    @property
    def finalists(self) -> tuple[str, ...]:
        """Who may be the best: who is in the race or no better than one there, or else who was behind."""
        at = {name: standing.state for name, standing in self.standings.items()}
        able = tuple(name for name in self.names if at.get(name) in ("in", "no_better"))
        return able or tuple(name for name in self.names if at.get(name) == "behind")

    @property
    def leader(self) -> str | None:
        """Who has the least loss of those still in, or else of those that may be the best."""
        able = [name for name in self.still_in if name in self.standings] or self.finalists
        return min(able, key=lambda name: self.standings[name].loss, default=None)

    def fail(self, names: Collection[str]) -> None:
        """Take out who was found to fail after its last look."""
        for name in set(names) & self.standings.keys():
            self.standings[name] = replace(self.standings[name], state="failed")

    def look(self, losses: Mapping[str, Floats], failed: AbstractSet[str] = frozenset()) -> tuple[str, ...]:
        """Take a look.

        Args:
            losses: Of those still in, (n + 1,), as `Yardstick.losses` gives them, n that of the look. Who has
                none fails.
            failed: Who certainly fails the gate.

        Returns:
            Who is still in.
        """
        running = [name for name in self.still_in if name in losses]
        for name in self.still_in:
            if name not in losses:
                known = self.standings.get(name)
                seeds = 0 if known is None else known.n
                self.standings[name] = Standing(seeds, np.nan, np.nan, np.nan, np.nan, "failed", "")
        if not running:
            return ()
        able = [name for name in running if name not in failed] or running
        table = np.array([losses[name] for name in running])
        n = table.shape[1] - 1
        leader = min(able, key=lambda name: (losses[name][0], self.names.index(name)))
        # over the rivals, at the look's share of alpha
        level = self.rules.level(self.rules.looks.index(n)) / max(1, len(self.names) - 1)
        behind, reach = distances(table, running.index(leader), level, self.rules.prior_freedom)
        for i, name in enumerate(running):
            low, high = float(behind[i] - reach[i]), float(behind[i] + reach[i])
            state: State = "in"
            if name in failed:
                state = "failed"
            elif name != leader and low > 0.0:
                state = "behind"
            elif name != leader and low > -self.rules.margin:
                state = "no_better"
            self.standings[name] = Standing(n, float(table[i, 0]), float(behind[i]), low, high, state, leader)
        return self.still_in


def distances(table: Floats, leader: int, level: float, prior_freedom: float) -> tuple[Floats, Floats]:
    """How far each of several is behind one of them, paired by seed.

    Args:
        table: (candidates, n + 1): the loss of all n seeds, then without each of them.
        leader: Row of the one.
        level: Chance that a bound is passed, one-sided.
        prior_freedom: Degrees of freedom that the mean scatter of all counts for beside a candidate's own.

    Returns:
        The distances, and the reach of their bounds, 0 for the leader itself.
    """
    n = table.shape[1] - 1
    # the leader's own is 0
    own = scatter(table - table[leader])
    error = pooled_error(own, float(own.sum()) / max(1, len(own) - 1), n, prior_freedom)
    error[leader] = 0.0
    reach = special.stdtrit(n - 1.0 + prior_freedom, 1.0 - level) * error
    return table[:, 0] - table[leader, 0], reach


def scatter(losses: Floats) -> Floats:
    """Variance of one seed's part in a loss, by the jackknife; the last axis is as in `Yardstick.losses`."""
    n = losses.shape[-1] - 1
    return np.asarray(n * (n - 1.0) * losses[..., 1:].var(axis=-1))


def pooled_error(own: Floats, shared: float, n: int, prior_freedom: float) -> Floats:
    """Standard error of a loss of n seeds; the scatter that all share counts beside its own."""
    freedom = n - 1.0
    return np.sqrt((freedom * own + prior_freedom * shared) / (freedom + prior_freedom) / n)


@dataclass(frozen=True)
class Epoch:
    """What is known of one checkpoint of a training.

    Attributes:
        losses: Of its candidates, one a strength: seeds to the loss of them all, then without each.
        fails: It certainly fails, without a loss: its videos are broken.
    """

    losses: tuple[Mapping[int, Sequence[float]], ...]
    fails: bool = False


def worse_than(epochs: Sequence[Epoch], last: int, rules: Rules) -> int | None:
    """Which earlier epoch each of the last ones is certainly worse than.

    Every pair of epochs is compared once, when the later one has come, and the levels of all pairs add up to
    alpha however many epochs come: epoch k has k - 1 pairs at alpha / (k (k - 1)^2) each. So with a chance of
    1 - alpha nothing is said in the whole training that is not so. A strength of the later epoch may not save
    it: all of them must be worse than one of the earlier epoch's.

    Args:
        epochs: In the order of training.
        last: How many must be worse, 1 or more.
        rules: Alpha and the prior.

    Returns:
        Number of the best such epoch, or None.
    """
    count = len(epochs)
    earlier = [i for i in range(count - last) if epochs[i].losses and not epochs[i].fails]
    for i in sorted(earlier, key=lambda i: min(of[max(of)][0] for of in epochs[i].losses)):
        if all(_certainly_worse(epochs, k, i, rules) for k in range(count - last, count)):
            return i
    return None


def _certainly_worse(epochs: Sequence[Epoch], later: int, earlier: int, rules: Rules) -> bool:
    if not epochs[later].losses:
        return epochs[later].fails
    one, other = epochs[later].losses, epochs[earlier].losses
    number = later + 1
    level = rules.alpha / (number * (number - 1) ** 2) / len(other)
    for leader in other:
        shared = set(leader).intersection(*one)
        if not shared:
            continue
        n = max(shared)
        # what all epochs so far scatter says how much these may
        rivals = [of[n] for each in epochs[:later] for of in each.losses if n in of and of is not leader]
        table = np.array([leader[n], *(of[n] for of in one), *rivals])
        # they count for no more than they know
        prior = min(rules.prior_freedom, (len(table) - 2) * (n - 1.0))
        behind, reach = distances(table, 0, level, prior)
        if bool((behind - reach > 0.0)[1 : len(one) + 1].all()):
            return True
    return False
