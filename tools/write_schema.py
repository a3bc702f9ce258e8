"""Write the published JSON Schemas from the code: `python -m tools.write_schema`."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pytest_wanlora.publishing.predicate import AnyStatement
from pytest_wanlora.results.run_record import RunRecord


def _text(schema: dict[str, Any], title: str) -> str:
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"pytest-wanlora {title}"}
    return json.dumps({**schema, **named}, indent=1, sort_keys=True) + "\n"


def of_record() -> str:
    """The schema of `results.json`."""
    return _text(RunRecord.model_json_schema(mode="serialization"), "run record")


def of_receipt() -> str:
    """The schema of a receipt, of any version."""
    schema = TypeAdapter(AnyStatement).json_schema(mode="validation", by_alias=True)
    return _text(schema, "receipt")


SCHEMAS = {
    ("pytest_wanlora.results", "results.schema.json"): of_record,
    ("pytest_wanlora.reports", "receipt.schema.json"): of_receipt,
}

if __name__ == "__main__":
    for (package, name), make in SCHEMAS.items():
        with resources.as_file(resources.files(package) / name) as path:
            Path(path).write_text(make(), encoding="utf-8")
            print(f"wrote {path}")
