"""What the run record tells of the race that chose its only checkpoint."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from pydantic import Field

from pytest_wanlora.phrases import strength_of
from pytest_wanlora.schemas import Finite, StrictModel
from pytest_wanlora.verdict.race import Objective, Standing, State


class Entrant(StrictModel):
    """Who ran in a race.

    Attributes:
        name: As on the command line of its gate: checkpoint, and strength where there are several.
        checkpoint: The name without the strength.
        scale: Strength of the LoRA.
        strengths: Of a pair whose halves have strengths of their own, the factor on each expert's LoRA.
        videos: It got so many.
        state: `"in"`: in the race to its end; `"no_better"`: dropped, certainly not better than the leader by
            more than the margin; `"behind"`: dropped, certainly worse; `"failed"`: dropped, it fails.
        n: Seeds of each scenario at its last look, before the tie-break.
        loss: Of all its videos, in fail bands; None where it has none.
        behind: How far it was behind the leader, at that look.
        low: Lower bound of that, at the level of the look.
        high: Upper bound.
        leader: Whom it was compared with.
        seeds: Seeds of each scenario in all, the tie-break's included; 0 in records of earlier releases.
        worst: The largest loss of one comparison, of all its videos; None where it has none.
        why: Of one that fails.
        why_ko: The same in Korean; empty in records of earlier releases.
    """

    name: str
    checkpoint: str
    scale: Finite
    videos: int
    state: State
    n: int
    loss: Finite | None
    behind: Finite | None
    low: Finite | None
    high: Finite | None
    leader: str = ""
    seeds: int = 0
    worst: Finite | None = None
    why: str = ""
    why_ko: str = ""
    strengths: dict[Literal["high", "low"], Finite] = Field(default_factory=dict)

    @property
    def strength(self) -> str:
        """The strength in words; of a pair that of each half."""
        return strength_of(self.scale, dict(self.strengths.items()))

    @classmethod
    def of(cls, standing: Standing, **known: Any) -> Entrant:  # noqa: ANN401 - the other fields
        """From where it stands; what is not finite there is not known."""
        stated = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in dataclasses.asdict(standing).items()
        }
        return cls.model_validate({**stated, **known})


class RaceCard(StrictModel):
    """The race that chose the only checkpoint of a run.

    Attributes:
        objective: What the loss was.
        looks: Seeds of each scenario at each look.
        alpha: Chance that the best was dropped although it is better than its leader by more than the margin.
        margin: Fail bands by which nobody needs to know who is better.
        winner: Who loses least where it is worst, of those that cannot be told apart by their loss; None if
            all fail for certain, or nobody had a look.
        gated: Who is gated in full: the winner, or else who lost least; empty if the run ended before.
        not_told_apart: Who could not be told from the winner.
        entrants: In the order of the command line.
        most: Videos that rendering all of them to the last look would have taken.
        reused: Videos of it that were in the cache; the others were rendered.
        stopped: Why it stopped before its end; empty if it did not.
        stopped_ko: The same in Korean; empty in records of earlier releases.
        next_command: Of one that stopped: what goes on from there, to the end; empty in such records.
        seconds: How long it took.
    """

    objective: Objective
    looks: tuple[int, ...]
    alpha: Finite
    margin: Finite
    winner: str | None
    gated: str
    not_told_apart: tuple[str, ...]
    entrants: tuple[Entrant, ...]
    most: int
    reused: int = 0
    stopped: str
    stopped_ko: str = ""
    next_command: str = ""
    seconds: Finite

    @property
    def used(self) -> int:
        """Videos that it took."""
        return sum(each.videos for each in self.entrants)

    @property
    def left(self) -> int:
        """Videos that it may take from here to its end: of all that may still win, up to the last look."""
        each = self.most // len(self.entrants)
        able = {self.winner, *self.not_told_apart}
        left = (one for one in self.entrants if one.name in able or (one.state == "in" and not one.n))
        return sum(max(0, each - one.videos) for one in left)

    def entrant(self, name: str) -> Entrant:
        """The one of that name."""
        return next(each for each in self.entrants if each.name == name)
