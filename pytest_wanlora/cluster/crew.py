"""What the scheduler and the workers of a cluster tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.jobs.job import Job, Produced

#: Number of a batch that no dispatcher gives: what every worker renders first.
PROOF: Final = -1


@dataclass(frozen=True)
class About:
    """Where a worker runs.

    Attributes:
        gpu: Name and number of its GPU, or the CPU.
        kind: What must be equal for two workers to render the same frames: hardware, driver, versions.
    """

    node: str
    gpu: str
    kind: str

    @property
    def place(self) -> str:
        """Node and GPU."""
        return f"{self.node}, {self.gpu}"


@dataclass(frozen=True)
class Sent:
    """A result as it comes from a worker.

    Attributes:
        preview: The mp4 file, if there is one.
    """

    produced: Produced
    preview: bytes | None


@dataclass(frozen=True)
class Refusal:
    """Why a worker could not render a job."""

    message: str
    next_command: str | None = None


Answer: TypeAlias = Sent | Refusal


@dataclass(frozen=True)
class Event:
    """What happened to a worker.

    Attributes:
        kind: It is ready, has rendered or scored a batch, or is lost.
        answers: Of a batch that was scored, one a job.
    """

    worker: str
    kind: Literal["ready", "rendered", "scored", "lost"]
    batch: int = PROOF
    about: About | None = None
    answers: tuple[Answer, ...] = ()
    why: str = ""


class Crew(Protocol):
    """The workers of a cluster."""

    slots: int

    @property
    def starting(self) -> int:
        """How many were asked for and are not ready."""

    def start(self, count: int) -> None:
        """Ask for workers."""

    def poll(self, timeout: float) -> Sequence[Event]:
        """Wait for events, up to some seconds."""

    def begin(self, worker: str, number: int, jobs: Sequence[Job], checkpoint: Checkpoint | None) -> None:
        """Have a worker render and score a batch."""

    def dismiss(self, worker: str, *, instead: bool) -> None:
        """End a worker, and start another one instead if wanted."""

    def describe(self) -> str:
        """What was asked for, and what the cluster has."""

    def close(self) -> None:
        """End all workers."""
