"""What lies in the folders that a trainer writes to: finished checkpoints, and what is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from pytest_wanlora.checkpoint import argument_of, pair_names, read
from pytest_wanlora.checkpoint.container import SHARD, STATE, is_safetensors, left_out, open_container
from pytest_wanlora.checkpoint.experts import EXPERTS, named_in
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.files import file_sha256, json_sha256

_Stamp: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Found:
    """A checkpoint, all of it.

    Attributes:
        name: Of its file; of a pair the common part of both.
        argument: Of `--lora`.
        digest: SHA-256 of its file; of a pair as `checkpoint.experts.pair` makes it.
        written: When the last of it was, seconds since the epoch.
    """

    name: str
    argument: str
    digest: str
    written: float


@dataclass(frozen=True)
class Look:
    """What there is now.

    Attributes:
        found: Checkpoints that are finished, in the order in which they were.
        growing: Files that changed since the last look, or are new.
        unfinished: Files that no longer change and are not whole, and why.
        alone: Halves of pairs whose other half is not there.
        ignored: Files that are no checkpoint, and why.
    """

    found: tuple[Found, ...]
    growing: tuple[Path, ...]
    unfinished: Mapping[Path, str]
    alone: tuple[Path, ...]
    ignored: Mapping[Path, str]


@dataclass(frozen=True)
class _Facts:
    """Of a file that does not change any more."""

    stamp: _Stamp
    digest: str = ""
    ignored: str = ""
    half: tuple[str, Path] | None = None


@dataclass
class Folders:
    """Looks into folders; a file is finished when it is whole and did not change between two looks.

    Args:
        places: The folders; those for the experts of a model may lie in them.
        experts: Whether halves are paired: what the suite says, or None to ask each file's shapes.
        fits_experts: Answers that.
    """

    places: Sequence[Path]
    experts: bool | None
    fits_experts: Callable[[Path, str], bool]
    _before: dict[Path, _Stamp] = field(default_factory=dict)
    _known: dict[Path, _Facts] = field(default_factory=dict)

    def look(self) -> Look:
        """Look once."""
        now = dict(self._files())
        unfinished: dict[Path, str] = {}
        growing: list[Path] = []
        for path, stamp in now.items():
            if path in self._known and self._known[path].stamp == stamp:
                continue
            self._known.pop(path, None)
            # what is never gated is nothing to wait for
            if self._before.get(path) != stamp and not left_out(path):
                growing.append(path)
                continue
            try:
                self._known[path] = self._facts(path, stamp)
            except (CheckpointError, OSError) as error:
                unfinished[path] = error.message if isinstance(error, CheckpointError) else str(error)
        self._before = now
        known = {path: facts for path, facts in self._known.items() if path in now}
        self._known = known
        found, alone = _checkpoints({path: facts for path, facts in known.items() if not facts.ignored})
        ignored = {path: facts.ignored for path, facts in known.items() if facts.ignored}
        return Look(found, tuple(growing), unfinished, alone, ignored)

    def _files(self) -> Iterator[tuple[Path, _Stamp]]:
        for place in self.places:
            with suppress(OSError):
                below = sorted(place.iterdir())
                # DiffSynth writes the LoRA of each expert into a folder of its own
                inside = [each for each in below if each.is_dir() and named_in(each.name)]
                for path in [*below, *(file for each in inside for file in sorted(each.iterdir()))]:
                    if (is_safetensors(path) or left_out(path)) and path.is_file():
                        with suppress(OSError):
                            status = path.stat()
                            yield path, (status.st_ino, status.st_size, status.st_mtime_ns)

    def _facts(self, path: Path, stamp: _Stamp) -> _Facts:
        if left_out(path):
            return _Facts(stamp, ignored=f"ends in {path.suffix}; only .safetensors files are read")
        shard = SHARD.search(path.stem)
        if shard and int(shard["total"]) > 1:
            return _Facts(stamp, ignored=f"part {int(shard['number'])} of {int(shard['total'])} of a model")
        open_container(path)
        if STATE.search(path.stem):
            try:
                read(path)
            except CheckpointError:
                return _Facts(stamp, ignored="no LoRA, and its name says what a trainer goes on from")
        half = pair_names.half(path)
        if half is not None and not (
            self.fits_experts(path, half[0]) if self.experts is None else self.experts
        ):
            half = None
        return _Facts(stamp, digest=file_sha256(path), half=half)


def _checkpoints(known: Mapping[Path, _Facts]) -> tuple[tuple[Found, ...], tuple[Path, ...]]:
    """Checkpoints in the order of their writing, and halves without the other."""
    halves: dict[Path, dict[str, Path]] = {}
    found: dict[str, Found] = {}
    alone: list[Path] = []
    made: list[Found] = []
    for path, facts in known.items():
        if facts.half is None:
            made.append(Found(path.stem, str(path), facts.digest, facts.stamp[2] / 1e9))
        else:
            expert, common = facts.half
            halves.setdefault(common, {})[expert] = path
    for common, of in halves.items():
        if len(of) < len(EXPERTS):
            alone += of.values()
            continue
        digest = json_sha256({expert: known[of[expert]].digest for expert in EXPERTS})
        written = max(known[path].stamp[2] for path in of.values()) / 1e9
        argument = argument_of({expert: of[expert] for expert in EXPERTS})
        made.append(Found(pair_names.telling(common).stem, argument, digest, written))
    for each in sorted(made, key=lambda each: (each.written, each.argument)):
        # of the same bytes under two names, the first
        found.setdefault(each.digest, each)
    return tuple(found.values()), tuple(sorted(alone))
