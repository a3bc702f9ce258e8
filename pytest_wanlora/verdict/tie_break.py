"""The tie-break of a race: which of those that it cannot tell apart loses least where it is worst.

The mean over all comparisons says little of the worst one, and it is the worst one that a gate fails by. So
whoever looks best by its worst comparison gets videos, look by look, until another looks better or it has
all seeds. If that comparison is not likely to be within its fail band then, those get videos that may well be
better. As in "Good arm identification via bandit feedback" by Kano, Honda, Sakamaki, Matsuura, Nakamura and
Sugiyama, 2019, one that is good enough is sought, which takes far fewer videos than to seek the best one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pytest_wanlora.verdict import special
from pytest_wanlora.verdict.race import pooled_error, scatter

if TYPE_CHECKING:
    from pytest_wanlora.verdict.evidence import Floats
    from pytest_wanlora.verdict.race import Rules


class TieBreak:
    """Finds the winner of a race: says who takes which look, and is given the losses there.

    Args:
        worst: Who is left, the first one first; of each the largest loss of one comparison in fail bands, of
            all n seeds of its last look, then without each of them, (n + 1,).
        rules: Those of the race.

    Attributes:
        worst: The same, at the last look that each has had; who fails is taken out.
    """

    def __init__(self, worst: Mapping[str, Floats], rules: Rules) -> None:
        self.worst = dict(worst)
        self.rules = rules

    @property
    def winner(self) -> str | None:
        """Who loses least where it is worst, of equals the first; None when all have failed."""
        return min(self.worst, key=lambda name: float(self.worst[name][0]), default=None)

    def next_look(self) -> tuple[str, int] | None:
        """Who takes a look next, and its seeds; None when the winner is known."""
        first = self.winner
        # one that is left alone is gated, which renders what it needs
        if first is None or len(self.worst) == 1:
            return None
        last = self.rules.looks[-1]
        if self._seeds(first) >= last:
            freedom = last - 1.0 + self.rules.prior_freedom
            reach = special.stdtrit(freedom, 1.0 - self.rules.doubt) * self._error(first)
            if self.worst[first][0] + reach < 1.0:
                return None
            able = {name: of[0] - self._error(name) for name, of in self.worst.items() if len(of) <= last}
            rival = min(able, key=able.__getitem__, default=None)
            if rival is None or able[rival] >= self.worst[first][0]:
                return None
            first = rival
        return first, next(look for look in self.rules.looks if look > self._seeds(first))

    def look(self, name: str, worst: Floats | None) -> None:
        """Take a look.

        Args:
            name: Who had it.
            worst: As in the arguments of the class; None if it fails.
        """
        if worst is None:
            del self.worst[name]
        else:
            self.worst[name] = worst

    def _seeds(self, name: str) -> int:
        return len(self.worst[name]) - 1

    def _error(self, name: str) -> float:
        """Standard error of a worst loss."""
        shared = float(np.mean([scatter(of) for of in self.worst.values()]))
        own = scatter(self.worst[name])
        return float(pooled_error(own, shared, self._seeds(name), self.rules.prior_freedom))
