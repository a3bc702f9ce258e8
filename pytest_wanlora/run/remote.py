"""A gate run whose videos are rendered on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora import environment as environments
from pytest_wanlora.cluster.nodes import Cluster, connect
from pytest_wanlora.cluster.ray_crew import RayCrew, send_conftests
from pytest_wanlora.cluster.scheduler import ClusterScheduler
from pytest_wanlora.errors import SettingsError, SuiteError
from pytest_wanlora.files import json_sha256
from pytest_wanlora.jobs.job import BatchProducer, Producer
from pytest_wanlora.run.findings import Finding
from pytest_wanlora.run.preflight import Request, examine
from pytest_wanlora.suite.digests import memory_folder
from pytest_wanlora.suite.fingerprint import identity, references
from pytest_wanlora.verdict.judgement import Verdict

if TYPE_CHECKING:
    from pytest_wanlora.cluster.worker import Lack
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.settings import Device, Settings
    from pytest_wanlora.suite import Suite

#: Of a suite's files, the one that the process that judges needs and no node does.
_REFERENCE = "scoring.reference"


def open_cluster(settings: Settings, suite: Suite, device: Device) -> tuple[Cluster, Environment]:
    """Connect to the cluster of `--wanlora-ray` and look at its nodes.

    Args:
        settings: Name the cluster.
        suite: What is rendered.
        device: On what.

    Returns:
        The cluster and the environment of the run; that of this machine where no node can render.

    Raises:
        SettingsError: There is no cluster, or a GPU of this machine is named.
    """
    if ":" in device.name:
        raise SettingsError(
            f"{device.source}: {device.name!r} names one GPU; allowed with --wanlora-ray: auto, cpu, cuda",
            next_command=settings.again("--wanlora-device=cuda"),
        )
    cluster = connect(str(settings.ray), device.name, wait=settings.ray_wait)
    found = cluster.survey(suite.sampling, allow=settings.allow_environment)
    return cluster, found or _here(suite, "cpu")


def examine_nodes(gate: Gate, cluster: Cluster) -> tuple[Finding, ...]:
    """Find out what the nodes of a cluster lack for a run.

    Args:
        gate: The run.
        cluster: Its cluster.
    """
    request = Request(
        baselines_dir=gate.settings.baselines_dir,
        baseline=None,
        scenarios=gate.scenarios,
        previews=gate.settings.previews,
        model_files=getattr(gate.producer, "uses_model_files", True),
    )
    return _findings(cluster, gate.suite, gate.environment, request)


def examine_for(
    address: str, suite: Suite, device: str, *, wait: float
) -> tuple[Cluster, tuple[Finding, ...]]:
    """Find out whether a cluster can render a suite, without a run.

    Args:
        address: See `connect`.
        suite: What would be rendered.
        device: `"auto"`, `"cpu"` or `"cuda"`.
        wait: Seconds in which a node must answer.

    Raises:
        SettingsError: There is no cluster.
    """
    cluster = connect(address, device, wait=wait)
    environment = cluster.survey(suite.sampling, allow=False)
    request = Request(baselines_dir=Path("baselines"), baseline=None, scenarios=suite.scenarios)
    here = environment or _here(suite, "cpu")
    return cluster, _findings(cluster, suite, here, request)


def _findings(
    cluster: Cluster, suite: Suite, environment: Environment, request: Request
) -> tuple[Finding, ...]:
    if request.model_files:
        cluster.examine(partial(_lacking, suite, environment, request, _files(suite)))
    return tuple(
        Finding(
            each.what,
            each.message,
            each.next_command,
            Verdict.INCOMPARABLE if each.incomparable else Verdict.ERROR,
        )
        for each in cluster.troubles
    )


def scheduler(gate: Gate, cluster: Cluster) -> ClusterScheduler:
    """What has the jobs of a run rendered on a cluster."""
    producer = gate.producer
    batch, background = 1, False
    if isinstance(producer, BatchProducer):
        batch, background = producer.batch, producer.score_in_background
    (proof,) = gate.jobs(gate.base, gate.scenarios[:1], gate.first_look[:1])
    return ClusterScheduler(
        RayCrew(cluster, _maker(gate, cluster), gate.suite.sampling),
        gate.cache,
        gate.board,
        checkpoint_of=gate.checkpoint_of,
        proof=proof,
        batch=batch,
        score_in_background=background,
        wait=gate.settings.ray_wait,
        limit=gate.settings.ray_limit,
        note=cluster.note,
        progress=gate.report,
        ahead=gate.look_ahead,
    )


def _maker(gate: Gate, cluster: Cluster) -> Callable[[], Producer]:
    """What makes the producer on a node: the studio anew, and any other as a copy."""
    from pytest_wanlora.studio.producer import StudioProducer

    if type(gate.producer) is StudioProducer:
        environment = gate.environment if cluster.device == "cpu" else None
        return partial(_studio, gate.suite, environment, gate.settings.previews)
    send_conftests()
    return partial(_copy, gate.producer)


def _studio(suite: Suite, environment: Environment | None, previews: bool) -> Producer:
    from pytest_wanlora.studio.producer import StudioProducer

    here = environment or _here(suite, "cuda")
    # one worker a CPU; beside a GPU torch takes what it takes on one machine
    threads = 1 if here.device == "cpu" else None
    # encoded prompts and compiled code stay on the node, for its other workers and for later runs
    folder = memory_folder().with_name("cluster")
    return StudioProducer(suite, here, threads=threads, previews=previews, cache_dir=folder)


def _here(suite: Suite, device: str) -> Environment:
    return environments.detect(suite.sampling.dtype, device, attention=suite.sampling.attention)


def _copy(producer: Producer) -> Producer:
    return producer


def _lacking(
    suite: Suite, environment: Environment, request: Request, files: Mapping[str, str]
) -> list[Lack]:
    """What a node lacks; runs there."""
    found = [
        (each.what, each.message, each.next_command)
        for each in examine(suite, environment, request).findings
        if each.what not in (_REFERENCE, "disk")
    ]
    known = {what for what, _, _ in found}
    for key, digest in _files(suite).items():
        if files.get(key, digest) != digest and key not in known:
            message = f"{suite.where(key)}: {key}: another file than where pytest runs, by its SHA-256"
            found.append((key, message, "copy the file from where pytest runs"))
    return found


def _files(suite: Suite) -> dict[str, str]:
    """Digest of what each file of a suite is here; files that are not here are left out."""
    found = {}
    for key, _ in references(suite):
        if key != _REFERENCE:
            try:
                found[key] = json_sha256(identity(suite, key))
            except SuiteError:
                continue
    return found
