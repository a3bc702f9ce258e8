"""The cache and the board of the jobs' tests."""

from __future__ import annotations

from tests.unit.jobs.conftest import board, cache

__all__ = ["board", "cache"]
