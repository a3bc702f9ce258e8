"""Hooks, options and fixtures of the plugin.

Nothing but the options is imported until `--lora` or `--update-baselines` is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_wanlora import options
from pytest_wanlora.errors import WanloraError

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.jobs.job import Producer
    from pytest_wanlora.run.fixture_views import BaselineView, CandidateView
    from pytest_wanlora.run.session import Gate
    from pytest_wanlora.scoring.metric import Metric
    from pytest_wanlora.settings import Settings
    from pytest_wanlora.suite import Scenario, Suite
    from pytest_wanlora.verdict.judgement import ItemId

GATE: pytest.StashKey[Gate] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks of `pytest_wanlora.hookspecs`."""
    from pytest_wanlora import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Refuse settings that pytest found where a checkpoint lies."""
    known = early_config.known_args_namespace
    if known.lora and not known.inifilename and not known.file_or_dir:
        from pytest_wanlora.hooks.ini_files import refuse_foreign

        try:
            refuse_foreign(args, early_config.inipath, early_config.invocation_params.dir)
        except WanloraError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_configure(config: pytest.Config) -> None:
    """Switch the gate on if it was asked for."""
    config.addinivalue_line(
        "markers",
        "wanlora: a test of a LoRA checkpoint: the gate's own, and every test with a wanlora fixture",
    )
    from pytest_wanlora.settings import read

    try:
        settings = read(config)
        if settings is not None:
            from pytest_wanlora.hooks.gate_run import switch_on

            config.stash[GATE] = switch_on(config, settings)
    except WanloraError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(trylast=True)
def pytest_wanlora_producer(
    suite: Suite, settings: Settings, environment: Environment, workers: int
) -> Producer:
    """Render with DiffSynth and score with the suite's scorers."""
    from pytest_wanlora.studio.producer import StudioProducer
    from pytest_wanlora.workers import share_of_cores

    return StudioProducer(
        suite,
        environment,
        device=settings.device if settings.device.startswith("cuda:") else None,
        threads=share_of_cores(workers) if workers > 1 else None,
        previews=settings.previews,
        cache_dir=settings.cache_dir,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Wait for what is still being scored, before the record is written or a worker ends."""
    gate = session.config.stash.get(GATE, None)
    if gate is not None:
        gate.finish()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise the gate's tests, and users' tests over the suite."""
    gate = metafunc.config.stash.get(GATE, None)
    if gate is None:
        return
    from pytest_wanlora.hooks import parametrization

    parametrization.generate(metafunc, gate)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark users' tests that measure a checkpoint, so that `-m wanlora` finds them."""
    names = getattr(item, "fixturenames", ())
    if any(name.startswith("wanlora_") for name in names):
        item.add_marker("wanlora")


@pytest.fixture
def wanlora_gate(request: pytest.FixtureRequest) -> Gate:
    """The run: settings, suite, candidates, and `results(jobs)`, which renders what is missing.

    Fails when no gate was asked for, so that a forgotten `--lora` cannot look like a pass.
    """
    gate = request.config.stash.get(GATE, None)
    if gate is None:
        pytest.fail(
            "no checkpoint was named, so nothing can be measured\n"
            "next: pytest --lora FILE.safetensors, or leave these tests out with -m 'not wanlora'",
            pytrace=False,
        )
    return gate


@pytest.fixture
def wanlora_item(request: pytest.FixtureRequest) -> ItemId | str:
    """What one of the gate's own tests is about."""
    item: ItemId | str = request.param
    return item


@pytest.fixture
def wanlora_scenario(request: pytest.FixtureRequest, wanlora_gate: Gate) -> Scenario:
    """One scenario of the suite; the test runs for each."""
    return wanlora_gate.scenario(request.param)


@pytest.fixture
def wanlora_metric(request: pytest.FixtureRequest, wanlora_gate: Gate) -> Metric:
    """One metric of videos that the suite gates on; the test runs for each."""
    from pytest_wanlora.scoring.metric import METRICS

    return METRICS[request.param]


@pytest.fixture
def wanlora_candidate(request: pytest.FixtureRequest, wanlora_gate: Gate) -> CandidateView:
    """One checkpoint of `--lora` with its scores; the test runs for each."""
    from pytest_wanlora.run.fixture_views import CandidateView

    return CandidateView(wanlora_gate, wanlora_gate.candidate(request.param))


@pytest.fixture
def wanlora_baseline(wanlora_gate: Gate) -> BaselineView:
    """The stored baseline with its scores."""
    from pytest_wanlora.run.fixture_views import BaselineView

    return BaselineView(wanlora_gate)
