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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pytest_wanlora.files import unwritable, write_json, write_whole
from pytest_wanlora.jobs.job import Applied, Job, JobResult, Produced, digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
#: Nothing else takes a run's own lock, but `cleaning` opens it for an instant.
_LOCK_SECONDS = 10.0


class Cache:
    """Results of rendered jobs by key, shared by processes and runs.

    Args:
        folder: Created when something is first stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.locks = folder / ".locks"
        self._run: FileLock | None = None

    def prepare(self) -> None:
        """Create the folder, prove that it can be written, and hold a lock that says that a run uses it.

        Only the process that starts a run calls this; `close` releases the lock.

        Raises:
            JobError: It cannot; names the folder and what to do.
        """
        probe = self.folder / f".probe-{os.getpid()}"
        # the name says since when: opening a lock changes the time of its file
        name = f"run-{time.time():.0f}-{secrets.token_hex(4)}.lock"
        try:
            self.locks.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"0")
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

        Args:
            job: Whose.
            reused: What to say in `JobResult.reused`.

        Returns:
            The result; None when there is none, or when its files are damaged, which is logged: it is
            then rendered again.
        """
        folder = self.folder / job.key
        try:
            document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            claimed_digest = document.pop("digest")
            if digest(document) != claimed_digest:
                raise _DamagedError("result.json does not fit its digest")
            if document["schema_version"] != SCHEMA_VERSION:
                raise _DamagedError(f"schema version {document['schema_version']}, not {SCHEMA_VERSION}")
            features = _read_features(folder / "features.safetensors", document["features_sha256"])
        except FileNotFoundError:
            if folder.exists():
                logger.warning("cache entry %s is incomplete; rendering %s again", folder, job.label)
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, _DamagedError) as error:
            logger.warning("cache entry %s is damaged (%s); rendering %s again", folder, error, job.label)
            return None
        with suppress(OSError):
            # the folder may be another user's, or read-only
            os.utime(folder)
        preview = folder / "preview.mp4"
        return JobResult(
            job=job,
            scores=document["scores"],
            degenerate=document["degenerate"],
            features=features,
            frames_sha256=document["frames_sha256"],
            seconds=document["seconds"],
            applied=None if document["applied"] is None else Applied(**document["applied"]),
            notes=document["notes"],
            folder=folder,
            preview=preview if preview.is_file() else None,
            reused=reused,
            finished=document["finished"],
        )

    def store(self, job: Job, produced: Produced) -> None:
        """Keep a result; the caller holds the claim.

        Raises:
            JobError: The folder cannot be written or the disk is full.
        """
        final = self.folder / job.key
        # the holder of the claim is the only writer: leftover temporary folders belong to crashed workers
        for stale in self.folder.glob(f".new-{job.key}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = self.folder / f".new-{job.key}-{os.getpid()}"
        try:
            folder.mkdir(parents=True)
            features_sha256 = _write_features(folder / "features.safetensors", produced.features)
            if produced.write_preview is not None:
                produced.write_preview(folder / "preview.mp4")
            document: dict[str, Any] = {
                "schema_version": SCHEMA_VERSION,
                "key": job.key,
                "job": {
                    "candidate": job.candidate,
                    "candidate_sha256": job.candidate_sha256,
                    "identity": job.identity,
                    "scale": job.scale,
                    "scenario": job.scenario,
                    "prompt": job.prompt,
                    "caption": job.caption,
                    "seed": job.seed,
                    "shared": json.loads(job.shared),
                },
                "scores": dict(produced.scores),
                "degenerate": produced.degenerate,
                "features_sha256": features_sha256,
                "frames_sha256": produced.frames_sha256,
                "seconds": produced.seconds,
                "applied": None if produced.applied is None else asdict(produced.applied),
                "notes": dict(produced.notes),
                "finished": time.time(),
            }
            document["digest"] = digest(document)
            write_json(folder / "result.json", document)
            with suppress(FileNotFoundError):
                shutil.rmtree(final)
            folder.rename(final)
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
    """A cache entry that does not fit its own digests."""


def _write_features(path: Path, features: Mapping[str, NDArray[np.float32]]) -> str:
    from safetensors.numpy import save

    data = save(dict(features))
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def _read_features(path: Path, sha256: str) -> Mapping[str, NDArray[np.float32]]:
    from safetensors.numpy import load

    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _DamagedError("features.safetensors does not fit its digest")
    features: Mapping[str, NDArray[np.float32]] = load(data)
    return features
