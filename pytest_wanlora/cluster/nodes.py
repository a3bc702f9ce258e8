"""The nodes of a Ray cluster: connect, compare what they have, and run workers on them."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import util
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.cluster.worker import Check, Hardware, Lack, differing, inspect, survey
from pytest_wanlora.environment import NO_GPU
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.registry import GROUPS, extensions

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.suite import Sampling

#: What may change pixels or scores; the code of pytest-wanlora itself is compared besides.
PACKAGES: Final = (
    *("pytest-wanlora", "torch", "diffsynth", "open-clip-torch", "numpy", "scipy"),
    *("opencv-python-headless", "safetensors"),
)
#: Seconds in which something must answer at an address.
_ANSWER: Final = 10.0
#: Seconds in which Ray notices that a node has died.
_NOTICED: Final = 30.0
#: Seconds that a node gets at least to start a process and look at itself.
_LOOK: Final = 60.0


@dataclass(frozen=True)
class Trouble:
    """Something that keeps the cluster from rendering.

    Attributes:
        incomparable: Whether nodes differ, instead of lacking something.
    """

    what: str
    message: str
    next_command: str
    incomparable: bool = False


@dataclass(frozen=True)
class Node:
    """A node that can render.

    Attributes:
        name: Its host name, with the first letters of the id where several nodes have the same.
        slots: GPUs, or CPUs where the suite is rendered on CPUs.
        hardware: Of each kind of its GPUs; empty where it could not be looked at.
    """

    id: str
    name: str
    slots: int
    hardware: tuple[Hardware, ...] = ()


@dataclass
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        device: `"cuda"` or `"cpu"`.
        wait: Seconds in which a node must answer.
        notes: Differences that the user allowed, nodes that were lost.
    """

    address: str
    device: str
    nodes: tuple[Node, ...]
    wait: float
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def slots(self) -> int:
        """How many workers there can be."""
        return sum(node.slots for node in self.nodes)

    @property
    def words(self) -> str:
        """`2 nodes, 8 GPUs`."""
        nodes, unit = len(self.nodes), "GPU" if self.device == "cuda" else "CPU"
        return f"{nodes} node{'s' * (nodes != 1)}, {self.slots} {unit}{'s' * (self.slots != 1)}"

    def survey(self, sampling: Sampling, *, allow: bool) -> Environment | None:
        """Compare the versions of all nodes, then what they render on.

        Args:
            allow: Whether other GPUs, drivers and versions of libraries may be mixed.

        Returns:
            The environment of the run: for mixed nodes one whose fields name all of them, so that its results
            are never taken for those of one kind alone. None where there is no node to render on.
        """
        if not self.nodes:
            self.troubles = (self._no_slots(),)
            return None
        added = (each for group in GROUPS for each in extensions(group, object))
        names = [*PACKAGES, *sorted({each.distribution.partition(" ")[0] for each in added})]
        read = _read_versions()
        here, answers = read(names), self._everywhere(read, names)
        unlike = {node: differing(here, found) for node, found in answers.items()}
        self._compare_versions(unlike, allow=allow)
        sound = [name for name, lines in unlike.items() if not _of_package(lines)]
        found = self._everywhere(survey, sampling, self.device, only=sound)
        self.nodes = tuple(replace(node, hardware=tuple(found.get(node.name, ()))) for node in self.nodes)
        self._compare_hardware(allow=allow)
        all_hardware = [each for node in self.nodes for each in node.hardware]
        return _merged([each.environment for each in all_hardware]) if all_hardware else None

    def examine(self, check: Check) -> None:
        """Find out what nodes lack: one trouble for each thing, with the nodes that lack it."""
        sound = [node.name for node in self.nodes if node.hardware]
        lacking: dict[Lack, list[str]] = {}
        for name, problems in self._everywhere(inspect, check, only=sound).items():
            for problem in problems:
                lacking.setdefault(problem, []).append(name)
        for (what, message, command), names in lacking.items():
            where = f"on {len(names)} of {len(self.nodes)} nodes: {', '.join(names)}"
            self._trouble(what, f"{message}\n{where}", f"on these nodes: {command}")

    def note(self, line: str) -> None:
        """Keep a line for the readers of the record."""
        self.notes = (*self.notes, line)

    def close(self) -> None:
        """Disconnect."""
        import_ray().shutdown()

    def _everywhere(
        self, function: Callable[..., Any], *arguments: object, only: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Call a function on every node; one that does not answer in time is a trouble."""
        ray = import_ray()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = ray.remote(num_cpus=0, max_retries=0)(function)
        calls = {
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
                *arguments
            ): node.name
            for node in self.nodes
            if only is None or node.name in only
        }
        wait = max(self.wait, _LOOK)
        ready, late = ray.wait(list(calls), num_returns=len(calls), timeout=wait) if calls else ([], [])
        answers, wrong = {}, {calls[ref]: f"no answer within {wait:.0f} s" for ref in late}
        dead: set[str] = set()
        for ref in ready:
            try:
                answers[calls[ref]] = ray.get(ref)
            except ray.exceptions.RayError as error:
                wrong[calls[ref]] = last_line(error)
                if not isinstance(error, ray.exceptions.RayTaskError):
                    dead.add(calls[ref])
        for name in self._drop_dead(dead):
            del wrong[name]
        for why, nodes in _grouped(wrong).items():
            self._trouble("cluster", f"{nodes}: cannot be looked at: {why}", "ray status, on the cluster")
        return answers

    def _drop_dead(self, names: Collection[str]) -> list[str]:
        """Leave out those nodes that have died meanwhile; Ray notices that some seconds later."""
        suspects = {node.id: node.name for node in self.nodes if node.name in names}
        deadline, gone = time.monotonic() + _NOTICED, list[str]()
        while suspects and time.monotonic() < deadline:
            alive = {each["NodeID"] for each in import_ray().nodes() if each["Alive"]}
            gone += [suspects.pop(node) for node in list(suspects) if node not in alive]
            time.sleep(0.2 if suspects else 0.0)
        self.nodes = tuple(node for node in self.nodes if node.name not in gone)
        for name in gone:
            self.note(f"node {name} was lost before anything was rendered")
        if not self.nodes:
            self.troubles += (self._no_slots(),)
        return gone

    def _compare_versions(self, unlike: Mapping[str, list[str]], *, allow: bool) -> None:
        lines = {node: "; ".join(each) for node, each in unlike.items() if each}
        for difference, nodes in _grouped(lines).items():
            own = _of_package(difference.split("; "))
            if allow and not own:
                self.notes += (f"{nodes}: {difference}: allowed by --wanlora-allow-environment",)
                continue
            allowed = "" if own else "; --wanlora-allow-environment mixes them"
            self._trouble(
                "cluster",
                f"{nodes}: other versions than the process that judges: {difference}; allowed: the same",
                f"install the same versions on all nodes, and start Ray on them again{allowed}",
                incomparable=True,
            )

    def _compare_hardware(self, *, allow: bool) -> None:
        kinds: dict[str, list[str]] = {}
        for node in self.nodes:
            for each in node.hardware:
                kinds.setdefault(each.kind, []).append(node.name)
        hidden = [
            node.name
            for node in self.nodes
            if any(each.environment.device_name == NO_GPU for each in node.hardware)
        ]
        if hidden:
            message = f"{', '.join(hidden)}: Ray counts a GPU that CUDA does not show"
            self._trouble("gpu", message, "nvidia-smi, on these nodes")
        if hidden or len(kinds) < 2:
            return
        listed = "\n".join(f"  {kind}: {', '.join(nodes)}" for kind, nodes in kinds.items())
        if allow:
            self.notes += (f"nodes of {len(kinds)} kinds, allowed by --wanlora-allow-environment:\n{listed}",)
            return
        self._trouble(
            "cluster",
            f"the nodes differ, so their videos cannot be compared:\n{listed}",
            "use a cluster of one kind, or allow the mixture with --wanlora-allow-environment",
            incomparable=True,
        )

    def _no_slots(self) -> Trouble:
        unit = "GPU" if self.device == "cuda" else "CPU"
        return Trouble(
            "cluster",
            f"{self.address}: no node of the cluster has a {unit}; asked for: one worker a {unit}; there: "
            f"{resources()}",
            "ray status, on the cluster; start its nodes with `ray start --num-gpus N`, or gate with "
            "--wanlora-device cpu",
        )

    def _trouble(self, what: str, message: str, command: str, *, incomparable: bool = False) -> None:
        self.troubles += (Trouble(what, message, command, incomparable),)


def connect(address: str, device: str, *, wait: float) -> Cluster:
    """Connect to a Ray cluster.

    Args:
        address: `auto` (the one on this machine, or RAY_ADDRESS), `local` (start one), `HOST:PORT` or
            `ray://HOST:PORT`.
        device: `"auto"`, `"cpu"` or `"cuda"`.
        wait: Seconds in which a node must answer.

    Raises:
        SettingsError: Ray is not installed, or there is no cluster at the address.
    """
    if util.find_spec("ray") is None:
        raise SettingsError(
            f"--wanlora-ray: {address}: Ray is not installed in this Python ({sys.executable})",
            next_command="pip install 'pytest-wanlora[ray]'",
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, f"nothing answers there: {error}") from error
    ray = import_ray()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options["include_dashboard"] = False
    try:
        ray.init(address, **options)
    except Exception as error:
        # Ray raises what its parts raise: connections, versions, values
        raise _no_cluster(address, last_line(error)) from error
    found = [each for each in ray.nodes() if each["Alive"]]
    has_gpu = any(each["Resources"].get("GPU", 0) >= 1 for each in found)
    chosen = ("cuda" if has_gpu else "cpu") if device == "auto" else device
    unit = "GPU" if chosen == "cuda" else "CPU"
    hosts = Counter(each["NodeManagerHostname"] for each in found)
    nodes = [
        Node(
            each["NodeID"],
            each["NodeManagerHostname"]
            + (f" ({each['NodeID'][:6]})" if hosts[each["NodeManagerHostname"]] > 1 else ""),
            int(each["Resources"].get(unit, 0)),
        )
        for each in found
    ]
    usable = sorted((node for node in nodes if node.slots), key=lambda node: node.name)
    return Cluster(address, chosen, tuple(usable), wait)


def _no_cluster(address: str, why: str) -> SettingsError:
    return SettingsError(
        f"--wanlora-ray: no Ray cluster at {address!r}: {why}; allowed: auto, local, HOST:PORT, ray://HOST:PORT",
        next_command="ray status",
    )


def import_ray() -> Any:  # noqa: ANN401 - a module that may be missing
    """Ray, imported when it is asked for."""
    # it would send statistics home, and warn of how it hides GPUs from tasks that have none
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


def resources() -> str:
    """The resources of the cluster and what is free of them."""
    ray = import_ray()
    whole, free = ray.cluster_resources(), ray.available_resources()
    units = [
        f"{int(whole[unit])} {unit} ({int(free.get(unit, 0))} free)"
        for unit in ("GPU", "CPU")
        if unit in whole
    ]
    nodes = sum(each["Alive"] for each in ray.nodes())
    return f"{nodes} node{'s' * (nodes != 1)}, {', '.join(units) or 'neither GPU nor CPU'}"


def _read_versions() -> Callable[[Sequence[str]], dict[str, str]]:
    """A function that reads the versions of Python and packages, and a digest of the code of pytest-wanlora.

    As a function in a function it is sent to the nodes as code: it uses nothing of this package, which may be
    another one there, or missing.
    """

    def read(names: Sequence[str]) -> dict[str, str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import pathlib
        import platform

        found = {"python": platform.python_version()}
        for name in names:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        package = importlib.util.find_spec("pytest_wanlora")
        if package is not None and package.submodule_search_locations:
            root = pathlib.Path(next(iter(package.submodule_search_locations)))
            total = hashlib.sha256()
            for path in sorted(root.rglob("*.py")):
                total.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
            found["code of pytest-wanlora"] = total.hexdigest()[:12]
        return found

    return read


def _of_package(lines: Sequence[str]) -> bool:
    """Whether the package itself is another one."""
    return any("pytest-wanlora" in line for line in lines)


def _grouped(lines: Mapping[str, str]) -> dict[str, str]:
    """Text to the names of the nodes that say it."""
    groups: dict[str, list[str]] = {}
    for node, text in lines.items():
        groups.setdefault(text, []).append(node)
    return {text: ", ".join(nodes) for text, nodes in groups.items()}


def _merged(found: Sequence[Environment]) -> Environment:
    """One environment whose fields name those of all."""
    first = found[0]
    fields: dict[str, Any] = {
        name: " + ".join(dict.fromkeys(sorted(str(getattr(each, name)) for each in found)))
        for name in first.__dataclass_fields__
        if name != "device"
    }
    return replace(first, **fields)


def last_line(error: BaseException) -> str:
    """The last line of an error's text: Ray prints the whole way to it before."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
