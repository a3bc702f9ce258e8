"""Progress and failure files in `<run folder>/board/`, shared by the processes of one run."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_wanlora.errors import JobError
from pytest_wanlora.files import json_sha256, read_note, unwritable, write_json
from pytest_wanlora.jobs.job import Job
from pytest_wanlora.phrases import number_of

#: What is said of what is kept for later runs and cannot be used, or cannot be kept, by its kind.
_DAMAGE: Final = {
    "result": ("result", "{found} in the cache cannot be used, and the video{s} must be rendered again"),
    "prompt": (
        "prompt embedding",
        "{found} in the cache cannot be used, and the prompt{s} had to be encoded again",
    ),
    "unkept": (
        "",
        "prompt embeddings cannot be kept in the cache, and every process encodes the prompts anew",
    ),
}


@dataclass(frozen=True)
class Progress:
    """How far a run's videos are.

    Attributes:
        running: Labels of the jobs being rendered now.
        remaining: Estimated seconds for the rest; None before the first is finished.
        stage: What the process that renders does at the moment, or the first of several; empty if unknown.
        nodes: Nodes of a cluster and what they do; empty on one machine.
    """

    total: int
    reused: int
    rendered: int
    failed: int
    running: tuple[str, ...]
    remaining: float | None
    stage: str = ""
    nodes: str = ""

    @property
    def left(self) -> int:
        """Jobs neither finished nor failed."""
        return max(0, self.total - self.reused - self.rendered - self.failed)


class Board:
    """Small JSON files about jobs that all processes of one run read and write.

    Args:
        reuse: Whether results that other runs left in the cache count.
    """

    def __init__(self, folder: Path, *, who: str = "main", reuse: bool = True) -> None:
        self.folder = folder
        self.who = who
        self.reuse = reuse
        self.attempts = 2
        self._damaged: dict[str, dict[str, Any]] = {}

    def prepare(self) -> None:
        """Create the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error, "note what is being rendered", "output") from error

    def announce(self, keys: Sequence[str], *, reused: int) -> None:
        """Note once how much there is to do; a second process' announcement changes nothing."""
        path = self.folder / "plan.json"
        if not path.exists():
            self._write(path, {"keys": list(keys), "reused": reused})

    def extend(self, keys: Sequence[str], *, reused: int) -> None:
        """Note further jobs, once: every process that looks again finds the same ones."""
        path = self.folder / f"more-{json_sha256(sorted(keys))[:16]}.json"
        if not path.exists():
            self._write(path, {"keys": list(keys), "reused": reused})

    def note_collected(self, note: Mapping[str, Any]) -> None:
        """Note what this process collected, for the one that writes the record."""
        self._write(self.folder / f"collected-{self.who}.json", note)

    def collected(self) -> dict[str, Any] | None:
        """What one process noted of its collection, which is the same in each; None if there is none."""
        paths = sorted(self.folder.glob("collected-*.json"))
        return next((note for note in map(read_note, paths) if note is not None), None)

    def start(self, job: Job, *, who: str | None = None) -> None:
        """Note that a job is being rendered.

        Raises:
            JobError: Two processes have died over it.
        """
        path = self.folder / f"{job.key}.started"
        attempts = int((read_note(path) or {}).get("attempts", 0))
        if attempts >= self.attempts:
            raise JobError(
                f"{attempts} processes died while rendering it; not tried again in this run\n"
                "A process that dies without a word was often killed for want of memory.",
                next_command="run it alone, without -n, and look at the system's log",
            )
        note = {
            "attempts": attempts + 1,
            "label": job.label,
            "who": who or self.who,
            "pid": os.getpid(),
            "time": time.time(),
        }
        self._write(path, note)

    def finish(self, job: Job, seconds: float, *, who: str | None = None) -> None:
        """Note that a job is rendered, by this process or by `who`."""
        note = {"label": job.label, "who": who or self.who, "seconds": seconds, "time": time.time()}
        self._write(self.folder / f"{job.key}.done", note)

    def fail(self, job: Job, message: str, next_command: str | None) -> None:
        """Note that a job cannot be rendered, so that no process of this run tries again."""
        note = {
            "candidate": job.candidate,
            "scenario": job.scenario,
            "seed": job.seed,
            "who": self.who,
            "message": message,
            "next_command": next_command,
        }
        self._write(self.folder / f"{job.key}.failed", note)

    def note_damage(self, job: Job, why: str) -> None:
        """Note, once, that the cache has a result of a job that cannot be used."""
        self._note_damage(job.key, "result", job.label, why)

    def note_prompts(self, notes: Mapping[str, Any], *, node: str = "") -> None:
        """Note, once each, what a producer tells of kept prompt embeddings in the notes on a video.

        Args:
            notes: Of `Produced`; `"prompts"` lists kinds, files and what is wrong with them.
            node: Of a cluster, where the files are.
        """
        for kind, file, why in notes.get("prompts", ()):
            label = f"{node}: {file}" if node else file
            self._note_damage(json_sha256([kind, label]), kind, label, why)

    def _note_damage(self, key: str, kind: str, label: str, why: str) -> None:
        if key in self._damaged:
            return
        self._damaged[key] = {"kind": kind, "label": label, "why": why}
        # of a plan there is no folder
        if self.folder.is_dir():
            with contextlib.suppress(OSError):
                write_json(self.folder / f"{key}.damaged", self._damaged[key])

    def damage(self) -> tuple[str, ...]:
        """What the processes of the run have noted of a damaged cache, a sentence for each kind."""
        notes = {path.stem: read_note(path) for path in self.folder.glob("*.damaged")}
        known = [note for note in {**notes, **self._damaged}.values() if note]
        said = []
        for kind, (noun, sentence) in _DAMAGE.items():
            found = sorted((str(note["label"]), str(note["why"])) for note in known if note["kind"] == kind)
            if found:
                several = len(found) > 1
                what = sentence.format(found=number_of(len(found), noun), s="s" * several)
                said.append(f"{what}: {'the first, ' * several}{': '.join(found[0])}")
        return tuple(said)

    def say(self, words: str) -> None:
        """Note what this process does, for the progress."""
        with contextlib.suppress(OSError):
            write_json(self.folder / f"{self.who}.stage", {"words": words})

    def failed(self, key: str) -> bool:
        """Whether a job failed in this run."""
        return (self.folder / f"{key}.failed").exists()

    def started(self, key: str) -> bool:
        """Whether a process of this run has begun to render a job."""
        return (self.folder / f"{key}.started").exists()

    def rendered(self, key: str) -> bool:
        """Whether a job was rendered in this run."""
        return (self.folder / f"{key}.done").exists()

    def raise_failure(self, job: Job) -> None:
        """Raise what a job failed of, if it did."""
        note = read_note(self.folder / f"{job.key}.failed")
        if note is not None:
            raise JobError(note["message"], next_command=note["next_command"], video=job.label)

    def progress(self) -> Progress | None:
        """Read how far the run is; None before anything was announced."""
        plans = self._plans()
        if not plans:
            return None
        counted = {key for plan in plans for key in plan["keys"]}

        def noted(kind: str) -> dict[str, Any]:
            paths = sorted(self.folder.glob(f"*.{kind}"))
            return {path.stem: read_note(path) or {} for path in paths if path.stem in counted}

        done, failed, started = noted("done"), noted("failed"), noted("started")
        stages = map(read_note, sorted(self.folder.glob("*.stage")))
        running = [note for key, note in started.items() if key not in done and key not in failed]
        total = sum(len(plan["keys"]) for plan in plans)
        reused = sum(int(plan["reused"]) for plan in plans)
        left = total - reused - len(done) - len(failed)
        remaining = None
        if done:
            seconds = sum(float(note.get("seconds", 0.0)) for note in done.values()) / len(done)
            remaining = seconds * max(0, left) / max(1, len({note.get("who") for note in running}))
            # what is being rendered now was begun when the last one was finished
            since = time.time() - max(float(note.get("time", 0.0)) for note in done.values())
            remaining -= min(since, seconds)
        return Progress(
            total=total,
            reused=reused,
            rendered=len(done),
            failed=len(failed),
            running=tuple(str(note.get("label", "")) for note in running),
            remaining=remaining,
            stage=next((str(note.get("words", "")) for note in stages if note), ""),
        )

    def _plans(self) -> list[dict[str, Any]]:
        paths = (self.folder / "plan.json", *sorted(self.folder.glob("more-*.json")))
        return [plan for plan in map(read_note, paths) if plan is not None]

    def announced(self) -> frozenset[str]:
        """Keys of all jobs that the run has needed so far."""
        return frozenset(key for plan in self._plans() for key in plan["keys"])

    def failures(self) -> list[dict[str, Any]]:
        """What failed: candidate, scenario, seed, message and next command."""
        names = ("candidate", "scenario", "seed", "message", "next_command")
        notes = (read_note(path) or {} for path in sorted(self.folder.glob("*.failed")))
        return [{name: note[name] for name in names} for note in notes]

    def clear(self) -> None:
        """Remove the files; the run record contains all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, path: Path, note: Mapping[str, Any]) -> None:
        try:
            write_json(path, note)
        except OSError as error:
            raise unwritable(self.folder, error, "note what is being rendered", "output") from error
