"""`python -m pytest_wanlora`: checkpoints, runs, receipts, the cache and the installation, without pytest.

Each command is one module with `add_parser`, and a function from its arguments to an exit code: 0 all is
well, 1 something is wrong with what was looked at, 4 the command was used wrongly.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NoReturn

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
from pytest_wanlora.errors import EncodingError, PackedError, SettingsError, WanloraError
from pytest_wanlora.files import fetching, unused, url_of

_PROGRAM: Final = "python -m pytest_wanlora"


class _Parser(argparse.ArgumentParser):
    """A parser, and those of its commands, whose errors name the next command as all others do."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix(_PROGRAM).strip()
        said = message.removeprefix("argument ")
        named = said if said.startswith("-") or not command else f"{command}: {said}"
        raise SettingsError(named, next_command=f"{self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 - as argparse has it
        # the parser of each command is called with the words behind it, and knows best what it lacks
        self.set_defaults(program=self.prog)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            explain = getattr(found, "surplus", lambda *_: None)
            if (explained := explain(found, unknown, list(args or ()))) is not None:
                raise explained
            self.error(f"{' '.join(unknown)}: not known here; allowed: what the next command lists")
        if (empty := _empty(args or ())) is not None:
            self.error(f"{empty}: it is empty; allowed: a text")
        for action in self._actions:
            value = getattr(found, action.dest, None)
            if isinstance(value, Path) and (url := url_of(value)) is not None:
                # what is written is not there to be fetched
                fetched = None if action.dest == "output" else fetching(url)
                raise SettingsError(
                    f"{'/'.join(action.option_strings) or action.dest}: {url} is a URL; allowed: a path",
                    next_command=fetched or f"{self.prog} --help",
                )
        return found, unknown


def _empty(words: Sequence[str]) -> str | None:
    """The first option or argument that is empty, which as a path would be the current folder."""
    for before, word in pairwise(["", *words]):
        name, equals, value = word.partition("=")
        if not word.strip():
            return before if before.startswith("-") else "an argument"
        if equals and name.startswith("--") and not value.strip():
            return name
    return None


def _with(words: Sequence[str], old: Path, new: Path) -> list[str]:
    """Words with another path in the place of one, which may be an option's value."""
    again = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        again.append(f"{option}{equals}{new}" if value and Path(value) == old else word)
    return again


def _following(error: WanloraError, words: Sequence[str]) -> str | None:
    """The next command of an error; where it is a part of one, with the whole command that was typed."""
    from pytest_wanlora.reports.commands import typed

    following = error.next_command
    if following is not None and isinstance(error, EncodingError):
        old = error.file
        new = unused(old.with_suffix(f".utf8{old.suffix}"))
        again = _with(words, old, new)
        if again == list(words):
            # what a folder or a config names has to keep its name
            return f"{following} && {typed(*_PROGRAM.split(), *again)}"
        write = f"iconv -f {error.encoding} -t UTF-8 {shlex.quote(str(old))} > {shlex.quote(str(new))}"
        return f"{write} && {typed(*_PROGRAM.split(), *again)}"
    if following is not None and isinstance(error, PackedError):
        again = _with(words, error.archive, error.folder)
        return f"{following} && {typed(*_PROGRAM.split(), *again)}"
    if not error.options:
        return following
    kept, added = list(words), list[str]()
    for option, value in error.options.items():
        given = [at for at, word in enumerate(kept) if _is(word, option)]
        if len(given) > 1 and value is not False:
            # which of several was meant is not known here
            return f"write {following}"
        for at in reversed(given):
            del kept[at : at + (1 if "=" in kept[at] or value is True else 2)]
        if isinstance(value, str):
            added += [f"{option}={value}"] if value.startswith("-") else [option, value]
        else:
            added += [option] if value else []
    # what follows a lone -- is pytest's
    end = kept.index("--") if "--" in kept else len(kept)
    return typed(*_PROGRAM.split(), *kept[:end], *added, *kept[end:])


def _is(word: str, option: str) -> bool:
    """Whether a word of the command line is an option, which argparse takes when it is cut short too."""
    name = word.partition("=")[0]
    return name == option or (len(name) > 2 and option.startswith(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, of `sys.argv` by default; returns the exit code."""
    parser = _Parser(prog=_PROGRAM, description="Look at LoRA checkpoints of Wan video models.")
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
    whole, handed = words, list[str]()
    if words[:1] == ["watch"] and "--" in words:
        # what follows is pytest's
        at = words.index("--")
        words, handed = words[:at], words[at + 1 :]
    program = _PROGRAM
    try:
        try:
            chosen = parser.parse_args(words)
        except SystemExit:
            # what --help ends with
            return OK
        chosen.words, chosen.handed, program = words, handed, chosen.program
        command: Callable[[argparse.Namespace], int] = chosen.run_command
        return command(chosen)
    except WanloraError as error:
        # what is raised where several commands read does not know which of them was typed
        following = _following(error, whole) or f"{program} --help"
        error.next_command = following
        complain(error)
        return USAGE
    except BrokenPipeError:
        # the reader has gone, such as `head`; without this Python would complain once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BAD
