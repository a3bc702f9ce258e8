"""Small packages that extend the gate, and how tests install them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def install(target: Path, name: str) -> None:
    """Install one of the packages here into a folder, without a network."""
    # a build writes into the source folder
    source = shutil.copytree(HERE / name, target.parent / f"source-{target.name}" / name, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-build-isolation", "--no-deps", "--target", str(target)]
    subprocess.run([*command, *options, str(source)], check=True)
