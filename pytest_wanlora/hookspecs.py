"""Hooks that this plugin adds to pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_wanlora.environment import Environment
    from pytest_wanlora.jobs.job import Producer
    from pytest_wanlora.settings import Settings
    from pytest_wanlora.suite import Suite


@pytest.hookspec(firstresult=True)
def pytest_wanlora_producer(
    suite: Suite, settings: Settings, environment: Environment, workers: int
) -> Producer | None:
    """Say what renders and scores videos, instead of DiffSynth and the suite's scorers.

    Called once in every process that gates; the producer must be cheap until it is asked to produce. Its
    `identity` is part of every job's key, so results of one producer are never taken for another's.

    Args:
        suite: What is gated on.
        settings: Of the run.
        environment: On what videos are rendered.
        workers: How many processes share this machine.

    Returns:
        The producer; None leaves it to the next implementation and at last to the package.

    Example:
        In a `conftest.py`, gate without a model, to see how a suite's items look::

            from pytest_wanlora.testing import FakeProducer

            def pytest_wanlora_producer(suite):
                return FakeProducer(suite)
    """
