"""Options and ini keys: what there is, where a value came from, and what it may be."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pytest_wanlora.errors import SettingsError

if TYPE_CHECKING:
    import pytest

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""Names of suites, baselines and scenarios, which become folders."""


@dataclass(frozen=True)
class Option:
    """One option and its ini twin.

    Attributes:
        name: Without dashes in front, `wanlora-scale`; the ini key has underscores.
        metavar: In `--help`; None for a flag, which gets a twin `--wanlora-no-NAME`.
        help: In `--help` and in the documentation.
        default: In words, for both.
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
        "VIDEOS|MINUTESm|HOURSh",
        "what a race may cost, its winner's gate included; it then stops in good order",
        "no limit",
    ),
    Option(
        "wanlora-model-cards", None, "write model cards of checkpoints that may not be published too", "no"
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
    """Positions of options of ours whose value is the next word.

    Example:
        >>> in_two_words(["-v", "--lora", "a", "--wanlora-scale=2", "--", "--lora", "b"])
        [1]
    """
    names = {"--lora", *(f"--{option.name}" for option in OPTIONS if option.metavar is not None)}
    words = list(map(str, arguments))
    end = words.index("--") if "--" in words else len(words)
    return [at for at in range(end - 1) if words[at] in names and not words[at + 1].startswith("-")]


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


def find(config: pytest.Config, option: Option) -> Given | None:
    """Return an option's value from the command line, else from the ini file, else None.

    Raises:
        SettingsError: The ini file's value has a type that pytest refuses.
    """
    typed = getattr(config.option, option.ini)
    if typed is not None:
        return Given(typed, f"--{option.name}", config.invocation_params.dir, on_command_line=True)
    try:
        written = config.getini(option.ini)
    except (TypeError, ValueError) as error:
        # a value of another type in a TOML file; pytest 9.2 makes it a usage error itself
        raise SettingsError(str(error), next_command=f"write {option.ini} as text, in quotes") from error
    if written is None or written == []:
        return None
    overridden = {text.partition("=")[0] for text in config.option.override_ini or []}
    if option.ini in overridden or config.inipath is None:
        return Given(written, f"-o {option.ini}", config.invocation_params.dir)
    return Given(written, f"{option.ini} in {config.inipath.name}", config.inipath.parent)


@dataclass(frozen=True)
class Given:
    """A value as the user gave it.

    Attributes:
        value: Text, or a list of texts for repeatable options.
        source: `--wanlora-scale`, `wanlora_scale in pytest.ini` or `-o wanlora_scale`.
        folder: Where its relative paths start: the working directory for the command line, the ini file's
            folder for the ini file.
        on_command_line: Whether it was typed, `addopts` included.
    """

    value: str | Sequence[str]
    source: str
    folder: Path
    on_command_line: bool = False

    @property
    def text(self) -> str:
        """The value of an option that is given once."""
        return self.value if isinstance(self.value, str) else " ".join(self.value)

    def refused(self, allowed: str) -> SettingsError:
        """Build the error for this value."""
        return SettingsError(
            f"{self.source}: {self.text!r} is not allowed; allowed: {allowed}",
            next_command=f"correct {self.source}, or leave it out; pytest --help lists the defaults",
        )


def parse_path(given: Given) -> str:
    """Make a file, folder or glob absolute.

    Raises:
        SettingsError: Empty, or no path.
    """
    if not given.text.strip():
        raise given.refused("a path")
    try:
        # what it imports is not loaded while the gate is off
        from pytest_wanlora.files import expand_home

        return str(given.folder / expand_home(given.text))
    except ValueError as error:
        raise given.refused(f"a path; {error}") from error


def parse_lora(given: Given) -> str:
    """Make the files of a `--lora`, a path or `high=PATH,low=PATH`, absolute.

    Raises:
        SettingsError: Empty, or no path.
        CheckpointError: What is not `high` or `low` is given a path.
    """
    if not given.text.strip():
        raise given.refused("a path")
    try:
        # what it imports is not loaded while the gate is off
        from pytest_wanlora.checkpoint.pairs import absolute

        return absolute(given.text, given.folder)
    except ValueError as error:
        raise given.refused(f"a path; {error}") from error


def parse_file(given: Given) -> Path:
    """Return the absolute path of a file that is there.

    Raises:
        SettingsError: Empty, or no file.
    """
    path = Path(parse_path(given))
    if not path.is_file():
        raise given.refused(f"a file; {path} is {'a folder' if path.is_dir() else 'not there'}")
    return path


def parse_data(given: Given) -> Path:
    """Return the absolute path of a file or folder that is there.

    Raises:
        SettingsError: Empty, or not there.
    """
    path = Path(parse_path(given))
    if not path.exists():
        raise given.refused(f"a file or folder; {path} is not there")
    return path


def parse_suite(given: Given) -> str:
    """Return a suite's name, or the absolute path of its file.

    Raises:
        SettingsError: Empty.
    """
    if NAME.fullmatch(given.text) and not given.text.endswith((".yaml", ".yml")):
        return given.text
    return parse_path(given)


def parse_baseline(given: Given) -> str:
    """Return a baseline's name, or the absolute path of its folder.

    Raises:
        SettingsError: Neither a name nor a path with a separator.
    """
    text = given.text
    if NAME.fullmatch(text):
        return text
    if not ({"/", os.sep} & set(text)):
        raise given.refused("base, accepted, a name of letters, digits, _ . -, or a folder's path with a /")
    return parse_path(given)


def parse_scales(given: Given) -> tuple[float, ...]:
    """Return the strengths of a LoRA, each from -10 to 10 and not 0, and each once.

    Raises:
        SettingsError: Not a number of that range, or one that is named twice.
    """
    allowed = "a number from -10 to 10 and not 0, which is the model without the LoRA"
    words = given.text.split(",")
    if len(words) > 1:
        allowed += "; several are separated by commas, each once, as in 0.6,0.8,1.0"
    try:
        scales = tuple(map(float, words))
    except ValueError as error:
        raise given.refused(allowed) from error
    # their names, epoch-2@0.8, have six digits
    if not all(0 < abs(scale) <= 10 for scale in scales) or len({f"{s:g}" for s in scales}) < len(scales):
        raise given.refused(allowed)
    return scales


def parse_seeds(given: Given) -> tuple[int, int]:
    """Return the seeds of the first and the last look; one number is both.

    Raises:
        SettingsError: Not `N` or `FIRST:MOST`, not within 1 to 1000, or the first above the most.
    """
    found = re.fullmatch(r"([0-9]{1,4})(?::([0-9]{1,4}))?", given.text)
    first, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= most <= 1000:
        raise given.refused("N or FIRST:MOST, from 1 to 1000, FIRST up to MOST")
    return first, most


@dataclass(frozen=True)
class Budget:
    """What a race may cost.

    Attributes:
        text: As the user gave it.
        videos: Videos of the race and the winner's gate; None: as many as it takes.
        seconds: Time from the start of the race; None: as long as it takes.
    """

    text: str
    videos: int | None = None
    seconds: float | None = None


def parse_budget(given: Given) -> Budget:
    """Return a number of videos, or a time.

    Raises:
        SettingsError: Neither `N` from 1 to 999999 nor a number of seconds, minutes or hours, above 0.
    """
    if re.fullmatch(r"[0-9]{1,6}", given.text) and int(given.text) > 0:
        return Budget(given.text, videos=int(given.text))
    found = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,3})?)([smh])", given.text)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not seconds:
        raise given.refused("a number of videos, or a time such as 90s, 40m or 1.5h, above 0")
    return Budget(given.text, seconds=seconds)


def parse_scenarios(given: Given) -> tuple[str, ...]:
    """Return scenario ids, each once.

    Raises:
        SettingsError: One of them is no id.
    """
    identifiers = (given.value,) if isinstance(given.value, str) else tuple(given.value)
    for identifier in identifiers:
        if not NAME.fullmatch(identifier):
            raise replace(given, value=identifier).refused("ids of the suite's scenarios, one an option")
    return tuple(dict.fromkeys(identifiers))


def parse_device(given: Given) -> str:
    """Return `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        SettingsError: Anything else.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", given.text):
        raise given.refused("auto, cpu, cuda, cuda:N")
    return given.text


def parse_flag(given: Given) -> bool:
    """Return whether a flag is on.

    Raises:
        SettingsError: Not yes, no, true, false, on, off, 1 or 0, in any case.
    """
    word = given.text.lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise given.refused("yes, no, true, false, on, off, 1, 0")


def parse_address(given: Given) -> str:
    """Return where a Ray cluster is: `auto`, `local`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        SettingsError: None of these.
    """
    host = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"
    if not re.fullmatch(rf"auto|local|(ray://)?({host}):[0-9]{{1,5}}", given.text):
        raise given.refused("auto, local, HOST:PORT, ray://HOST:PORT")
    return given.text


def parse_seconds(given: Given) -> float:
    """Return a number of seconds, 1 to 604,800 (a week).

    Raises:
        SettingsError: Not a number of that range.
    """
    allowed = "a number of seconds from 1 to 604800"
    try:
        seconds = float(given.text)
    except ValueError as error:
        raise given.refused(allowed) from error
    if not 1 <= seconds <= 604800:
        raise given.refused(allowed)
    return seconds
