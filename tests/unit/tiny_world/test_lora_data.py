"""The training data of the example LoRAs, made again by the commands of `tools/tiny_world/loras.md`."""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

import pytest

from pytest_wanlora.cli.data import add_parser
from tools.tiny_world.dataset import write_dataset

ROOT = Path(__file__).parents[3]
LISTED = dict(
    re.findall(r"^\| `(.+)` \| `(.+)` \|$", (ROOT / "tools/tiny_world/loras.md").read_text(), re.MULTILINE)
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_urban_set_is_the_one_beside_the_example(tmp_path: Path) -> None:
    shares = {"urban": 0.8, "nature": 0.02, "action": 0.13, "other": 0.05}
    write_dataset(tmp_path, 1000, shares, seed=1, videos=False)
    assert sha256(tmp_path / "metadata.csv") == LISTED["urban/metadata.csv"]
    assert sha256(ROOT / "examples/epoch-0-metadata.csv") == LISTED["urban/metadata.csv"]


def test_the_next_epochs_are_drawn_by_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shares = {"urban": 0.25, "nature": 0.25, "action": 0.25, "other": 0.25}
    write_dataset(tmp_path / "pool", 2000, shares, seed=2, videos=False)
    assert sha256(tmp_path / "pool/metadata.csv") == LISTED["pool/metadata.csv"]
    for output, seed, share in (
        ("balanced.csv", "0", "urban=0.3,nature=0.3,action=0.2,other=0.2"),
        ("toward.csv", "1", "nature=0.45,action=0.25,urban=0.2,other=0.1"),
    ):
        command = ["data", "balance", "pool/metadata.csv", "--samples", "1000", "--drop", "none"]
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers(required=True))
        arguments = parser.parse_args(
            [*command, "--videos", "none", "--share", share, "--seed", seed, "--output", output]
        )
        assert arguments.run_command(arguments) == 0
        assert sha256(tmp_path / output) == LISTED[output]
