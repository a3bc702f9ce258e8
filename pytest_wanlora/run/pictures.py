"""Pictures and clips of a subject: the references, the training clips, and what is in both."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import DataError, ScoringError, SuiteError
from pytest_wanlora.files import json_sha256, listing, read_regular, write_whole
from pytest_wanlora.phrases import number_of
from pytest_wanlora.scoring.videos import ENDINGS, fitted, read_frames
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.fingerprint import fingerprint
from pytest_wanlora.training_data.forms import opened
from pytest_wanlora.training_data.videos import IMAGE_ENDINGS
from pytest_wanlora.verdict import copies

if TYPE_CHECKING:
    from pytest_wanlora.jobs.job import Producer
    from pytest_wanlora.suite import Suite

#: Frames of a reference video that are compared, evenly over it.
_REFERENCE_FRAMES: Final = 8
#: Correlation of two thumbnails from which on they are one picture, encoded or scaled again, or mirrored.
SAME_PICTURE: Final = 0.99
_THUMBNAIL: Final = 16
_SHOWN: Final = 3
#: Raised when what is kept of a file changes.
_VERSION: Final = 2
_T = TypeVar("_T", bound=np.generic)


class Pictures:
    """A subject's references, embedded, and its training clips in small; each is read when first needed.

    Args:
        suite: With a subject.
        producer: Embeds pictures.
        cache: Where what is made of them is kept.
        run_folder: The run's folder; the record names files by their path from it.
    """

    def __init__(self, suite: Suite, producer: Producer, cache: Path, run_folder: Path) -> None:
        self.suite, self.producer, self.cache, self.run_folder = suite, producer, cache, run_folder

    @cached_property
    def reference_files(self) -> tuple[str, ...]:
        """The references, relative to the run's folder."""
        return tuple(self.relative(path) for path in references(self.suite))

    @cached_property
    def references(self) -> NDArray[np.float32]:
        """Embeddings of all reference pictures and of frames of reference videos, (R, D).

        Raises:
            ScoringError: One cannot be read or embedded.
        """
        paths = references(self.suite)
        return np.concatenate([self._embedded(path) for path in paths])

    @cached_property
    def clips(self) -> Mapping[str, NDArray[np.uint8]]:
        """The frames of each training clip in small, uint8 (frames, side, side, 3), by its path from the run.

        Raises:
            ScoringError: One cannot be read.
            SuiteError: The training metadata cannot be read.
        """
        sampling = self.suite.sampling
        what = f"clip {_VERSION} {sampling.frames} {sampling.height} {sampling.width}"

        def small(path: Path) -> NDArray[np.uint8]:
            from pytest_wanlora.scoring.frames import thumbnails

            video = fitted(_decoded(path, sampling.frames), sampling.height, sampling.width)
            return thumbnails(video, copies.SIDE)

        return {
            self.relative(path): _kept(self.cache, path, what, partial(small, path))
            for path in training_clips(self.suite)
        }

    def relative(self, path: Path) -> str:
        """A path as the record names it."""
        return Path(os.path.relpath(path, self.run_folder)).as_posix()

    @cached_property
    def _embedder(self) -> str:
        """Digest of what embeds frames, and of the size that clips are brought to."""
        suite = self.suite
        known = fingerprint(suite)["scoring"]
        size = [suite.sampling.frames, suite.sampling.height, suite.sampling.width]
        return json_sha256([_VERSION, self.producer.identity, known["clip"], known.get("frames"), size])

    def _embedded(self, path: Path) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            embed = getattr(self.producer, "embed", None)
            if embed is None:
                raise ScoringError(
                    f"the producer {self.producer.identity} cannot embed pictures; allowed: one with a "
                    "method embed(frames), which returns an array of a row a frame"
                )
            video = _reference_frames(path)
            if video.shape[0] > 1:
                video = fitted(video, self.suite.sampling.height, self.suite.sampling.width)
            return np.asarray(embed(video), np.float32)

        return _kept(self.cache, path, f"reference {self._embedder}", make)


def references(suite: Suite) -> tuple[Path, ...]:
    """The pictures and videos in the folder of references, by name.

    Raises:
        SuiteError: There is no such folder, or nothing in it.
    """
    assert suite.subject is not None
    folder = Path(suite.subject.references)
    found: list[Path] = []
    with suppress(OSError):
        found = sorted(path for path in folder.rglob("*") if path.is_file() and _is_picture(path))
    if not found:
        what = "no picture and no video in it" if folder.is_dir() else "no folder"
        raise SuiteError(
            f"{suite.where('subject.references')}: subject.references: {folder}: {what}; allowed: a folder "
            f"with {', '.join(sorted(IMAGE_ENDINGS))}, {', '.join(each[1:] for each in ENDINGS)} that "
            "the training has not seen",
            next_command=listing(folder),
        )
    return tuple(found)


def training_clips(suite: Suite) -> tuple[Path, ...]:
    """The clips and pictures that the training metadata names and that are on this disk, each once.

    Raises:
        SuiteError: The metadata cannot be read, or none of them is on this disk.
    """
    assert suite.subject is not None
    if suite.subject.training is None:
        return ()
    data = Path(suite.subject.training)
    folder = data if data.is_dir() else data.parent
    where = f"{suite.where('subject.training')}: subject.training: "
    out = "name metadata that lies beside its clips, or leave subject.training out"
    try:
        with opened(data) as rows:
            named = dict.fromkeys(row.video for row in rows if row.video)
    except DataError as error:
        # a suite names no columns
        next_command = out if "-column" in str(error.next_command) else error.next_command
        raise SuiteError(where + error.message, next_command=next_command) from error
    found = tuple(path for name in named if _is_picture(path := folder / name) and path.is_file())
    if not found:
        raise SuiteError(
            f"{where}{data}: none of its {number_of(len(named), 'clip')} is on this disk; "
            f"looked for {folder / next(iter(named), 'VIDEO')}",
            next_command=out,
        )
    return found


def leaked(suite: Suite, cache: Path) -> tuple[str, ...]:
    """Say which references are in the training data too, a line each: by digest, and by their pictures.

    A reference that was encoded or scaled again or mirrored is found by its thumbnail; one that was cut is
    not.

    Args:
        suite: With a subject.
        cache: Where thumbnails are kept.

    Raises:
        SuiteError: There are no references or no clips, or the training metadata cannot be read.
        ScoringError: A picture cannot be read.
    """
    clips = training_clips(suite)
    if not clips:
        return ()
    frames = suite.sampling.frames
    by_digest = {digest(path): path for path in clips}
    thumbs = [_thumbnails(path, frames, cache) for path in clips]
    every, owner = np.concatenate(thumbs), np.repeat(np.arange(len(clips)), [len(each) for each in thumbs])
    every = with_mirrored(every)
    lines = []
    for path in references(suite):
        if (same := by_digest.get(digest(path))) is not None:
            lines.append(f"{path.name} is the training's {same.name}")
            continue
        alike = _thumbnails(path, frames, cache) @ every.T
        if alike.max() >= SAME_PICTURE:
            best = owner[int(alike.argmax()) % len(every) % len(owner)]
            lines.append(f"{path.name} is nearly a picture of the training's {clips[best].name}")
    return tuple(lines)


def complaint(suite: Suite, cache: Path) -> SuiteError | None:
    """Why a suite's references cannot be used, if they cannot.

    Args:
        suite: With a subject.
        cache: Where thumbnails are kept.
    """
    assert suite.subject is not None
    lines = leaked(suite, cache) if suite.subject.training is not None else references(suite) and ()
    if not lines:
        return None
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    listed = "\n".join(f"  {line}" for line in (*lines[:_SHOWN], *more))
    return SuiteError(
        f"{suite.where('subject.references')}: subject.references: {suite.subject.references}: "
        f"{len(lines)} of its pictures were trained on, which rewards copying; allowed: pictures that the "
        f"training has not seen\n{listed}",
        next_command=listing(Path(suite.subject.references)),
    )


def _is_picture(path: Path) -> bool:
    ending = path.suffix.lower()
    return ending in ENDINGS or ending[1:] in IMAGE_ENDINGS


def _decoded(path: Path, count: int) -> NDArray[np.uint8]:
    """A picture as a video of one frame, or the first frames of a video."""
    from PIL import Image

    if path.suffix.lower() in ENDINGS:
        video = read_frames(path, count)
    else:
        try:
            with Image.open(path) as picture:
                video = np.asarray(picture.convert("RGB"))[None]
        # Pillow raises whatever its decoder of the format raises
        except Exception as error:
            raise ScoringError(
                f"{path}: not a picture that can be read: {error}",
                next_command=f"ls -l {shlex.quote(str(path))}",
            ) from error
    if not len(video):
        raise ScoringError(
            f"{path}: no frame of it can be decoded", next_command=f"ffmpeg -i {shlex.quote(str(path))}"
        )
    return video


def _reference_frames(path: Path) -> NDArray[np.uint8]:
    video = _decoded(path, 1000)
    evenly = np.unique(np.linspace(0, len(video) - 1, _REFERENCE_FRAMES).round().astype(int))
    return np.asarray(video[evenly])


def _thumbnails(path: Path, frames: int, cache: Path) -> NDArray[np.float32]:
    """The `grey_thumbnails` of a file's pictures."""
    return _kept(cache, path, f"grey {_VERSION} {frames}", lambda: grey_thumbnails(_decoded(path, frames)))


def grey_thumbnails(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Tiny versions of pictures, centred and of length 1: the product of two is their correlation.

    In grey, since JPEG keeps colours at half of the size, of which too little is left of a small picture.

    Returns:
        (pictures, values).
    """
    from PIL import Image

    def rows() -> Iterator[NDArray[np.float32]]:
        for picture in pictures:
            grey = Image.fromarray(picture).convert("L").convert("F")
            flat = np.asarray(grey.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX), np.float32).ravel()
            flat = flat - flat.mean()
            yield flat / max(float(np.linalg.norm(flat)), 1e-6)

    return np.stack(list(rows()))


def with_mirrored(thumbs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thumbnails, and behind them the same seen in a mirror."""
    mirrored = thumbs.reshape(-1, _THUMBNAIL, _THUMBNAIL)[:, :, ::-1]
    return np.concatenate([thumbs, mirrored.reshape(thumbs.shape)])


def _kept(cache: Path, path: Path, what: str, make: Callable[[], NDArray[_T]]) -> NDArray[_T]:
    """What was made of a file, from the cache if it is there."""
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    file = cache / "pictures" / f"{json_sha256([digest(path), what])}.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        rows: NDArray[_T] = load(read_regular(file))["rows"]
        # `clean` deletes what was not used for the longest time
        os.utime(file)
        return rows
    rows = make()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, save({"rows": np.ascontiguousarray(rows)}))
    return rows
