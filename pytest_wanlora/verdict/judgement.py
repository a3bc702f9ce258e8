"""What is said of one item: the closed set of verdicts, and the judgement that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol

from pydantic import ConfigDict

#: The scenario of items that pool the whole suite.
ALL = "all"
Kind = Literal["checkpoint", "videos", "limit", "regression", "question"]

# a record that holds a key nobody knows was not written by this package
_STRICT: Final = ConfigDict(extra="forbid", allow_inf_nan=False)


class Verdict(StrEnum):
    """The closed set of verdicts; from `UNDECIDED` on they keep the checkpoint from being published."""

    BETTER = "better"
    PASS = "pass"  # noqa: S105  a verdict, no password
    WARN = "warn"
    UNDECIDED = "undecided"
    FAIL = "fail"
    MISSING_BASELINE = "missing_baseline"
    INCOMPARABLE = "incomparable"
    DEGENERATE = "degenerate"
    ERROR = "error"

    @property
    def fails(self) -> bool:
        """Whether an item with this verdict keeps the checkpoint from being published."""
        return self not in (Verdict.BETTER, Verdict.PASS, Verdict.WARN)

    @property
    def unmeasured(self) -> bool:
        """Whether it tells that something could not be measured, and nothing about the checkpoint."""
        return self in (Verdict.MISSING_BASELINE, Verdict.INCOMPARABLE, Verdict.ERROR)

    @property
    def severity(self) -> int:
        """Order from the best to the worst."""
        return list(Verdict).index(self)


class ReasonCode(StrEnum):
    """Why an item has its verdict; `reasons` has the sentence of each."""

    # the checkpoint
    FILE_BROKEN = "file_broken"
    LORA_APPLIED = "lora_applied"
    LORA_ROUNDED_AWAY = "lora_rounded_away"
    LORA_WARNED = "lora_warned"
    LORA_NOT_APPLIED = "lora_not_applied"
    LORA_WITHOUT_EFFECT = "lora_without_effect"
    LORA_WITHIN_REPEATABILITY = "lora_within_repeatability"
    LORA_HALF_WITHOUT_EFFECT = "lora_half_without_effect"
    LORA_NOT_KNOWN_APPLIED = "lora_not_known_applied"
    # what could not be measured or compared
    NOT_RENDERED = "not_rendered"
    NOT_RENDERED_SEVERAL = "not_rendered_several"
    NO_BASELINE = "no_baseline"
    INCOMPARABLE = "incomparable"
    ERROR = "error"
    DEGENERATE = "degenerate"
    NO_VIDEO = "no_video"
    NOT_MEASURED = "not_measured"
    NOT_FINITE = "not_finite"
    BASELINE_NOT_FINITE = "baseline_not_finite"
    BASELINE_LACKS_VIDEOS = "baseline_lacks_videos"
    BASELINE_LACKS_METRIC = "baseline_lacks_metric"
    UNEQUAL_SETS = "unequal_sets"
    CHANGE_UNDEFINED = "change_undefined"
    # single videos
    VIDEOS_SOUND = "videos_sound"
    VIDEOS_BROKEN = "videos_broken"
    # limits
    LIMIT_KEPT = "limit_kept"
    LIMIT_BROKEN = "limit_broken"
    # comparisons
    WITHIN_BAND = "within_band"
    WITHIN_WARN_BAND = "within_warn_band"
    BEYOND_BAND = "beyond_band"
    BEYOND_BAND_WEAK = "beyond_band_weak"
    FAILED_WITH_SIBLING = "failed_with_sibling"
    WEAK_EVIDENCE_FAILS = "weak_evidence_fails"  # of records of an earlier version
    UNDECIDED = "undecided"
    TOO_FEW_PAIRS = "too_few_pairs"
    NO_TEST = "no_test"
    BETTER = "better"
    BETTER_UNCERTAIN = "better_uncertain"
    BASELINE_ZERO = "baseline_zero"
    SUSPICIOUS_RISE = "suspicious_rise"
    RISE_WITH_LESS_MOTION = "rise_with_less_motion"
    FROZEN = "frozen"
    # questions
    TOO_FEW_TO_ASK = "too_few_to_ask"
    NO_SPREAD = "no_spread"
    KEEPS_THE_REST = "keeps_the_rest"
    BLEEDS_SLIGHTLY = "bleeds_slightly"
    BLEEDS = "bleeds"
    BLEED_UNPROVEN = "bleed_unproven"
    LEARNED = "learned"
    LEARNED_NOT = "learned_not"
    LEARNED_UNPROVEN = "learned_unproven"
    LEARNED_OPEN = "learned_open"
    VARIES = "varies"
    COLLAPSES_SLIGHTLY = "collapses_slightly"
    COLLAPSES = "collapses"
    COLLAPSE_UNPROVEN = "collapse_unproven"
    COPIES_NOTHING = "copies_nothing"
    COPIES = "copies"
    TOO_FEW_CLIPS = "too_few_clips"


Detail = int | float | str | tuple[str, ...] | tuple[float, ...] | tuple[tuple[str, int, str], ...]
"""A figure, a name, several of either, or several triples such as scenario, seed and what is wrong."""
Details = Mapping[str, Detail]


class PytestOutcome(StrEnum):
    """What became of one pytest item; only `PASSED` lets a checkpoint be published."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    NOT_JUDGED = "not_judged"
    DESELECTED = "deselected"
    REMOVED = "removed"
    NOT_NAMED = "not_named"
    NOT_COLLECTED = "not_collected"
    STOPPED = "stopped"
    LOST = "lost"
    NOT_RUN = "not_run"

    @property
    def ran(self) -> bool:
        """Whether pytest began the item; one that did not run makes the whole run partial."""
        return self in (
            PytestOutcome.PASSED,
            PytestOutcome.FAILED,
            PytestOutcome.ERROR,
            PytestOutcome.SKIPPED,
            PytestOutcome.XFAILED,
        )


@dataclass(frozen=True)
class ItemOutcome:
    """What became of one pytest item: of a project test, or of an item of the gate that was not judged.

    A project test is a test of the user's project that uses a `wanlora_*` fixture.

    Attributes:
        name: Node id of a project test; `test_limit[...]` of an item of the gate.
        candidate: Name of the checkpoint that it is about; None for every checkpoint of the run.
        outcome: What became of it.
        detail: The reason that was given, the option that deselected it, or what failed; one line.
    """

    __pydantic_config__ = _STRICT

    name: str
    candidate: str | None
    outcome: PytestOutcome
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return self.outcome is PytestOutcome.PASSED

    def concerns(self, candidate: str) -> bool:
        """Whether it is about a checkpoint."""
        return self.candidate in (None, candidate)


class ToleranceLike(Protocol):
    """The band of one metric: `suite.Tolerance`."""

    @property
    def warn(self) -> float:
        """From here on `warn`."""

    @property
    def fail(self) -> float:
        """Beyond it `fail`."""

    @property
    def better(self) -> float:
        """Improvement from which a score is called better."""


@dataclass(frozen=True)
class Evidence:
    """How sure the change of one item is.

    Attributes:
        n: Pairs it rests on; of the pooled item, in all scenarios together.
        looks: Pairs a scenario had at the looks taken so far.
        change: Relative change to the worse that the interval belongs to; of a question its value, in the
            question's unit, as are the bounds.
        low: Lower bound of that change; None where there is no interval (one pair, a baseline of 0).
        high: Upper bound.
        level: Confidence level of the interval, corrected for the number of looks.
        decisive: The interval lies wholly on one side of the fail band.
        p_value: One-sided, that the candidate is worse at all, corrected for the looks; None where the
            pairs are too few for a test (`tested` False).
        p_adjusted: That the item fails by chance, adjusted for all items of the run (Holm; an item that can
            hardly fail by chance counts for hardly anything); 1 within the band.
        tested: Whether a significance test decides; otherwise the band alone does.
        significant: `p_adjusted` is at most the run's alpha.
        seconded: Not significant itself, but decisively beyond its band in a scenario of which another item
            has failed for certain, so that no more videos were rendered to prove this one too.
        weak: At this look the evidence does not settle the item: the interval straddles the band and the last
            look might fail it, or the change is beyond the band but not significant.
        n_enough: Pairs that would have settled it with 80 % power; None if settled or beyond 10,000.
        method: `"paired-t"`, `"jackknife, label swap"`, or `"jackknife, t"` of a question.
        chance_to_fail: Chance that the last look would fail it, as predicted from these pairs; None after
            that look. Once it is small, no more videos are rendered for the item.
        baseline_floor: Of a distance: the part of the baseline's value that its n explains.
        value_floor: The same for the candidate's.
        baseline_estimate: Of a distance: what the change is of, above the floor and from all seeds that the
            baseline has; None in records of before, where it is the value less its floor.
        value_estimate: The same for the candidate's.
        kvd_difference: Candidate's kernel distance less the baseline's: what the test of `fvd` is on.
        reference_n: Videos in the reference set of a distance.
        band: Fail band that was used where it is wider than the suite's: of a distance whose n cannot tell so
            little.
    """

    __pydantic_config__ = _STRICT

    n: int
    looks: tuple[int, ...]
    change: float
    low: float | None
    high: float | None
    level: float
    decisive: bool
    p_value: float | None
    p_adjusted: float | None
    tested: bool
    significant: bool
    seconded: bool
    weak: bool
    n_enough: int | None
    method: str
    chance_to_fail: float | None = None
    baseline_floor: float | None = None
    value_floor: float | None = None
    baseline_estimate: float | None = None
    value_estimate: float | None = None
    kvd_difference: float | None = None
    reference_n: int | None = None
    band: float | None = None

    @property
    def n_missing(self) -> int | None:
        """Pairs that are missing to `n_enough`, one or more; None where that is None."""
        return None if self.n_enough is None else max(1, self.n_enough - self.n)

    def fail_band(self, fail: float) -> float:
        """The fail band that was used, where the suite's is `fail`."""
        return fail if self.band is None else max(fail, self.band)


@dataclass(frozen=True)
class Worst:
    """The video that did worst in an item: of a comparison, against its pair.

    Attributes:
        scenario: Its scenario.
        seed: Its seed.
        value: Its score.
        baseline: Its pair's score, None for a limit.
    """

    __pydantic_config__ = _STRICT

    scenario: str
    seed: int
    value: float
    baseline: float | None = None


@dataclass(frozen=True, order=True)
class ItemId:
    """What names one item of a run.

    Attributes:
        kind: `"checkpoint"`, `"videos"`, `"limit"`, `"regression"` or `"question"`.
        candidate: Name of the checkpoint.
        scenario: Its scenario, `"all"` for the pooled item; empty for the checkpoint's own.
        metric: Metric id; for the checkpoint's own items the check; empty for its videos.
    """

    __pydantic_config__ = _STRICT

    kind: Kind
    candidate: str
    scenario: str
    metric: str

    def __str__(self) -> str:
        parts = [part for part in (self.candidate, self.scenario, self.metric) if part]
        return f"test_{self.kind}[{'-'.join(parts)}]"


@dataclass(frozen=True)
class Judgement:
    """What is said of one item.

    Attributes:
        kind: What sort of item.
        candidate: Name of the checkpoint.
        scenario: Scenario id, or `"all"`.
        metric: Metric id.
        verdict: The verdict.
        reason: One sentence with numbers, in English; `reasons.reason` makes it in any language.
        baseline: The baseline's value, None where there is none or it is not finite.
        value: The candidate's, None where it is not finite or was not measured.
        change: Relative change to the worse; of a distance above its floor; None where undefined.
        minimum: Lower bound of a limit.
        maximum: Upper bound of a limit.
        warn: Band of a comparison.
        fail: Band of a comparison.
        n: Videos of the candidate that it rests on.
        reference_n: Of a distance, videos in the reference set.
        evidence: How sure; None if the band alone decides.
        worst: The video that did worst.
        code: What the sentence of `reason` is; None in a record of an earlier version.
        details: Figures and names that the sentence needs and no other field has.
        next_command: What to type or do next, where it is known from the cause; else empty.
    """

    __pydantic_config__ = _STRICT

    kind: Kind
    candidate: str
    scenario: str
    metric: str
    verdict: Verdict
    reason: str
    baseline: float | None = None
    value: float | None = None
    change: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    warn: float | None = None
    fail: float | None = None
    n: int = 0
    reference_n: int | None = None
    evidence: Evidence | None = None
    worst: Worst | None = None
    code: ReasonCode | None = None
    details: Details = field(default_factory=dict)
    next_command: str = ""

    @property
    def shown(self) -> bool | None:
        """Whether a comparison that passes is shown to be within its band; None of anything else."""
        if self.kind != "regression" or self.verdict.fails:
            return None
        return self.evidence is not None and self.evidence.decisive

    @property
    def changed(self) -> tuple[float, float]:
        """What the change is of, the baseline's first: of a distance the estimates above the floor.

        Raises:
            ValueError: It has no two values.
        """
        if self.baseline is None or self.value is None:
            raise ValueError(f"{self.item} compares nothing")
        evidence = self.evidence
        if evidence is None or evidence.baseline_floor is None or evidence.value_floor is None:
            return self.baseline, self.value
        if evidence.baseline_estimate is None or evidence.value_estimate is None:
            return self.baseline - evidence.baseline_floor, self.value - evidence.value_floor
        return evidence.baseline_estimate, evidence.value_estimate

    @property
    def explained(self) -> str:
        """The reason, then the next command on a line of its own."""
        return f"{self.reason}\nnext: {self.next_command}" if self.next_command else self.reason

    @property
    def gravity(self) -> tuple[bool, bool, int, float, ItemId]:
        """Key that sorts judgements worst first, in every view alike.

        What is wrong with the file is first, for it may be why the rest fails; what could not be measured is
        last. Between them the verdict counts, then the change in fail bands.
        """
        bands = self.change / self.fail if self.change is not None and self.fail else 0.0
        # of what warns too much of a gain is as grave as a loss
        size = abs(bands) if self.verdict is Verdict.WARN else bands
        unmeasured = self.verdict.unmeasured
        return self.kind != "checkpoint", unmeasured, -self.verdict.severity, -size, self.item

    @property
    def video(self) -> str:
        """Label of the video that could not be rendered, if that is why nothing was measured; else empty."""
        return str(self.details.get("video", "")) if self.verdict.unmeasured else ""

    @property
    def cause(self) -> tuple[str, str]:
        """What tells causes apart: the reason and the next command.

        Of a video that could not be rendered the first line of the reason: what follows has figures, such as
        the memory that was free, that are others in each process.
        """
        return (self.reason.partition("\n")[0] if self.video else self.reason), self.next_command

    @property
    def causes(self) -> tuple[tuple[str, str], ...]:
        """Reason and next command of each thing that keeps the item from being measured."""
        listed = self.details.get("causes")
        if not isinstance(listed, tuple):
            return ((self.reason, self.next_command),)
        return tuple((each[0], each[2]) for each in listed if isinstance(each, tuple))

    @property
    def item(self) -> ItemId:
        """The item that this judges."""
        return ItemId(self.kind, self.candidate, self.scenario, self.metric)
