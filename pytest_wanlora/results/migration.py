"""Records of earlier versions, brought to the present one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

SCHEMA_VERSION: Final = 6
"""Of the records that this package writes."""


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Version 2 knows the training data, and videos of the baseline have previews: no run had either."""
    return {**record, "training_data": None}


def _from_2(record: dict[str, Any]) -> dict[str, Any]:
    """Version 3 knows project tests and what was left out; version 2 did not, nor what else failed."""
    return {**record, "left_out": [], "project_tests": [], "other_failures": None}


def _from_3(record: dict[str, Any]) -> dict[str, Any]:
    """Version 4 adds a code, details and a next command to each reason, and the paths of the run's files."""
    return {**record, "paths": None}


def _from_4(record: dict[str, Any]) -> dict[str, Any]:
    """Version 5 adds the node and the GPU of a video; before, every video was rendered on one machine."""
    return record


def _from_5(record: dict[str, Any]) -> dict[str, Any]:
    """Version 6 adds the race, the suite's objective, and each checkpoint's losses without one seed."""
    return {**record, "race": None}


_STEPS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = MappingProxyType(
    {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4, 5: _from_5}
)

OLDEST: Final = min(_STEPS)
"""The oldest version that can be read."""


def migrated(record: dict[str, Any]) -> dict[str, Any]:
    """Bring a record to the present version.

    Nothing is judged again: what an earlier version did not record stays unknown.

    Args:
        record: Parsed JSON, with a `schema_version` from `OLDEST` to `SCHEMA_VERSION`. Left as it is.

    Returns:
        A record of version `SCHEMA_VERSION`, not yet checked.
    """
    for version in range(record["schema_version"], SCHEMA_VERSION):
        record = {**_STEPS[version](record), "schema_version": version + 1}
    return record
