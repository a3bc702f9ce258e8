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
    "pytest_benchmark_compare_machine_info",
    "pytest_benchmark_update_machine_info",
    "recorded_peak",
]

#: Name in `extra_info` of the most memory on the GPU, in bytes.
PEAK = "peak_memory"
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


def recorded_peak(config: pytest.Config, fullname: str) -> int | None:
    """Find the peak memory of the record that this run is compared with.

    Args:
        config: pytest's.
        fullname: The item's node id, as pytest-benchmark records it.

    Returns:
        Bytes, the most of several records; None if nothing is compared or no record has the item.
    """
    peaks = [
        each["extra_info"][PEAK]
        for record in config.stash.get(_COMPARED, [])
        for each in record["benchmarks"]
        if each["fullname"] == fullname and each["extra_info"].get(PEAK)
    ]
    return max(peaks, default=None)


def _here() -> str:
    return gpu_name() or f"no GPU, {processor_name()}"
