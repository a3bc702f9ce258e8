"""Cache of rendered jobs: `<folder>/cache/<key>/`.

The cache outlives runs: `result.json`, `features.safetensors` and `preview.mp4`, written to a temporary
folder beside it and renamed. The modification time of an entry's folder says when it was last used, and the
locks that runs hold say since when it is in use: `cleaning` deletes by both.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from filelock import FileLock, Timeout

from pytest_wanlora.files import (
    file_sha256,
    json_sha256,
    parse_json,
    read_regular,
    unwritable,
    write_json,
    write_whole,
)
from pytest_wanlora.jobs.job import Applied, Job, JobResult, Produced
from pytest_wanlora.schemas import Finite, Sha256, StrictModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CLAIM: Final = "WANLORA_CLAIM"
"""Environment variable with the locks of a gate that a watch starts, as JSON: the one to hold while it runs,
and the watcher's, without which it must not begin."""
SCHEMA_VERSION = 1
_DIMENSIONS: Final = {"video": 1, "clip_frames": 2, "dino_frames": 2}
#: Nothing else takes a run's own lock, but `cleaning` opens it for an instant.
_LOCK_SECONDS = 10.0


class Cache:
    """Results of rendered jobs by key, shared by processes and runs.

    Args:
        folder: Where they are kept.
        on_damage: Is told of each result that cannot be used, and why; more than once of the same.
    """

    def __init__(self, folder: Path, on_damage: Callable[[Job, str], None] | None = None) -> None:
        self.folder = folder
        self.on_damage = on_damage
        self.locks = folder / ".locks"
        self._run: FileLock | None = None

    def prepare(self) -> None:
        """Create the folder, prove that it can be written, and hold a lock that says that a run uses it.

        Only the process that starts a run calls this; `close` releases the lock.

        Raises:
            JobError: It cannot; names the folder and what to do.
        """
        probe = self.folder / f".probe-{secrets.token_hex(8)}"
        # the name says since when: opening a lock changes the time of its file
        name = f"run-{time.time():.0f}-{secrets.token_hex(4)}.lock"
        try:
            self.locks.mkdir(parents=True, exist_ok=True)
            with probe.open("xb"):
                pass
            probe.unlink()
            self._run = FileLock(self.locks / name)
            self._run.acquire(timeout=_LOCK_SECONDS)
        except OSError as error:
            raise unwritable(self.folder, error, "keep the scores of rendered videos", "cache") from error

    def close(self) -> None:
        """Release the lock that `prepare` took."""
        if self._run is not None:
            self._run.release()
            with suppress(OSError):
                Path(self._run.lock_file).unlink(missing_ok=True)
            self._run = None

    def in_use_since(self) -> float | None:
        """When the first of the runs that use the cache now has started; None if there is none."""
        found = [
            float(path.name.split("-")[1])
            for path in self.locks.glob("run-*.lock")
            if re.fullmatch(r"run-[0-9]+-[0-9a-f]+\.lock", path.name) and is_locked(path)
        ]
        return min(found, default=None)

    def lock_of(self, key: str) -> Path:
        """The lock file of the one process that renders a key."""
        return self.locks / f"{key}.lock"

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Try to become the one process that renders a key; yields whether it worked.

        The claim is a lock that the operating system holds, so it ends with the process however that dies.
        """
        lock = FileLock(self.lock_of(key))
        try:
            try:
                lock.acquire(blocking=False)
            except Timeout:
                yield False
                return
            except OSError as error:
                raise unwritable(self.folder, error, "claim a job", "cache") from error
            yield True
        finally:
            lock.release()

    def load(self, job: Job, *, reused: bool) -> JobResult | None:
        """Read a job's result.

        Returns:
            The result; None when there is none, or when its files are damaged, which is logged and told: it
            is then rendered again.
        """
        folder = self.folder / job.key
        try:
            document = parse_json(read_regular(folder / "result.json"))
            claimed_digest = document.pop("digest")
            if json_sha256(document) != claimed_digest:
                raise _DamagedError("result.json does not fit its digest")
            entry = _Entry.model_validate(document)
            if entry.key != job.key or any(entry.job.get(k) != v for k, v in _about(job).items()):
                raise _DamagedError("it is the result of another job")
            features = _read_features(folder / "features.safetensors", entry)
            preview = _read_preview(folder / "preview.mp4", entry)
        except FileNotFoundError:
            if folder.exists():
                self._damaged(job, "it is incomplete")
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, _DamagedError) as error:
            self._damaged(job, str(error) or type(error).__name__)
            return None
        with suppress(OSError):
            # the folder may be another user's, or read-only
            os.utime(folder)
        return JobResult(
            job=job,
            scores=entry.scores,
            degenerate=entry.degenerate,
            features=features,
            frames_sha256=entry.frames_sha256,
            seconds=entry.seconds,
            applied=entry.applied,
            notes=entry.notes,
            folder=folder,
            preview=preview,
            reused=reused,
            finished=entry.finished,
        )

    def _damaged(self, job: Job, why: str) -> None:
        logger.warning(
            "cache entry %s is damaged (%s); rendering %s again", self.folder / job.key, why, job.label
        )
        if self.on_damage is not None:
            self.on_damage(job, why)

    def store(self, job: Job, produced: Produced) -> None:
        """Keep a result; the caller holds the claim.

        Raises:
            JobError: The folder cannot be written or the disk is full.
        """
        final = self.folder / job.key
        # the holder of the claim is the only writer: leftover temporary folders belong to crashed workers
        for stale in self.folder.glob(f".new-{job.key}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = self.folder / f".new-{job.key}-{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True)
            features_sha256 = _write_features(folder / "features.safetensors", produced.features)
            preview = folder / "preview.mp4"
            if produced.write_preview is not None:
                produced.write_preview(preview)
            document: dict[str, Any] = {
                "schema_version": SCHEMA_VERSION,
                "key": job.key,
                "job": {
                    "candidate": job.candidate,
                    "candidate_sha256": job.candidate_sha256,
                    "scenario": job.scenario,
                    **_about(job),
                },
                "scores": dict(produced.scores),
                "degenerate": produced.degenerate,
                "features_sha256": features_sha256,
                "frames_sha256": produced.frames_sha256,
                "preview_sha256": file_sha256(preview) if preview.exists() else None,
                "seconds": produced.seconds,
                "applied": None if produced.applied is None else produced.applied.plain(),
                "notes": dict(produced.notes),
                "finished": time.time(),
            }
            document["digest"] = json_sha256(document)
            write_json(folder / "result.json", document)
            # aside first: a process that is killed while it deletes must leave no entry in part
            replaced = folder.with_name(f"{folder.name}-old")
            with suppress(FileNotFoundError):
                final.rename(replaced)
            folder.rename(final)
            shutil.rmtree(replaced, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise unwritable(self.folder, error, f"keep the result of {job.label}", "cache") from error


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock file; nothing is created."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except OSError:
        # held, or not ours to open, and then another user's process may hold it
        return True
    lock.release()
    return False


class _DamagedError(Exception):
    """A cache entry that does not fit its own digests, or its job."""


class _Entry(StrictModel):
    """`result.json`, without its digest."""

    schema_version: Literal[1]
    key: Sha256
    job: dict[str, Any]
    scores: dict[str, Finite]
    degenerate: str | None
    features_sha256: Sha256
    frames_sha256: str
    # None too where an earlier version wrote it, which stated none
    preview_sha256: Sha256 | None = None
    seconds: Finite
    applied: Applied | None
    notes: dict[str, Any]
    finished: Finite


def _about(job: Job) -> dict[str, Any]:
    """Of a job, what its key is made of and an entry states in words."""
    return {
        "identity": job.identity,
        "scale": job.scale,
        "prompt": job.prompt,
        "caption": job.caption,
        "seed": job.seed,
        "shared": json.loads(job.shared),
    }


def _write_features(path: Path, features: Mapping[str, NDArray[np.float32]]) -> str:
    from safetensors.numpy import save

    data = save(dict(features))
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def _read_preview(path: Path, entry: _Entry) -> Path | None:
    """The mp4 for people; None where there is none, or no longer: nothing is measured on it."""
    if not path.is_file():
        return None
    if entry.preview_sha256 not in (None, file_sha256(path)):
        raise _DamagedError("preview.mp4 does not fit its digest")
    return path


def _read_features(path: Path, entry: _Entry) -> Mapping[str, NDArray[np.float32]]:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_regular(path)
    if hashlib.sha256(data).hexdigest() != entry.features_sha256:
        raise _DamagedError("features.safetensors does not fit its digest")
    try:
        features: Mapping[str, NDArray[np.float32]] = load(data)
    except SafetensorError as error:
        raise _DamagedError(f"features.safetensors: {error}") from error
    for name, array in features.items():
        if array.dtype != np.float32 or not array.size or not np.isfinite(array).all():
            raise _DamagedError(f"features.safetensors: {name} holds anything but finite float32 numbers")
        if array.ndim != _DIMENSIONS.get(name, array.ndim):
            raise _DamagedError(f"features.safetensors: {name} has the shape {array.shape}")
    if entry.degenerate is None and not (entry.scores and "video" in features):
        raise _DamagedError("a video that is not degenerate has no scores or no features")
    return features
