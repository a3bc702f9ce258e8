"""Measure how often the gate is wrong: `python -m benchmarks.evidence [--gates 500]`.

Plays whole gates on the held-out seeds of the bank, a process a core, some minutes; goes on where it was cut
short; then writes the tables and plots of `docs/evidence.md`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.evidence.fixtures import Ground
from benchmarks.evidence.plots import drawings
from benchmarks.evidence.study import run
from benchmarks.evidence.tables import MARKS, goals, page
from pytest_wanlora.files import write_whole

_HERE = Path(__file__).parent
_DOCS = _HERE.parent.parent / "docs"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.add_argument("--gates", type=int, default=500, help="of each false-alarm cell (default: 500)")
    parser.add_argument("--out", type=Path, default=_HERE / "study.json", help="the record")
    parser.add_argument("--docs", type=Path, default=_DOCS, help="folder of evidence.md")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="(default: one a core)")
    arguments = parser.parse_args()
    # a process a core: threads of their own would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    ground = Ground.of()
    record = run(
        ground,
        arguments.out,
        arguments.gates,
        say=lambda line: print(line, file=sys.stderr, flush=True),
        processes=arguments.processes,
    )
    MARKS.write(arguments.docs / "evidence.md", page(record))
    for name, drawing in drawings(record).items():
        write_whole(arguments.docs / "evidence" / f"{name}.svg", drawing.encode())
    for goal in goals(record):
        print(" | ".join(goal))


if __name__ == "__main__":
    main()
