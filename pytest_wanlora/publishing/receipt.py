"""The receipt of one checkpoint: an in-toto statement on which bytes were gated, how, and what came out.

A receipt is its canonical JSON (RFC 8785) to the byte and holds a digest of itself, so an accident to the
file is found out without any key. Against forgery there is a signature (`signing`). What a receipt must
fulfil to be believed is `verification`. Its JSON Schema is `receipt.schema.json` beside this module.

Version 2 adds the project tests and pytest's exit code. Receipts of version 1 are read as they were written:
one has none of the new fields, and another form is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import rfc8785
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    WrapSerializer,
)

from pytest_wanlora.errors import RecordError
from pytest_wanlora.verdict.judgement import ItemId, ItemOutcome, Judgement

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord

__all__ = [
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "AnyStatement",
    "Predicate",
    "PredicateV1",
    "Statement",
    "StatementV1",
    "canonical",
    "json_schema",
    "parse",
    "statement",
]

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "pytest-wanlora:receipt/v2"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())


class Digest(_Model):
    """A digest as in-toto writes it.

    Attributes:
        sha256: In hexadecimal.
    """

    sha256: Sha256


class Subject(_Model):
    """What the receipt is about.

    Attributes:
        name: Name of the checkpoint's file; the digest alone is binding.
        digest: Of the file.
    """

    name: str
    digest: Digest


class RunV1(_Model):
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


class Limit(_Model):
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


class Tolerance(_Model):
    """How much worse than the baseline a score could be; relative.

    Attributes:
        warn: From here on `warn`.
        fail: Beyond it `fail`.
        better: Improvement from which a score is called better.
    """

    warn: Finite
    fail: Finite
    better: Finite


class Suite(_Model):
    """The suite that was gated on.

    Attributes:
        name: Of the suite.
        digest: Of its file.
        scenarios: Ids, in the suite's order.
        limits: In force.
        tolerances: In force: metric to `warn`, `fail`, `better`.
        looks: Pairs of a scenario at each look.
        weak: Verdict on weak evidence beyond a band.
        metrics: Metric to the version of its recipe.
    """

    name: str
    digest: Digest
    scenarios: tuple[str, ...]
    limits: tuple[Limit, ...]
    tolerances: dict[str, Tolerance]
    looks: tuple[int, ...]
    weak: Literal["warn", "fail"]
    metrics: dict[str, int]


class Checkpoint(_Model):
    """What is known of the file.

    Attributes:
        name: As in test ids.
        identity: Digest of all that the LoRA does: the file's own, unless alpha lies in another file.
        alpha_source: Where alpha came from.
        format: Of its keys.
        dtype: Of its tensors.
        rank: The largest.
        targets: Layers it changes.
        scale: Strength that it was gated at.
    """

    name: str
    identity: Sha256
    alpha_source: str
    format: str
    dtype: str
    rank: int
    targets: int
    scale: Finite


class Baseline(_Model):
    """What it was compared with.

    Attributes:
        name: `"base"` or what was accepted.
        digest: Of its `baseline.json`.
        created: When it was measured.
        checkpoint: Digest of its checkpoint; None for the model without LoRA.
        differences: What differs from this run's environment and was let pass.
    """

    name: str
    digest: Digest
    created: str
    checkpoint: Digest | None
    differences: tuple[str, ...]


class Decided(_Model):
    """The decision.

    Attributes:
        publishable: Whether it may be published.
        reason: One sentence.
    """

    publishable: bool
    reason: str


def _as_known(judged: Judgement, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
    """A judgement as versions 1 and 2 have it: of a reason the sentence alone."""
    return {name: value for name, value in write(judged).items() if name not in _LATER}


_LATER: Final = frozenset({"code", "details", "next_command"})
Item = Annotated[Judgement, WrapSerializer(_as_known)]


class PredicateV1(_Model):
    """What version 1 says about the subject.

    Attributes:
        run: Which run says it.
        suite: What was demanded.
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
    baseline: Baseline | None
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
        project_tests: What became of the project's tests that are about the checkpoint.
    """

    run: Run
    project_tests: tuple[ItemOutcome, ...]


class _Statement(_Model):
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

_VERSIONS: Final[Mapping[str, type[AnyStatement]]] = MappingProxyType(
    {"pytest-wanlora:receipt/v1": StatementV1, PREDICATE_TYPE: Statement}
)


def statement(record: RunRecord, candidate: str) -> dict[str, Any]:
    """Say of one checkpoint of a run what was gated and what came out.

    Args:
        record: The run.
        candidate: Name of the checkpoint.

    Returns:
        Plain JSON data, its own digest included; `canonical` makes the file's bytes of it.

    Raises:
        RecordError: The run has no such checkpoint, or measured the model without LoRA.
    """
    card = next((card for card in record.candidates if card.name == candidate), None)
    if card is None or card.sha256 is None or card.checkpoint is None:
        raise RecordError(f"{record.run_id}: {candidate!r} is no checkpoint of this run")
    suite, baseline = record.suite, record.baseline
    predicate: dict[str, Any] = {
        "run": {
            "id": record.run_id,
            "started": record.started,
            "finished": record.finished,
            "partial": record.partial,
            "exit_status": record.exit_status,
            "record": {"sha256": hashlib.sha256(record.to_json().encode()).hexdigest()},
        },
        "suite": {
            "name": suite.name,
            "digest": {"sha256": suite.sha256},
            "scenarios": list(suite.prompts),
            "limits": [dict(limit) for limit in suite.limits],
            "tolerances": suite.tolerances,
            "looks": suite.looks,
            "weak": suite.weak,
            "metrics": suite.metrics,
        },
        "fingerprint": suite.fingerprint,
        "environment": record.environment,
        "versions": record.versions,
        "checkpoint": _checkpoint(card, card.checkpoint),
        "baseline": None
        if baseline is None
        else {
            "name": baseline.name,
            "digest": {"sha256": baseline.digest},
            "created": baseline.created,
            "checkpoint": None if baseline.sha256 is None else {"sha256": baseline.sha256},
            "differences": baseline.differences,
        },
        "seeds": _seeds(record, candidate),
        "expected": [item for item in record.expected if item.candidate == candidate],
        "items": [judged for judged in record.judgements if judged.candidate == candidate],
        "project_tests": record.tests_of(candidate),
        "verdict": {"publishable": card.publishable, "reason": card.reason},
        "runs": card.runs,
        # in its place while the digest is taken; `_sealed` puts it in
        "digest": {"sha256": "0" * 64},
    }
    made = Statement.model_validate(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": card.checkpoint["file"], "digest": {"sha256": card.sha256}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )
    return _sealed(made.model_dump(mode="json", by_alias=True))


def canonical(document: dict[str, Any]) -> bytes:
    """The one way to write a document: JSON by RFC 8785, in UTF-8, no newline at its end.

    Raises:
        RecordError: It holds what such JSON cannot: a number that is not finite, an integer beyond 2^53, half
            of a surrogate pair.
    """
    try:
        encoded: bytes = rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise RecordError(f"no canonical JSON: {error}") from error
    return encoded


def parse(data: bytes, *, source: str = "the receipt") -> AnyStatement:
    """Read a receipt and check that not one byte of it differs from what was written.

    Args:
        data: The file's bytes.
        source: Its name, for errors.

    Raises:
        RecordError: Not JSON, no receipt of a known version, not its own canonical bytes, or with a digest
            that is not its own.
    """
    try:
        raw = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{source}: not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise RecordError(f"{source}: no receipt: it is a JSON {type(raw).__name__}, not an object")
    kind = raw.get("predicateType")
    version = _VERSIONS.get(kind) if isinstance(kind, str) else None
    if version is None:
        allowed = ", ".join(_VERSIONS)
        raise RecordError(f"{source}: predicateType is {str(kind)[:80]!r}; allowed: {allowed}")
    try:
        found = version.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:120] or "receipt"
        key = "".join(letter if letter.isprintable() else "?" for letter in place)
        raise RecordError(f"{source}: {key}: {first['msg'][:200]}") from error
    try:
        same = canonical(raw) == data
        sealed = _sealed(raw)
    except RecordError as error:
        raise RecordError(f"{source}: {error.message}") from error
    if not same:
        raise RecordError(f"{source}: not the bytes that were written: its JSON is not in canonical form")
    if sealed != raw:
        raise RecordError(f"{source}: its digest does not fit what it says: it was changed or damaged")
    return found


def json_schema() -> str:
    """The JSON Schema of a receipt, as `receipt.schema.json` holds it."""
    schema = TypeAdapter(AnyStatement).json_schema(mode="validation", by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "pytest-wanlora receipt"
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The statement with the digest of all the rest of it."""
    predicate = {key: value for key, value in document["predicate"].items() if key != "digest"}
    digest = hashlib.sha256(canonical({**document, "predicate": predicate})).hexdigest()
    return {**document, "predicate": {**predicate, "digest": {"sha256": digest}}}


def _checkpoint(card: CandidateCard, known: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "identity", "alpha_source", "format", "dtype", "rank", "targets")
    return {**{name: known[name] for name in names}, "name": card.name, "scale": card.scale}


def _seeds(record: RunRecord, candidate: str) -> dict[str, list[int]]:
    seeds: dict[str, list[int]] = {}
    for video in record.videos:
        if video.role == "candidate" and video.candidate == candidate:
            seeds.setdefault(video.scenario, []).append(video.seed)
    return {scenario: sorted(of) for scenario, of in sorted(seeds.items())}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
