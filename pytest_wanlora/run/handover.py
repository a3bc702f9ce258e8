"""What the process that starts a run has read, for its workers: they judge the same inputs or nothing.

A trainer may write its next checkpoint, or somebody edit the suite or the baseline, while a run starts. So
the checkpoints are read once, and what is known of them is sent; of all else the digests are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pytest_wanlora.checkpoint import Checkpoint
from pytest_wanlora.errors import WanloraError
from pytest_wanlora.files import file_sha256, json_sha256
from pytest_wanlora.run.inputs import prompts
from pytest_wanlora.run.pictures import references, training_clips
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.fingerprint import fingerprint

if TYPE_CHECKING:
    from pytest_wanlora.run.session import Gate

#: What a process says of an input that it cannot read; its items fail for that.
_UNREAD = "not read"


@dataclass(frozen=True)
class Handover:
    """What a worker is told.

    Attributes:
        checkpoints: Name of the candidate to what is known of its file; None for the model without LoRA.
        scales: Name of the candidate to its strength.
        digests: What was read to its digest.
        suite: The file of the suite.
    """

    checkpoints: Mapping[str, Checkpoint | None]
    scales: Mapping[str, float]
    digests: Mapping[str, str]
    suite: Path

    def differing(self, found: Mapping[str, str]) -> str:
        """Say in one line which inputs this process has found otherwise; empty if none."""
        lines = [
            f"{name} is {of[:12]} here and was {self.digests[name][:12]}"
            for name, of in found.items()
            if of != self.digests.get(name)
        ]
        return "; ".join(lines)


def digests(gate: Gate) -> Mapping[str, str]:
    """Digests of what a run reads besides its checkpoints: suite, the files it names, baseline.

    Whoever opened the gate has read them by then, or reads them now.
    """
    found = {"the suite": gate.suite.sha256}
    try:
        texts = {name: text.model_dump() for name, text in prompts(gate.suite, gate.scenarios).items()}
        found["a file of the suite"] = json_sha256([fingerprint(gate.suite), texts])
    except WanloraError:
        # a missing file is a finding of the preflight
        found["a file of the suite"] = _UNREAD
    if gate.suite.subject is not None:
        try:
            read = (*references(gate.suite), *training_clips(gate.suite))
            found["the subject's pictures"] = json_sha256([digest(path) for path in read])
        except (WanloraError, OSError):
            found["the subject's pictures"] = _UNREAD
    if not gate.settings.update_baselines:
        try:
            found["the baseline"] = gate.judge.standard.baseline.digest
        except WanloraError:
            found["the baseline"] = _UNREAD
    return MappingProxyType(found)


def notes(gate: Gate) -> Iterator[str]:
    """What a reader must know of suite and baseline: an edit while the run went on, or one that nobody sees.

    They were read once, so nothing was judged by what they say now.
    """
    read = [(f"suite {gate.suite.name}", Path(gate.suite.path), gate.suite.sha256)]
    if not gate.settings.update_baselines:
        with suppress(WanloraError):
            stored = gate.judge.standard.baseline
            place = gate.judge.standard.folder
            read.append((f"baseline {stored.name}", place / "baseline.json", stored.digest))
            measured_with = {} if stored.candidate is None else stored.candidate
            for each in gate.candidates:
                if each.checkpoint is not None and each.checkpoint.sha256 == measured_with.get("sha256"):
                    yield (
                        f"{each.name} is compared with itself: baseline {stored.name} was measured with the "
                        "same file, so the comparison says nothing; limits alone can fail it"
                    )
            if not stored.seal:
                yield (
                    f"baseline {stored.name}: {place} has no seal (an earlier version wrote it), so an edit "
                    "by hand is not noticed; --update-baselines writes one that has"
                )
    for name, path, was in read:
        try:
            found = file_sha256(path)
        except OSError:
            found = "gone"
        if found != was:
            yield (
                f"{name}: {path} changed while the run went on: its SHA-256 was {was[:12]}… when it was "
                f"read, which was judged by, and is {found[:12]}… now"
            )


def identity(gate: Gate, candidate: str) -> str:
    """Digest of all that a judgement on a candidate rests on, as this process has read it."""
    named = gate.candidate(candidate)
    identity = None if named.checkpoint is None else named.checkpoint.identity
    return json_sha256([identity, named.scale, dict(gate.digests)])


def packed(gate: Gate) -> str:
    """What the workers of a gate are told, as text."""
    known = {
        each.name: None if each.checkpoint is None else asdict(each.checkpoint) for each in gate.candidates
    }
    for described in _each(known.values()):
        # JSON has no NaN
        norms = described["norms"].items()
        described["norms"] = {name: norm if math.isfinite(norm) else None for name, norm in norms}
    told = {
        "checkpoints": known,
        "scales": {each.name: each.scale for each in gate.candidates},
        "digests": dict(gate.digests),
        "suite": gate.suite.path,
    }
    return json.dumps(told, default=str, allow_nan=False)


def unpacked(text: str) -> Handover:
    """What `packed` made of a gate."""
    told = json.loads(text)
    for described in _each(told["checkpoints"].values()):
        norms = described["norms"].items()
        described["norms"] = {name: math.nan if norm is None else norm for name, norm in norms}
    known = {
        name: None if described is None else _checkpoint().validate_python(described)
        for name, described in told["checkpoints"].items()
    }
    checkpoints, scales, digests = map(MappingProxyType, (known, told["scales"], told["digests"]))
    return Handover(checkpoints, scales, digests, Path(told["suite"]))


def _each(known: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    """Descriptions of checkpoints, those of a pair's halves among them."""
    for described in known:
        if described is not None:
            yield described
            yield from described["experts"].values()


@cache
def _checkpoint() -> TypeAdapter[Checkpoint]:
    return TypeAdapter(Checkpoint)
