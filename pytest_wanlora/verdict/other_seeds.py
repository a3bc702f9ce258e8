"""How likely a gate with other seeds would end otherwise: what part of a verdict is the luck of its seeds.

Each item has an estimate and a standard error. The truth lies around the estimate and what other seeds
measure around the truth, so both errors count; a bootstrap of the seeds at hand has one of them only, and
where many items are judged some estimates are far out by luck. So a comparison's true change is taken to be
normal around none, with a deviation of `USUAL`, before anything is measured. Gates are then drawn, and taken
look by look as `sequential` takes them. docs/evidence.md compares what comes out with gates of
other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.verdict import special
from pytest_wanlora.verdict.evidence import PRIOR_FREEDOM, Floats, Plan
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict

#: Deviation of the true changes of comparisons, in fail bands. Chosen on seeds 0 to 383 (docs/evidence.md).
USUAL = 0.7
_DRAWS = 1000
Scores = Mapping[tuple[str, str], Mapping[int, float]]
"""Scenario and metric to scores by seed."""


@dataclass(frozen=True)
class Lean:
    """Which way one item leans, and how firmly.

    Attributes:
        scenario: Its scenario, or `"all"`.
        metric: Of what.
        gap: Estimate less its bound: above 0 the item does not pass.
        error: Standard error of it.
        degrees: Degrees of freedom of that error.
        pairs: Pairs of a scenario that it rests on.
        moves: What each seed brings to it, in any unit, above 0 to the worse; empty where that is not known.
        band: Of a comparison, its fail band: no change has a gap of -band.
        asks: Whether more videos are rendered while it is open; not for a limit.
    """

    scenario: str
    metric: str
    gap: float
    error: float
    degrees: float
    pairs: int
    moves: Mapping[int, float]
    band: float = math.inf
    asks: bool = True


def disagreement(
    judgements: Sequence[Judgement],
    candidate: Scores,
    baseline: Scores,
    scenarios: Sequence[str],
    looks: tuple[int, ...],
) -> float | None:
    """Probability that a gate with other seeds passes a checkpoint that fails here, or the other way round.

    Args:
        judgements: All of the checkpoint, where what is undecided blocks.
        candidate: Scores of its videos.
        baseline: Of their pairs.
        scenarios: Of the suite.
        looks: Pairs of a scenario at each look.

    Returns:
        0 to 1. None where the verdict does not hang on seeds (the file fails, something was not measured) or
        an item does not tell how it scatters.
    """
    seeded = [each for each in judgements if each.kind != "checkpoint"]
    file_fails = any(each.verdict.fails for each in judgements if each.kind == "checkpoint")
    if not looks or file_fails or any(each.verdict.unmeasured for each in seeded):
        return None
    # copies are only warned of, and so is a likeness of which no gain is demanded
    telling = [
        each
        for each in seeded
        if each.kind != "videos" and each.metric != "copies" and (each.metric != "likeness" or each.fail)
    ]
    found = []
    for each in telling:
        places = scenarios if each.scenario == ALL else (each.scenario,)
        found.append(
            _limited(each, candidate, places)
            if each.kind == "limit"
            else _compared(each, candidate, baseline, places)
        )
    leans = [each for each in found if each is not None and math.isfinite(each.gap + each.error)]
    if not leans or len(leans) < len(found):
        return None
    broken = len({seed for each in seeded for seed in _broken(each)})
    fails = chance_to_fail(leans, looks, broken=broken)
    return 1.0 - fails if any(each.verdict.fails for each in seeded) else fails


def _broken(judged: Judgement) -> Iterator[int]:
    """Seeds with a video that fails the gate by itself."""
    listed = judged.details.get("broken", judged.details.get("videos"))
    if judged.verdict in (Verdict.FAIL, Verdict.DEGENERATE) and isinstance(listed, tuple):
        yield from (int(each[1]) for each in listed if isinstance(each, tuple))


def _compared(judged: Judgement, candidate: Scores, baseline: Scores, places: Sequence[str]) -> Lean | None:
    evidence, metric = judged.evidence, METRICS[judged.metric]
    if evidence is None or evidence.low is None or evidence.high is None or judged.fail is None:
        return None
    pairs, sign = evidence.n // len(places), -1.0 if metric.higher_is_better else 1.0
    degrees = pairs - 1.0 + (PRIOR_FREEDOM if evidence.method == "paired-t" else 0.0)
    if degrees < 1.0:
        return None
    error = (evidence.high - evidence.low) / (2.0 * _reach(degrees, evidence.level))
    sides = [
        (candidate.get((place, metric.id), {}), baseline.get((place, metric.id), {})) for place in places
    ]
    moves = _together(
        {seed: sign * (own[seed] - base[seed]) for seed in own.keys() & base.keys()} for own, base in sides
    )
    if moves and not any(moves.values()):
        error = 0.0  # the same videos: others would be the same too
    rest = (error, degrees, pairs, moves)
    if judged.kind == "question":
        return Lean(judged.scenario, metric.id, sign * (evidence.change - judged.fail), *rest)
    band = evidence.fail_band(judged.fail)
    return Lean(judged.scenario, metric.id, evidence.change - band, *rest, band=band)


def _limited(judged: Judgement, candidate: Scores, places: Sequence[str]) -> Lean | None:
    value, metric = judged.value, METRICS[judged.metric]
    pairs = judged.n // len(places)
    if value is None or pairs < 2:
        return None
    # the nearer bound, if there are two
    gap, sign = max(
        (value - (math.inf if judged.maximum is None else judged.maximum), 1.0),
        ((-math.inf if judged.minimum is None else judged.minimum) - value, -1.0),
    )
    own = [candidate.get((place, metric.id), {}) for place in places]
    low, high = judged.details.get("low"), judged.details.get("high")
    if isinstance(low, float) and isinstance(high, float):
        error = (high - low) / (2.0 * _reach(pairs - 1.0, Plan((1,)).level))
    elif metric.level == "video" and all(len(each) > 1 for each in own):
        variances = [np.var([*each.values()], ddof=1) / len(each) for each in own]
        error = math.sqrt(float(np.sum(variances))) / len(places)
    else:
        return None
    moves = _together({seed: sign * score for seed, score in each.items()} for each in own)
    return Lean(judged.scenario, metric.id, gap, error, pairs - 1.0, pairs, moves, asks=False)


def _reach(degrees: float, level: float) -> float:
    """Standard errors from the middle of an interval to its ends."""
    return float(special.stdtrit(degrees, 0.5 + 0.5 * level))


def _together(places: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """What each seed brings to the mean of several scenarios, of the seeds that all of them have."""
    several = list(places)
    common = set.intersection(*map(set, several))
    return {seed: math.fsum(each[seed] for each in several) for seed in sorted(common)}


def chance_to_fail(leans: Sequence[Lean], looks: tuple[int, ...], *, broken: int = 0) -> float:
    """Chance that a gate with other seeds does not pass.

    Args:
        leans: One or more.
        looks: Pairs of a scenario at each look.
        broken: Seeds with a video that fails by itself.
    """
    plan, generator = Plan(looks), np.random.default_rng(0)
    directions = _directions(leans)
    gap, error, pairs, band = (
        np.array([getattr(lean, name) for lean in leans]) for name in ("gap", "error", "pairs", "band")
    )
    seeds, degrees = int(pairs.max()), float(np.mean([lean.degrees for lean in leans]))

    def noise() -> Floats:
        """Of every item in every draw, deviation 1."""
        return generator.standard_normal((_DRAWS, directions.shape[1])) @ directions.T

    # the error is estimated too, and if it is too small it is so in all items of the seeds
    scale = error * np.sqrt(degrees / generator.chisquare(degrees, (_DRAWS, 1)))
    kept, none = 1.0 / (1.0 + (error / (USUAL * band)) ** 2), np.where(np.isinf(band), gap, -band)
    truth = none + kept * (gap - none) + np.sqrt(kept) * scale * noise()
    first_broken = np.full(_DRAWS, np.inf)
    if broken:
        share = generator.beta(broken, max(seeds - broken, 1e-9), _DRAWS)
        first_broken = generator.geometric(np.maximum(share, 1e-9)).astype(np.float64)
    names = [lean.scenario for lean in leans]
    asks = np.array([lean.asks for lean in leans])
    reach = np.array([_reach(lean.degrees, plan.level) for lean in leans])
    # "": of a gate whose items all pool scenarios, which has one look
    going = {name: np.ones(_DRAWS, dtype=np.bool_) for name in (*names, "") if name != ALL}
    seen, walk, before = np.zeros_like(truth), np.zeros_like(truth), 0
    rendered = np.zeros(_DRAWS)
    for look in looks:
        walk, before = walk + math.sqrt(look - before) * noise(), look
        found, spread = truth + scale * np.sqrt(pairs) * walk / look, scale * np.sqrt(pairs / look)
        on = np.any([*going.values()], axis=0)
        rendered[on] = look
        fresh = np.stack([on if name == ALL else going[name] for name in names], axis=1)
        seen = np.where(fresh, found, seen)
        # what lies within its band for certain, or would hardly leave it at the last look, asks for no more
        ahead = special.ndtr(seen / (spread * math.sqrt(max(1.0 - look / looks[-1], 1e-12)) + 1e-300))
        quiet = (seen <= 0.0) & ((seen + reach * spread < 0.0) | (ahead <= plan.futility)) | ~asks
        for name, still in going.items():
            going[name] = (
                still & (first_broken > look) & ~quiet[:, [each == name for each in names]].all(axis=1)
            )
    return float(np.mean((seen > 0.0).any(axis=1) | (first_broken <= rendered)))


def _directions(leans: Sequence[Lean]) -> Floats:
    """A row of length 1 for each item: items that move with the same seeds point the same way."""
    seeds = sorted({seed for lean in leans for seed in lean.moves})
    rows = np.zeros((len(leans), len(seeds) + len(leans)))
    # those of all scenarios last: where their own moves are not known they move with their scenarios'
    for number, lean in sorted(enumerate(leans), key=lambda each: each[1].scenario == ALL):
        away = np.array([lean.moves.get(seed, math.nan) for seed in seeds])
        if lean.moves:
            rows[number, : len(seeds)] = np.nan_to_num(away - np.nanmean(away))
        elif lean.scenario == ALL:
            rows[number] = sum(
                row for row, each in zip(rows, leans, strict=True) if each.metric == lean.metric
            )
        if not rows[number].any():
            # it goes its own way
            rows[number, len(seeds) + number] = 1.0
        rows[number] /= np.linalg.norm(rows[number])
    return rows
