"""Printing and exit codes of the commands."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from pytest_wanlora.errors import CheckpointError

OK: Final = 0
BAD: Final = 1
USAGE: Final = 4


def say(lines: Iterable[str]) -> None:
    """Print lines."""
    _print(lines, sys.stdout)


def say_json(document: object) -> None:
    """Print a document as JSON."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # the terminal cannot encode some letters, or a file's name is not Unicode: escaped without loss
        text = json.dumps(document, indent=1, allow_nan=False)
    print(text)


def complain(problem: object) -> None:
    """Print a problem to stderr."""
    _print(str(problem).splitlines(), sys.stderr)


def of_command(error: CheckpointError, *command: str) -> CheckpointError:
    """The error of a checkpoint that a command was given in the place of `pytest --lora`."""
    meant = error.options.get("--lora", ())
    files = [meant] if isinstance(meant, str) else list(meant) if isinstance(meant, tuple) else []
    again = shlex.join(["python", "-m", "pytest_wanlora", *command, *files]) if files else error.next_command
    return CheckpointError(error.message.removeprefix("--lora: "), next_command=again or None)


def _print(lines: Iterable[str], stream: TextIO) -> None:
    for line in lines:
        print(shown(line, stream.encoding or "utf-8"), file=stream)


def shown(line: str, encoding: str) -> str:
    """A line without control characters, limited to the terminal's encoding."""
    seen = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    return seen.encode(encoding, errors="replace").decode(encoding)
