"""The bank of scores and features that the study draws its gates from."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from pytest_wanlora.metrics import METRICS, Metric
from pytest_wanlora.suite import Suite
from pytest_wanlora.verdict.evidence import Floats

__all__ = ["BANKS", "BASE", "Bank", "Side", "content", "read"]

BASE = "base"
#: Rules may be tuned on the first, seeds 0 to 383; figures are reported from the other, seeds 1024 to 1279,
#: which were rendered when the rules were fixed.
BANKS: Mapping[str, Path] = {
    part: Path(__file__).parent / f"bank-{part}.safetensors.xz" for part in ("design", "held-out")
}


@dataclass(frozen=True)
class Side:
    """Videos of one model: what a gate would measure of them.

    Attributes:
        metrics: Metrics of videos that the suite gates on, M of them.
        scores: By scenario, (M, N), one column a seed.
        features: By scenario, (N, D).
    """

    metrics: tuple[Metric, ...]
    scores: Mapping[str, Floats]
    features: Mapping[str, Floats]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Scenario ids, in the order of the suite."""
        return tuple(self.scores)

    @property
    def size(self) -> int:
        """Videos of each scenario, N."""
        return int(next(iter(self.scores.values())).shape[1])

    def row(self, metric: str) -> int:
        """Row of a metric in the scores."""
        return [each.id for each in self.metrics].index(metric)

    def of(self, scenario: str, metric: str) -> Floats:
        """Scores of one metric, (N,)."""
        return np.asarray(self.scores[scenario][self.row(metric)])

    def degenerate(self) -> dict[str, int]:
        """Videos without a score, by scenario."""
        return {name: int(np.isnan(scores).any(axis=0).sum()) for name, scores in self.scores.items()}


@dataclass(frozen=True)
class Bank:
    """All conditions, each the same seeds.

    Attributes:
        sides: By condition.
        sha256: Of the tensors' file, as it was before it was packed.
    """

    sides: Mapping[str, Side]
    sha256: str

    @property
    def base(self) -> Side:
        """The model without a LoRA."""
        return self.sides[BASE]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Everything but the base, in the order of the alphabet."""
        return tuple(sorted(set(self.sides) - {BASE}))


def read(path: Path, suite: Suite) -> Bank:
    """Read a bank that `render_bank` wrote.

    Args:
        path: A safetensors file, or one packed with `xz`.
        suite: Its scenarios and tolerances say what is taken from the file.

    Raises:
        KeyError: The file lacks a scenario of the suite or a metric.
    """
    wanted = tuple(
        metric for name, metric in METRICS.items() if name in suite.tolerances and metric.level == "video"
    )
    data = content(path)
    tensors = load(data)
    stored = json.loads(_metadata(data)["metrics"])
    rows = [stored.index(metric.id) for metric in wanted]
    sides = {
        condition: Side(
            metrics=wanted,
            scores={
                each.id: tensors[f"{condition}/{each.id}/scores"].astype(np.float64)[:, rows].T
                for each in suite.scenarios
            },
            features={
                each.id: tensors[f"{condition}/{each.id}/features"].astype(np.float64)
                for each in suite.scenarios
            },
        )
        for condition in sorted({key.split("/")[0] for key in tensors})
    }
    return Bank(sides, hashlib.sha256(data).hexdigest())


def content(path: Path) -> bytes:
    """A bank's safetensors file, unpacked."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _metadata(data: bytes) -> Mapping[str, str]:
    """The words in the header of a safetensors file, which `load` leaves out."""
    found: Mapping[str, str] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return found
