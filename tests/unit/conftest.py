"""Gates of the unusual project: opened at once, with a baseline that is measured once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pytest_wanlora import testing
from pytest_wanlora.environment import Environment
from pytest_wanlora.run.session import Gate
from pytest_wanlora.run.update_baseline import store
from tests import unusual

# a deadline is a wall time: how long an example takes depends on what else the machine does
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

OpenGate = Callable[..., Gate]


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a checkpoint and the baseline of the model without LoRA; only read from then on."""
    folder = tmp_path_factory.mktemp("measured")
    unusual.write_unusual_suite(folder)
    testing.write_lora(folder / "good.safetensors")
    gate = unusual.gate_of(unusual.settings_of(folder, update_baselines=True))
    store(gate, gate.judge, gate.base)
    gate.finish()
    return folder


@pytest.fixture
def open_gate(measured: Path, tmp_path: Path) -> Iterator[OpenGate]:
    """Opens gates of `good` in the project; `bare` ones measure the model without LoRA."""
    opened = []

    def open_(
        change: unusual.Change | None = None,
        *,
        bare: bool = False,
        environment: Environment = unusual.CPU,
        **settings: object,
    ) -> Gate:
        known = {"cache_dir": tmp_path / "cache", "output_dir": tmp_path / "runs", **settings}
        lora = () if bare else (measured / "good.safetensors",)
        gate = unusual.gate_of(unusual.settings_of(measured, lora, **known), change, environment=environment)
        opened.append(gate)
        return gate

    yield open_
    for gate in opened:
        gate.finish()
