"""Worlds made up of numbers: candidates that lost nothing, whose scores do not scatter as a test expects.

Every pair's change, in fail bands, has the mean 0 and the deviation `noise` (t with 2 degrees of freedom has
none; its scale is that of t / 2). The base's own seeds are normal with that deviation. Six metrics and three
scenarios, without video features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import Tolerance
from pytest_wanlora.verdict.evidence import Floats
from pytest_wanlora.verdict.judgement import ToleranceLike
from pytest_wanlora.verdict.pairs import PairedScores

_METRICS = ("clip", "temporal", "sharpness", "color", "motion", "overall")
_BAND = 0.05
#: One narrow band for all: with two of the widest ones, 40 %, scores would fall to 0, and a video without
#: motion fails whatever the statistics say.
TOLERANCES: Mapping[str, ToleranceLike] = {name: Tolerance(warn=0.01, fail=_BAND) for name in _METRICS}
_SCENARIOS = ("test1", "test2", "test3")
#: Deviations of a pair's change in fail bands: what mild and strong LoRAs show is 0.1 to 2.
NOISES = (0.5, 1.0, 2.0)
Shape = tuple[int, int, int]
"""Scenarios, metrics, pairs."""


def _student(degrees: float, scale: float) -> Callable[[np.random.Generator, Shape], Floats]:
    return lambda generator, shape: generator.standard_t(degrees, shape) / scale


def _skewed(sign: float) -> Callable[[np.random.Generator, Shape], Floats]:
    mean, deviation = np.exp(0.5), np.exp(0.5) * np.sqrt(np.e - 1.0)
    return lambda generator, shape: sign * (generator.lognormal(0.0, 1.0, shape) - mean) / deviation


def _two_kinds(generator: np.random.Generator, shape: Shape) -> Floats:
    return np.where(generator.random(shape) < 0.5, -0.995, 0.995) + 0.1 * generator.standard_normal(shape)


def _shared(generator: np.random.Generator, shape: Shape) -> Floats:
    noise = generator.standard_normal((1, *shape[1:]))
    found: Floats = np.sqrt(0.6) * noise + np.sqrt(0.4) * generator.standard_normal(shape)
    return found


def _growing(generator: np.random.Generator, shape: Shape) -> Floats:
    sizes = np.linspace(0.25, 1.75, shape[-1])
    found: Floats = sizes / np.sqrt(np.mean(sizes**2)) * generator.standard_normal(shape)
    return found


def _following(generator: np.random.Generator, shape: Shape) -> Floats:
    fresh = generator.standard_normal(shape)
    found = fresh.copy()
    for i in range(1, shape[-1]):
        found[..., i] = 0.5 * found[..., i - 1] + np.sqrt(0.75) * fresh[..., i]
    return found


#: By name; a change is above 0 where the candidate is worse.
WORLDS: Mapping[str, Callable[[np.random.Generator, Shape], Floats]] = {
    "t with 3 degrees": _student(3.0, np.sqrt(3.0)),
    "t with 2 degrees": _student(2.0, 2.0),
    "few much worse": _skewed(1.0),
    "few much better": _skewed(-1.0),
    "two kinds": _two_kinds,
    "shared seed noise 0.6": _shared,
    "growing variance": _growing,
    "AR(1) 0.5 (reported only)": _following,
}


def gate(world: str, number: int, *, noise: float, pairs: int = 16) -> PairedScores:
    """The pairs of one gate; the same arguments give the same gate.

    Args:
        world: A name of `WORLDS`.
        number: Of the gate.
        noise: Deviation of a change, in fail bands.
        pairs: Of each scenario.
    """
    generator = np.random.default_rng((list(WORLDS).index(world), number, round(100 * noise)))
    shape = (len(_SCENARIOS), len(_METRICS), pairs)
    base = 1.0 + noise * _BAND * generator.standard_normal(shape)
    change = noise * _BAND * WORLDS[world](generator, shape)
    return PairedScores(
        tuple(METRICS[name] for name in _METRICS),
        {name: base[i] - change[i] for i, name in enumerate(_SCENARIOS)},
        {name: base[i] for i, name in enumerate(_SCENARIOS)},
    )
