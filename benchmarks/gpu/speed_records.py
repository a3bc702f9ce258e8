"""Hooks for pytest-benchmark: records of speed and peak memory, compared only with the same GPU's.

pytest-benchmark keeps what it timed and compares it with an earlier record; that another machine made that
one it only remarks. What is timed here belongs to a GPU, so another GPU's record is refused, before anything
is rendered. Peak memory lies beside the times, as `extra_info`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_wanlora.environment import gpu_name, processor_name

__all__ = [
    "PEAK",
    "check_peak",
    "pytest_benchmark_compare_machine_info",
    "pytest_benchmark_update_machine_info",
]

#: Name in `extra_info` of the most memory on the GPU, in bytes.
PEAK = "peak_memory"
#: The allocator gives the same job the same memory; this is room for another release of a library.
MORE = 1.02
_GPU = "gpu"
_COMPARED = pytest.StashKey[list[Mapping[str, Any]]]()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Record on what was measured."""
    machine_info[_GPU] = _here()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, compared_benchmark: Mapping[str, Any]
) -> None:
    """Refuse a record of another GPU.

    Raises:
        pytest.UsageError: The record names another GPU, or none.
    """
    recorded, here = compared_benchmark["machine_info"].get(_GPU, "no GPU"), _here()
    if recorded != here:
        raise pytest.UsageError(
            f"the record of {compared_benchmark.get('datetime')} is of {recorded}, this machine has {here}; "
            "seconds and memory are compared on one kind of GPU only\n"
            "  next: make one here with --benchmark-save NAME, or name one of this GPU in --benchmark-compare"
        )
    config.stash.setdefault(_COMPARED, []).append(compared_benchmark)


def check_peak(request: pytest.FixtureRequest, extra_info: dict[str, Any], peak: int) -> None:
    """Record an item's peak memory, and fail it if that is more than in what this run is compared with.

    Args:
        request: Of the item.
        extra_info: Of its `benchmark` fixture.
        peak: Bytes on the GPU at most.
    """
    extra_info[PEAK] = peak
    recorded = max(_peaks(request.config, request.node.nodeid), default=None)
    if recorded is not None and peak > MORE * recorded:
        pytest.fail(f"peak memory is {peak} bytes, recorded are {recorded}; allowed is {MORE:g} times that")


def _peaks(config: pytest.Config, fullname: str) -> list[int]:
    """Peak memory of an item, by its node id, in the records that this run is compared with."""
    return [
        each["extra_info"][PEAK]
        for record in config.stash.get(_COMPARED, [])
        for each in record["benchmarks"]
        if each["fullname"] == fullname and each["extra_info"].get(PEAK)
    ]


def _here() -> str:
    return gpu_name() or f"no GPU, {processor_name()}"
