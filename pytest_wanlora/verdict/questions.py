"""Questions about a LoRA, each with a scatter over its pairs: judged beside the scores, by the same rules.

Distances between two seeds of one prompt are the unit: what the base model itself changes from video to
video. Their mean is a U-statistic; its scatter is the jackknife over seeds (Efron and Stein 1981, "The
jackknife estimate of variance"), and so is its covariance with what the pairs share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.metrics import Metric
from pytest_wanlora.verdict import reasons
from pytest_wanlora.verdict.copies import COPY, Nearest
from pytest_wanlora.verdict.evidence import Contrast, Floats
from pytest_wanlora.verdict.judgement import Detail, Evidence, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.measured import settled


@dataclass(frozen=True)
class Question:
    """One question about one scenario.

    Attributes:
        metric: What is asked.
        warn: Value up to which nothing is wrong; the test is against it.
        fail: Beyond it the item fails, if the value is proven to be beyond `warn`.
        of_first: Contrast of the first n pairs, n >= 3: its ratio candidate / baseline is the value plus
            `offset`, divided by `warn` plus `offset`.
        offset: 0 of a ratio; of a difference what keeps both above 0.
        demanded: `warn` is an improvement that is demanded, which fails unless it is proven.
    """

    metric: Metric
    warn: float
    fail: float
    of_first: Callable[[int], Contrast]
    offset: float = 0.0
    demanded: bool = False
    _contrasts: dict[int, Contrast] = field(default_factory=dict, init=False, repr=False, compare=False)

    def contrast(self, n: int) -> Contrast:
        """The contrast of the first n pairs; computed once."""
        if n not in self._contrasts:
            self._contrasts[n] = self.of_first(n)
        return self._contrasts[n]

    @property
    def band(self) -> float:
        """The fail band as a change to the worse, relative to `warn`."""
        return abs((self.fail + self.offset) / (self.warn + self.offset) - 1.0)

    def value(self, change: float) -> float:
        """The value that a change to the worse, relative to `warn`, stands for."""
        share = 1.0 - change if self.metric.higher_is_better else 1.0 + change
        return (self.warn + self.offset) * share - self.offset

    def told(self, evidence: Evidence) -> Evidence:
        """Evidence in the question's own unit."""
        ends = [None if end is None else self.value(end) for end in (evidence.low, evidence.high)]
        low, high = reversed(ends) if self.metric.higher_is_better else ends
        return replace(evidence, change=self.value(evidence.change), low=low, high=high)


def bleed(candidate: NDArray[Any], stored: NDArray[Any], warn: float) -> Contrast:
    """How far a LoRA moves videos, in units of what another seed changes.

    The value is the mean distance of the candidate's features to the base's of the same seed, divided by the
    mean distance between two seeds of the base. 0: the same videos; 1: as far as another seed.

    Args:
        candidate: (n, D), n >= 3.
        stored: (N, D), N >= n: all seeds of the base, the first n those of the pairs.
        warn: Value that the ratio of the contrast is relative to.
    """
    n = len(candidate)
    moved = np.linalg.norm(np.asarray(candidate, np.float64) - stored[:n], axis=1)
    unit, scatter = spread(stored)
    return _ratio(float(moved.mean()), moved - moved.mean(), warn * unit, warn * scatter)


def collapse(candidate: NDArray[Any], stored: NDArray[Any], warn: float) -> Contrast:
    """How much of the base's spread over seeds a LoRA leaves: 0 is one video whatever the seed.

    Args:
        candidate: (n, D), n >= 3: features of the candidate's videos of one prompt.
        stored: (N, D), N >= n: all seeds of the base, the first n those of the pairs.
        warn: Value that the ratio of the contrast is relative to.
    """
    unit, scatter = spread(stored)
    return _ratio(*spread(candidate), warn * unit, warn * scatter)


def gain(candidate: NDArray[Any], stored: NDArray[Any], wanted: float) -> Contrast:
    """How much more alike its references a subject's videos are than the base's of the same seeds.

    Args:
        candidate: (n,), n >= 3: mean cosine of the frames of each video and the references.
        stored: (N,): the same of the base.
        wanted: The gain that the ratio of the contrast is relative to, with 1 added to both: a cosine may be
            negative, 1 plus a gain is not.
    """
    gained = np.asarray(candidate, np.float64) - stored[: len(candidate)]
    centred = gained - gained.mean()
    return _ratio(1.0 + float(gained.mean()), centred, 1.0 + wanted, np.zeros(len(gained)))


def likeness(frames: NDArray[Any], references: NDArray[Any]) -> Floats:
    """Similarity of each frame to the references: mean cosine, (frames,), -1 to 1.

    Args:
        frames: (frames, D) embeddings of a video.
        references: (R, D) embeddings.
    """
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (frames, references)]
    return np.asarray(np.asarray(unit[0], np.float64) @ unit[1].mean(axis=0))


def spread(features: NDArray[Any]) -> tuple[float, Floats]:
    """Mean distance between two of n videos, and the jackknife influence of each on it, (n,), mean 0.

    Args:
        features: (n, D), n >= 3.

    Raises:
        ValueError: Fewer than three videos.
    """
    rows = np.asarray(features, dtype=np.float64)
    n = len(rows)
    if n < 3:
        raise ValueError(f"the spread of {n} videos has no jackknife; allowed: 3 or more")
    own = np.array([np.linalg.norm(rows - row, axis=1).sum() for row in rows])
    total = own.sum()
    without = (total - 2.0 * own) / ((n - 1.0) * (n - 2.0))
    return float(total / (n * (n - 1.0))), np.asarray((n - 1.0) * (without.mean() - without))


def _ratio(value: float, scatter: Floats, unit: float, unit_scatter: Floats) -> Contrast:
    """Contrast of two estimates by the influence of each seed; the unit's first seeds are the value's."""
    n, stored = len(scatter), len(unit_scatter)
    return Contrast(
        candidate=np.asarray(value),
        baseline=np.asarray(unit),
        candidate_variance=np.array([scatter @ scatter / (n * (n - 1.0))]),
        baseline_variance=np.array([unit_scatter @ unit_scatter / (stored * (stored - 1.0))]),
        covariance=np.array([scatter @ unit_scatter[:n] / (stored * (n - 1.0))]),
        pairs=(n,),
    )


_CODES = {
    "bleed": (
        ReasonCode.KEEPS_THE_REST,
        ReasonCode.BLEEDS_SLIGHTLY,
        ReasonCode.BLEEDS,
        ReasonCode.BLEED_UNPROVEN,
    ),
    "collapse": (
        ReasonCode.VARIES,
        ReasonCode.COLLAPSES_SLIGHTLY,
        ReasonCode.COLLAPSES,
        ReasonCode.COLLAPSE_UNPROVEN,
    ),
}


def judge_question(
    blank: Judgement, question: Question, evidence: Evidence, *, undecided: Literal["block", "warn"]
) -> Judgement:
    """Judge a value against its bands.

    Args:
        blank: Names the item.
        question: What was asked.
        evidence: From `sequential.assess`.
        undecided: What a value beyond its band that is not proven does.
    """
    found = question.told(evidence)
    if not math.isfinite(found.change):
        return settled(blank, Verdict.ERROR, ReasonCode.NO_SPREAD, {})
    kept, slight, fails, unproven = _CODES[question.metric.id]
    worse = 1.0 if question.metric.higher_is_better else -1.0
    if worse * found.change < worse * question.fail:
        proven = evidence.significant or evidence.seconded
        open_verdict = Verdict.WARN if undecided == "warn" else Verdict.UNDECIDED
        verdict, code = (Verdict.FAIL, fails) if proven else (open_verdict, unproven)
    elif worse * found.change <= worse * question.warn:
        verdict, code = Verdict.WARN, slight
    else:
        verdict, code = Verdict.PASS, kept
    judged = replace(
        blank,
        verdict=verdict,
        code=code,
        value=found.change,
        warn=question.warn,
        fail=question.fail,
        evidence=found,
    )
    return replace(judged, reason=reasons.reason(judged))


def judge_gain(
    blank: Judgement,
    question: Question,
    evidence: Evidence,
    *,
    last: bool,
    sides: tuple[float, float],
    details: Mapping[str, Detail],
) -> Judgement:
    """Judge whether the subject was learned: the mirror image of a band.

    It was, if the gain is estimated to be the one demanded and the interval of the gain lies above 0. All
    else fails, and warns where no gain is demanded.

    Args:
        blank: Names the item.
        question: What was asked.
        evidence: From `sequential.assess`.
        last: Whether no further look was to be taken.
        sides: Likeness of the base's videos and of the candidate's.
        details: What else the record is to tell.
    """
    found = question.told(evidence)
    proven = found.low is not None and found.low > 0.0
    fails = Verdict.FAIL if question.demanded else Verdict.WARN
    if found.change >= question.warn and proven:
        verdict, code = Verdict.PASS, ReasonCode.LEARNED
    elif found.change < question.warn and (found.significant or found.seconded):
        verdict, code = fails, ReasonCode.LEARNED_NOT
    elif last:
        verdict, code = fails, ReasonCode.LEARNED_UNPROVEN
    else:
        # another item has failed for certain, or none that may fail asks for more
        verdict, code = Verdict.UNDECIDED if question.demanded else Verdict.WARN, ReasonCode.LEARNED_OPEN
    judged = replace(
        blank,
        verdict=verdict,
        code=code,
        baseline=sides[0],
        value=sides[1],
        fail=question.warn,
        evidence=found,
        details={**details, "gain": found.change},
    )
    return replace(judged, reason=reasons.reason(judged))


def judge_copies(blank: Judgement, own: Mapping[int, Nearest], clips: Sequence[str]) -> Judgement:
    """Warn of videos that are far nearer to a training clip than videos come to be without copying.

    Args:
        blank: Names the item.
        own: What the candidate's videos are nearest to, by seed.
        clips: Names of the clips.
    """
    copied = sorted((found.share, seed) for seed, found in own.items() if found.share < COPY)
    share, seed = min((found.share, seed) for seed, found in own.items())
    details: dict[str, Detail] = {
        "clip": clips[own[seed].clip],
        "seed": seed,
        "bound": COPY,
        "copied": tuple((blank.scenario, which, clips[own[which].clip]) for _, which in copied),
        "count": len(copied),
    }
    verdict, code = (Verdict.WARN, ReasonCode.COPIES) if copied else (Verdict.PASS, ReasonCode.COPIES_NOTHING)
    return settled(blank, verdict, code, details, value=share)
