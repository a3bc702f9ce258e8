"""What scripts and notebooks call: a gate run in a process of its own, and reading what a run wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_wanlora import errors
from pytest_wanlora.errors import JobError, RecordError, SettingsError, WanloraError
from pytest_wanlora.files import listing, read_regular
from pytest_wanlora.options import OPTIONS, Option
from pytest_wanlora.results.folders import REPLY
from pytest_wanlora.results.run_record import RunRecord, load

if TYPE_CHECKING:
    from pytest_wanlora.publishing.predicate import AnyStatement


def gate(
    lora: str | Path | Sequence[str | Path],
    *,
    suite: str | Path | None = None,
    folder: Path | None = None,
    pytest_arguments: Sequence[str] = (),
    **options: Any,  # noqa: ANN401 - checked against the options, and by the plugin
) -> RunRecord:
    """Gate checkpoints: the same run as `pytest --lora FILE`, in a process of its own.

    The exit code of that run is `RunRecord.exit_status`; a checkpoint that may not be published is no error.

    Args:
        lora: A file, a folder, a glob, or several of them; none for a run that stores the base baseline.
        suite: Name or file; the packaged suite that fits the checkpoint when left out.
        folder: Where pytest starts; the working directory when left out.
        pytest_arguments: Passed on as they are, such as `["-n", "2"]`.
        **options: The plugin's options, with or without `wanlora_`: `scale=0.8` or `scale=[0.6, 0.8]`,
            `seeds=(4, 16)`, `cache=False`, `scenario=["test1", "test2"]`; and `update_baselines=True`.

    Returns:
        The record that the run wrote.

    Raises:
        WanloraError: The error with which the run refused to begin, of the same class; `SettingsError` for an
            option that does not exist, `JobError` for a run that ended without a record.

    Example:
        >>> record = gate("step-2000.safetensors", suite="tiny", seeds=4)  # doctest: +SKIP
        >>> [card.publishable for card in record.candidates]  # doctest: +SKIP
        [True]
    """
    paths = [lora] if isinstance(lora, (str, Path)) else list(lora)
    if suite is not None:
        options["suite"] = suite
    arguments = [
        *(f"--lora={path}" for path in paths),
        *(word for name, value in options.items() for word in _option(name, value)),
        *pytest_arguments,
    ]
    with tempfile.TemporaryDirectory() as temporary:
        reply = Path(temporary) / "reply.json"
        plugins = ",".join(filter(None, (os.environ.get("PYTEST_PLUGINS"), "pytest_wanlora.hooks.reply")))
        environment = {**os.environ, "PYTEST_PLUGINS": plugins, REPLY: str(reply)}
        ended = subprocess.run(  # noqa: S603 - pytest, with the caller's arguments
            [sys.executable, "-m", "pytest", *arguments], cwd=folder, env=environment, check=False
        )
        answer = json.loads(reply.read_text(encoding="utf-8")) if reply.exists() else {}
    if "error" in answer:
        raise _error(**answer["error"])
    if "folder" not in answer:
        raise JobError(f"pytest ended with exit code {ended.returncode} and wrote no record; see its output")
    return load(Path(answer["folder"]))


def load_record(path: str | Path) -> RunRecord:
    """Read `results.json`.

    Args:
        path: The file, or the folder of the run, such as `.wanlora/runs/latest`.

    Raises:
        RecordError: There is none, or it is not a whole record.
    """
    return load(Path(path))


def read_receipt(path: str | Path) -> AnyStatement:
    """Read a receipt, of any version; `verify_receipt` says whether it lets a checkpoint be published.

    Args:
        path: `receipt.json`.

    Raises:
        RecordError: It cannot be read, or it is not a whole receipt.
    """
    from pytest_wanlora.publishing.receipt import parse

    try:
        data = read_regular(path)
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be read: {error.strerror}", next_command=listing(Path(path))
        ) from error
    return parse(data, source=str(path))


def _option(name: str, value: object) -> Iterable[str]:
    """The words of one option on the command line."""
    plain = name.removeprefix("wanlora_")
    if plain == "update_baselines":
        return ["--update-baselines"] if value else []
    known = {option.ini.removeprefix("wanlora_"): option for option in OPTIONS}
    if plain not in known:
        allowed = ", ".join([*known, "update_baselines"])
        raise SettingsError(f"gate: {name!r} is no option; allowed: {allowed}", next_command="pytest --help")
    return _words(known[plain], value)


def _words(option: Option, value: object) -> list[str]:
    if option.metavar is None:
        return [f"--{option.name if value else option.name.replace('wanlora-', 'wanlora-no-')}"]
    if option.repeatable and not isinstance(value, str) and isinstance(value, Iterable):
        return [f"--{option.name}={each}" for each in value]
    if option.name == "wanlora-scale" and isinstance(value, Iterable) and not isinstance(value, str):
        value = ",".join(map(str, value))
    elif isinstance(value, tuple):
        value = ":".join(map(str, value))
    return [f"--{option.name}={value}"]


def _error(kind: str, message: str, next_command: str | None) -> WanloraError:
    known: type[WanloraError] = getattr(errors, kind, WanloraError)
    return known(message, next_command=next_command)
