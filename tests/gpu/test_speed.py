"""Seconds and peak memory of the suite's own settings, recorded and compared by pytest-benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.gpu.speed_records import check_peak
from pytest_wanlora.checkpoint import Checkpoint
from pytest_wanlora.jobs.job import Job
from pytest_wanlora.studio.pipeline import Rendered, Studio
from tests.gpu.conftest import SMALL, Hollow

pytestmark = pytest.mark.gpu


@dataclass(frozen=True)
class Batch:
    """A batch of the suite's first scenario, on a studio that has rendered it once."""

    studio: Studio
    jobs: Sequence[Job]
    checkpoint: Checkpoint

    def render(self) -> tuple[Rendered, ...]:
        return self.studio.render_many(self.jobs, self.checkpoint)


@pytest.fixture(scope="module")
def batch(hollow: Hollow) -> Iterator[Batch]:
    suite = hollow.suite()
    jobs = hollow.jobs(suite, "epoch-0", seeds=range(suite.sampling.batch))
    made = Batch(hollow.studio(suite), jobs, hollow.checkpoint("epoch-0"))
    made.render()
    yield made
    made.studio.close()


def test_seconds_of_a_batch(batch: Batch, benchmark: BenchmarkFixture) -> None:
    rendered = benchmark.pedantic(batch.render, rounds=3)  # type: ignore[no-untyped-call]  # untyped there
    benchmark.extra_info["videos"] = len(batch.jobs)
    assert len(rendered) == len(batch.jobs)


@pytest.mark.skipif(SMALL and not torch.cuda.is_available(), reason="memory is a GPU's")
def test_peak_memory(batch: Batch, benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> None:
    rendered = benchmark.pedantic(batch.render, rounds=1)  # type: ignore[no-untyped-call]  # untyped there
    peaks = [each.peak_memory for each in rendered if each.peak_memory is not None]
    assert len(peaks) == len(batch.jobs)
    check_peak(request, benchmark.extra_info, max(peaks))
