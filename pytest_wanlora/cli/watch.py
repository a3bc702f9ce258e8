"""`watch`: gate each checkpoint as a trainer finishes writing it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pytest_wanlora.cli.output import BAD, OK, shown
from pytest_wanlora.durations import seconds_of
from pytest_wanlora.errors import CheckpointError, SettingsError

_HOME: Final = Path(".wanlora/watch")
#: What a watch says itself, and pytest's options that leave items out: a checkpoint that is gated in part is
#: not measured.
_REFUSED: Final = (
    *("--update-baselines", "--wanlora-plan", "--collect-only", "--co", "--setup-only", "--setup-plan"),
    *("--exitfirst", "--lf", "--last-failed", "--sw", "--stepwise", "--sw-skip", "--stepwise-skip"),
    *("--sw-reset", "--stepwise-reset", "--help", "--version", "--markers", "--fixtures", "--funcargs"),
    *("--fixtures-per-test", "--cache-show"),
)
#: The same, with a value.
_REFUSED_WITH_VALUE: Final = ("--lora", "--wanlora-scenario", "--deselect", "--maxfail")
#: One-letter options of pytest, which may be written in one word: flags, then one with a value.
_LETTERS: Final = re.compile(r"-([hlqsvVx]*)(?:([km])(.*))?", re.DOTALL)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "watch",
        help="gate each checkpoint as a trainer finishes writing it",
        usage="%(prog)s [-h] [--pid N] [--idle TIME] [--until-worse N] [--every TIME] FOLDER [FOLDER ...] "
        "[-- PYTEST OPTIONS]",
        description=(
            "Every finished .safetensors file is gated once, by the same run as pytest --lora FILE; what "
            "follows -- is handed to it. Exit code 1 if a checkpoint could not be measured, or nothing was "
            "gated; whether one may be published is in the table."
        ),
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="where the trainer writes")
    parser.add_argument("--pid", type=int, default=None, metavar="N", help="end with this process")
    parser.add_argument(
        "--idle", default=None, metavar="TIME", help="end when no file was new for so long, such as 30m"
    )
    parser.add_argument(
        "--until-worse",
        type=int,
        default=None,
        metavar="N",
        help="say when the last N epochs are certainly worse than an earlier one, and end",
    )
    parser.add_argument("--every", default="5s", metavar="TIME", help="between two looks; default: 5s")
    parser.set_defaults(run_command=_run, handed=(), words=())


def _run(arguments: argparse.Namespace) -> int:
    # not above: these load what most commands do not need
    from pytest_wanlora import suite as suites
    from pytest_wanlora.checkpoint import read
    from pytest_wanlora.watch.folders import Folders
    from pytest_wanlora.watch.gates import Gates
    from pytest_wanlora.watch.loop import Ends, Screen, Watch

    handed = tuple(arguments.handed)
    _refuse(arguments, handed)
    places = [Path(each) for each in arguments.folders]

    def fits_experts(path: Path, expert: str) -> bool:
        try:
            return suites.fits_experts(read(path, expert=expert))
        except CheckpointError:
            return False

    watch = Watch(
        Folders(places, _experts(handed), fits_experts),
        Gates.of(_HOME, places, handed),
        Ends(
            lives=None if arguments.pid is None else Process(arguments.pid).lives,
            idle=None if arguments.idle is None else _seconds("--idle", arguments.idle),
            until_worse=arguments.until_worse,
        ),
        Screen(sys.stdout, shown),
        every=_seconds("--every", arguments.every),
        again=lambda suite: shlex.join(
            ["python", "-m", "pytest_wanlora", *arguments.words, "--", *_named(handed, suite)]
        ),
    )
    return OK if watch.run() else BAD


def _named(handed: Sequence[str], suite: str) -> list[str]:
    """The words for pytest with another suite."""
    words, kept = iter(handed), list[str]()
    for word in words:
        name, equals, _ = word.partition("=")
        if name != "--wanlora-suite":
            kept.append(word)
        elif not equals:
            next(words, None)
    return [f"--wanlora-suite={suite}", *kept]


def _experts(handed: Sequence[str]) -> bool | None:
    """Whether the suite that pytest is given, or its ini file names, has two experts; None without one."""
    from pytest_wanlora import suite as suites
    from pytest_wanlora.hooks import ini_files

    settings = ini_files.of_project(handed)
    if settings.suite is None:
        return None
    return (
        suites.load(settings.suite, baselines=settings.baselines_dir, seeds=settings.seeds).model.experts
        is not None
    )


def _refuse(arguments: argparse.Namespace, handed: Sequence[str]) -> None:
    """Refuse what cannot be watched."""
    for each in arguments.folders:
        if Path(each).exists() and not Path(each).is_dir():
            raise SettingsError(
                f"watch: {each}: is no folder; allowed: the folder that the trainer writes to",
                next_command=f"python -m pytest_wanlora watch {shlex.quote(str(Path(each).parent))}",
            )
    refused, kept = _sorted_out(handed)
    if refused:
        end = ["--", *kept] if kept else []
        raise SettingsError(
            f"watch: {', '.join(refused)}: not behind --; allowed: options of pytest that leave no item out",
            next_command=shlex.join(["python", "-m", "pytest_wanlora", *arguments.words, *end]),
        )
    for name, least in (("pid", 1), ("until_worse", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise SettingsError(
                f"--{name.replace('_', '-')}: {value} is not allowed; allowed: a number from {least} on",
                next_command="python -m pytest_wanlora watch --help",
            )
    if arguments.pid is not None and sys.platform == "win32":
        raise SettingsError(
            "--pid: not on Windows, where looking at a process would signal it; allowed: --idle",
            options={"--pid": False, "--idle": "30m"},
        )


def _sorted_out(handed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of the words that are for pytest: the options that are refused, and all words without them."""
    refused, kept = list[str](), list[str]()
    words = iter(handed)
    for word in words:
        name, equals, _ = word.partition("=")
        letters = _LETTERS.fullmatch(word)
        flags, valued, value = letters.groups() if letters else ("", None, None)
        wrong = [f"-{letter}" for letter in (*flags, valued) if letter and letter in "hkmVx"]
        if name in _REFUSED or word.startswith("wanlora::"):
            wrong = [word]
        elif name in _REFUSED_WITH_VALUE:
            wrong, valued, value = [word], name, equals
        refused += wrong
        if not wrong:
            kept.append(word)
        elif others := [letter for letter in flags if f"-{letter}" not in wrong]:
            kept.append(f"-{''.join(others)}")
        if valued and not value:
            next(words, None)
    return refused, kept


def _seconds(option: str, text: str) -> float:
    seconds = seconds_of(text, most_digits=6)
    if not seconds:
        raise SettingsError(
            f"{option}: {text!r} is not allowed; allowed: a time such as 90s, 40m or 1.5h, above 0",
            options={option: "30m" if option == "--idle" else "10s"},
        )
    return seconds


class Process:
    """A process of somebody else, told from a later one of its number.

    Args:
        pid: Its number.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._began = self._start()

    def lives(self) -> bool:
        """Whether it still runs."""
        return self._began is not None and self._start() == self._began

    def _start(self) -> str | None:
        """When it began, where the system says so; None if it has ended."""
        if Path("/proc/self/stat").exists():
            try:
                state, *rest = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                return None
            # of one that has ended and was not asked for its exit code the entry stays
            return None if state in "ZX" else rest[18]
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return ""
