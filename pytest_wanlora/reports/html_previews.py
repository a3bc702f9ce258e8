"""Which previews a page holds: each file once, the most telling pairs first, within the room there is."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pytest_wanlora.suite.subject import WITH_TRIGGER, plain

if TYPE_CHECKING:
    from PIL import Image

    from pytest_wanlora.results.parts import Video
    from pytest_wanlora.results.run_record import RunRecord

Fate = Literal["here", "none", "missing", "unreadable", "left_out"]
#: Role, candidate, scenario, seed; all baseline videos of a run belong to the one baseline.
Place = tuple[str, str, str, int]

_MOST_BYTES_OF_A_FILE = 200_000_000
_POSTER = (480, 480)


@dataclass(frozen=True)
class Clip:
    """A preview as the page holds it.

    Attributes:
        name: Within the page: `"v0"`, `"v1"`, ...
        base64: The mp4.
    """

    name: str
    base64: str


@dataclass(frozen=True)
class Shown:
    """What became of one video's preview.

    Attributes:
        fate: `"here"`: in the page; `"none"`: the record names no file; `"missing"`: it is not there;
            `"unreadable"`: it is no mp4, or cannot be read; `"left_out"`: the page would be too large.
        clip: Name of the clip that is here.
        link: Address relative to the page, of a file that is to lie beside it.
    """

    fate: Fate
    clip: str | None = None
    link: str | None = None


@dataclass
class Previews:
    """All previews of a page.

    Attributes:
        folder: Of the run.
        clips: In the order they were chosen.
        shown: What became of each video's.
        weight: Characters that the clips add to the page.
        left_weight: Characters that those left out would have added.
        beside: Address of each that is left out to the file that is to be copied there, where it is not there
            already.
    """

    folder: Path = Path()
    clips: list[Clip] = field(default_factory=list)
    shown: dict[Place, Shown] = field(default_factory=dict)
    weight: int = 0
    left_weight: int = 0
    beside: dict[str, Path] = field(default_factory=dict)

    def count(self, fate: Fate) -> int:
        """Videos with this fate."""
        return sum(each.fate == fate for each in self.shown.values())


def gather(record: RunRecord, folder: Path, room: int) -> Previews:
    """Choose what fits and read it.

    Pairs are taken whole, worst first: those of the worst video of what fails, then of what warns, then every
    scenario's first seed, then the rest by seed. A file that several videos share counts once.

    Args:
        record: The run.
        folder: Of the run; preview paths are relative to it.
        room: Characters that the previews may add to the page.
    """
    previews = Previews(folder)
    files: dict[Place, _File | Fate] = {place_of(video): _read(folder, video) for video in record.videos}
    chosen: dict[str, str] = {}
    for pair in _by_importance(record, files):
        found = {place: file for place in pair if isinstance(file := files[place], _File)}
        fresh = {file.sha256: file for file in found.values() if file.sha256 not in chosen}
        weight = sum(file.weight for file in fresh.values())
        fits = previews.weight + weight <= room
        for file in fresh.values() if fits else ():
            chosen[file.sha256] = f"v{len(chosen)}"
            text = base64.b64encode(file.data).decode("ascii")
            previews.clips.append(Clip(chosen[file.sha256], text))
        previews.weight += weight if fits else 0
        for place in pair:
            # a baseline's video may stand in several pairs: once here, always here
            if place not in previews.shown or previews.shown[place].fate == "left_out":
                previews.shown[place] = _shown(files[place], chosen)
    left = {
        file.sha256: file.weight
        for place, shown in previews.shown.items()
        if shown.fate == "left_out" and isinstance(file := files[place], _File)
    }
    previews.left_weight = sum(left.values())
    for video in record.videos:
        link = previews.shown[place_of(video)].link if place_of(video) in previews.shown else None
        if link is not None and ".." in Path(video.preview or "").parts:
            previews.beside[link] = folder / str(video.preview)
    return previews


def frames_of(path: Path, most: int = 1000) -> list[Image.Image]:
    """The first frames of a preview; none where it cannot be read."""
    import cv2
    from PIL import Image

    if not path.is_file():
        return []
    capture = cv2.VideoCapture(str(path))
    found: list[Image.Image] = []
    while len(found) < most:
        read, frame = capture.read()
        if not read:
            break
        found.append(Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
    capture.release()
    return found


def poster(path: Path | None) -> str:
    """The first frame in small as an address, which is seen before a browser can decode; empty for none."""
    return "" if path is None or not path.is_file() else _poster(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _poster(path: Path, _changed: int) -> str:
    # a page is made in two languages, and twice when not all previews fit
    found = frames_of(path, 1)
    if not found:
        return ""
    file = io.BytesIO()
    found[0].thumbnail(_POSTER)
    found[0].save(file, "JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


@dataclass(frozen=True)
class _File:
    link: str
    sha256: str
    data: bytes

    @property
    def weight(self) -> int:
        return 4 * -(-len(self.data) // 3)


def place_of(video: Video) -> Place:
    """Which video of the run it is."""
    return (video.role, video.candidate if video.role == "candidate" else "", video.scenario, video.seed)


def _read(folder: Path, video: Video) -> _File | Fate:
    if video.preview is None:
        return "none"
    path = folder / video.preview
    try:
        if not path.is_file():
            return "missing"
        if path.stat().st_size > _MOST_BYTES_OF_A_FILE:
            return "unreadable"
        data = path.read_bytes()
    except (OSError, ValueError):
        # ValueError: a path with a zero byte
        return "unreadable"
    # a record may come from anyone, and a page may go to anyone: nothing but videos is taken into it
    if data[4:8] != b"ftyp":
        return "unreadable"
    digest = hashlib.sha256(data).hexdigest()
    # what lies elsewhere, in the cache, is to be copied into the run's own folder
    own = ".." not in Path(video.preview).parts
    link = "./" + quote(video.preview, errors="replace") if own else f"./videos/{digest[:32]}.mp4"
    return _File(link, digest, data)


def _shown(file: _File | Fate, chosen: dict[str, str]) -> Shown:
    if not isinstance(file, _File):
        return Shown(file)
    if file.sha256 in chosen:
        return Shown("here", clip=chosen[file.sha256])
    return Shown("left_out", link=file.link)


def _by_importance(record: RunRecord, files: dict[Place, _File | Fate]) -> Iterator[tuple[Place, ...]]:
    """Every video at least once, with its pair."""
    judged = sorted(record.judgements, key=lambda each: each.gravity)
    for each in judged:
        if each.worst is not None and each.verdict not in ("pass", "better"):
            yield _pair(files, each.candidate, each.worst.scenario, each.worst.seed)
    own = [video for video in record.videos if video.role == "candidate"]
    firsts: dict[tuple[str, str], int] = {}
    for video in own:
        key = (video.candidate, video.scenario)
        firsts[key] = min(video.seed, firsts.get(key, video.seed))
    for video in sorted(own, key=lambda v: (v.seed != firsts[v.candidate, v.scenario], v.seed)):
        yield _pair(files, video.candidate, video.scenario, video.seed)
    for failure in record.failures:
        yield _pair(files, failure.candidate, failure.scenario, failure.seed)


def _pair(files: dict[Place, _File | Fate], candidate: str, scenario: str, seed: int) -> tuple[Place, ...]:
    name = plain(scenario)
    triad: tuple[Place, ...] = (
        ("candidate", candidate, name, seed),
        ("baseline", "", name, seed),
        ("candidate", candidate, name + WITH_TRIGGER, seed),
    )
    return tuple(place for place in triad if place in files)
