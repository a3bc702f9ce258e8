"""Baselines: what candidates are compared with (`store`); when a measurement becomes one (`acceptance`)."""

from __future__ import annotations

from pytest_wanlora.baseline.acceptance import changes, refusals
from pytest_wanlora.baseline.store import (
    Baseline,
    Prompt,
    differing,
    folder,
    load,
    load_folder,
    require_comparable,
    update_command,
    write,
)

__all__ = [
    "Baseline",
    "Prompt",
    "changes",
    "differing",
    "folder",
    "load",
    "load_folder",
    "refusals",
    "require_comparable",
    "update_command",
    "write",
]
