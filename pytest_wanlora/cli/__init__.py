"""`python -m pytest_wanlora`: checkpoints, runs, receipts, the cache and the installation, without pytest.

Each command is one module with `add_parser`, and a function from its arguments to an exit code: 0 all is
well, 1 something is wrong with what was looked at, 4 the command was used wrongly.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from pytest_wanlora.cli import (
    clean,
    compare,
    convert,
    doctor,
    examples,
    init,
    inspect,
    ray,
    reference,
    show,
    verify,
    watch,
)
from pytest_wanlora.cli import data as training_data
from pytest_wanlora.cli.output import BAD, OK, USAGE, complain
from pytest_wanlora.errors import WanloraError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, of `sys.argv` by default; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_wanlora", description="Look at LoRA checkpoints of Wan video models."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = (
        examples,
        init,
        inspect,
        convert,
        show,
        compare,
        verify,
        doctor,
        ray,
        reference,
        training_data,
        watch,
        clean,
    )
    for module in modules:
        module.add_parser(commands)
    words = list(sys.argv[1:] if arguments is None else arguments)
    handed: list[str] = []
    if words[:1] == ["watch"] and "--" in words:
        # what follows is pytest's
        at = words.index("--")
        words, handed = words[:at], words[at + 1 :]
    try:
        chosen = parser.parse_args(words)
    except SystemExit as error:
        return USAGE if error.code else OK
    chosen.handed = handed
    command: Callable[[argparse.Namespace], int] = chosen.run_command
    try:
        return command(chosen)
    except WanloraError as error:
        complain(error)
        return USAGE
    except BrokenPipeError:
        # the reader has gone, such as `head`; without this Python would complain once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD
