"""`doctor`: whether this machine can gate on a suite."""

from __future__ import annotations

import argparse
from importlib import metadata

from pytest_wanlora import environment
from pytest_wanlora import suite as suites
from pytest_wanlora.cli.output import BAD, OK, say
from pytest_wanlora.errors import WanloraError

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="whether this machine can gate on a suite")
    parser.add_argument("--suite", default=None, metavar="NAME|FILE", help="default: every packaged suite")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    code = OK
    found = environment.detect("float32")
    say([f"python {found.python} on {found.processor}"])
    say([f"device {found.device_name} ({environment.visible_gpus()} GPUs visible)"])
    for package in ("pytest-wanlora", "pytest", "pytest-xdist", "torch", "diffsynth", "open-clip-torch"):
        try:
            say([f"{package} {metadata.version(package)}"])
        except metadata.PackageNotFoundError:
            say([f"{package} is not installed; next: pip install {package}"])
            code = BAD
    names = [arguments.suite] if arguments.suite else list(suites.packaged())
    for name in names:
        suite = suites.load(name)
        try:
            suites.check_digests(suite)
        except WanloraError as error:
            say(f"suite {suite.name}: {error}".splitlines())
            code = BAD
        else:
            say([f"suite {suite.name}: all local files are there; {_hub_files(suite)} are on the hub"])
    return code


def _hub_files(suite: suites.Suite) -> int:
    return sum(text.startswith("hub:") for _, text in suites.references(suite))
