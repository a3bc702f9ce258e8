"""A cache and a board of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wanlora.jobs.board import Board
from pytest_wanlora.jobs.cache import Cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache")
    cache.prepare()
    return cache


@pytest.fixture
def board(tmp_path: Path) -> Board:
    board = Board(tmp_path / "run" / "board")
    board.prepare()
    return board
