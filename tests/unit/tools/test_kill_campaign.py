"""Kills and full disks while a baseline, a cache entry, a record and a receipt are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: A write in two steps, as nobody should: what the campaign must find.
TWO_STEPS = """
import os, sys
from pathlib import Path
from tools.kill_campaign import Trials, Write, small

def write(folder):
    for half in (b"ne", b"new"):
        (folder / "file").write_bytes(half)

def state(folder):
    return {b"old": "old", b"new": "new"}.get((folder / "file").read_bytes(), "half")

place = Path(sys.argv[1])
trials = Trials(Write("file", lambda f: (f / "file").write_bytes(b"old"), write, state), place)
small(trials, place)
sys.exit(len(trials.faults) > 0)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # a process of its own, as it forks, which threads do not outlive
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, check=False, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("name", ["baseline", "cache", "record", "receipt"])
def test_nothing_is_lost_or_half_written(name: str) -> None:
    done = run("-m", "tools.kill_campaign", "--small", "--only", name)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(rf"{name}: (\d+) trials, 0 faults; left: (.*)", done.stdout)
    assert found is not None
    assert int(found[1]) >= 14
    # both what was before and what is written was seen
    assert "new" in found[2]
    assert ("none" if name == "receipt" else "old") in found[2]


def test_the_campaign_sees_a_write_in_two_steps(tmp_path: Path) -> None:
    done = run("-c", TWO_STEPS, str(tmp_path / "trials"))
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
