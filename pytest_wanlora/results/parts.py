"""The parts of a run record: videos, sets, cards, and what one worker has to tell."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator

from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.metrics import scoring_metrics
from pytest_wanlora.phrases import strength_of
from pytest_wanlora.schemas import Count, Finite, StrictModel
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.judgement import Judgement
from pytest_wanlora.verdict.noise import NoiseFloor
from pytest_wanlora.verdict.race import Objective

Role = Literal["candidate", "baseline"]


class Video(StrictModel):
    """One video of the run, or of the baseline it was compared with.

    Attributes:
        role: Whose it is.
        candidate: Name of the checkpoint; of the baseline for its videos.
        scenario: Scenario id.
        seed: Of the noise.
        scores: Metric id to value; empty for a degenerate video.
        degenerate: Why it cannot be scored.
        key: Key of its job; None where only its scores are known.
        frames_sha256: Digest of the raw frames, if known.
        preview: mp4 for people, relative to the record's folder, with forward slashes; for the baseline's
            videos too, where one was kept.
        seconds: Rendering and scoring.
        reused: It was in the cache, or came with the baseline.
        applied: How the LoRA was applied (`jobs.Applied`), None without LoRA.
        node: Node of the cluster that rendered it; None for this machine.
        gpu: The GPU's name and number there.
    """

    role: Role
    candidate: str
    scenario: str
    seed: int
    scores: dict[str, Finite]
    degenerate: str | None = None
    key: str | None = None
    frames_sha256: str | None = None
    preview: str | None = None
    seconds: Finite = 0.0
    reused: bool = False
    applied: dict[str, Any] | None = None
    node: str | None = None
    gpu: str | None = None


class Storing(StrictModel):
    """What came of a run that was to store a baseline; such a run decides nothing about publishing.

    Attributes:
        name: Of the baseline.
        stored: Whether it was stored.
        refused: Whether the measurement itself speaks against it; else it could not be made.
        why: Why it was not stored, a line each; empty where it was, and where `test_baseline` did not end.
        next_command: What to type or do next; empty where it was stored.
    """

    name: str
    stored: bool
    refused: bool = False
    why: tuple[str, ...] = ()
    next_command: str = ""

    @property
    def outcome(self) -> RunOutcome:
        """How the run ended."""
        if self.stored:
            return RunOutcome.PASSED
        if not self.why:
            return RunOutcome.PARTIAL
        return RunOutcome.FAILED if self.refused else RunOutcome.NOT_MEASURED

    @property
    def reason(self) -> str:
        """What happened, on one line."""
        if self.stored:
            return f"stored as the baseline {self.name!r}, which decides nothing about publishing"
        what = "refused" if self.refused else "not stored"
        why = self.why or ("test_baseline did not run to its end",)
        more = " (and more)" if len(why) > 1 else ""
        return f"{what} as the baseline {self.name!r}: {why[0]}{more}"


class SetScores(StrictModel):
    """Scores of one set of videos.

    Attributes:
        role: Whose set it is.
        candidate: Name of the checkpoint or baseline.
        scenario: Scenario id, or `"all"`.
        scores: `fvd` and `kvd`.
        n: Videos in it.
        reference_n: Videos in the reference set.
    """

    role: Role
    candidate: str
    scenario: str
    scores: dict[str, Finite]
    n: int
    reference_n: int


class Failure(StrictModel):
    """A video that could not be rendered or scored.

    Attributes:
        candidate: Name of the checkpoint.
        scenario: Scenario id.
        seed: Of the noise.
        message: What was wrong.
        next_command: What to do next.
    """

    candidate: str
    scenario: str
    seed: int
    message: str
    next_command: str | None = None


class Beneath(StrictModel):
    """A LoRA that lies on the model below baseline and candidate.

    Attributes:
        file: Its name.
        expert: Of a model with two; else empty.
        scale: Its strength.
        sha256: Of the file; empty where it was missing.
    """

    file: str
    expert: str = ""
    scale: Finite
    sha256: str


class SuiteCard(StrictModel):
    """The suite as it was when the run began.

    Attributes:
        name: Of the suite.
        sha256: Of its file.
        fingerprint: `suite.fingerprint`.
        prompts: By scenario, in the suite's order.
        targets: Scenario and metric to a value to reach by more training; never gated.
        limits: As in the suite: `metric`, `min`, `max`, `scenario`.
        tolerances: Metric to `warn`, `fail`, `better`.
        looks: Pairs of a scenario at each look.
        weak: `"warn"`: a loss beyond its band that is not proven warns; `"fail"`: it does not pass.
        metrics: Metric to the version of its recipe.
        questions: What is asked of the LoRA besides: metric to scenarios.
        stack: What lies on the model below baseline and candidate, in its order.
        objective: What makes one checkpoint better than another: the smaller mean, or the smaller largest,
            loss of all comparisons; None in a record before version 6, which knew `"mean"` alone.
    """

    name: str
    sha256: str
    fingerprint: dict[str, Any]
    prompts: dict[str, Prompt]
    targets: dict[str, dict[str, Finite]] = Field(default_factory=dict)
    limits: tuple[dict[str, Any], ...] = ()
    tolerances: dict[str, dict[str, Finite]] = Field(default_factory=dict)
    looks: tuple[int, ...] = ()
    weak: Literal["warn", "fail"] = "warn"
    metrics: dict[str, int] = Field(default_factory=lambda: {m.id: m.version for m in scoring_metrics()})
    questions: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    stack: tuple[Beneath, ...] = ()
    objective: Objective | None = None


class Half(StrictModel, extra="ignore"):
    """What reports take from the description of one half of a pair.

    Attributes:
        file: Name of its file.
        sha256: Of the file.
        strength: Factor on it.
    """

    file: str = ""
    sha256: str = ""
    strength: Finite = 1.0


class _Described(StrictModel, extra="allow"):
    """What reports take from the description of a checkpoint."""

    experts: dict[Literal["high", "low"], Half] = Field(default_factory=dict)
    file: str = ""
    size: Annotated[int, Field(ge=0, lt=2**63)] = 0
    format: str = ""
    dtype: str = ""
    rank: int = 0


class CandidateCard(StrictModel):
    """One checkpoint and the decision about it.

    Attributes:
        name: As in test ids.
        sha256: Of the file; None for the model without LoRA.
        scale: Strength of the LoRA; of a pair the factor on both halves.
        checkpoint: `Checkpoint.describe()`; None for the model without LoRA.
        norms: Block number to the norm of its layers' updates, for the card's plot.
        runs: How many tries these bytes have had on this suite, this one included: sets of seeds that no
            earlier run had. Trying until green shows.
        publishable: The decision.
        reason: One sentence.
        losses: Seeds of each scenario at a look to the loss by the suite's objective, in fail bands: of all n
            seeds, then without each of them in turn. Such values of two checkpoints are pairs: their
            difference and its jackknife compare them. Empty where a video is broken, or before version 6.
        other_seeds: Probability that a gate with other seeds would end otherwise; None where it is not known.
    """

    name: str
    sha256: str | None
    scale: Finite = 1.0
    checkpoint: dict[str, Any] | None = None
    norms: dict[int, Finite] = Field(default_factory=dict)
    runs: int = 1
    publishable: bool
    reason: str
    losses: dict[int, tuple[Finite, ...]] = Field(default_factory=dict)
    other_seeds: Annotated[float, Field(ge=0, le=1)] | None = None

    @field_validator("checkpoint")
    @classmethod
    def _as_described(cls, found: dict[str, Any] | None) -> dict[str, Any] | None:
        """What reports take from it is of the type that `Checkpoint.describe` gives it."""
        if found is not None:
            _Described.model_validate(found)
        return found

    def told(self, kind: Literal["problems", "warnings", "hints"]) -> tuple[tuple[str, str], ...]:
        """What is to be known of the file, by its description: a code and words for each."""
        listed = (self.checkpoint or {}).get(kind)
        return tuple(
            (str(each.get("code", "")), str(each.get("words", each.get("code", ""))))
            if isinstance(each, Mapping)
            else ("", str(each))
            for each in (listed if isinstance(listed, (list, tuple)) else ())
        )

    @property
    def halves(self) -> dict[str, Half]:
        """Of a pair, the LoRA of each expert that has one; empty for another LoRA."""
        known = (self.checkpoint or {}).get("experts") or {}
        return {expert: Half.model_validate(known[expert]) for expert in ("high", "low") if expert in known}

    @property
    def has_config(self) -> bool:
        """Whether alpha is in an `adapter_config.json` beside the file, or beside half of a pair."""
        return "adapter_config.json" in str((self.checkpoint or {}).get("alpha_source"))

    @property
    def rank(self) -> str:
        """The different ranks, as `inspect` has them."""
        known = self.checkpoint or {}
        ranks = known.get("ranks")
        many = ranks if isinstance(ranks, (list, tuple)) and ranks else [known.get("rank", "unknown")]
        return ", ".join(map(str, many))

    @property
    def strength(self) -> str:
        """The strength of the LoRA in words; of a pair that of each half."""
        return strength_of(self.scale, {expert: each.strength for expert, each in self.halves.items()})


class Paths(StrictModel):
    """Files of a run as a command names them that is typed in the folder where the run was started.

    Attributes:
        run: The run's folder.
        suite: What `--wanlora-suite` takes: a packaged suite's name, or the path of a suite file.
        checkpoints: Name of the checkpoint to its file.
        training_data: The training metadata; None where it was not looked at.
    """

    run: str
    suite: str
    checkpoints: dict[str, str]
    training_data: str | None = None


class Cap(StrictModel):
    """Why no scenario got more videos than the baseline has seeds of it.

    Attributes:
        stored: Seeds that the baseline has of each scenario.
        wanted: Seeds that the last look would take.
        why: How a base video that was rendered differs from the stored one; empty where the baseline is of an
            accepted checkpoint, which a gate does not render.
        next_command: What measures the baseline with more seeds.
    """

    stored: Count
    wanted: Count
    why: str
    next_command: str


class BaselineCard(StrictModel):
    """What the candidates were compared with.

    Attributes:
        name: `"base"` or what was accepted.
        digest: SHA-256 of its `baseline.json`.
        created: When it was measured.
        sha256: Of its checkpoint; None for the model without LoRA.
        environment: Where it was measured.
        differences: Lines on what differs from this run and was let pass.
        noise: Changes of each metric that chance alone explains.
        added: Scenario to the seeds that the stored baseline lacks and that were compared with all the same:
            videos of the model without LoRA, in the cache. The stored files are as they were.
        added_rendered: How many of those this run rendered.
        cap: Why there are none although the suite asks for more seeds; None where nothing ended the looks.
    """

    name: str
    digest: str
    created: str
    sha256: str | None = None
    environment: dict[str, Any] = Field(default_factory=dict)
    differences: tuple[str, ...] = ()
    noise: tuple[NoiseFloor, ...] = ()
    added: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    added_rendered: Count = 0
    cap: Cap | None = None

    def extended(self, stored: Mapping[str, Container[int]], videos: Iterable[Video]) -> BaselineCard:
        """The card with the videos that it was compared with and that are not of the stored seeds."""
        added = [v for v in videos if v.role == "baseline" and v.seed not in stored[v.scenario]]
        seeds: dict[str, tuple[int, ...]] = {}
        for video in added:
            seeds[video.scenario] = (*seeds.get(video.scenario, ()), video.seed)
        return self.model_copy(
            update={"added": seeds, "added_rendered": sum(not video.reused for video in added)}
        )


class Totals(StrictModel):
    """What the run cost.

    Attributes:
        rendered: Candidates' videos rendered in this run.
        reused: Those that were there before.
        failed: Those that could not be rendered.
        seconds: From the first hook to the record.
        rendering_seconds: Summed over videos that were rendered; above `seconds` with several workers.
    """

    rendered: int
    reused: int
    failed: int
    seconds: Finite
    rendering_seconds: Finite

    @classmethod
    def of(cls, videos: Iterable[Video], failures: Iterable[Failure], seconds: float) -> Totals:
        """Count a run's videos."""
        own = [video for video in videos if video.role == "candidate"]
        fresh = [video for video in own if not video.reused]
        return cls(
            rendered=len(fresh),
            reused=len(own) - len(fresh),
            failed=len(list(failures)),
            seconds=seconds,
            rendering_seconds=sum(video.seconds for video in fresh),
        )


class Pair(NamedTuple):
    """One pair of videos and its change.

    Attributes:
        seed: Of both.
        baseline: The baseline's score.
        value: The candidate's.
        change: Relative change to the worse; infinite from a baseline of 0.
    """

    seed: int
    baseline: float
    value: float
    change: float


def block_norms(norms: Mapping[str, float]) -> dict[int, float]:
    """Norm of a LoRA's update in each block of the model.

    Returns:
        Block number to the root of the summed squares; blocks with a norm that is not finite are left out,
        as are layers outside the blocks.
    """
    squares: dict[int, float] = {}
    for name, norm in norms.items():
        found = re.match(r"(?:\w+:)?blocks\.(\d+)\.", name)
        if found:
            squares[int(found[1])] = squares.get(int(found[1]), 0.0) + norm * norm
    return {block: math.sqrt(total) for block, total in sorted(squares.items()) if math.isfinite(total)}


class Part(StrictModel):
    """What one worker, or one test, reports.

    Attributes:
        videos: Those it rendered or used.
        sets: Scores of sets.
        judgements: Of its items.
        failures: Videos it could not render.
    """

    videos: tuple[Video, ...] = ()
    sets: tuple[SetScores, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    failures: tuple[Failure, ...] = ()
