"""Baselines: what candidates are compared with, how it is stored and found, and what may become one."""

from __future__ import annotations

from pytest_wanlora.baseline.comparable import require_comparable
from pytest_wanlora.baseline.contents import Baseline, Prompt
from pytest_wanlora.baseline.lookup import baseline_place, compared_with, load_baseline, stored_seeds
from pytest_wanlora.baseline.store import folder, load, measure_again, update_command, write
from pytest_wanlora.baseline.videos import video_file
