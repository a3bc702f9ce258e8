"""What several workers have to tell, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pytest_wanlora.errors import RecordError
from pytest_wanlora.results.parts import Part, Video

T = TypeVar("T")
K = TypeVar("K", bound=Any)


def merge(parts: Iterable[Part]) -> Part:
    """Put together what several workers had to tell.

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
    """Each video as the worker tells that rendered it; the others had it from the cache."""
    ordered = sorted(videos, key=lambda video: (video.reused, -video.seconds))
    told: dict[tuple[str, ...], Video] = {}
    for video in ordered:
        name = (video.role, video.candidate, video.scenario, str(video.seed))
        known = told.setdefault(name, video)
        if video.model_copy(update={"reused": known.reused, "seconds": known.seconds}) != known:
            raise RecordError(f"two workers contradict each other about the video {', '.join(name)}")
    return sorted(told.values(), key=lambda video: (video.role, video.candidate, video.scenario, video.seed))
