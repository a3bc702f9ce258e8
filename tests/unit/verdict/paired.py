"""Pairs of scores and features with known losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict.evidence import Floats, Plan
from pytest_wanlora.verdict.fvd import ReferenceSet, Videos
from pytest_wanlora.verdict.judgement import ALL
from pytest_wanlora.verdict.pairs import PairedScores, PairedSets

NAMES = ("clip", "temporal", "sharpness", "color", "motion", "overall")
MEANS = np.array([0.6, 98.0, 500.0, 80.0, 1.5, 88.0])
# deviations of scores over seeds, of the size that small suites show
DEVIATIONS = np.array([0.02, 0.003, 0.10, 0.04, 0.15, 0.02])
METRICS_USED = tuple(METRICS[name] for name in NAMES)
PLAN = Plan.between(4, 16)
DIM = 32


def scores(
    *,
    seed: int,
    losses: Mapping[tuple[str, str], float] | None = None,
    correlation: float = 0.5,
    shape: str = "skewed",
    noise: float = 1.0,
    scenarios: int = 3,
    pairs: int = 16,
) -> PairedScores:
    """A candidate that loses given shares of given scores, else equal in distribution to the baseline."""
    generator = np.random.default_rng(seed)
    sides: list[dict[str, Floats]] = [{}, {}]
    for number in range(scenarios):
        shared, *own = generator.standard_normal((3, len(NAMES), pairs))
        for side, z in zip(sides, own, strict=True):
            mixed = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * z
            if shape == "two kinds":
                mixed = np.where(mixed < -0.5, -1.5, 0.7) + 0.05 * z
            side[f"s{number}"] = MEANS[:, None] * np.exp(noise * DEVIATIONS[:, None] * mixed)
    candidate, baseline = sides
    for (scenario, metric), loss in (losses or {}).items():
        candidate[scenario][NAMES.index(metric)] *= 1.0 - loss
    return PairedScores(METRICS_USED, candidate, baseline)


def with_features(found: PairedScores, reference: ReferenceSet, *, seed: int, shift: float) -> PairedScores:
    """The same with features; those of the candidate's s1 lie further out by `shift`."""
    generator = np.random.default_rng(seed)
    features: list[Floats] = []
    candidate: dict[str, NDArray[np.intp]] = {}
    baseline: dict[str, NDArray[np.intp]] = {}
    for number, (name, values) in enumerate(found.candidate.items()):
        n = values.shape[1]
        centre = np.random.default_rng(100 + number).standard_normal(DIM)
        for rows, out in ((candidate, shift if name == "s1" else 0.0), (baseline, 0.0)):
            rows[name] = np.arange(n) + n * len(features)
            features.append((1.0 + out) * centre + 0.35 * generator.standard_normal((n, DIM)))
    videos = Videos.of(np.concatenate(features), reference)
    return replace(found, sets=PairedSets({ALL: videos}, candidate, baseline))


def hopeless(seed: int = 8) -> PairedScores:
    """Pairs whose s1 scatters so much in CLIPScore that no 16 of them could prove a loss."""
    found = scores(seed=1, correlation=0.99, noise=0.2)
    rough = scores(seed=seed, correlation=0.0, noise=8.0)
    clip = NAMES.index("clip")
    for side, other in ((found.candidate, rough.candidate), (found.baseline, rough.baseline)):
        side["s1"][clip] = other["s1"][clip]
    return found
