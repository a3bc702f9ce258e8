"""`compare`: the checkpoints of one or several runs in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_wanlora import results
from pytest_wanlora.cli.output import BAD, OK, say, say_json


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="checkpoints of one run or several side by side, and the best that may be published",
        description=(
            "A table of every metric and scenario over the checkpoints, in the order given, which should be "
            "that of training. Runs that were measured in different ways are refused. Exit code 1 if none of "
            "the checkpoints may be published."
        ),
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="results.json or its folder")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    from pytest_wanlora.reports import compare

    record = compare.combine([results.load(Path(run)) for run in arguments.runs])
    if arguments.json:
        say_json(compare.document(record))
    else:
        say(compare.lines(record))
    return OK if any(card.publishable for card in record.candidates) else BAD
