"""A report: every judged item as a line of CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from pytest_wanlora import Report, RunRecord


def write(record: RunRecord, folder: Path) -> list[Path]:
    """Write `items.csv` into the folder of the run."""
    path = folder / "items.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["candidate", "scenario", "metric", "verdict", "value", "change"])
        for judged in record.judgements:
            rows.writerow(
                [
                    judged.candidate,
                    judged.scenario,
                    judged.metric,
                    judged.verdict.value,
                    judged.value,
                    judged.change,
                ]
            )
    return [path]


CSV = Report(write=write)
