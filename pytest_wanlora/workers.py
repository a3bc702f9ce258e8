"""xdist: what the controller hands to workers, which GPU each gets, and what became of their items."""

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
    """What of xdist's WorkerController is used here; its hooks hand it over."""

    workerinput: dict[str, Any]

    @property
    def gateway(self) -> Any:  # noqa: ANN401 - execnet publishes no types
        """The connection; its `id` names the worker."""


@dataclass(frozen=True)
class Orders:
    """What a worker is told.

    Attributes:
        run_folder: The run's folder, which the controller made.
        gpu: What its CUDA_VISIBLE_DEVICES becomes; None leaves it.
        worker: Its name.
        workers: How many there are.
    """

    run_folder: Path
    gpu: str | None
    worker: str
    workers: int


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is an xdist worker."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Whether this process hands its tests to xdist workers."""
    return not is_worker(config) and config.getoption("dist", "no") != "no"


def planned(config: pytest.Config) -> int:
    """How many processes are to run the tests: xdist's workers, or this one."""
    if not is_controller(config):
        return 1
    # `--tx 3*popen` is three of them
    specs = [str(spec).partition("*") for spec in config.getoption("tx", None) or ()]
    return max(1, sum(int(count) if star and count.isdecimal() else 1 for count, star, _ in specs))


def distribute_nothing(config: pytest.Config) -> None:
    """Keep xdist from starting workers; must run before its own `pytest_configure`, which comes last."""
    if is_controller(config):
        config.option.dist = "no"
        config.option.tx = []
        config.option.numprocesses = None


def take_orders(config: pytest.Config) -> Orders | None:
    """Read what the controller said and make its GPU the only one; None if this process is no worker.

    Must run before CUDA starts in this process: afterwards the driver no longer looks at the variable.
    """
    workerinput: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is None:
        return None
    told = workerinput[_KEY]
    if told["gpu"] is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = told["gpu"]
    return Orders(
        run_folder=Path(told["run_folder"]),
        gpu=told["gpu"],
        worker=workerinput["workerid"],
        workers=workerinput["workercount"],
    )


def share_of_cores(workers: int) -> int:
    """CPU threads of one of several workers on this machine: an equal share, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, workers))


class Gpus:
    """Deals GPUs out to workers, evenly, and takes them back.

    Args:
        names: Entries of the caller's CUDA_VISIBLE_DEVICES; a worker never gets another GPU than those.
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

    def take(self, worker: str) -> str | None:
        """Give a worker the GPU that fewest others hold; None if there is none."""
        if not self.names:
            return None
        held = Counter(self._held.values())
        chosen = min(self.names, key=lambda name: (held[name], self.names.index(name)))
        self._held[worker] = chosen
        return chosen

    def give_back(self, worker: str) -> None:
        """A worker is gone."""
        self._held.pop(worker, None)


class Controller:
    """xdist's hooks on the controller.

    Args:
        run_folder: The run's folder.
        gpus: To deal out; none are where the user named a device.
    """

    def __init__(self, run_folder: Path, gpus: Gpus) -> None:
        self.run_folder = run_folder
        self.gpus = gpus
        self.expected: tuple[str, ...] = ()
        self.died: list[str] = []

    def pytest_configure_node(self, node: Node) -> None:
        """Tell a worker, before it starts, where the run is and which GPU is its own."""
        name = str(node.gateway.id)
        node.workerinput[_KEY] = {"run_folder": str(self.run_folder), "gpu": self.gpus.take(name)}

    def pytest_xdist_node_collection_finished(self, node: Node, ids: Sequence[str]) -> None:
        """Every worker collects the same items; remember which results must arrive."""
        self.expected = tuple(ids)

    def pytest_testnodedown(self, node: Node, error: object | None) -> None:
        """Free the GPU; a worker that ends with an error has died."""
        self.gpus.give_back(str(node.gateway.id))
        if error is not None:
            self.died.append(str(node.gateway.id))
