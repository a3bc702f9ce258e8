"""The run record, `results.json`: the only source of every report, the exit code's reasons and the receipt.

A record is checked when it is read: its decisions must follow from its judgements, so an edited verdict is
found out without any signature. Its JSON Schema is `results.schema.json` beside this module; records of
earlier versions are read too (`migration`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import PrivateAttr, ValidationError, computed_field, model_validator

from pytest_wanlora.errors import RecordError
from pytest_wanlora.files import listing, parse_json, read_regular, write_whole
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.results.folders import RECORD, records
from pytest_wanlora.results.migration import OLDEST, SCHEMA_VERSION, migrated
from pytest_wanlora.results.parts import (
    BaselineCard,
    CandidateCard,
    Pair,
    Part,
    Paths,
    Storing,
    SuiteCard,
    Totals,
    Video,
)
from pytest_wanlora.results.race import RaceCard
from pytest_wanlora.results.training_data import TrainingDataCard
from pytest_wanlora.schemas import first_error
from pytest_wanlora.verdict.decision import Cause, Decision, RunOutcome, causes, decide, run_problem
from pytest_wanlora.verdict.evidence import change
from pytest_wanlora.verdict.judgement import ALL, ItemId, ItemOutcome, Judgement
from pytest_wanlora.verdict.other_seeds import disagreement

#: pytest's exit code of a run that was stopped by hand.
_INTERRUPTED = 2
_ANOTHER = "python -m pytest_wanlora show"  # of the newest run
T = TypeVar("T")
K = TypeVar("K", bound=Any)


class RunRecord(Part):
    """One run of the gate.

    Attributes:
        schema_version: Of the file.
        run_id: Name of the run's folder.
        started: ISO 8601, UTC.
        finished: The same.
        command: The command line, as typed.
        exit_status: pytest's exit code.
        partial: Not everything that the suite demands was judged, or a project test did not run: nothing is
            publishable then.
        environment: `Environment.record()`.
        versions: Package name to version.
        suite: What was gated on.
        candidates: In the order of the command line.
        baseline: None for a run that stores one, or where none could be read.
        expected: Every item that the suite demands of the candidates.
        left_out: Those of them that were not judged, and why; of a run that stores a baseline, that too.
        project_tests: Tests of the user's project that use a `wanlora_*` fixture: they belong to the verdict.
        other_failures: Node ids of other failures, which belong to no checkpoint; None in a record of an
            earlier version, which has no list of them.
        totals: What it cost.
        training_data: What the candidates were trained on, where the user named the metadata.
        notes: What else a reader must know, such as workers that died.
        paths: Of the files of the run; None in a record of an earlier version.
        race: The race that chose its only checkpoint; None without one, or before version 6.
        storing: What came of the baseline that it was to store; None for a gate, or before version 6.
    """

    schema_version: Literal[6] = 6
    run_id: str
    started: str
    finished: str
    command: tuple[str, ...]
    exit_status: int
    partial: bool
    environment: dict[str, Any]
    versions: dict[str, str]
    suite: SuiteCard
    candidates: tuple[CandidateCard, ...]
    baseline: BaselineCard | None = None
    expected: tuple[ItemId, ...]
    left_out: tuple[ItemOutcome, ...] = ()
    project_tests: tuple[ItemOutcome, ...] = ()
    other_failures: tuple[str, ...] | None = ()
    totals: Totals
    training_data: TrainingDataCard | None = None
    notes: tuple[str, ...] = ()
    paths: Paths | None = None
    race: RaceCard | None = None
    storing: Storing | None = None
    # only in memory: such a record is shown and never written
    _runs: dict[str, tuple[RunRecord, CandidateCard]] = PrivateAttr(default_factory=dict)

    def joined(self, runs: Mapping[str, tuple[RunRecord, CandidateCard]]) -> RunRecord:
        """The record as one of several runs put together.

        Args:
            runs: Candidate to the run in which it was gated, and its card there.
        """
        made = self.model_copy()
        made._runs = dict(runs)
        return made

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """The runs that it was put together from; of one run itself."""
        return tuple({id(run): run for run, _ in self._runs.values()}.values()) or (self,)

    def own(self, card: CandidateCard) -> tuple[RunRecord, CandidateCard]:
        """The run in which a candidate was gated, and its card there: commands and files are of that run."""
        return self._runs.get(card.name, (self, card))

    def decision(self, candidate: str) -> Decision:
        """Decide on a candidate from its judgements, its tests and the run."""
        return decide(
            [judged for judged in self.judgements if judged.candidate == candidate],
            [item for item in self.expected if item.candidate == candidate],
            self.tests_of(candidate),
            partial=self.partial,
            storing="" if self.storing is None else self.storing.reason,
            run_problem=run_problem(self.exit_status, self.other_failures, explained=self._explained()),
        )

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def outcome(self) -> RunOutcome:
        """How the run ended; it follows from the judgements and tests, whatever the file says."""
        gated = {card.name for card in self.candidates if card.sha256 is not None}
        demanded = gated & {item.candidate for item in self.expected}
        found = [self.decision(name).outcome for name in demanded]
        if self.other_failures:
            found.append(RunOutcome.FAILED)
        if self.storing is not None:
            # such a run is whole without a comparison, and a base has no items at all
            found = [self.storing.outcome, *(each for each in found if each is not RunOutcome.PARTIAL)]
        if self.exit_status and (self.storing is not None or not demanded):
            # something was left out, or the selection leaves no item
            found.append(RunOutcome.PARTIAL)
        return RunOutcome.first(found)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why something could not be measured, each cause once."""
        return causes(self.judgements)

    @property
    def receipts_refused(self) -> bool:
        """Whether `verify` refuses every receipt of the run for its exit code; version 1 had none in it."""
        return self.exit_status != 0 and self.other_failures is not None

    def tests_of(self, candidate: str) -> tuple[ItemOutcome, ...]:
        """The project tests that are about a candidate."""
        return tuple(test for test in self.project_tests if test.concerns(candidate))

    def _explained(self) -> bool:
        """Whether some candidate's items or tests explain that pytest ended with exit code 1."""
        return (
            self.partial
            or any(judged.verdict.fails for judged in self.judgements)
            or not all(test.passed for test in self.project_tests)
            or not set(self.expected) <= {judged.item for judged in self.judgements}
        )

    def ended(self, exit_status: int) -> RunRecord:
        """The record of the run as it ended, with every decision made again."""
        changed = self.model_copy(update={"exit_status": exit_status})
        cards = []
        for card in self.candidates:
            made = changed.decision(card.name)
            update = {
                "publishable": made.publishable,
                "reason": made.reason,
                "other_seeds": changed._other_seeds(card.name, made),
            }
            cards.append(card if card.sha256 is None else card.model_copy(update=update))
        return changed.model_copy(update={"candidates": tuple(cards)})

    def _other_seeds(self, candidate: str, decision: Decision) -> float | None:
        """How likely other seeds would end otherwise; None where that is not known."""
        if self.partial or decision.unmeasured or self.suite.weak == "warn":
            return None
        sides: dict[str, dict[tuple[str, str], dict[int, float]]] = {"candidate": {}, "baseline": {}}
        for video in self.videos:
            if video.role == "baseline" or video.candidate == candidate:
                for metric, value in video.scores.items():
                    sides[video.role].setdefault((video.scenario, metric), {})[video.seed] = value
        own = [judged for judged in self.judgements if judged.candidate == candidate]
        places = tuple(self.suite.prompts)
        return disagreement(own, sides["candidate"], sides["baseline"], places, self.suite.looks)

    def judged(self, candidate: str, scenario: str, metric: str) -> tuple[Judgement, ...]:
        """All judgements of one place: a comparison, and the limits there."""
        place = (candidate, scenario, metric)
        return tuple(j for j in self.judgements if (j.candidate, j.scenario, j.metric) == place)

    def pairs(self, candidate: str, scenario: str, metric: str) -> tuple[Pair, ...]:
        """The paired scores behind a comparison, by seed; degenerate videos have none."""
        sides: dict[str, dict[int, float]] = {"candidate": {}, "baseline": {}}
        for video in self.videos:
            ours = video.role == "baseline" or video.candidate == candidate
            if ours and video.scenario == scenario and metric in video.scores:
                sides[video.role][video.seed] = video.scores[metric]
        own, base = sides["candidate"], sides["baseline"]
        higher = METRICS[metric].higher_is_better
        return tuple(
            Pair(seed, base[seed], own[seed], float(change(base[seed], own[seed], higher)))
            for seed in sorted(own.keys() & base.keys())
        )

    def to_json(self) -> str:
        """The record as JSON, the same text for the same record."""
        document = self.model_dump(mode="json")
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "the record") -> RunRecord:
        """Read a record, bring it to the present version and check that it is whole and agrees with itself.

        Raises:
            RecordError: Not JSON, of an unknown schema version, malformed, or with a decision that does not
                follow from its judgements.
        """
        try:
            raw = parse_json(text)
        except ValueError as error:
            raise RecordError(f"{source}: not JSON: {error}", next_command=_ANOTHER) from error
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if type(version) is not int or not OLDEST <= version <= SCHEMA_VERSION:
            newer = type(version) is int and version > SCHEMA_VERSION
            raise RecordError(
                f"{source}: schema_version is {version!r}; allowed: {OLDEST} to {SCHEMA_VERSION}",
                next_command="pip install --upgrade pytest-wanlora" if newer else _ANOTHER,
            )
        try:
            stated = raw.get("outcome")
            document = {key: value for key, value in migrated(raw).items() if key != "outcome"}
            # as JSON, whose rules differ from Python objects': arrays for tuples, text keys for numbers
            record = cls.model_validate_json(json.dumps(document), strict=True)
        except ValidationError as error:
            key, what = first_error(error)
            raise RecordError(f"{source}: {key or 'record'}: {what}", next_command=_ANOTHER) from error
        places = {"", ALL, *record.suite.prompts}
        if strange := next((each for each in record.judgements if each.scenario not in places), None):
            raise RecordError(
                f"{source}: judgements: {str(strange.item)[:200]} is of scenario "
                f"{strange.scenario[:80]!r}, which its suite does not have",
                next_command=_ANOTHER,
            )
        if stated not in (None, record.outcome):
            allowed = str(record.outcome)
            raise RecordError(
                f"{source}: outcome is {stated!r}; its judgements and tests give {allowed!r}",
                next_command=_ANOTHER,
            )
        return record

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> RunRecord:
        items = [judged.item for judged in self.judgements]
        if len(items) != len(set(items)):
            raise ValueError("judgements: an item is judged twice")
        for card in self.candidates:
            if card.publishable and not (made := self.decision(card.name)).publishable:
                raise ValueError(
                    f"candidates: {card.name} is not publishable by its own judgements: {made.reason}"
                )
            if card.publishable and card.sha256 is None:
                raise ValueError(f"candidates: {card.name} has no file that could be published")
        return self


def load(path: Path) -> RunRecord:
    """Read `results.json`.

    Raises:
        RecordError: There is none, it is no whole record, or a metric of it is not installed here.
    """
    file = path / RECORD if path.is_dir() else path
    try:
        text = read_regular(file)
    except OSError as error:
        raise RecordError(
            f"{file}: cannot be read: {error.strerror}; allowed: a run's {RECORD} or its folder",
            next_command=listing(file),
        ) from error
    record = RunRecord.from_json(text, source=str(file))
    unknown = sorted({judged.metric for judged in record.judgements if judged.metric} - set(METRICS))
    if unknown:
        raise RecordError(
            f"{file}: judged by the metric {unknown[0]}, which is not installed here; allowed: with "
            "the package that provides it",
            next_command="pip list",
        )
    return record


def write(record: RunRecord, path: Path) -> None:
    """Write a record to a temporary file in the same folder, then rename it."""
    try:
        write_whole(path, record.to_json().encode())
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be written: {error.strerror}", next_command=listing(path.parent)
        ) from error


def runs_so_far(folder: Path, sha256: str, suite: str, seeds: Collection[int] | None = None) -> int:
    """Count the tries of a checkpoint, by digest, on a suite: runs with noise that no earlier one had.

    The same seeds give the same videos, so a run that reuses or repeats them is no further try; nor is one
    that was interrupted, or that rendered nothing.

    Args:
        folder: Holds a folder for each run.
        sha256: Of the checkpoint.
        suite: Name of the suite.
        seeds: Of the run that asks, which has no record yet; None: of none.

    Returns:
        Tries; a record that is damaged or has no list of videos counts as one if it shows the digest.
    """
    count = 0
    tried: list[frozenset[int]] = []
    for path in records(folder):
        try:
            text = read_regular(path).decode(errors="replace")
        except OSError:
            # `clean` has deleted it, or it is a folder of that name
            continue
        try:
            raw = parse_json(text)
            if raw["suite"]["name"] != suite or raw.get("exit_status") == _INTERRUPTED:
                continue
            names = {card["name"] for card in raw["candidates"] if card["sha256"] == sha256}
            found = frozenset(
                int(each["seed"])
                for each in raw.get("videos", ())
                if each["role"] == "candidate" and each["candidate"] in names
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            count += sha256 in text
            continue
        if names and "videos" not in raw:
            count += 1
        elif found and not any(found <= earlier for earlier in tried):
            tried.append(found)
    own = frozenset(seeds or ())
    return count + len(tried) + (bool(own) and not any(own <= earlier for earlier in tried))


def merge(parts: Iterable[Part]) -> Part:
    """Merge what several workers report.

    Args:
        parts: In any order; the same result whatever it is.

    Returns:
        Everything once, sorted. A video that one worker rendered and another reused counts as rendered.

    Raises:
        RecordError: Two workers contradict each other about the same video, set or item.
    """
    gathered = list(parts)
    videos = _rendered_first(video for part in gathered for video in part.videos)
    sets = _once(
        (scored for part in gathered for scored in part.sets),
        key=lambda scored: (scored.role, scored.candidate, scored.scenario),
    )
    failures = _once(
        (failure for part in gathered for failure in part.failures),
        key=lambda failure: (failure.candidate, failure.scenario, failure.seed, failure.message),
    )
    judgements = _once(
        (judged for part in gathered for judged in part.judgements), key=lambda judged: judged.item
    )
    return Part(
        videos=tuple(videos),
        sets=tuple(sets),
        judgements=tuple(sorted(judgements, key=lambda judged: judged.item)),
        failures=tuple(failures),
    )


def _once(things: Iterable[T], *, key: Callable[[T], K]) -> list[T]:
    """Each thing once, sorted by its key; two of one key must be equal."""
    found: dict[K, T] = {}
    for thing in things:
        if found.setdefault(key(thing), thing) != thing:
            raise RecordError(f"two workers contradict each other about {key(thing)}")
    return [found[name] for name in sorted(found)]


def _rendered_first(videos: Iterable[Video]) -> list[Video]:
    """Each video as reported by the worker that rendered it; the others took it from the cache."""
    ordered = sorted(videos, key=lambda video: (video.reused, -video.seconds))
    told: dict[tuple[str, ...], Video] = {}
    for video in ordered:
        name = (video.role, video.candidate, video.scenario, str(video.seed))
        known = told.setdefault(name, video)
        if video.model_copy(update={"reused": known.reused, "seconds": known.seconds}) != known:
            raise RecordError(f"two workers contradict each other about the video {', '.join(name)}")
    return sorted(told.values(), key=lambda video: (video.role, video.candidate, video.scenario, video.seed))
