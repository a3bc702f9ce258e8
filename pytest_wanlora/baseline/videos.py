"""The baseline's videos, kept for people: `baselines/<suite>/<name>/videos/<scenario>-<seed>.mp4`.

They are pictures beside the numbers. Nothing is judged by them, so they are no part of the baseline's digest,
and one that is missing is no error.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FOLDER: Final = "videos"


def video_file(place: Path, scenario: str, seed: int) -> Path:
    """Where a baseline keeps one of its videos."""
    return place / _FOLDER / f"{scenario}-{seed}.mp4"


@contextmanager
def replacing(place: Path, videos: Mapping[tuple[str, int], Path]) -> Iterator[Callable[[], None]]:
    """Put new videos in the place of a baseline's old ones while its numbers are written.

    Yields:
        What removes the old videos; to be called before the new numbers are there, so that pictures of
        another measurement are never shown beside them. The new ones follow when the block ends well.

    Raises:
        OSError: They cannot be copied, removed or renamed.
    """
    final, new = place / _FOLDER, place / f".{_FOLDER}-{secrets.token_hex(8)}"

    def withdraw() -> None:
        if final.is_dir():
            shutil.rmtree(final)

    try:
        new.mkdir(parents=True)
        for (scenario, seed), source in videos.items():
            shutil.copyfile(source, new / video_file(place, scenario, seed).name)
        yield withdraw
        if videos:
            new.rename(final)
    finally:
        shutil.rmtree(new, ignore_errors=True)
