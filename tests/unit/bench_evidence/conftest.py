from __future__ import annotations

import pytest

from benchmarks.evidence.ground import Ground


@pytest.fixture(scope="session")
def ground() -> Ground:
    return Ground.of()


@pytest.fixture(scope="session")
def design() -> Ground:
    return Ground.of("design")
