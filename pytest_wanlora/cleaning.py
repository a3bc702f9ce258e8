"""Which cache entries and run folders may be deleted, and their deletion.

Only what is recognised by its content is deleted: folders that hold one rendered job, or one run of the gate,
and nothing else; and files that keep what was made of a subject's pictures. Links are neither followed nor
deleted, and what a run in progress uses stays.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora.files import DELETED, delete_whole, parse_json, read_regular
from pytest_wanlora.results.folders import LATEST, RECORD, records

if TYPE_CHECKING:
    from pytest_wanlora.jobs.cache import Cache

_KEY: Final = re.compile(r"[0-9a-f]{64}")
#: Left by a process that died while it stored an entry, or deleted one.
_LEFT_ENTRY: Final = re.compile(
    rf"\.new-(?P<new>[0-9a-f]{{64}})-[0-9a-f]+|{re.escape(DELETED)}[0-9a-f]{{8}}-(?P<old>[0-9a-f]{{64}})"
)
_ENTRY_FILE: Final = re.compile(r"result\.json|features\.safetensors|preview\.mp4")
#: All that a run writes into its folder.
_RUN_FILE: Final = re.compile(
    r"results\.json|report(\.ko)?\.md|report\.html|receipt(-[^/]+)?\.json(\.sig(store)?)?|model-card(-[^/]+)?\.md"
    r"|(samples|videos)/.+\.mp4|figure\.png|board/[^/]+"
)
#: A file that `write_whole` had not renamed yet.
_TEMPORARY: Final = re.compile(r"\.([^/]+)-[0-9a-f]+")
#: What is kept of the pictures and clips of subjects, a file of each; `run.pictures` makes it again.
_PICTURES: Final = "pictures"
_PICTURE: Final = re.compile(r"(?P<left>\.)?(?P<key>[0-9a-f]{64})\.safetensors(?(left)-[0-9a-f]+)")
#: Whose such a file is said to be.
SUBJECTS: Final = "pictures of subjects"
#: Folders of the cache that all runs share: they count, and are kept.
_SHARED: Final = ("prompts", "compiled")
#: A process that stores an entry needs seconds; one that notes nothing on its board for a day has died.
_STORING_SECONDS: Final = 3600.0
_RUNNING_SECONDS: Final = 24 * 3600.0
#: Between the clocks of two machines.
_SLACK_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Entry:
    """One folder of a cache that may be deleted, or one file of its pictures.

    Attributes:
        size: Bytes.
        used: When it was last stored or read, in seconds since the epoch.
        candidate: Whose video it is, or `SUBJECTS`; None for what a process left that died.
    """

    folder: Path
    size: int
    key: str
    used: float
    candidate: str | None


@dataclass(frozen=True)
class CacheContents:
    """What a cache holds.

    Attributes:
        entries: First what processes left that died; then the others, the one that was used last at the end.
        shared: Bytes of prompt embeddings and compiled code.
        others: Names of what is no part of a cache.
    """

    entries: tuple[Entry, ...]
    shared: int
    others: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all that belongs to the cache."""
        return self.shared + sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class Run:
    """The folder of one run.

    Attributes:
        size: Bytes.
    """

    folder: Path
    size: int


@dataclass(frozen=True)
class RunsContents:
    """What a folder of runs holds.

    Attributes:
        leftovers: Of run folders whose deletion was interrupted.
        others: Names of what is not the folder of a run with a record, or holds files of others too.
    """

    runs: tuple[Run, ...]
    leftovers: tuple[Run, ...]
    others: tuple[str, ...]


def look_at_cache(cache: Cache) -> CacheContents:
    """See what a cache holds; nothing is changed."""
    entries: list[Entry] = []
    shared, others = 0, []
    for path in sorted(cache.folder.iterdir()):
        if path.name in _SHARED and _is_folder(path):
            shared += sum(_size(Path(at, name)) for at, _, names in os.walk(path) for name in names)
        elif path.name == _PICTURES and _is_folder(path):
            entries += filter(None, map(_picture, path.iterdir()))
        elif (entry := _entry(path)) is not None:
            entries.append(entry)
        elif path != cache.locks:
            others.append(path.name)
    entries.sort(key=lambda entry: (entry.candidate is not None, entry.used, entry.key))
    return CacheContents(tuple(entries), shared, tuple(others))


def choose(cache: Cache, contents: CacheContents, limit: int) -> tuple[Entry, ...]:
    """Choose what to delete so that at most `limit` bytes stay, as far as runs in progress allow it."""
    from pytest_wanlora.jobs.cache import is_locked

    since = cache.in_use_since()
    chosen = []
    size = contents.size
    for entry in contents.entries:
        if entry.candidate is None:
            unused = since is None and entry.used < time.time() - _STORING_SECONDS
        else:
            unused = size > limit and (since is None or entry.used < since - _SLACK_SECONDS)
        if unused and not is_locked(cache.lock_of(entry.key)):
            chosen.append(entry)
            size -= entry.size
    return tuple(chosen)


def delete(cache: Cache, entry: Entry) -> bool:
    """Delete an entry, unless a process has used it since `look_at_cache`.

    Returns:
        Whether it was deleted.

    Raises:
        OSError: It cannot be deleted.
        JobError: It cannot be claimed.
    """
    with cache.claim(entry.key) as claimed:
        if not claimed or entry.folder.stat().st_mtime != entry.used:
            return False
        if entry.folder.is_file():
            entry.folder.unlink()
        else:
            delete_whole(entry.folder)
    return True


def look_at_runs(output_dir: Path) -> RunsContents:
    """See what a folder of runs holds; nothing is changed."""
    runs, leftovers, others = [], [], []
    with_record = {path.parent: place for place, path in enumerate(records(output_dir))}
    for path in sorted(output_dir.iterdir(), key=lambda path: (with_record.get(path, -1), path.name)):
        files = _files(path, _RUN_FILE)
        if path.name.startswith(DELETED) and files is not None:
            leftovers.append(Run(path, sum(files.values())))
        elif (
            path in with_record and files is not None and not _in_progress(path) and _is_record(path / RECORD)
        ):
            runs.append(Run(path, sum(files.values())))
        elif not (path.name == LATEST and path.is_symlink()):
            others.append(path.name)
    return RunsContents(tuple(runs), tuple(leftovers), tuple(others))


def delete_run(run: Run) -> bool:
    """Delete a run's folder, and the link to the newest run if it is then broken.

    Returns:
        Whether it was deleted: not if the run has begun to write again since `look_at_runs`.

    Raises:
        OSError: It cannot be deleted.
    """
    if _in_progress(run.folder):
        return False
    delete_whole(run.folder)
    latest = run.folder.with_name(LATEST)
    if latest.is_symlink() and not latest.exists():
        latest.unlink(missing_ok=True)
    return True


def _entry(path: Path) -> Entry | None:
    """The entry in a folder; None if it is anything else."""
    left = _LEFT_ENTRY.fullmatch(path.name)
    key = (left["new"] or left["old"]) if left else path.name
    if not _KEY.fullmatch(key):
        return None
    files = _files(path, _ENTRY_FILE)
    candidate = None if left else _candidate(path / "result.json", key)
    if files is None or (candidate is None and not left):
        return None
    try:
        used = path.stat().st_mtime
    except OSError:
        # deleted meanwhile
        return None
    return Entry(path, sum(files.values()), key, used, candidate)


def _picture(path: Path) -> Entry | None:
    """What is kept of one picture; None if it is anything else."""
    named, about = _PICTURE.fullmatch(path.name), path.lstat()
    if named is None or not stat.S_ISREG(about.st_mode):
        return None
    return Entry(path, about.st_size, named["key"], about.st_mtime, None if named["left"] else SUBJECTS)


def _candidate(path: Path, key: str) -> str | None:
    match _json(path):
        case {"schema_version": int(), "key": found, "digest": str(), "job": {"candidate": str(name)}}:
            return name if found == key else None
    return None


def _is_record(path: Path) -> bool:
    match _json(path):
        case {"schema_version": int(), "run_id": str(), "suite": dict(), "candidates": list()}:
            return True
    return False


def _in_progress(folder: Path) -> bool:
    """Whether a run still writes into its folder: it deletes its board at its end."""
    try:
        return (folder / "board").stat().st_mtime > time.time() - _RUNNING_SECONDS
    except OSError:
        return False


def _json(path: Path) -> object:
    try:
        document: object = parse_json(read_regular(path))
    except (OSError, ValueError):
        return None
    return document


def _files(folder: Path, allowed: re.Pattern[str]) -> Mapping[str, int] | None:
    """The bytes of each file below a folder; None if it is a link, or holds anything but allowed files."""
    try:
        files = dict(_walk(folder))
    except (OSError, ValueError):
        return None
    finished = (_TEMPORARY.sub(r"\1", name) for name in files)
    return files if all(map(allowed.fullmatch, finished)) else None


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    if not _is_folder(folder):
        raise NotADirectoryError(folder)
    for path in folder.iterdir():
        about = path.lstat()
        if stat.S_ISREG(about.st_mode):
            yield path.name, about.st_size
        else:
            # a link, a socket and the like are no folder, which is an error too
            yield from ((f"{path.name}/{name}", size) for name, size in _walk(path))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
