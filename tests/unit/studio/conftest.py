"""The random pipeline, loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.environment import Environment, detect
from pytest_wanlora.studio.pipeline import Studio
from tests.unit.studio.random_wan import Stock, write_lora, write_model, write_suite


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("random-wan"))


@pytest.fixture(scope="session")
def environment() -> Environment:
    return detect("float32", "cpu")


@pytest.fixture(scope="session")
def loaded(folder: Path, environment: Environment) -> Studio:
    return Studio(write_suite(folder), environment, threads=1)


@pytest.fixture
def studio(loaded: Studio) -> Iterator[Studio]:
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def stock(folder: Path) -> Stock:
    return Stock(folder)


@pytest.fixture
def lora(tmp_path: Path) -> checkpoints.Checkpoint:
    return checkpoints.read(write_lora(tmp_path / "x.safetensors"))
