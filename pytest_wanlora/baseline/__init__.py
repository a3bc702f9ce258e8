"""Baselines: what candidates are compared with (`store`, `videos`), and what becomes one (`acceptance`)."""

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
from pytest_wanlora.baseline.videos import video_file

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
    "video_file",
    "write",
]
