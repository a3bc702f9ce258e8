"""The files that an extension names are checked before anything is rendered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pytest_wanlora.registry import ExtensionFile
from pytest_wanlora.run.preflight import _wrong_file


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"weights", ""),
        (b"longer weights", "has 14 bytes; allowed: 7"),
        (b"Weights", f"has SHA-256 {hashlib.sha256(b'Weights').hexdigest()}; allowed: "),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_must_be_the_one_that_the_extension_names(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "weights.bin"
    if content is not None:
        path.write_bytes(content)
    found = _wrong_file(ExtensionFile(path, 7, hashlib.sha256(b"weights").hexdigest()))
    assert found.startswith(complaint)
    assert bool(found) == bool(complaint)
