"""Open a gate run: read what the settings name, before anything is written or loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora import environment as environments
from pytest_wanlora.checkpoint.formats import added_formats
from pytest_wanlora.errors import SettingsError, SuiteError, WanloraError
from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import Producer
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.registry import check_groups
from pytest_wanlora.reports.writing import added_reports
from pytest_wanlora.run.candidates import (
    Candidate,
    check_fits,
    distinct,
    once,
    read_candidates,
    repeated,
    with_warnings,
)
from pytest_wanlora.run.session import Gate
from pytest_wanlora.settings import load_suite
from pytest_wanlora.suite.models import added_models
from pytest_wanlora.suite.schema import added_scenarios

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.run.handover import Handover
    from pytest_wanlora.settings import Device, Settings
    from pytest_wanlora.suite import Suite

#: Bytes of a candidate's name in the name of a run's folder.
_LONGEST_NAME = 120


def resolve_extensions() -> None:
    """Load every extension of every group, before anything else happens.

    Raises:
        ExtensionError: One of them cannot be used.
    """
    check_groups()
    len(METRICS)
    added_formats()
    added_models()
    added_reports()
    added_scenarios()


def open_gate(
    settings: Settings,
    *,
    make_producer: Callable[[Suite, Environment], Producer],
    run_folder: Path | None = None,
    who: str = "main",
    handed: Handover | None = None,
) -> Gate:
    """Read what the settings name and build the gate; nothing is written and no model is loaded.

    Args:
        settings: What the user asked for.
        make_producer: Makes what renders and scores.
        run_folder: Of a run that another process began; None begins one.
        who: Name of this process in the run's notes.
        handed: What that process has read.

    Raises:
        WanloraError: A checkpoint, the suite or a setting is wrong.
    """
    resolve_extensions()
    if handed is None:
        candidates = read_candidates(settings)
    else:
        candidates = tuple(
            Candidate(name, known, handed.scales[name]) for name, known in handed.checkpoints.items()
        )
    suite = load_suite(
        settings,
        [each.checkpoint for each in candidates if each.checkpoint is not None],
        chosen_before=None if handed is None else handed.suite,
    )
    check_fits(settings, suite, candidates)
    device = settings.device_for(suite)
    cluster = None
    if settings.ray is None:
        sampling = suite.sampling
        environment = environments.detect(sampling.dtype, device.name, attention=sampling.attention)
    else:
        from pytest_wanlora.run.remote import open_cluster

        cluster, environment = open_cluster(settings, suite, device)
    if cluster is None and environment.device_name == environments.NO_GPU:
        raise no_gpu(settings, suite, device)
    data = None
    if settings.training_data is not None and run_folder is None:
        # read once, by the process that writes the record
        from pytest_wanlora.run import training_data

        data = training_data.read(settings.training_data, suite)
    scenarios = settings.selected(suite)
    candidates = (
        candidates if handed else distinct(with_warnings(suite, candidates), [each.id for each in scenarios])
    )
    named_again = () if handed else repeated(candidates, race=settings.race)
    if settings.race:
        # an equal file would race against itself, on the same videos, which the budget would count twice
        candidates = once(candidates)
    folder = run_folder or new_run_folder(settings.output_dir, candidates)
    board = Board(folder / "board", who=who, reuse=settings.cache)
    gate = Gate(
        settings=settings,
        suite=suite,
        scenarios=scenarios,
        candidates=candidates,
        device=device,
        environment=environment,
        run_folder=folder,
        producer=make_producer(suite, environment),
        board=board,
        cache=Cache(settings.cache_dir, board.note_damage),
        cluster=cluster,
        training_data=data,
        repeated=named_again,
    )
    if handed is not None:
        gate.require_same(handed)
    return gate


def no_gpu(settings: Settings, suite: Suite, device: Device) -> WanloraError:
    """The error for a GPU that was asked for and is not visible."""
    asked = f"{device.name!r} was asked for and no such GPU is visible"
    what = f"{asked}; allowed: one that nvidia-smi and CUDA_VISIBLE_DEVICES show, cpu, auto"
    on_cpu = settings.again("--wanlora-device=cpu")
    if settings.device is None:
        return SuiteError(f"{suite.where('device')}: device: {what}", next_command=on_cpu)
    return SettingsError(f"{device.source}: {what}", next_command=on_cpu)


def new_run_folder(output_dir: Path, candidates: Sequence[Candidate]) -> Path:
    """Name the folder of a new run: time and candidate, and the process so that two runs never share it.

    Processes in two containers may have the same number, and one process may run pytest twice in a second: so
    another number is added where the name is taken.
    """
    name = candidates[0].name if len(candidates) == 1 else f"{len(candidates)}-checkpoints"
    # file systems allow 255 bytes, and a checkpoint may have them all
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    # a process may gate several times within a second
    runs = chain([run], (f"{run}.{number}" for number in count(2)))
    return next(folder for each in runs if not (folder := output_dir / f"{each}-{name}").exists())
