"""Write `pytest_wanlora/results/results.schema.json` from the record: `python -m tools.write_schema`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pytest_wanlora.results.run_record import json_schema

if __name__ == "__main__":
    with resources.as_file(resources.files("pytest_wanlora.results") / "results.schema.json") as path:
        Path(path).write_text(json_schema(), encoding="utf-8")
        print(f"wrote {path}")
