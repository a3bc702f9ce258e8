"""Hooks, options and fixtures of the plugin.

Nothing but the options is imported until `--lora` or `--update-baselines` is given.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_wanlora import options
from pytest_wanlora.errors import WanloraError

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_wanlora.environment import Environment
    from pytest_wanlora.jobs.job import Producer
    from pytest_wanlora.metrics import Metric
    from pytest_wanlora.run.fixtures import BaselineView, CandidateView
    from pytest_wanlora.run.session import Gate
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


def pytest_plugin_registered(plugin: object) -> None:
    """Prepare a second start when pytest's `Config` is there, before its `required_plugins` are checked."""
    if isinstance(plugin, pytest.Config) and options.in_two_words(plugin.invocation_params.args):
        from pytest_wanlora.hooks import ini_files

        ini_files.lift_requirements(plugin)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Start the run again if pytest found its settings where a checkpoint is.

    Outside of every other plugin's part in this hook: of the first start no `conftest.py` is loaded, no
    option is parsed and nothing is captured.
    """
    known, started_again = early_config.known_args_namespace, False
    if known.lora or known.update_baselines or options.in_two_words(early_config.invocation_params.args):
        from pytest_wanlora.hooks import ini_files

        try:
            corrected = ini_files.corrected_arguments(early_config, parser)
        except WanloraError as error:
            raise pytest.UsageError(str(error)) from error
        if corrected is not None:
            started_again = True
            ended = ini_files.SecondStart(ini_files.run_again(early_config, corrected))
            early_config.pluginmanager.register(ended)
            # nothing is left of this start but to return that exit code
            args[:] = ["--noconftest", "--capture=no", str(early_config.invocation_params.dir)]
            early_config.known_args_namespace = parser.parse_known_args(args)
    try:
        return (yield)
    except Exception:
        if started_again:
            return []  # another plugin's complaint about settings that were not the run's
        raise


def pytest_configure(config: pytest.Config) -> None:
    """Switch the gate on if it was requested."""
    config.addinivalue_line(
        "markers",
        "wanlora: a test of a LoRA checkpoint: the gate's own, and every test with a wanlora fixture",
    )
    from pytest_wanlora.settings import read

    try:
        settings = read(config)
        if settings is not None:
            from pytest_wanlora.hooks.switching_on import switch_on

            config.stash[GATE] = switch_on(config, settings)
    except WanloraError as error:
        from pytest_wanlora.hooks.github_actions import escaped

        error.next_command = options.following(error, list(map(str, config.invocation_params.args)))
        raise pytest.UsageError(escaped(str(error), os.environ)) from error


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    """Hold the run to its exit code, behind all that may still change it."""
    try:
        status = yield
    except BaseException as error:
        # nothing answers these but pytest itself, for the first, and Python
        usage = isinstance(error, pytest.UsageError)
        _settle(config, int(pytest.ExitCode.USAGE_ERROR if usage else pytest.ExitCode.TESTS_FAILED))
        if usage and (command := _with_lora(config)):
            *others, last = error.args or ("",)
            error.args = (*others, f"{last}\na checkpoint is gated with --lora\nnext: {command}")
        raise
    return status if status is None else _settle(config, int(status))


def _with_lora(config: pytest.Config) -> str:
    """The gate of checkpoints named without `--lora`, of which pytest says only that it found no test."""
    words = list(map(str, config.invocation_params.args))
    stray = [word for word in words if word.lower().endswith(".safetensors") and word in config.args]
    if not stray or config.option.lora:
        return ""
    return options.again([word for word in words if word not in stray], *(f"--lora={each}" for each in stray))


def _settle(config: pytest.Config, status: int) -> int:
    if config.stash.get(GATE, None) is not None:
        from pytest_wanlora.hooks.session import RUN

        run = config.stash[RUN]
        if run.began:
            return run.settle(status)
    asked = config.option.lora or config.option.update_baselines
    if config.option.help:
        # pytest reads no option behind it, and what is in addopts stands in front
        words = {str(word).partition("=")[0] for word in config.invocation_params.args}
        asked = asked or words & {"--lora", "--update-baselines"}
    try:
        lists = not asked or options.lists(config)
    except WanloraError as error:
        raise pytest.UsageError(str(error)) from error
    if not lists and status == pytest.ExitCode.OK:
        raise pytest.UsageError(
            "--lora, --update-baselines: nothing was gated, and pytest was to end with exit code 0: a plugin "
            "or a conftest.py ended it before its session began, as with pytest.exit(returncode=0)\n"
            "next: pytest --trace-config, with the same options, lists the plugins and conftest.py files"
        )
    return status


@pytest.hookimpl(trylast=True)
def pytest_wanlora_producer(
    suite: Suite, settings: Settings, environment: Environment, workers: int
) -> Producer:
    """Render with DiffSynth and score with the suite's scorers."""
    from pytest_wanlora.studio.producer import StudioProducer
    from pytest_wanlora.workers import share_of_cores

    device = settings.device_for(suite).name
    return StudioProducer(
        suite,
        environment,
        device=device if device.startswith("cuda:") else None,
        threads=share_of_cores(workers) if workers > 1 else None,
        previews=settings.previews,
        cache_dir=settings.cache_dir,
        keep_lora=len(settings.scales) > 1,
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
    from pytest_wanlora.hooks.collection import generate

    generate(metafunc, gate)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark users' tests that measure a checkpoint, so that `-m wanlora` finds them."""
    names = getattr(item, "fixturenames", ())
    if any(name.startswith("wanlora_") for name in names):
        item.add_marker("wanlora")


@pytest.fixture
def wanlora_gate(request: pytest.FixtureRequest) -> Gate:
    """The run: settings, suite, candidates, and `results(jobs)`, which renders what is missing.

    Fails when no gate was requested, so that a forgotten `--lora` cannot look like a pass.
    """
    gate = request.config.stash.get(GATE, None)
    if gate is None:
        pytest.fail(
            "no checkpoint was named, so nothing can be measured\n"
            "next: pytest --lora FILE.safetensors, or leave these tests out with -m 'not wanlora'",
            pytrace=False,
        )
    from pytest_wanlora.hooks.collection import subject
    from pytest_wanlora.hooks.outcomes import mark_project_test

    # the collection knows it already, unless the test asks for the fixture by `request.getfixturevalue`
    if subject(request.node) is None:
        mark_project_test(request.node)
    return gate


@pytest.fixture
def wanlora_item(request: pytest.FixtureRequest) -> ItemId | str:
    """What one of the gate's own tests is about."""
    item: ItemId | str = request.param
    return item


def _parameter(request: pytest.FixtureRequest) -> str:
    """What a fixture is parametrised with; a test that names it in its code gets no parameters."""
    found: str | None = getattr(request, "param", None)
    if found is None:
        pytest.fail(
            f"{request.fixturename} runs over the run's own values, so a test must take it as an argument\n"
            f"next: write def test_...({request.fixturename}) instead of request.getfixturevalue",
            pytrace=False,
        )
    return found


@pytest.fixture
def wanlora_scenario(request: pytest.FixtureRequest, wanlora_gate: Gate) -> Scenario:
    """One scenario of the suite; the test runs for each."""
    return wanlora_gate.scenario(_parameter(request))


@pytest.fixture
def wanlora_metric(request: pytest.FixtureRequest, wanlora_gate: Gate) -> Metric:
    """One metric of videos that the suite gates on; the test runs for each."""
    from pytest_wanlora.metrics import METRICS

    return METRICS[_parameter(request)]


@pytest.fixture
def wanlora_candidate(request: pytest.FixtureRequest, wanlora_gate: Gate) -> CandidateView:
    """One checkpoint of `--lora` with its scores; the test runs for each."""
    from pytest_wanlora.run.fixtures import CandidateView

    return CandidateView(wanlora_gate, wanlora_gate.candidate(_parameter(request)))


@pytest.fixture
def wanlora_baseline(wanlora_gate: Gate) -> BaselineView:
    """The stored baseline with its scores."""
    from pytest_wanlora.run.fixtures import BaselineView

    return BaselineView(wanlora_gate)
