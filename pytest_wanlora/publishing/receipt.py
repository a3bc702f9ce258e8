"""Write and read receipts: an in-toto statement on the gate's decision about one checkpoint.

A receipt is canonical JSON (RFC 8785) and contains a digest of itself, which detects damage without any key.
Signatures (`ssh_signature`) detect forgery; `verify` decides whether a receipt allows publishing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import rfc8785
from pydantic import ValidationError

from pytest_wanlora.errors import RecordError
from pytest_wanlora.files import parse_json
from pytest_wanlora.publishing.predicate import (
    PREDICATE_TYPE,
    PREDICATE_TYPE_V1,
    STATEMENT_TYPE,
    AnyStatement,
    Statement,
    StatementV1,
)

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord


_OF_CHECKPOINT: Final = ("identity", "alpha_source", "format", "dtype", "rank", "targets")
_VERSIONS: Final[Mapping[str, type[AnyStatement]]] = MappingProxyType(
    {PREDICATE_TYPE_V1: StatementV1, PREDICATE_TYPE: Statement}
)


def statement(record: RunRecord, candidate: str) -> dict[str, Any]:
    """Make the receipt of one checkpoint of a run.

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
            "questions": suite.questions,
        },
        "fingerprint": suite.fingerprint,
        "environment": record.environment,
        "versions": record.versions,
        "checkpoint": {
            **{name: card.checkpoint[name] for name in _OF_CHECKPOINT},
            "name": card.name,
            "scale": card.scale,
            "halves": {
                expert: {"name": half.file, "digest": {"sha256": half.sha256}, "strength": half.strength}
                for expert, half in card.halves.items()
            },
        },
        "baseline": None
        if baseline is None
        else {
            "name": baseline.name,
            "digest": {"sha256": baseline.digest},
            "created": baseline.created,
            "checkpoint": None if baseline.sha256 is None else {"sha256": baseline.sha256},
            "differences": baseline.differences,
            "added": baseline.added,
        },
        "seeds": _seeds(record, candidate),
        "expected": [item for item in record.expected if item.candidate == candidate],
        "items": [judged for judged in record.judgements if judged.candidate == candidate],
        "project_tests": record.tests_of(candidate),
        "verdict": {"publishable": card.publishable, "reason": card.reason},
        "runs": card.runs,
        # a placeholder that `_sealed` replaces
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
    """Serialize a document as JSON by RFC 8785, in UTF-8, without a newline at the end.

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
    """Read a receipt and check that its bytes are the ones that were written.

    Raises:
        RecordError: Not JSON, no receipt of a known version, not its own canonical bytes, or with a digest
            that is not its own.
    """
    try:
        raw = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        # jiter has the limit of depth
        parse_json(data)
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
        found = version.model_validate_json(data, strict=True)
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


def difference(found: object, made: object, place: str = "") -> str | None:
    """The first place where two statements differ, but for their digests of themselves."""
    if isinstance(found, dict) and isinstance(made, dict):
        keys = (key for key in sorted({*found, *made}) if (place, key) != ("predicate", "digest"))
        pairs = [(f"{place}.{key}".lstrip("."), found.get(key), made.get(key)) for key in keys]
    elif isinstance(found, list) and isinstance(made, list) and len(found) == len(made):
        pairs = [(f"{place}[{at}]", *pair) for at, pair in enumerate(zip(found, made, strict=True))]
    elif found == made:
        return None
    else:
        return f"{place} is {str(found)[:80]!r}, and {str(made)[:80]!r}"
    return next((one for at, *two in pairs if (one := difference(two[0], two[1], str(at))) is not None), None)


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The statement with the digest of all the rest of it."""
    predicate = {key: value for key, value in document["predicate"].items() if key != "digest"}
    digest = hashlib.sha256(canonical({**document, "predicate": predicate})).hexdigest()
    return {**document, "predicate": {**predicate, "digest": {"sha256": digest}}}


def _seeds(record: RunRecord, candidate: str) -> dict[str, list[int]]:
    seeds: dict[str, list[int]] = {}
    for video in record.videos:
        if video.role == "candidate" and video.candidate == candidate:
            seeds.setdefault(video.scenario, []).append(video.seed)
    return {scenario: sorted(of) for scenario, of in sorted(seeds.items())}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
