"""From the intervals of a gate run to where its time went."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["OTHER", "Process", "exclusive", "read", "rendering"]

OTHER = "python, pytest and the rest"
_RENDERING = "rendering"


@dataclass(frozen=True)
class Event:
    """An interval, in seconds since the epoch."""

    category: str
    begin: float
    end: float
    main: bool
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Process:
    """What one process did.

    Attributes:
        worker: `main`, or xdist's name of it.
        began: When the plugin was loaded.
        ended: When pytest was done.
        events: Intervals.
        missing: Functions that were not seen, so that nothing is said of them.
    """

    worker: str
    began: float
    ended: float
    events: tuple[Event, ...]
    missing: tuple[str, ...]

    def of(self, category: str) -> list[Event]:
        """The intervals of a category, in order."""
        return sorted((each for each in self.events if each.category == category), key=lambda e: e.begin)


def read(folder: Path) -> list[Process]:
    """Read what the processes of a run have written."""
    found = []
    for path in sorted(folder.glob("*.json")):
        note = json.loads(path.read_text(encoding="utf-8"))
        events = tuple(
            Event(each["category"], each["begin"], each["end"], each["main"], tuple(each["jobs"]))
            for each in note["events"]
        )
        found.append(Process(note["worker"], note["began"], note["ended"], events, tuple(note["missing"])))
    return found


def exclusive(process: Process, began: float, ended: float) -> dict[str, float]:
    """Share a process' time out to what its main thread was doing; the sum is `ended - began`.

    An interval within another counts for its own category alone.

    Args:
        process: What it did.
        began: When it was started.
        ended: When it was gone.

    Returns:
        Category -> seconds; the longest first.
    """
    spent = {OTHER: ended - began}
    open_events: list[Event] = []
    for event in sorted((each for each in process.events if each.main), key=lambda e: (e.begin, -e.end)):
        while open_events and open_events[-1].end <= event.begin:
            open_events.pop()
        length = event.end - event.begin
        spent[event.category] = spent.get(event.category, 0.0) + length
        spent[open_events[-1].category if open_events else OTHER] -= length
        open_events.append(event)
    longest = sorted(spent.items(), key=lambda each: -each[1])
    return {name: round(seconds, 3) for name, seconds in longest if abs(seconds) > 5e-4}


def rendering(processes: Iterable[Process]) -> dict[str, Any]:
    """Tell how busy each GPU was, from the first video of a process to the last one of them all.

    Returns:
        `gpus`: for each process that rendered, its videos, seconds busy, when it began and how long it was
        idle between its videos and at the end, while others were rendering; `span`: from the first video's
        begin to the last one's end; `busy`: seconds of all together; `jobs` and `twice`: how many jobs, and
        how many of them more than once.
    """
    rendered = {each.worker: each.of(_RENDERING) for each in processes if each.of(_RENDERING)}
    if not rendered:
        return {"gpus": {}, "span": 0.0, "busy": 0.0, "jobs": 0, "twice": 0}
    first = min(events[0].begin for events in rendered.values())
    last = max(events[-1].end for events in rendered.values())
    keys = Counter(key for events in rendered.values() for each in events for key in each.jobs)
    gpus = {worker: _gpu(events, first, last) for worker, events in rendered.items()}
    return {
        "gpus": gpus,
        "span": round(last - first, 3),
        "busy": round(sum(each["busy"] for each in gpus.values()), 3),
        "jobs": len(keys),
        "twice": sum(count > 1 for count in keys.values()),
    }


def _gpu(events: Sequence[Event], first: float, last: float) -> Mapping[str, Any]:
    busy = sum(each.end - each.begin for each in events)
    return {
        "videos": sum(len(each.jobs) for each in events),
        "busy": round(busy, 3),
        "begins": round(events[0].begin - first, 3),
        "between": round(events[-1].end - events[0].begin - busy, 3),
        "at_the_end": round(last - events[-1].end, 3),
    }
