"""A Ray cluster of several nodes on this machine, as small as Ray makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Bytes of Ray's object store on each node: less is refused.
STORE = 100 * 2**20


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """A head without CPUs, and nodes with one worker each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False},
    )
    try:
        for _ in range(nodes):
            add_node(made)
        yield made
    finally:
        made.shutdown()


def add_node(made: Any, environment: Mapping[str, str] | None = None, *, gpus: int = 0) -> Any:  # noqa: ANN401
    """Add a node with one worker, whose processes have some more environment variables."""
    return made.add_node(
        num_cpus=1, num_gpus=gpus, object_store_memory=STORE, env_vars=dict(environment or {})
    )


def kill(made: Any, node: Any) -> None:  # noqa: ANN401
    """Kill a node as a power cut does."""
    made.remove_node(node, allow_graceful=False)


def start(folder: Path, address: str, *arguments: str, suite: str = "fake.yaml") -> subprocess.Popen[str]:
    """Start a gate on a cluster."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--wanlora-suite", suite]
    return subprocess.Popen(
        [*command, "--wanlora-ray", address, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, address: str, *arguments: str, suite: str = "fake.yaml") -> tuple[int, str]:
    """Run a gate on a cluster; its exit code and what it printed."""
    gate = start(folder, address, *arguments, suite=suite)
    printed, _ = gate.communicate(timeout=240)
    return gate.returncode, printed
