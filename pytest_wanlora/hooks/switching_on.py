"""Switch the gate on: build it and register the hooks of its run."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_wanlora import baseline as baselines
from pytest_wanlora import options, workers
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.files import require_folder, require_writable
from pytest_wanlora.hooks.collection import (
    PREFIX,
    GatePlugin,
    node_names,
    take_selection,
    unknown_ids,
)
from pytest_wanlora.hooks.outcomes import Outcomes
from pytest_wanlora.hooks.progress import Live
from pytest_wanlora.hooks.session import RUN, Run
from pytest_wanlora.phrases import number_of
from pytest_wanlora.publishing import ssh_signature
from pytest_wanlora.reports.writing import exporter
from pytest_wanlora.run.handover import packed, unpacked
from pytest_wanlora.run.opening import open_gate
from pytest_wanlora.run.session import Gate
from pytest_wanlora.run.update_baseline import refuse_early

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.jobs.job import Producer
    from pytest_wanlora.settings import Settings
    from pytest_wanlora.suite import Suite


def switch_on(config: pytest.Config, settings: Settings) -> Gate:
    """Build the gate of this process and register its hooks.

    Raises:
        WanloraError: Anything that was named is wrong.
    """
    silent = workers.is_worker(config) or options.lists(config)
    live = None if silent or config.get_verbosity() < 0 else Live("reading and checking files")
    try:
        return _switch_on(config, settings, live)
    except BaseException:
        if live is not None:
            live.stop()
        raise


def _switch_on(config: pytest.Config, settings: Settings, live: Live | None) -> Gate:
    selection = take_selection(config)
    if settings.ray is not None and (workers.is_controller(config) or workers.is_worker(config)):
        raise SettingsError(
            "-n (pytest-xdist) and --wanlora-ray: both would deal out the work; allowed: one of them",
            # the last -n counts, wherever the first one is written
            next_command=f"{settings.again()} -n0",
        )
    worker = workers.read_worker_config(config)

    def make_producer(suite: Suite, environment: Environment) -> Producer:
        producer: Producer = config.hook.pytest_wanlora_producer(
            suite=suite,
            settings=settings,
            environment=environment,
            workers=1 if worker is None else worker.workers,
        )
        return producer

    gate = open_gate(
        settings,
        make_producer=make_producer,
        run_folder=None if worker is None else worker.run_folder,
        who="main" if worker is None else worker.name,
        handed=None if worker is None else unpacked(worker.handover),
    )
    if hasattr(gate.producer, "on_stage"):
        gate.producer.on_stage = gate.board.say
    for name in settings.exports if worker is None else ():
        # one whose library is missing is known before anything is rendered
        exporter(name)
    judges = settings.plan or not options.listing(config)
    if worker is None and judges:
        _require_outputs(gate)
    planned = workers.planned(config) if gate.cluster is None else gate.cluster.slots
    if worker is None and judges:
        _examine(config, gate)
    known = [f"{PREFIX}::{name}" for name in node_names(gate)]
    if unknown := unknown_ids(selection.ids, known):
        others = [word for word in settings.typed if not word.startswith(f"{PREFIX}::")]
        raise SettingsError(
            f"not found: {unknown[0]}; this run has {number_of(len(known), 'item')}, the first is {known[0]}",
            next_command=shlex.join(["pytest", *others, "--collect-only", "-q"]),
        )
    controller = None
    if workers.is_controller(config):
        # a GPU that was named by its number is for all of them
        gpus = workers.Gpus.visible() if gate.device.name in ("auto", "cuda") else workers.Gpus(())
        controller = workers.Controller(gate.run_folder, gpus, packed(gate))
        config.pluginmanager.register(controller)
    # without names, which `-p no:NAME` could block: what they do must not be left out
    config.pluginmanager.register(GatePlugin(selection, node_names(gate)))
    outcomes = Outcomes(config, gate, controller, named=bool(selection.ids))
    config.pluginmanager.register(outcomes)
    config.stash[RUN] = Run(config, gate, controller, outcomes, planned, live)
    config.pluginmanager.register(config.stash[RUN])
    return gate


def _require_outputs(gate: Gate) -> None:
    """Refuse before hours of rendering what cannot be written or signed after them; a plan refuses it too."""
    settings = gate.settings
    if settings.sign_key is not None:
        ssh_signature.check_key(settings.sign_key)
    if settings.update_target is not None:
        place = baselines.folder(settings.baselines_dir, gate.suite.name, settings.update_target)
        require_writable(place, "store the baseline", "baselines")
    else:
        # a gate writes nothing there
        require_folder(settings.baselines_dir, "read baselines", "baselines")
    require_writable(settings.cache_dir, "keep the scores of rendered videos", "cache")
    require_writable(settings.output_dir, "write the record", "output")


def _examine(config: pytest.Config, gate: Gate) -> None:
    """Find out, before anything is loaded, what is missing, and refuse what would be refused in any case."""
    # read now, before the preflight and all others read the same
    _ = gate.digests
    gate.examine()
    if gate.settings.plan or gate.blocked:
        # nothing is rendered, so no worker has anything to do
        workers.distribute_nothing(config)
    else:
        gate.fetch()
        if downloads := gate.preflight.downloads if gate.preflight is not None else ():
            # what was not here could not be looked at
            gate.preflight = replace(gate.examine(), downloads=downloads)
            if gate.blocked:
                workers.distribute_nothing(config)
    if gate.settings.update_baselines and not gate.blocked:
        # the items of limits are rendered before the one that stores
        refuse_early(gate, gate.candidates[0])
