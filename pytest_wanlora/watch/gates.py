"""What a watch has gated: a job, an answer and a claim for each checkpoint, in one folder that outlives it.

A job is noted by the watcher, its answer by the gate itself, each in a file that is written whole. The
watcher's claim dies with it, and the gate holds a lock of its own: a gate that outlives its watcher is not
begun again, and nobody waits for one that died.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pytest_wanlora import results
from pytest_wanlora.errors import RecordError
from pytest_wanlora.files import from_here, json_sha256, read_note, read_regular, write_json
from pytest_wanlora.jobs.cache import CLAIM, Cache, is_locked
from pytest_wanlora.results.folders import REPLY
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.watch.folders import Found

_MEASURED: Final = (0, 1)
_INTERRUPTED: Final = 2
#: What pytest, argparse and Python print of an error.
_SAID: Final = re.compile(r"^(?:ERROR: (?!usage:)|.*: error: |(?:INTERNALERROR> )?(?=\w*Error: ))(.+)", re.M)


@dataclass(frozen=True)
class Answer:
    """What came of a gate.

    Attributes:
        record: Of the run; None where it wrote none, or it was deleted since.
        problem: Why the checkpoint could not be measured; empty if it was.
        at: When it was noted, seconds since the epoch.
        suite: What to give `--wanlora-suite`, where another one or none at all was the problem; else empty.
    """

    record: RunRecord | None
    problem: str
    at: float
    suite: str = ""


@dataclass
class Gates:
    """The jobs and answers of one watch: the same folders, and the same options of pytest.

    Args:
        folder: Of the watch.
        options: Words of the command line of every gate, besides the checkpoint.
    """

    folder: Path
    options: tuple[str, ...]
    _answers: dict[str, Answer] = field(default_factory=dict)

    @classmethod
    def of(cls, home: Path, places: Sequence[Path], options: Sequence[str]) -> Gates:
        """Those of a watch, in a folder below `home` that no other watch has."""
        known = json_sha256([[str(place.absolute()) for place in places], list(options)])[:12]
        return cls(home / f"{places[0].absolute().name}-{known}", tuple(options))

    def jobs(self) -> tuple[Found, ...]:
        """Every checkpoint that was ever found finished, in the order of writing."""
        notes = map(read_note, self.folder.glob("*.job.json"))
        found = [Found(**note) for note in notes if note is not None]
        return tuple(sorted(found, key=lambda each: (each.written, each.argument)))

    def note(self, found: Found) -> None:
        """Note a checkpoint; one that has been renamed since keeps its name and time."""
        path = self.folder / f"{found.digest}.job.json"
        if not path.exists():
            write_json(path, asdict(found))

    def answer(self, digest: str) -> Answer | None:
        """What came of a checkpoint's gate; None if none has ended, or it was interrupted."""
        path = self._reply(digest)
        try:
            at = path.stat().st_mtime
        except FileNotFoundError:
            return None
        known = self._answers.get(digest)
        if known is None or known.at != at:
            note = read_note(path)
            known = None if note is None else _answer(note, digest, at, self.log(digest))
            if known is None:
                return None
            self._answers[digest] = known
        return known

    def log(self, digest: str) -> Path:
        """Where the output of its gate is."""
        return self.folder / f"{digest}.log"

    @contextmanager
    def claim(self, digest: str) -> Iterator[bool]:
        """Try to become the one who gates a checkpoint; yields whether it worked."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._claims.claim(digest) as mine:
            yield mine and not self.running(digest)

    def running(self, digest: str) -> bool:
        """Whether a gate of it is at work, whoever began it."""
        return is_locked(self._running(digest))

    def environment(self, digest: str) -> dict[str, str]:
        """Of the process that gates it: it holds a lock while it lives, and notes its answer."""
        plugins = ",".join(filter(None, (os.environ.get("PYTEST_PLUGINS"), "pytest_wanlora.hooks.reply")))
        locks = {"running": str(self._running(digest)), "claim": str(self._claims.lock_of(digest))}
        return {
            **os.environ,
            "PYTEST_PLUGINS": plugins,
            REPLY: str(self._reply(digest).absolute()),
            CLAIM: json.dumps({name: str(Path(path).absolute()) for name, path in locks.items()}),
        }

    def forget(self, digest: str) -> None:
        """Forget an answer, so that the next one is the gate's that begins now."""
        self._reply(digest).unlink(missing_ok=True)

    @property
    def _claims(self) -> Cache:
        return Cache(self.folder)

    def _running(self, digest: str) -> Path:
        return self._claims.lock_of(f"{digest}-gate")

    def _reply(self, digest: str) -> Path:
        return self.folder / f"{digest}.json"


def ended(status: int, log: Path) -> str:
    """Say how pytest ended, and why where its log tells, as that an option is misspelt."""
    said: list[str] = []
    with suppress(OSError):
        said = _SAID.findall(read_regular(log).decode(errors="replace"))
    return f"pytest ended with exit code {status}" + (f": {said[-1]}" if said else "")


def _one_line(message: str, log: Path) -> str:
    """The first line of a message, and where the others are."""
    first, *more = message.splitlines()
    return f"{first}; see {from_here(log)}" if more else first


def _answer(note: Mapping[str, Any], digest: str, at: float, log: Path) -> Answer | None:
    if "error" in note:
        suite = note.get("options", {}).get("--wanlora-suite", "")
        return Answer(None, _one_line(str(note["error"]["message"]), log), at, str(suite))
    try:
        record = results.load(Path(note["folder"]))
    except RecordError as error:
        if not Path(note["folder"]).exists():
            return Answer(None, "", at)  # gated, and its run deleted since
        return Answer(None, error.message, at)
    if record.exit_status == _INTERRUPTED:
        return None
    if digest not in {card.sha256 for card in record.candidates}:
        return Answer(None, "it was replaced before it was gated", at)
    if record.exit_status not in _MEASURED:
        return Answer(record, ended(record.exit_status or 0, log), at)
    if record.outcome in (RunOutcome.NOT_MEASURED, RunOutcome.PARTIAL):
        reason = record.causes[0].reason if record.causes else "not everything was measured"
        return Answer(record, reason.partition("\n")[0], at)
    return Answer(record, "", at)
