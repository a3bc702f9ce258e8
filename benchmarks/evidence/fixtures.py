"""What every gate of the study stands on: a suite, a bank of videos, and the reference sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import load_file

from benchmarks.evidence import bank
from benchmarks.evidence.bank import Bank, Side
from benchmarks.evidence.losses import Loss, References, neutral, planted
from pytest_wanlora.suite import Suite, load
from pytest_wanlora.tiny.registration import FOLDER
from pytest_wanlora.verdict.fvd import ReferenceSet
from pytest_wanlora.verdict.judgement import ALL

__all__ = ["NEUTRAL", "Ground", "reference_sets"]

#: Candidates that lost nothing; their scatter is that of a mild LoRA and of a strong one.
NEUTRAL = ("epoch-2@1", "epoch-0@1")


def reference_sets(suite: Suite) -> dict[str, ReferenceSet]:
    """The reference sets of the tiny suite, by scenario and pooled."""
    sets = {
        name: rows.astype(np.float64) for name, rows in load_file(FOLDER / "reference.safetensors").items()
    }
    category = {each.id: each.category for each in suite.scenarios}
    references = {name: ReferenceSet.of(sets[kind]) for name, kind in category.items()}
    references[ALL] = ReferenceSet.of(
        np.concatenate([sets[kind] for kind in dict.fromkeys(category.values())])
    )
    return references


@dataclass(frozen=True)
class Ground:
    """Suite, bank and references.

    Attributes:
        suite: Scenarios and tolerances.
        bank: The seeds that are used, and no others.
        references: By scenario and pooled.
    """

    suite: Suite
    bank: Bank
    references: References

    @classmethod
    def of(cls, part: Literal["design", "held-out"] | Path = "held-out") -> Ground:
        """Read a bank, or a file of that form, and prepare the reference sets of the tiny suite."""
        suite = load("tiny")
        references = reference_sets(suite)
        whole = bank.read(part if isinstance(part, Path) else bank.BANKS[part], suite)
        # all videos of the one that stands still are degenerate: it fails with no statistics at all
        judged = {name: side for name, side in whole.sides.items() if not any(side.degenerate().values())}
        return cls(suite, replace(whole, sides=judged), references)

    @cached_property
    def neutral(self) -> Mapping[str, Side]:
        """Candidates that lost nothing, by the condition whose scatter they have."""
        return {
            name: neutral(self.bank.sides[name], self.bank.base, self.references, self._sharpness)
            for name in NEUTRAL
        }

    @property
    def _sharpness(self) -> float:
        return self.suite.scoring.sharpness_reference

    @property
    def metrics(self) -> tuple[str, ...]:
        """Ids of all that is gated on."""
        return (*(metric.id for metric in self.bank.base.metrics), "fvd")

    def side(self, model: str, *, neutral: bool = False, loss: Loss | None = None) -> Side:
        """A candidate.

        Args:
            model: A condition of the bank.
            neutral: Whether its means are moved onto the base's first.
            loss: Planted after that.
        """
        if not neutral:
            return self.bank.sides[model]
        side = self.neutral[model]
        return side if loss is None else planted(side, self.bank.base, loss, self.references, self._sharpness)
