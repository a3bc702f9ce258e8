"""Tests of the plugin run pytest within pytest."""

import gc

import pytest

pytest_plugins = ["pytester"]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave out of garbage collection what lives to the end: torch and 9,000 tests, a tenth of the time."""
    gc.collect()
    gc.freeze()
