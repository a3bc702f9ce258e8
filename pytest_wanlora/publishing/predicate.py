"""What a receipt contains. Its JSON Schema is `receipt.schema.json`.

Version 2 adds the project tests and pytest's exit code. Receipts of version 1 stay readable: they must have
none of the new fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, WrapSerializer, model_serializer

from pytest_wanlora.phrases import strength_of
from pytest_wanlora.schemas import Finite, Sha256, StrictModel
from pytest_wanlora.verdict.judgement import ItemId, ItemOutcome, Judgement

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "pytest-wanlora:receipt/v2"
PREDICATE_TYPE_V1: Final = "pytest-wanlora:receipt/v1"


class Digest(StrictModel):
    """A digest as in-toto writes it.

    Attributes:
        sha256: In hexadecimal.
    """

    sha256: Sha256


class Subject(StrictModel):
    """What the receipt is about.

    Attributes:
        name: Name of the checkpoint's file; only the digest is verified.
        digest: Of the file.
    """

    name: str
    digest: Digest


class RunV1(StrictModel):
    """The run that judged, as version 1 knew it.

    Attributes:
        id: Name of its folder.
        started: ISO 8601, UTC.
        finished: The same.
        partial: Not everything that the suite demands was selected: nothing is publishable then.
        record: Digest of its `results.json`.
    """

    id: str
    started: str
    finished: str
    partial: bool
    record: Digest


class Run(RunV1):
    """The run that judged.

    Attributes:
        exit_status: The exit code of pytest; 0 only where everything of the run passed.
    """

    exit_status: int


class Limit(StrictModel):
    """An absolute bound that was in force.

    Attributes:
        metric: Metric id.
        min: Lowest value that passes.
        max: Highest value that passes.
        scenario: `"each"`, `"all"` or a scenario's id.
    """

    metric: str
    min: Finite | None = None
    max: Finite | None = None
    scenario: str


class Tolerance(StrictModel):
    """How much worse than the baseline a score could be; relative.

    Attributes:
        warn: From here on `warn`.
        fail: Beyond it `fail`.
        better: Improvement from which a score is called better.
    """

    warn: Finite
    fail: Finite
    better: Finite


class Suite(StrictModel):
    """The suite that was gated on.

    Attributes:
        name: Of the suite.
        digest: Of its file.
        scenarios: Ids, in the suite's order.
        limits: In force.
        tolerances: In force: metric to `warn`, `fail`, `better`.
        looks: Pairs of a scenario at each look.
        weak: `"warn"`: a loss beyond its band that is not proven warns; `"fail"`: it does not pass.
        metrics: Metric to the version of its recipe.
        questions: What was asked of the LoRA besides: metric to scenarios.
    """

    name: str
    digest: Digest
    scenarios: tuple[str, ...]
    limits: tuple[Limit, ...]
    tolerances: dict[str, Tolerance]
    looks: tuple[int, ...]
    weak: Literal["warn", "fail"]
    metrics: dict[str, int]
    questions: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without questions where none is asked: a receipt of before them is the same to the byte."""
        return {name: value for name, value in write(self).items() if name != "questions" or value}


class Half(StrictModel):
    """One half of a pair.

    Attributes:
        name: Name of its file.
        digest: Of the file.
        strength: Factor on it; `scale` multiplies it.
    """

    name: str
    digest: Digest
    strength: Finite


class Checkpoint(StrictModel):
    """What is known of the file.

    Attributes:
        name: As in test ids.
        identity: Digest of all that the LoRA does: the file's own, unless alpha is in another file.
        alpha_source: Where alpha came from.
        format: Of its keys.
        dtype: Of its tensors.
        rank: The largest.
        targets: Layers it changes.
        scale: Strength that it was gated at.
        halves: Of a pair, the LoRA of each expert that has one; left out of another LoRA's receipt. The
            subject's digest is then that of the digests by expert, `{"high": "...", "low": "..."}` as JSON.
    """

    name: str
    identity: Sha256
    alpha_source: str
    format: str
    dtype: str
    rank: int
    targets: int
    scale: Finite
    halves: dict[Literal["high", "low"], Half] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without halves where there are none: a receipt of before them is the same to the byte."""
        return {name: value for name, value in write(self).items() if name != "halves" or value}

    @property
    def strength(self) -> str:
        """The strength in words; of a pair that of each half."""
        return strength_of(self.scale, {expert: each.strength for expert, each in self.halves.items()})


class Baseline(StrictModel):
    """What it was compared with.

    Attributes:
        name: `"base"` or what was accepted.
        digest: Of its `baseline.json`.
        created: When it was measured.
        checkpoint: Digest of its checkpoint; None for the model without LoRA.
        differences: What differs from this run's environment and was let pass.
        added: Scenario to seeds that it lacks, whose videos of the model without LoRA were compared with all
            the same; left out where there are none.
    """

    name: str
    digest: Digest
    created: str
    checkpoint: Digest | None
    differences: tuple[str, ...]
    added: dict[str, tuple[int, ...]] = Field(default_factory=dict)


def _if_added(baseline: Baseline, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
    """Without what no receipt had before: one that has no added seeds is the same to the byte."""
    known: dict[str, Any] = write(baseline)
    if not baseline.added:
        del known["added"]
    return known


class Decided(StrictModel):
    """The decision.

    Attributes:
        publishable: Whether it may be published.
        reason: One sentence.
    """

    publishable: bool
    reason: str


def _as_known(judged: Judgement, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
    """A judgement as versions 1 and 2 have it: of a reason the sentence alone."""
    known = {name: value for name, value in write(judged).items() if name not in _LATER}
    if (evidence := known["evidence"]) is not None:
        # a receipt of before these is the same to the byte
        known["evidence"] = {
            name: value for name, value in evidence.items() if name not in _ADDED or value is not None
        }
    return known


_LATER: Final = frozenset({"code", "details", "next_command"})
_ADDED: Final = frozenset({"band", "baseline_estimate", "value_estimate"})
Item = Annotated[Judgement, WrapSerializer(_as_known)]


class PredicateV1(StrictModel):
    """What version 1 says about the subject.

    Attributes:
        run: Which run says it.
        suite: The suite that was gated on.
        fingerprint: All that must be equal for two results to be comparable: model, sampling, scorers.
        environment: On what it was rendered.
        versions: Package to version.
        checkpoint: What is known of the file.
        baseline: What it was compared with; None where none could be read.
        seeds: Scenario to the seeds of the checkpoint's videos.
        expected: Every item that the suite demands of it.
        items: What was judged, with values, bounds and evidence.
        verdict: The decision; it follows from `items` and `expected`.
        runs: How many runs these bytes have had on this suite, this one included.
        digest: SHA-256 of the statement's canonical bytes without this field.
    """

    run: RunV1
    suite: Suite
    fingerprint: dict[str, Any]
    environment: dict[str, Any]
    versions: dict[str, str]
    checkpoint: Checkpoint
    baseline: Annotated[Baseline, WrapSerializer(_if_added)] | None
    seeds: dict[str, tuple[int, ...]]
    expected: tuple[ItemId, ...]
    items: tuple[Item, ...]
    verdict: Decided
    runs: Annotated[int, Field(ge=1)]
    digest: Digest


class Predicate(PredicateV1):
    """What a receipt says about the subject.

    Attributes:
        run: Which run says it, and how pytest ended.
        project_tests: Outcomes of the project's tests that are about the checkpoint.
    """

    run: Run
    project_tests: tuple[ItemOutcome, ...]


class _Statement(StrictModel):
    """An in-toto Statement v1 about one checkpoint.

    Attributes:
        type_: The statement's type, `_type` in the file.
        subject: The checkpoint's file.
    """

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1)]


class StatementV1(_Statement):
    """A receipt of version 1.

    Attributes:
        predicate_type: Kind and version of the predicate, `predicateType` in the file.
        predicate: What the receipt says.
    """

    predicate_type: Literal["pytest-wanlora:receipt/v1"] = Field(alias="predicateType")
    predicate: PredicateV1


class Statement(_Statement):
    """A receipt.

    Attributes:
        predicate_type: Kind and version of the predicate, `predicateType` in the file.
        predicate: What the receipt says.
    """

    predicate_type: Literal["pytest-wanlora:receipt/v2"] = Field(alias="predicateType")
    predicate: Predicate


AnyStatement = StatementV1 | Statement
