"""A Ray cluster of several nodes on this machine, as small as Ray makes them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.integration.conftest import Project

ROOT = Path(__file__).parents[2]


class Nodes:
    """The nodes of a cluster; each has one worker.

    Args:
        told: Input of the process that has them, see `tests.ray.server`.
        answers: Its output.
    """

    def __init__(self, told: IO[str], answers: IO[str]) -> None:
        self._told, self._answers = told, answers
        self.address = answers.readline().strip()
        self._count = 0

    def add(self, environment: Mapping[str, str] | None = None, *, gpus: int = 0) -> int:
        """Add a node whose processes have some more environment variables; returns its number."""
        self._tell({"num_gpus": gpus, "env_vars": dict(environment or {})})
        self._count += 1
        return self._count - 1

    def kill(self, number: int = 0) -> None:
        """Kill a node as a power cut does."""
        self._tell({"kill": number})

    def _tell(self, what: object) -> None:
        self._told.write(json.dumps(what) + "\n")
        self._told.flush()
        assert self._answers.readline() == "done\n"


@contextmanager
def cluster(nodes: int) -> Iterator[Nodes]:
    """A head without CPUs, and nodes."""
    command = [sys.executable, "-m", "tests.ray.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        made = Nodes(server.stdin, server.stdout)
        try:
            for _ in range(nodes):
                made.add()
            yield made
        finally:
            server.stdin.close()
            server.wait(timeout=60)


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


def wait_until_rendered(project: Project, videos: int, gate: subprocess.Popen[str]) -> None:
    """Wait until a gate has rendered some videos."""
    deadline = time.monotonic() + 120
    while len(project.rendered()) < videos and time.monotonic() < deadline:
        if gate.poll() is not None:
            raise AssertionError(gate.communicate()[0])
        time.sleep(0.05)


@contextmanager
def client_server(folder: Path, ports: tuple[int, int]) -> Iterator[str]:
    """A node with a server for Ray's client, as `ray start` makes it; its address.

    Args:
        folder: Of Ray's files; short, since sockets lie in it.
        ports: Of the node and of the server.
    """
    node, server = ports
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={node}", f"--ray-client-server-port={server}", f"--temp-dir={folder}"]
    command += ["--object-store-memory=104857600", "--include-dashboard=false", "--disable-usage-stats"]
    # without a token of its own the server would let nobody in
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    # a session of its own: Ray's processes end with it, and no others
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as started:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", server), timeout=1).close()
                    break
                time.sleep(0.2)
            yield f"ray://127.0.0.1:{server}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGTERM)
