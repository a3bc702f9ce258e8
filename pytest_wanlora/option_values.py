"""What the values of options may be, on the command line and in ini files; `SettingsError` for all else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_wanlora.durations import seconds_of
from pytest_wanlora.options import NAME, Given


def parse_path(given: Given) -> str:
    """Make a file, folder or glob absolute."""
    if not given.text.strip():
        raise given.refused("a path")
    try:
        # what it imports is not loaded while the gate is off
        from pytest_wanlora.files import expand_home

        return str(given.folder / expand_home(given.text))
    except ValueError as error:
        raise given.refused(f"a path; {error}") from error


def parse_lora(given: Given) -> str:
    """Make the files of a `--lora`, a path or `high=PATH,low=PATH`, absolute."""
    if not given.text.strip():
        raise given.refused("a path")
    try:
        # what it imports is not loaded while the gate is off
        from pytest_wanlora.checkpoint.pairs import absolute

        return absolute(given.text, given.folder)
    except ValueError as error:
        raise given.refused(f"a path; {error}") from error


def parse_file(given: Given) -> Path:
    """Return the absolute path of a file that is there."""
    path = Path(parse_path(given))
    if not path.is_file():
        raise given.refused(f"a file; {path} is a folder" if path.is_dir() else f"a file; {_absent(path)}")
    return path


def parse_data(given: Given) -> Path:
    """Return the absolute path of a file or folder that is there."""
    path = Path(parse_path(given))
    if not path.exists():
        raise given.refused(f"a file or folder; {_absent(path)}")
    return path


def _absent(path: Path) -> str:
    # what it imports is not loaded while the gate is off
    from pytest_wanlora.files import dangling

    return f"{path}: {link}" if (link := dangling(path)) is not None else f"{path} is not there"


def parse_suite(given: Given) -> str:
    """Return a suite's name, or the absolute path of its file."""
    if NAME.fullmatch(given.text) and not given.text.endswith((".yaml", ".yml")):
        return given.text
    return parse_path(given)


def parse_baseline(given: Given) -> str:
    """Return a baseline's name, or the absolute path of its folder."""
    text = given.text
    if NAME.fullmatch(text):
        return text
    if not ({"/", os.sep} & set(text)):
        raise given.refused("base, accepted, a name of letters, digits, _ . -, or a folder's path with a /")
    return parse_path(given)


def parse_scales(given: Given) -> tuple[float, ...]:
    """Return the strengths of a LoRA, each from -10 to 10 and not 0, and each once."""
    allowed = "a number from -10 to 10 and not 0, which is the model without the LoRA"
    words = given.text.split(",")
    if len(words) > 1:
        allowed += "; several are separated by commas, each once, as in 0.6,0.8,1.0"
    try:
        scales = tuple(map(float, words))
    except ValueError as error:
        raise given.refused(allowed) from error
    if not all(0 < abs(scale) <= 10 for scale in scales) or len(set(scales)) < len(scales):
        raise given.refused(allowed)
    return scales


def parse_seeds(given: Given) -> tuple[int, int]:
    """Return the seeds of the first and the last look, of `N` or `FIRST:MOST`, 1 to 1000."""
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
    """Return a number of videos, 1 to 999999, or a time in seconds, minutes or hours."""
    if re.fullmatch(r"[0-9]{1,6}", given.text) and int(given.text) > 0:
        return Budget(given.text, videos=int(given.text))
    seconds = seconds_of(given.text, most_digits=5)
    if not seconds:
        raise given.refused("a number of videos, or a time such as 90s, 40m or 1.5h, above 0")
    return Budget(given.text, seconds=seconds)


def parse_scenarios(given: Given) -> tuple[str, ...]:
    """Return scenario ids, each once."""
    identifiers = (given.value,) if isinstance(given.value, str) else tuple(given.value)
    for identifier in identifiers:
        if not NAME.fullmatch(identifier):
            raise replace(given, value=identifier).refused("ids of the suite's scenarios, one an option")
    return tuple(dict.fromkeys(identifiers))


def parse_exports(given: Given) -> tuple[str, ...]:
    """Return names of exporters, each once.

    Raises:
        SettingsError: One of them is none.
    """
    # what it imports is not loaded while the gate is off
    from pytest_wanlora.reports.writing import EXPORTS

    names = (given.value,) if isinstance(given.value, str) else tuple(given.value)
    for name in names:
        if name not in EXPORTS:
            raise replace(given, value=name).refused(f"{', '.join(EXPORTS)}, one an option")
    return tuple(dict.fromkeys(names))


def parse_device(given: Given) -> str:
    """Return `auto`, `cpu`, `cuda` or `cuda:N`."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", given.text):
        raise given.refused("auto, cpu, cuda, cuda:N")
    return given.text


def parse_flag(given: Given) -> bool:
    """Return whether a flag is on: yes, no, true, false, on, off, 1 or 0, in any case."""
    word = given.text.lower()
    if word in ("yes", "true", "on", "1"):
        return True
    if word in ("no", "false", "off", "0"):
        return False
    raise given.refused("yes, no, true, false, on, off, 1, 0")


def parse_address(given: Given) -> str:
    """Return where a Ray cluster is: `auto`, `local`, `HOST:PORT` or `ray://HOST:PORT`."""
    host = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"
    if not re.fullmatch(rf"auto|local|(ray://)?({host}):[0-9]{{1,5}}", given.text):
        raise given.refused("auto, local, HOST:PORT, ray://HOST:PORT")
    return given.text


def parse_seconds(given: Given) -> float:
    """Return a number of seconds, 1 to 604,800 (a week)."""
    allowed = "a number of seconds from 1 to 604800"
    try:
        seconds = float(given.text)
    except ValueError as error:
        raise given.refused(allowed) from error
    if not 1 <= seconds <= 604800:
        raise given.refused(allowed)
    return seconds
