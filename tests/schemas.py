"""What runs leave behind, held against the published JSON Schemas."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path

from jsonschema_rs import Draft202012Validator, meta


@cache
def validator(package: str, name: str) -> Draft202012Validator:
    """A published schema, itself checked."""
    schema = json.loads((resources.files(package) / name).read_text(encoding="utf-8"))
    meta.validate(schema)
    return Draft202012Validator(schema)


def check_runs(folder: Path) -> int:
    """Hold every record and receipt below a folder against its schema.

    Returns:
        How many there were.
    """
    checked = 0
    for pattern, (package, name) in {
        "results.json": ("pytest_wanlora.results", "results.schema.json"),
        "receipt*.json": ("pytest_wanlora.reports", "receipt.schema.json"),
    }.items():
        for path in folder.rglob(pattern):
            # a test may have put another thing of that name there, a pipe among them, which blocks its reader
            if path.parent.parent.name != "runs" or path.parent.is_symlink() or not path.is_file():
                continue
            text = path.read_text(encoding="utf-8")
            # or have damaged it on purpose
            if not text.startswith("{"):
                continue
            validator(package, name).validate(json.loads(text))
            checked += 1
    return checked
