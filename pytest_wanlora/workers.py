"""pytest-xdist: the settings and the GPU that the controller gives to each worker."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from pytest_wanlora.environment import visible_gpus

_KEY = "wanlora"


class Node(Protocol):
    """The part of xdist's WorkerController that is used here."""

    workerinput: dict[str, Any]

    @property
    def gateway(self) -> Any:  # noqa: ANN401 - execnet publishes no types
        """The connection; its `id` names the worker."""


@dataclass(frozen=True)
class WorkerConfig:
    """What the controller sends to a worker.

    Attributes:
        gpu: For CUDA_VISIBLE_DEVICES; None leaves it unchanged.
        handover: What the controller has read; see `run.handover`.
    """

    run_folder: Path
    gpu: str | None
    name: str
    workers: int
    handover: str


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is an xdist worker."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Whether this process hands its tests to xdist workers."""
    return not is_worker(config) and config.getoption("dist", "no") != "no"


def planned(config: pytest.Config) -> int:
    """Number of processes that will run the tests: the xdist workers, or this one."""
    if not is_controller(config):
        return 1
    # `--tx 3*popen` is three of them
    specs = [str(spec).partition("*") for spec in config.getoption("tx", None) or ()]
    return max(1, sum(int(count) if star and count.isdecimal() else 1 for count, star, _ in specs))


def distribute_nothing(config: pytest.Config) -> None:
    """Keep xdist from starting workers; must run before its own `pytest_configure`, which runs last."""
    if is_controller(config):
        config.option.dist = "no"
        config.option.tx = []
        config.option.numprocesses = None


def read_worker_config(config: pytest.Config) -> WorkerConfig | None:
    """Read the controller's settings and select the GPU; None if this process is no worker.

    Must run before CUDA is initialized in this process: afterwards the driver ignores the variable.
    """
    workerinput: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is None:
        return None
    sent = workerinput[_KEY]
    if sent["gpu"] is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = sent["gpu"]
    return WorkerConfig(
        run_folder=Path(sent["run_folder"]),
        gpu=sent["gpu"],
        name=workerinput["workerid"],
        workers=workerinput["workercount"],
        handover=sent["handover"],
    )


def share_of_cores(workers: int) -> int:
    """CPU threads of one of several workers on this machine: an equal share, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, workers))


class Gpus:
    """Assigns GPUs to workers, evenly.

    Args:
        names: Entries of the caller's CUDA_VISIBLE_DEVICES; no other GPU is assigned.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._held: dict[str, str] = {}

    @classmethod
    def visible(cls) -> Gpus:
        """The GPUs that this process may use."""
        count = visible_gpus()
        listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        names = [name.strip() for name in listed.split(",") if name.strip()]
        return cls((names or [str(number) for number in range(count)])[:count])

    def assign(self, worker: str) -> str | None:
        """Assign the GPU with the fewest workers; None if there is none."""
        if not self.names:
            return None
        held = Counter(self._held.values())
        chosen = min(self.names, key=lambda name: (held[name], self.names.index(name)))
        self._held[worker] = chosen
        return chosen

    def release(self, worker: str) -> None:
        """Release the GPU of a worker that has ended."""
        self._held.pop(worker, None)


class Controller:
    """xdist's hooks on the controller.

    Args:
        gpus: To assign; empty where the user named a device.
        handover: What this process has read, for the workers.
    """

    def __init__(self, run_folder: Path, gpus: Gpus, handover: str = "") -> None:
        self.run_folder = run_folder
        self.handover = handover
        self.gpus = gpus
        self.expected: tuple[str, ...] = ()
        self.died: list[str] = []

    def pytest_configure_node(self, node: Node) -> None:
        """Send a worker the run's folder and its GPU before it starts."""
        name = str(node.gateway.id)
        node.workerinput[_KEY] = {
            "run_folder": str(self.run_folder),
            "gpu": self.gpus.assign(name),
            "handover": self.handover,
        }

    def pytest_xdist_node_collection_finished(self, node: Node, ids: Sequence[str]) -> None:
        """Store the node ids whose results must arrive; every worker collects the same."""
        self.expected = tuple(ids)

    def pytest_testnodedown(self, node: Node, error: object | None) -> None:
        """Release the GPU; a worker that ends with an error has died."""
        self.gpus.release(str(node.gateway.id))
        if error is not None:
            self.died.append(str(node.gateway.id))
