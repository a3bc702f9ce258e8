"""Programs that a benchmark starts, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from benchmarks.gpu.record import say

__all__ = ["TIMED_OUT", "run_group"]

#: Exit code of a program that was ended because its time was over.
TIMED_OUT = 124


def run_group(
    command: Sequence[str],
    limit: float,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
) -> int:
    """Run a program; when its time is over, end it with all it has started, which would keep the GPU.

    Args:
        command: What to run.
        limit: Seconds.
        cwd: Where.
        env: Its environment; this process' when left out.
        stdout: Where it writes, errors too; this process' when left out.

    Returns:
        Its exit code; `TIMED_OUT`.
    """
    errors = None if stdout is None else subprocess.STDOUT
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=stdout, stderr=errors, start_new_session=True
    ) as process:
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            say(f"ended after {limit:.0f} s: {' '.join(command[:6])} ...")
            os.killpg(process.pid, signal.SIGKILL)
            return TIMED_OUT
