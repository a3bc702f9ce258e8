"""What a run will take: videos, time and disk, told before anything is rendered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from pytest_wanlora import results
from pytest_wanlora.durations import duration
from pytest_wanlora.errors import WanloraError
from pytest_wanlora.run.looks import COMPARED
from pytest_wanlora.run.machine import video_bytes
from pytest_wanlora.run.questions import with_trigger
from pytest_wanlora.run.race import beyond_budget, plan_line

if TYPE_CHECKING:
    from pytest_wanlora.jobs.job import Job
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.verdict.judgement import Judgement

_RECENT = 10


@dataclass(frozen=True)
class Need:
    """Videos up to a look.

    Attributes:
        videos: Of what is gated or stored, as the run and its record count them.
        cached: How many of them are in the cache.
        base: Videos of the model without LoRA that are rendered besides.
    """

    videos: int
    cached: int
    base: int

    @property
    def rendered(self) -> int:
        """All that are rendered."""
        return self.videos - self.cached + self.base


@dataclass(frozen=True)
class Estimate:
    """What the chosen items of a run need.

    Attributes:
        first: Up to the first look.
        last: Up to the last look, if nothing is decided before.
        seconds_each: Mean seconds of a video in earlier runs of this suite on this machine; None without any.
        startup: Seconds that such runs took beyond their videos.
        runs: How many runs that rests on.
        workers: Processes that render.
        disk: Bytes of the results at most.
    """

    first: Need
    last: Need
    seconds_each: float | None
    startup: float
    runs: int
    workers: int
    disk: int

    def seconds(self, videos: int) -> float | None:
        """Seconds until that many videos are rendered."""
        if self.seconds_each is None:
            return None
        return self.startup * bool(videos) + self.seconds_each * videos / self.workers


def estimate(gate: Gate, workers: int) -> Estimate:
    """Count the videos that the chosen items need; nothing is rendered.

    Args:
        gate: The run, with its items chosen.
        workers: Processes that would render.
    """
    first = _by_key(job for item in gate.chosen_in_order() for job in gate.needs(item))
    compared = {
        each.candidate
        for each in gate.chosen
        if not isinstance(each, str) and each.kind in COMPARED and not gate.candidate(each.candidate).hopeless
    }
    last = first | _by_key(
        job
        for name in sorted(compared)
        for job in gate.jobs(gate.candidate(name), with_trigger(gate.suite, gate.scenarios), gate.last_look)
    )
    last |= _by_key(gate.judge.standard.lacking if compared else ())
    records = list(_earlier(gate))
    seconds = [
        video.seconds
        for record in records
        for video in record.videos
        if video.role == "candidate" and not video.reused
    ]
    beyond = [max(0.0, record.totals.seconds - record.totals.rendering_seconds) for record in records]
    needed = _need(gate, last.values())
    return Estimate(
        first=_need(gate, first.values()),
        last=needed,
        disk=needed.rendered * video_bytes(gate.suite),
        seconds_each=fmean(seconds) if seconds else None,
        startup=median(beyond) if beyond else 0.0,
        runs=len(records),
        workers=workers,
    )


def plan_lines(gate: Gate, workers: int) -> list[str]:
    """What `--wanlora-plan` prints.

    Args:
        gate: The run, examined and with its items chosen.
        workers: Processes that would render.
    """
    names = ", ".join(candidate.name for candidate in gate.candidates)
    lines = [f"plan of {names} on suite {gate.suite.name}; nothing was loaded, rendered or judged"]
    if gate.settings.race:
        lines.append(f"{plan_line(gate)}; then the winner alone is gated")
    if not gate.chosen:
        lines.append("the selection leaves no item of the gate")
    try:
        lines += _counted(gate, estimate(gate, workers))
    except WanloraError:
        lines.append("videos: not counted; files of the suite are missing")
    lines += (f"note: {line}" for line in gate.board.damage())
    for judged in broken(gate):
        lines.append(f"{judged.verdict.upper()} checkpoint {judged.candidate}: {judged.reason}")
        lines.append(f"   next: {gate.candidate(judged.candidate).inspect}")
    lines += (
        f"WARN checkpoint {each.name}: {warning.words}"
        for each in gate.candidates
        if each.checkpoint is not None
        for warning in each.checkpoint.warnings
    )
    preflight = gate.preflight
    if preflight is not None:
        lines += preflight.needs
        if preflight.free_disk is not None:
            lines.append(f"disk: {preflight.free_disk / 1e9:.1f} GB free for results")
        count, beyond = len(gate.blocked), beyond_budget(gate)
        if count:
            things = "thing" if count == 1 else "things"
            lines.append(f"missing: {count} {things}; nothing can be measured without")
        else:
            lines.append("missing: nothing" if beyond is None else f"missing: budget; {beyond.message}")
        lines += preflight.lines(gate.blocked)
    return lines


def broken(gate: Gate) -> list[Judgement]:
    """What the run would say of the files of its candidates that are broken."""
    chosen = {each if isinstance(each, str) else each.candidate for each in gate.chosen}
    found = (gate.judge.files.broken(each.name) for each in gate.candidates if each.name in chosen)
    return [judged for judged in found if judged is not None]


def _counted(gate: Gate, found: Estimate) -> Iterator[str]:
    for look, need in (("first", found.first), ("last", found.last)):
        seconds = found.seconds(need.rendered)
        base = f", and {need.base} of the model without LoRA besides" if need.base else ""
        time = "" if seconds is None else f"; about {duration(seconds)}"
        if look == "first" or found.last != found.first:
            counted = f"{need.videos}, {need.cached} of them in the cache"
            yield f"videos up to the {look} look: {counted}{base}{time}"
    if found.seconds_each is None:
        yield f"time: unknown, no earlier run of this suite on {gate.environment.device_name} is stored here"
    else:
        yield (
            f"time: {found.seconds_each:.1f} s a video on {gate.environment.device_name}, "
            f"as in {found.runs} earlier {'run' if found.runs == 1 else 'runs'}; "
            f"{found.workers} {'process' if found.workers == 1 else 'processes'}"
        )
    yield f"results: up to {found.disk / 1e6:.0f} MB in {gate.settings.cache_dir}"


def _by_key(jobs: Iterable[Job]) -> dict[str, Job]:
    return {job.key: job for job in jobs}


def _need(gate: Gate, jobs: Collection[Job]) -> Need:
    names = {each.name for each in gate.candidates}
    own = [job for job in jobs if job.candidate in names]
    base = [job for job in jobs if job.candidate not in names]
    return Need(len(own), _cached(gate, own), len(base) - _cached(gate, base))


def _cached(gate: Gate, jobs: Sequence[Job]) -> int:
    return len(gate.known(jobs)) if gate.settings.cache else 0


def _earlier(gate: Gate) -> Iterator[RunRecord]:
    """The newest runs that rendered this suite in the same environment."""
    here = gate.environment.record()
    found = 0
    for path in reversed(results.records(gate.settings.output_dir)):
        try:
            record = results.load(path)
        except WanloraError:
            continue
        same = record.suite.fingerprint.get("sampling") == gate.suite.sampling.identity()
        rendered = record.totals.rendered > 0 and record.suite.name == gate.suite.name
        if same and rendered and record.environment.get("device_name") == here["device_name"]:
            yield record
            found += 1
            if found == _RECENT:
                return
