"""The run record, `results.json`: the only source of every report (`run_record`), and what it is made of."""

from __future__ import annotations

from pytest_wanlora.results.folders import records
from pytest_wanlora.results.run_record import load, merge, runs_so_far, write
