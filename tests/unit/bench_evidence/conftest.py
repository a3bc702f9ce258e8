from __future__ import annotations

import numpy as np
import pytest

from benchmarks.evidence.fixtures import Ground
from pytest_wanlora.verdict.fvd import ReferenceSet
from tests.unit.verdict.paired import DIM


@pytest.fixture(scope="session")
def ground() -> Ground:
    return Ground.of()


@pytest.fixture(scope="session")
def design() -> Ground:
    return Ground.of("design")


@pytest.fixture(scope="session")
def reference() -> ReferenceSet:
    return ReferenceSet.of(np.random.default_rng(0).standard_normal((256, DIM)))
