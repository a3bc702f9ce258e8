"""Options and ini keys: what there is, where a value came from, and what it may be."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pytest_wanlora.errors import SettingsError, WanloraError

if TYPE_CHECKING:
    import pytest

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""Names of suites, baselines and scenarios, which become folders."""

#: Options with which pytest lists something and judges nothing, by their names in `config.option`.
_LISTING: Final = {
    "help": ("--help", "-h"),
    "version": ("--version", "-V"),
    "markers": ("--markers",),
    "collectonly": ("--collect-only", "--co"),
    "wanlora_plan": ("--wanlora-plan",),
    "setupplan": ("--setup-plan", "--setupplan"),
    # which the one before it sets too
    "setuponly": ("--setup-only", "--setuponly", "--setup-plan", "--setupplan"),
    "showfixtures": ("--fixtures", "--funcargs"),
    "show_fixtures_per_test": ("--fixtures-per-test",),
    "cacheshow": ("--cache-show",),
}


@dataclass(frozen=True)
class Option:
    """One option and its ini twin.

    Attributes:
        name: Without dashes in front, `wanlora-scale`; the ini key has underscores.
        metavar: In `--help`; None for a flag, which gets a twin `--wanlora-no-NAME`.
        help: In `--help` and in the documentation.
        repeatable: May be given several times; its ini value is a list.
    """

    name: str
    metavar: str | None
    help: str
    default: str
    repeatable: bool = False

    @property
    def ini(self) -> str:
        """Its key in the ini file."""
        return self.name.replace("-", "_")


OPTIONS: Final[tuple[Option, ...]] = (
    Option("wanlora-suite", "NAME|FILE", "suite to gate on", "the packaged suite that fits the checkpoint"),
    Option("wanlora-baseline", "base|accepted|NAME|FOLDER", "baseline to compare with", "base"),
    Option("wanlora-baselines-dir", "FOLDER", "where baselines are stored", "baselines"),
    Option(
        "wanlora-scale",
        "NUMBER[,NUMBER...]",
        "strength of the LoRA; with several, each checkpoint at each of them is a candidate",
        "1.0",
    ),
    Option(
        "wanlora-seeds", "N|FIRST:MOST", "videos a scenario, at the first and the last look", "the suite's"
    ),
    Option(
        "wanlora-scenario", "ID", "render this scenario only; the run is then partial", "all", repeatable=True
    ),
    Option("wanlora-device", "auto|cpu|cuda|cuda:N", "device to render on", "the suite's, else auto"),
    Option("wanlora-cache-dir", "FOLDER", "where rendered jobs are kept", ".wanlora/cache"),
    Option("wanlora-output-dir", "FOLDER", "where run records and reports go", ".wanlora/runs"),
    Option("wanlora-cache", None, "reuse jobs that were rendered before", "yes"),
    Option("wanlora-previews", None, "write an mp4 of every video", "yes"),
    Option("wanlora-allow-environment", None, "compare with baselines of other GPUs and versions", "no"),
    Option(
        "wanlora-training-data", "PATH", "captions of the training, put beside the verdicts", "not looked at"
    ),
    Option(
        "wanlora-race",
        None,
        "race the candidates on the same seeds and gate the winner in full; who certainly fails, or cannot "
        "win, gets no more videos",
        "no",
    ),
    Option(
        "wanlora-budget",
        "VIDEOS|SECONDSs|MINUTESm|HOURSh",
        "what a race may cost, its winner's gate included; it then stops in good order",
        "no limit",
    ),
    Option(
        "wanlora-model-cards", None, "write model cards of checkpoints that may not be published too", "no"
    ),
    Option(
        "wanlora-export",
        "tensorboard|wandb",
        "write the run to an experiment tracker too, an extra of that name",
        "none",
        repeatable=True,
    ),
    Option("wanlora-sign-key", "FILE", "private SSH key that signs the receipt", "not signed"),
    Option(
        "wanlora-ray",
        "auto|local|HOST:PORT|ray://HOST:PORT",
        "render on the nodes of a Ray cluster",
        "on this machine",
    ),
    Option("wanlora-ray-wait", "SECONDS", "how long to wait for a worker of the cluster", "600"),
    Option(
        "wanlora-ray-limit",
        "SECONDS",
        "how long a worker of the cluster may take for a batch, with the loading of the model",
        "3600",
    ),
)
"""Every option but the two that switch the gate on."""


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and ini key.

    All values stay text until they are read, so that the command line and the ini file go through the same
    `parse_*` functions and fail in the same words.
    """
    group = parser.getgroup("wanlora", "LoRA gate for Wan video models")
    group.addoption(
        "--lora",
        action="append",
        metavar="FILE|FOLDER|GLOB",
        help="LoRA checkpoint to gate, or high=FILE,low=FILE; repeat it to gate and compare several",
    )
    group.addoption(
        "--update-baselines",
        action="store_true",
        help="store baselines/SUITE/base, or with --lora accept the checkpoint as baselines/SUITE/accepted",
    )
    # without an ini twin: a line left in a file must not turn every gate into a plan
    group.addoption(
        "--wanlora-plan",
        action="store_true",
        help="print what the run needs, what is missing and how long it takes; nothing is rendered or judged",
    )
    # without one for the same reason: somebody must insist each time
    group.addoption(
        "--wanlora-force",
        action="store_true",
        help="with --update-baselines: store it although it is smaller than what it replaces, or refused by "
        "the gate; the record and the baseline say who insisted",
    )
    for option in OPTIONS:
        text = f"{option.help} (default: {option.default}; ini: {option.ini})"
        if option.metavar is None:
            group.addoption(f"--{option.name}", action="store_const", const="yes", dest=option.ini, help=text)
            opposite = f"--{option.name.replace('wanlora-', 'wanlora-no-')}"
            group.addoption(
                opposite,
                action="store_const",
                const="no",
                dest=option.ini,
                help=f"opposite of --{option.name}",
            )
        else:
            action = "append" if option.repeatable else "store"
            group.addoption(
                f"--{option.name}", action=action, metavar=option.metavar, dest=option.ini, help=text
            )
        kind: Literal["args", "string"] = "args" if option.repeatable else "string"
        parser.addini(option.ini, text, type=kind, default=None)


def in_two_words(arguments: Sequence[str | os.PathLike[str]]) -> list[int]:
    """Positions of options of ours whose value is the next word, which may begin with a dash as `-1` does.

    Example:
        >>> in_two_words(["-v", "--lora", "a", "--wanlora-scale=2", "--", "--lora", "b"])
        [1]
    """
    names = {"--lora", *(f"--{option.name}" for option in OPTIONS if option.metavar is not None)}
    words = list(map(str, arguments))
    end = words.index("--") if "--" in words else len(words)
    # whatever follows them: what pytest does not take for their value it refuses
    return [at for at in range(end - 1) if words[at] in names]


def again(typed: Sequence[str], *changed: str, without: Collection[str] = ()) -> str:
    """The command line that was typed, with some options of ours changed: see `Settings.again`."""
    names = {word.partition("=")[0] for word in changed} | {*without}
    kept = [word for word in in_one_word(typed) if word.partition("=")[0] not in names]
    return shlex.join(["pytest", *changed, *kept])


def following(error: WanloraError, typed: Sequence[str]) -> str | None:
    """The next command of an error; where it is options to change, the whole command line with them."""
    if not error.options:
        return error.next_command
    changed: list[str] = []
    for name, value in error.options.items():
        if isinstance(value, bool):
            changed += [name] if value else []
        else:
            changed += [f"{name}={each}" for each in ((value,) if isinstance(value, str) else value)]
    return again(typed, *changed, without=error.options)


def in_one_word(arguments: Sequence[str]) -> list[str]:
    """Join options of ours and their values, which pytest then takes for nothing else.

    Example:
        >>> in_one_word(["-v", "--lora", "a", "b"])
        ['-v', '--lora=a', 'b']
    """
    joined = list(arguments)
    for at in reversed(in_two_words(joined)):
        joined[at : at + 2] = [f"{joined[at]}={joined[at + 1]}"]
    return joined


def listing(config: pytest.Config) -> str:
    """The option with which a run judges nothing, wherever it was given; empty where the run judges."""
    return next((long for name, (long, *_) in _LISTING.items() if config.getoption(name, False)), "")


def lists(config: pytest.Config) -> bool:
    """Whether a run lists something and judges nothing, as it was asked to on its command line.

    Raises:
        SettingsError: It was asked to in a place that every run reads: none would judge anything, and each
            would end with exit code 0.
    """
    words = [str(word).partition("=")[0] for word in config.invocation_params.args]
    standing = {word.partition("=")[0] for word in os.environ.get("PYTEST_ADDOPTS", "").split()}
    for name, (long, *others) in _LISTING.items():
        if not config.getoption(name, False):
            continue
        # `-qh` is `-q -h`
        letters = [each[1] for each in others if not each.startswith("--")]
        joined = re.compile(f"-[a-zA-Z]*[{''.join(letters)}][a-zA-Z]*") if letters else None
        if not any(word in (long, *others) or (joined and joined.fullmatch(word)) for word in words):
            raise SettingsError(
                f"{long} in addopts, PYTEST_ADDOPTS or a plugin: no run would judge anything, and each would "
                "end with exit code 0; allowed: on the command line",
                next_command="printenv PYTEST_ADDOPTS"
                if standing & {long, *others} or config.inipath is None
                else f"grep -n addopts {shlex.quote(str(config.inipath))}",
            )
        return True
    return False


def find(config: pytest.Config, option: Option) -> Given | None:
    """Return an option's value from the command line, else from the ini file, else None.

    Raises:
        SettingsError: The ini file's value has a type that pytest refuses.
    """
    typed = getattr(config.option, option.ini)
    if typed is not None:
        words = tuple(map(str, config.invocation_params.args))
        without = again(words, without=[f"--{option.name}"])
        return Given(typed, f"--{option.name}", config.invocation_params.dir, True, without)
    try:
        written = config.getini(option.ini)
    except (TypeError, ValueError) as error:
        # a value of another type in a TOML file; pytest 9.2 makes it a usage error itself
        raise SettingsError(
            f"{error}; allowed: a text, in quotes",
            next_command=f"grep -n {option.ini} {shlex.quote(str(config.inipath))}"
            if config.inipath is not None
            else "pytest --help",
        ) from error
    if written is None or written == []:
        return None
    overridden = {text.partition("=")[0] for text in config.option.override_ini or []}
    if option.ini in overridden or config.inipath is None:
        return Given(written, f"-o {option.ini}", config.invocation_params.dir)
    path = config.inipath
    look = f"grep -n {option.ini} {shlex.quote(str(path))}"
    return Given(written, f"{option.ini} in {path.name}", path.parent, otherwise=look)


@dataclass(frozen=True)
class Given:
    """A value as the user gave it.

    Attributes:
        value: Text, or a list of texts for repeatable options.
        source: `--wanlora-scale`, `wanlora_scale in pytest.ini` or `-o wanlora_scale`.
        folder: Where its relative paths start: the working directory for the command line, the ini file's
            folder for the ini file.
        on_command_line: Whether it was typed, `addopts` included.
        otherwise: The next command where it is not allowed: what was typed without it, or what
            shows its line in a file.
    """

    value: str | Sequence[str]
    source: str
    folder: Path
    on_command_line: bool = False
    otherwise: str = "pytest --help"

    @property
    def text(self) -> str:
        """The value of an option that is given once."""
        return self.value if isinstance(self.value, str) else " ".join(self.value)

    def refused(self, allowed: str, next_command: str = "") -> SettingsError:
        """Build the error for this value; without a next command of its own the usual one follows."""
        return SettingsError(
            f"{self.source}: {self.text!r} is not allowed; allowed: {allowed}",
            next_command=next_command or self.otherwise,
        )
