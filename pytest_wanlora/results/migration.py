"""Records of earlier versions, brought to the present one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

SCHEMA_VERSION: Final = 6
"""Of the records that this package writes."""


#: What each later version has in addition; no record of an earlier one knew it.
_ADDED: Final[Mapping[int, Mapping[str, Any]]] = MappingProxyType(
    {
        2: {"training_data": None},
        # nor what else failed
        3: {"left_out": [], "project_tests": [], "other_failures": None},
        # of a judgement a code, details and a next command
        4: {"paths": None},
        # of a video its node and GPU: before, every video was rendered on one machine
        5: {},
        # of the suite its objective and what it asks of a LoRA besides its scores, of a checkpoint its losses
        6: {"race": None},
    }
)

OLDEST: Final = min(_ADDED) - 1
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
        record = {**record, **_ADDED[version + 1], "schema_version": version + 1}
    return record
