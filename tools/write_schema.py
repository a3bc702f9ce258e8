"""Write the published JSON Schemas from the code: `python -m tools.write_schema`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pytest_wanlora.publishing import receipt
from pytest_wanlora.results import run_record

SCHEMAS = {
    ("pytest_wanlora.results", "results.schema.json"): run_record.json_schema,
    ("pytest_wanlora.reports", "receipt.schema.json"): receipt.json_schema,
}

if __name__ == "__main__":
    for (package, name), make in SCHEMAS.items():
        with resources.as_file(resources.files(package) / name) as path:
            Path(path).write_text(make(), encoding="utf-8")
            print(f"wrote {path}")
