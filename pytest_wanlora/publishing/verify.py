"""Decide whether a receipt allows publishing: same bytes, passing verdict, required limits.

The decision is made again from the receipt's judgements and project tests, its limits are checked against its
values and its comparisons against their bands. Where the run's record lies beside the receipt, the receipt
must follow from it. A passing verdict does not count if the pytest run did not end with exit code 0.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.errors import CheckpointError, RecordError, SettingsError
from pytest_wanlora.files import listing, parse_json, read_regular
from pytest_wanlora.phrases import digits, number_of
from pytest_wanlora.publishing import bounds, bundle, halves, receipt, recomputed, ssh_signature
from pytest_wanlora.publishing.bounds import Bound
from pytest_wanlora.publishing.predicate import (
    PREDICATE_TYPE_V1,
    AnyStatement,
    Baseline,
    Predicate,
    PredicateV1,
)
from pytest_wanlora.results.folders import RECORD
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.decision import Decision, decide

#: A receipt of a suite with thousands of items is far below this; more is no receipt.
_LARGEST = 32 * 2**20


@dataclass(frozen=True)
class Demands:
    """What the verifier requires in addition to the same bytes and a passing verdict.

    Attributes:
        bounds: Limits that must have been in force, and kept.
        scale: Strength that must have been gated.
        baseline_sha256: Digest of the baseline's `baseline.json`.
        bands: Metric to the largest fail band that may have been in force.
        environment: Key of the receipt's environment to the value that it must have.
        max_runs: Most runs that these bytes may have had.
        allowed_signers: File of keys that may have signed; None where no signature is required.
        signature: File of the signature; None: next to the receipt.
        public_key: Key that must have signed the receipt's bundle; None where none is required.
        strict: Whether receipts of version 1 are refused, which say less.
        single_videos: Whether an item on the single videos of each scenario must be in it.
    """

    bounds: tuple[Bound, ...] = ()
    suite: str | None = None
    suite_sha256: str | None = None
    scale: float = 1.0
    min_seeds: int | None = None
    baseline_sha256: str | None = None
    bands: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    max_runs: int | None = None
    allowed_signers: Path | None = None
    signer: str | None = None
    signature: Path | None = None
    public_key: Path | None = None
    strict: bool = False
    single_videos: bool = False


@dataclass(frozen=True)
class Verification:
    """The result.

    Attributes:
        problems: Why this receipt does not allow publishing; empty when it does.
        statement: What the receipt says; None when it cannot be read.
        signed: Whether a signature was required and is valid.
        record: The run's record, which the receipt was held to; None where it does not lie beside it.
        instead: What to give as the checkpoint, if it is known for which files the receipt is; `FILE` in it
            stands for half of a pair that is not. Empty otherwise.
    """

    problems: tuple[str, ...]
    statement: AnyStatement | None
    signed: bool
    record: Path | None = None
    instead: str = ""

    @property
    def verified(self) -> bool:
        """Whether the checkpoint may be published."""
        return not self.problems and self.statement is not None


def signature_path(receipt_path: Path) -> Path:
    """Default path of a receipt's signature, as `ssh-keygen` names it."""
    return receipt_path.with_name(f"{receipt_path.name}.sig")


def verify(receipt_path: Path, checkpoint: Path, demands: Demands) -> Verification:
    """Decide whether a checkpoint may be published by a receipt.

    Args:
        receipt_path: The receipt, or its sigstore bundle.
        checkpoint: The file that is to be published.
        demands: Further requirements.

    Returns:
        All problems. A damaged receipt, or one with an invalid signature, is not examined further.

    Raises:
        RecordError: The receipt's file cannot be read.
        CheckpointError: The checkpoint's file cannot be read.
        SettingsError: Only one option of a signature is given, or `ssh-keygen` is missing.
    """
    signer, signers = demands.signer, demands.allowed_signers
    if (signer is None) != (signers is None):
        raise SettingsError(
            "--allowed-signers and --signer: one without the other; allowed: both or neither",
            next_command=bounds.HELP,
        )
    if signers is not None and not signers.is_file():
        raise SettingsError(
            f"--allowed-signers: {signers}: no such file; allowed: a file in ssh-keygen's format (its manual "
            "has it under ALLOWED SIGNERS)",
            next_command=listing(signers),
        )
    data = _read(receipt_path)
    given = halves.given(checkpoint)
    if signer is not None and signers is not None:
        signature = demands.signature or signature_path(receipt_path)
        wrong = ssh_signature.signature_problem(data, signature, allowed_signers=signers, signer=signer)
        if wrong is not None:
            return Verification((wrong,), None, signed=False)
    try:
        if bundle.is_bundle(data):
            data = bundle.opened(data, demands.public_key, source=receipt_path.name)
        elif demands.public_key is not None:
            raise RecordError(
                f"{receipt_path.name}: no sigstore bundle, and only that is signed by such a key"
            )
        found = receipt.parse(data, source=receipt_path.name)
    except RecordError as error:
        return Verification((error.message,), None, signed=False)
    record = receipt_path.with_name(RECORD)
    held, changed = _of_the_record(data, found.predicate, record)
    (subject,) = found.subject
    other = None
    if given.sha256 != subject.digest.sha256:
        other = halves.meant(given, subject, found.predicate.checkpoint, record)
    problems = (
        *changed,
        *(_of_the_lora(found.predicate, given) if other is None else (other.problem,)),
        *_of_the_decision(found.predicate),
        *_of_the_session(found.predicate),
        *recomputed.gaps(found.predicate, videos=demands.single_videos),
        *_of_the_demands(found.predicate, demands),
    )
    signed = signer is not None or demands.public_key is not None
    return Verification(
        problems,
        found,
        signed=signed,
        record=record if held else None,
        instead="" if other is None else other.argument,
    )


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, largest=_LARGEST)
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be read: {error.strerror}; allowed: the receipt.json that the gate wrote beside "
            "results.json, or its .sigstore bundle",
            next_command=listing(path),
        ) from error


def _of_the_record(data: bytes, said: PredicateV1, path: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether the run's record is there to hold a receipt to, and what differs.

    Args:
        data: The receipt.
        said: The same, read.
        path: Where the record is if it lies beside the receipt.
    """
    if not os.path.lexists(path):
        return False, ()
    allowed = f"allowed: the record of run {said.run.id}, as the gate wrote it, or no {path.name} here"
    try:
        text = read_regular(path)
        stated = parse_json(text)
        run = stated["run_id"]
    except OSError as error:
        return True, (f"{path}: cannot be read: {error.strerror}; {allowed}",)
    except (ValueError, TypeError, KeyError):
        # who changed the receipt could damage the record, so that nothing holds the one to the other
        return True, (f"{path}: no record of a run: it was changed or cut off; {allowed}",)
    if run != said.run.id:
        return True, (f"{path}: the record of run {run!s:.80}, not of the receipt's; {allowed}",)
    if hashlib.sha256(text).hexdigest() != said.run.record.sha256:
        return True, (
            f"{path}: the record of run {run}, and not the one that the receipt names by its SHA-256: one of "
            "both was changed",
        )
    try:
        made = receipt.statement(RunRecord.from_json(text, source=str(path)), said.checkpoint.name)
    except RecordError as error:
        return True, (error.message,)
    # of a record of an earlier version it is that of the present one; the bytes were compared above
    made["predicate"]["run"]["record"] = {"sha256": said.run.record.sha256}
    if not isinstance(said, Predicate):
        made["predicateType"] = PREDICATE_TYPE_V1
        del made["predicate"]["project_tests"], made["predicate"]["run"]["exit_status"]
    if not said.checkpoint.halves:
        # a receipt of a pair from before they were told
        made["predicate"]["checkpoint"].pop("halves", None)
    different = receipt.difference(json.loads(data), made)
    return True, () if different is None else (f"{different} in {path}: one of both was changed",)


def _of_the_lora(said: PredicateV1, given: halves.Given) -> Iterable[str]:
    """Problems of what the bytes do beside what their digest covers."""
    path, known, own = given.argument, said.checkpoint, given.pair
    files: dict[str, str] = {expert: half.name for expert, half in known.halves.items()}
    allowed = checkpoints.argument_of(files, {expert: each.strength for expert, each in known.halves.items()})
    beside = "adapter_config.json" in known.alpha_source
    if own is None and known.identity == given.sha256 and not beside:
        return
    # a second file holds alphas that the subject's digest does not cover; one file with the LoRAs of two
    # experts is what both do
    try:
        if own is None:
            (asked,) = checkpoints.asked([str(path)], by_name=False)
            own = asked.read(known.name)
    except CheckpointError as error:
        yield f"{path.name}: cannot be read as what was gated: {error.message}"
        return
    does = {expert: (each.sha256, own.strengths[expert]) for expert, each in own.experts.items()}
    told = {expert: (each.digest.sha256, each.strength) for expert, each in known.halves.items()}
    if own.identity == known.identity:
        if told and told != does:
            yield f"{path}: the receipt's checkpoint.halves are not what its identity is of: it was changed"
    elif beside and given.pair is None:
        yield f"{path.name}: the adapter_config.json beside it gives other alphas than the gate saw"
    elif given.pair is None and not told:
        about = f"about another LoRA, {known.identity}: it was changed"
        yield f"{path.name}: the receipt is for its bytes and {about}"
    else:
        gated = f", {known.strength}; allowed: {allowed}, with the paths of these files" if told else ""
        yield f"{path}: the strengths or the alphas of its files are not those that the gate saw{gated}"


def decided(said: PredicateV1) -> Decision:
    """The decision, taken again from a receipt's own judgements and project tests."""
    return decide(said.items, said.expected, said.project_tests if isinstance(said, Predicate) else ())


def _of_the_decision(said: PredicateV1) -> Iterable[str]:
    """Problems of the receipt's own judgements."""
    name = said.checkpoint.name
    if {judged.candidate for judged in said.items} | {item.candidate for item in said.expected} != {name}:
        yield f"the receipt is about {name} and judges something else"
    if isinstance(said, Predicate) and not all(test.concerns(name) for test in said.project_tests):
        yield f"the receipt is about {name} and holds project tests of another checkpoint"
    decision = decided(said)
    if not said.verdict.publishable:
        yield f"not publishable: {said.verdict.reason}"
    if said.run.partial:
        yield "the run was partial, or stored a baseline: nothing is publishable by it"
    if said.verdict.publishable and not decision.publishable:
        yield f"the receipt says publishable, its own judgements do not: {decision.reason}"
    for limit in said.suite.limits:
        bound = bounds.of_limit(limit)
        for place in bound.places(said):
            values = [
                judged.value
                for judged in said.items
                if judged.kind == "limit" and (judged.metric, judged.scenario) == (bound.metric, place)
            ]
            if not values or None in values:
                yield f"the limit {bound.text} of its suite was not measured in {bounds.named(place)}"
            elif not all(map(bound.kept, values)):
                yield f"the limit {bound.text} of its suite is not kept in {bounds.named(place)}"
    yield from recomputed.contradictions(said)


def _of_the_session(said: PredicateV1) -> Iterable[str]:
    """Problems of project tests and exit code, which version 1 does not have."""
    if not isinstance(said, Predicate):
        return
    for test in said.project_tests:
        if not test.passed:
            detail = f": {test.detail}" if test.detail else ""
            yield f"the project test {test.name} did not pass ({test.outcome.replace('_', ' ')}){detail}"
    if said.run.exit_status != 0:
        ended = f"the pytest run ended with exit code {said.run.exit_status}, and 0 is needed; "
        decision = decided(said)
        if decision.failing or decision.unmeasured or said.run.partial:
            # the same run of this checkpoint alone ends the same way
            yield f"{ended}what is listed above keeps it from that"
            return
        yield (
            f"{ended}gate this checkpoint alone, with the other options of its run: rendered videos "
            "are reused"
        )


def _of_the_demands(said: PredicateV1, demands: Demands) -> Iterable[str]:
    if demands.strict and not isinstance(said, Predicate):
        yield "a receipt of version 1, which says less than a policy asks for; gate the checkpoint again"
    if demands.suite is not None and said.suite.name != demands.suite:
        yield f"gated on suite {said.suite.name}, required: {demands.suite}"
    digest = said.suite.digest.sha256
    if demands.suite_sha256 is not None and digest != demands.suite_sha256.lower():
        yield f"the suite's file has SHA-256 {digest}, required: {demands.suite_sha256.lower()}"
    if said.checkpoint.scale != demands.scale:
        yield f"gated at strength {digits(said.checkpoint.scale)}, required: {digits(demands.scale)}"
    if demands.min_seeds is not None:
        for scenario in said.suite.scenarios or ("",):
            count = len(set(said.seeds.get(scenario, ())))
            if count < demands.min_seeds:
                yield f"{scenario}: videos of {number_of(count, 'seed')}, required: >= {demands.min_seeds}"
    if demands.baseline_sha256 is not None:
        yield from _of_the_baseline(said.baseline, demands.baseline_sha256.lower())
    if demands.max_runs is not None and said.runs > demands.max_runs:
        yield f"run {said.runs} of these bytes, required: <= {demands.max_runs}"
    yield from _of_the_circumstances(said, demands)
    for bound in demands.bounds:
        yield from bounds.problems(said, bound)


def _of_the_baseline(baseline: Baseline | None, required: str) -> Iterable[str]:
    compared = None if baseline is None else baseline.digest.sha256
    if compared != required:
        yield f"compared with the baseline {compared}, required: {required}"
    elif baseline is not None and baseline.added:
        count = sum(map(len, baseline.added.values()))
        yield f"compared with {count} base videos that the baseline {required} lacks, required: none"


def _of_the_circumstances(said: PredicateV1, demands: Demands) -> Iterable[str]:
    for metric, most in demands.bands.items():
        band = said.suite.tolerances.get(metric)
        if band is None or not band.fail <= most:
            force = "none" if band is None else f"{band.fail:g}"
            yield f"the fail band of {metric} was {force}, required: <= {most:g}"
            continue
        for judged in said.items:
            used = judged.evidence.fail_band(band.fail) if judged.evidence is not None else band.fail
            if judged.kind == "regression" and judged.metric == metric and not used <= most:
                yield (
                    f"{judged.item} was judged by a fail band of {used:g}, since its {judged.n} videos can"
                    f"not tell less; required: <= {most:g}"
                )
                break
    for key, value in demands.environment.items():
        here = said.environment.get(key)
        if str(here) != value:
            yield f"gated where {key} is {here!s:.80}, required: {value}"
