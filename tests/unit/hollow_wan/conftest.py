from __future__ import annotations

from pathlib import Path

import pytest

from tools.hollow_wan.assemble import Recipe, assemble


@pytest.fixture(scope="session")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small hollow model, with its scorers, suites and LoRAs."""
    return assemble(tmp_path_factory.mktemp("hollow") / "model", Recipe("smoke"), device="cpu")
