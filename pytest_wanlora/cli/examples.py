"""`examples`: write the example LoRAs that come with the package."""

from __future__ import annotations

import argparse
import importlib.resources
from pathlib import Path
from typing import Final

from pytest_wanlora.cli.output import OK, say
from pytest_wanlora.errors import SettingsError

_ANOTHER: Final = "wanlora-examples"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "examples",
        help="write the example LoRAs of the embedded model, to try the gate with",
        description=(
            "epoch-0 may not be published, epoch-2 may; epoch-0-metadata.csv is what epoch-0 was trained on. "
            "pair is for the suite tiny-pair, from-first-frame for tiny-i2v; epoch-2 is for tiny-4step too. "
            "A file that exists is never overwritten."
        ),
    )
    parser.add_argument(
        "folder", nargs="?", default=".", metavar="FOLDER", help="default: the current folder"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_wanlora.reports.commands import typed

    folder = Path(arguments.folder)
    shipped = Path(str(importlib.resources.files("pytest_wanlora"))) / "examples"
    found = [path for path in sorted(shipped.rglob("*")) if path.is_file()]
    files = {folder / path.relative_to(shipped): path.read_bytes() for path in found}
    # all are looked at before the first is written
    written = {path: _holds(path, data) for path, data in files.items()}
    for path, data in files.items():
        if not written[path]:
            _write(path, data)
        say([f"{path} {'is there already' if written[path] else 'written'}, {len(data) / 1e6:.1f} MB"])
    say([f"next: {typed('pytest', '--lora', str(folder / 'epoch-2.safetensors'))}"])
    return OK


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is there with these bytes; refused if something else is."""
    try:
        if path.read_bytes() == data:
            return True
    except FileNotFoundError:
        if not path.is_symlink():
            return False
    except OSError as error:
        raise _refused(path, error) from error
    raise SettingsError(
        f"{path}: another file with this name exists, and examples never overwrites one; nothing was written",
        next_command=f"python -m pytest_wanlora examples {_ANOTHER}",
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file that does not exist."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            try:
                file.write(data)
                file.flush()
            except BaseException:
                # a part of it would be taken for another file the next time
                path.unlink()
                raise
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"{path}: cannot be written: {error.strerror}; allowed: a folder where you may write",
        next_command=f"python -m pytest_wanlora examples {_ANOTHER}",
    )
