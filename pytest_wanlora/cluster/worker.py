"""What runs on the nodes of a cluster: a worker that renders, and the survey of a node before that."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_wanlora import environment as environments
from pytest_wanlora.cluster.crew import Answer, Refusal, Sent
from pytest_wanlora.errors import WanloraError
from pytest_wanlora.jobs.job import BatchProducer, Job, Produced, Producer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.suite import Sampling

MakeProducer: TypeAlias = Callable[[], Producer]
"""Makes what renders and scores."""
Lack: TypeAlias = tuple[str, str, str]
"""Something that a node lacks: suite key or part of the machine, message, next command."""
Check: TypeAlias = Callable[[], Sequence[Lack]]
"""Finds what a node lacks."""


@dataclass(frozen=True)
class Hardware:
    """What a node renders on.

    Attributes:
        driver: Version of the GPU driver; empty on a CPU.
    """

    environment: Environment
    driver: str

    @property
    def kind(self) -> str:
        """All that must be equal on two nodes, in words."""
        return kind_of(self.environment, self.driver)


def kind_of(environment: Environment, driver: str) -> str:
    """All that must be equal for two workers to render the same frames, in words."""
    own = environment.identity()
    shown = f"{own['device_name']}{f', driver {driver}' if driver else ''}"
    return f"{shown}, torch {own['torch']}, diffsynth {own['diffsynth']}"


def driver_version() -> str:
    """Version of the NVIDIA driver; empty without one."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return ""
    version = ctypes.create_string_buffer(96)
    if library.nvmlInit_v2() != 0:
        return ""
    try:
        read = library.nvmlSystemGetDriverVersion(version, len(version)) == 0
        return version.value.decode() if read else ""
    finally:
        library.nvmlShutdown()


def survey(sampling: Sampling, device: str) -> list[Hardware]:
    """Look at this node: every kind of GPU that it has, or its CPU."""
    here = partial(environments.detect, sampling.dtype, attention=sampling.attention)
    if device == "cpu":
        return [Hardware(here("cpu"), "")]
    with _all_gpus():
        found = [here(f"cuda:{n}") for n in range(max(1, environments.visible_gpus()))]
    return [Hardware(each, driver_version()) for each in dict.fromkeys(found)]


def inspect(check: Check) -> list[Lack]:
    """Find what this node lacks."""
    with _all_gpus():
        return list(check())


@contextmanager
def _all_gpus() -> Iterator[None]:
    """Ray hides the GPUs from a process that was given none; its other tasks must find that unchanged."""
    hidden = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        yield
    finally:
        if hidden is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = hidden


class Worker:
    """Renders and scores batches; its methods are called from several threads."""

    def __init__(self, make_producer: MakeProducer, sampling: Sampling, device: str) -> None:
        if device == "cuda":
            # Ray sets it to 1, and torch, which is imported later, would obey
            os.environ.pop("OMP_NUM_THREADS", None)
        self.environment = environments.detect(sampling.dtype, device, attention=sampling.attention)
        self.gpu_numbers = os.environ.get("CUDA_VISIBLE_DEVICES", "") if device == "cuda" else ""
        self.driver = driver_version() if device == "cuda" else ""
        self._producer = make_producer()
        # each thread is always the same one: what torch keeps for a thread stays
        self._renders = ThreadPoolExecutor(1, thread_name_prefix="wanlora-render")
        background = getattr(self._producer, "score_in_background", False)
        self._scores = (
            ThreadPoolExecutor(1, thread_name_prefix="wanlora-score") if background else self._renders
        )
        self._rendered: dict[int, list[Callable[[], Produced]] | Refusal] = {}
        self._folder = _own_folder()
        self._written = ""
        self._originals: dict[str, str] = {}

    def about(self) -> tuple[str, str]:
        """The GPU's name and number, and the kind of this worker."""
        name = self.environment.device_name
        return f"{name} {self.gpu_numbers}".strip(), kind_of(self.environment, self.driver)

    def render(
        self, number: int, jobs: Sequence[Job], checkpoint: Checkpoint | None, data: Sequence[NDArray[Any]]
    ) -> None:
        """Render a batch, after the one before.

        Args:
            checkpoint: The candidate; None for the model without LoRA.
            data: Bytes of the files of its `halves`.
        """
        self._rendered[number] = self._renders.submit(self._render, jobs, checkpoint, data).result()

    def finish(self, number: int, count: int) -> tuple[Answer, ...]:
        """Score a batch that is rendered, and return its results in the order of its jobs."""
        rendered = self._rendered.pop(number)
        if isinstance(rendered, Refusal):
            return (self._of_user(rendered),) * count
        return tuple(self._of_user(self._scores.submit(_scored, score).result()) for score in rendered)

    def _render(
        self, jobs: Sequence[Job], checkpoint: Checkpoint | None, data: Sequence[NDArray[Any]]
    ) -> list[Callable[[], Produced]] | Refusal:
        try:
            own = None if checkpoint is None else self._unpacked(checkpoint, data)
            if isinstance(self._producer, BatchProducer):
                return list(self._producer.begin(jobs, own))
            return [partial(self._producer.produce, job, own) for job in jobs]
        except Exception as error:  # noqa: BLE001 - it ends the job with its words, not the worker
            return _refusal(error)

    def _of_user(self, answer: Answer) -> Answer:
        """A refusal names the file that the user knows, not its copy here."""
        if isinstance(answer, Sent):
            return answer
        message, command = answer.message, answer.next_command
        for here, there in self._originals.items():
            message, command = message.replace(here, there), command and command.replace(here, there)
        return Refusal(message, command)

    def _unpacked(self, checkpoint: Checkpoint, data: Sequence[NDArray[Any]]) -> Checkpoint:
        """Write a checkpoint's bytes where the studio reads it from; the last one is kept."""
        own = halves(checkpoint)
        if self._written != checkpoint.identity:
            for left in self._folder.iterdir():
                left.unlink()
            for half, content in zip(own, data, strict=True):
                self._place(half).write_bytes(content.data)
                self._originals[str(self._place(half))] = str(half.path)
            self._written = checkpoint.identity
        placed = {id(half): replace(half, path=self._place(half)) for half in own}
        if not checkpoint.experts:
            return placed[id(checkpoint)]
        return replace(
            checkpoint, experts={name: placed[id(half)] for name, half in checkpoint.experts.items()}
        )

    def _place(self, half: Checkpoint) -> Path:
        return self._folder / f"{half.sha256[:8]}-{half.path.name}"


def halves(checkpoint: Checkpoint) -> tuple[Checkpoint, ...]:
    """What has a file of its own: the LoRA of each expert, or the checkpoint itself."""
    return tuple(checkpoint.experts.values()) or (checkpoint,)


def _own_folder() -> Path:
    """A folder for the checkpoint; those of workers that were killed, which is how they end, are removed."""
    for folder in Path(tempfile.gettempdir()).glob("wanlora-node-*-*"):
        try:
            os.kill(int(folder.name.split("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):
            continue
    return Path(tempfile.mkdtemp(prefix=f"wanlora-node-{os.getpid()}-"))


def _scored(score: Callable[[], Produced]) -> Answer:
    try:
        produced = score()
        preview = None
        if produced.write_preview is not None:
            with tempfile.TemporaryDirectory(prefix="wanlora-") as folder:
                path = Path(folder) / "preview.mp4"
                produced.write_preview(path)
                preview = path.read_bytes()
        return Sent(replace(produced, write_preview=None), preview)
    except Exception as error:  # noqa: BLE001 - it ends the job with its words, not the worker
        return _refusal(error)


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, WanloraError):
        return Refusal(error.message, error.next_command)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Refusal(f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")


def differing(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What differs between two descriptions, a line each: `torch 2.11.0 there, 2.10.0 here`."""
    names = sorted({*here, *there})
    return [
        f"{name} {there.get(name, 'not installed')} there, {here.get(name, 'not installed')} here"
        for name in names
        if here.get(name) != there.get(name)
    ]
