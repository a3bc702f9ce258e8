"""`show`: print the report of a run again."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_wanlora import results
from pytest_wanlora.cli.output import BAD, OK, say, say_json
from pytest_wanlora.errors import RecordError
from pytest_wanlora.files import listing
from pytest_wanlora.reports import terminal


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "show",
        help="print the report of a run again",
        description="Exit code 1 if the run has a checkpoint that may not be published.",
    )
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="results.json or its folder; default: the newest"
    )
    parser.add_argument("--runs", default=".wanlora/runs", metavar="FOLDER", help="where runs are kept")
    parser.add_argument("--json", action="store_true", help="the whole record, in its present version")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    path = Path(arguments.run) if arguments.run else newest_run(Path(arguments.runs))
    record = results.load(path)
    if arguments.json:
        say_json(record.model_dump(mode="json"))
    else:
        say(terminal.summary(record, str(path), full=True))
    return OK if all(card.publishable for card in record.candidates) else BAD


def newest_run(folder: Path) -> Path:
    """The record of the newest run in a folder.

    Raises:
        RecordError: There is none.
    """
    found = results.records(folder)
    if not found:
        raise RecordError(
            f"{folder}: no run has a record here; allowed: the folder that --wanlora-output-dir named",
            next_command=listing(folder) if folder.is_dir() else "pytest --lora FILE",
        )
    return found[-1]
