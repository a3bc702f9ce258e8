"""Small packages that extend the gate, and how tests install them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def install(target: Path, *names: str) -> None:
    """Install some of the packages here into a folder, without a network."""
    # a build writes into the source folder
    copies = target.parent / f"source-{target.name}"
    sources = [str(shutil.copytree(HERE / name, copies / name, dirs_exist_ok=True)) for name in names]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-build-isolation", "--no-deps", "--target", str(target)]
    subprocess.run([*command, *options, *sources], check=True)
