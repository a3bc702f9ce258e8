"""`doctor`: whether this machine can gate on a suite."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_wanlora import environment
from pytest_wanlora import suite as suites
from pytest_wanlora.cli.output import BAD, OK, say
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.files import write_whole
from pytest_wanlora.suite import hub

if TYPE_CHECKING:
    from pytest_wanlora.settings import Settings


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="whether this machine can gate on a suite",
        description=(
            "Looks for everything that a gate needs, as a gate does before it loads a model: packages, model "
            "files, scorers, reference set, baseline, disk, GPU memory. Exit code 1 if something is missing."
        ),
    )
    parser.add_argument(
        "--suite",
        default=None,
        metavar="NAME|FILE",
        help="default: the one of pytest's settings, then each packaged one in a line",
    )
    parser.add_argument(
        "--baselines-dir",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="where baselines are stored; default: that of pytest's settings, else baselines",
    )
    parser.add_argument(
        "--baseline",
        default=None,
        metavar="NAME",
        help="baseline to compare with; default: that of pytest's settings, else base",
    )
    parser.add_argument(
        "--pin",
        action="store_true",
        help="write the digests of the files that are on this disk, and the commits of the hub they are of, "
        "into the suite's file; needs --suite FILE",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.pin:
        return _pin(arguments)
    code = OK
    found = environment.detect("float32")
    say([f"python {found.python} on {found.processor}"])
    say([f"device {found.device_name} ({environment.visible_gpus()} GPUs visible)"])
    for package in ("pytest-wanlora", "pytest", "pytest-xdist", "torch", "diffsynth", "open-clip-torch"):
        version = environment.installed(package)
        if version is None:
            say([f"{package} is not installed; next: pip install {package}"])
            code = BAD
        else:
            say([f"{package} {version}"])
    if slow := _compiled_anew():
        say(
            [
                f"slow: Python has no byte code of {', '.join(slow)} and may not write it: "
                "every process compiles them anew",
                "next: unset PYTHONDONTWRITEBYTECODE, or set PYTHONPYCACHEPREFIX to a folder that stays",
            ]
        )
    if environment.installed("pytest") is None:
        return code
    return _suites(arguments, code)


def _suites(arguments: argparse.Namespace, code: int) -> int:
    """Look at the suite that pytest would take, then at the packaged ones; returns the exit code."""
    settings = _settings(arguments)
    answers: dict[str, hub.Listing] = {}
    if settings.suite is not None:
        count, lines = _looked_at(settings, settings.suite, answers)
        say(lines)
        code = BAD if count else code
    if arguments.suite is not None:
        return code
    for name, path in suites.packaged().items():
        if settings.suite in (name, str(path)):
            continue
        count, lines = _looked_at(settings, name, answers)
        shown = shlex.join(["python", "-m", "pytest_wanlora", *arguments.words, "--suite", name])
        say([f"{lines[0]}; next: {shown}" if count else lines[0]])
        # where a suite is named, the others are not gated on
        code = BAD if count and settings.suite is None else code
    return code


def _settings(arguments: argparse.Namespace) -> Settings:
    """What pytest would gate with, and instead of it what was typed."""
    from pytest_wanlora.hooks import ini_files

    settings = ini_files.of_project()
    return replace(
        settings,
        suite=arguments.suite or settings.suite,
        baseline=arguments.baseline or settings.baseline,
        baselines_dir=(arguments.baselines_dir or settings.baselines_dir).absolute(),
    )


def _looked_at(settings: Settings, name: str, answers: dict[str, hub.Listing]) -> tuple[int, list[str]]:
    """How many things a gate on a suite lacks here, and in lines which; the first is of the whole."""
    # not above: `verify` runs where little more than Python is installed
    from pytest_wanlora.run.preflight import Request, examine, folder_option

    suite = suites.load(name, baselines=settings.baselines_dir, seeds=settings.seeds)
    sampling, device = suite.sampling, settings.device_for(suite)
    here = environment.detect(sampling.dtype, device.name, attention=sampling.attention)
    lines = []
    if here.device_name == environment.NO_GPU:
        where = device.source if settings.device else suite.where("device")
        lines = [
            f"{where}: device is {device.name}, and no such GPU is visible",
            "next: nvidia-smi, and look at CUDA_VISIBLE_DEVICES; or gate with --wanlora-device cpu",
        ]
    again = f"python -m pytest_wanlora doctor --suite {suites.option_value(suite)}"
    again += folder_option(settings.baselines_dir, "--baselines-dir")
    preflight = examine(
        suite,
        here,
        Request(
            baselines_dir=settings.baselines_dir,
            baseline=settings.baseline,
            scenarios=suite.scenarios,
            allow_environment=settings.allow_environment,
            cache_dir=settings.cache_dir,
            videos=len(suite.scenarios) * suite.seeds.most,
            answers=answers,
            with_baseline=lambda other: f"{again} --baseline {shlex.quote(other)}",
        ),
    )
    count = len(preflight.findings) + bool(lines)
    missing = f"{count} missing" if count else "everything is there"
    named = "" if device.name == "auto" else f", named by {device.source}"
    lines = [
        f"suite {suite.name} on {here.device_name}{named}: {missing}",
        *lines,
        *preflight.needs,
        *preflight.lines(),
    ]
    warnings = (*suites.contradicting_names(suite), *preflight.warnings)
    return count, [*lines, *(f"warning: {line}" for line in warnings)]


def _pin(arguments: argparse.Namespace) -> int:
    from pytest_wanlora.new_project.suite_file import load_text
    from pytest_wanlora.suite import pinning

    if arguments.suite is None or arguments.suite in suites.packaged():
        raise SettingsError(
            f"--pin: {arguments.suite or 'no suite'} is no file of yours; allowed: one that init writes",
            next_command="python -m pytest_wanlora init",
        )
    baselines = (arguments.baselines_dir or Path("baselines")).absolute()
    suite = suites.load(arguments.suite, baselines=baselines)
    pins = pinning.find(suite)
    text = suite.path.read_text(encoding="utf-8")
    changed = pinning.pinned(text, pins, suite.path)
    # a suite that no longer loads is never written
    load_text(changed, suite.path, baselines=baselines)
    if changed != text:
        write_whole(suite.path, changed.encode())
    say([*pins.lines, f"{suite.path}: {'pinned' if changed != text else 'nothing to pin'}"])
    return BAD if pins.unknown else OK


def _compiled_anew() -> list[str]:
    """The largest packages whose byte code does not exist and cannot be written.

    Images are often built with PYTHONDONTWRITEBYTECODE, or by an installer that compiles nothing: no error,
    but importing torch and DiffSynth can take ten seconds longer in every process.
    """
    found = []
    for name in ("torch", "transformers", "diffsynth"):
        spec = util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        cached = Path(util.cache_from_source(spec.origin))
        # a prefix is made when it is written to
        parent = next(each for each in cached.parents if each.is_dir())
        if not cached.exists() and (sys.dont_write_bytecode or not os.access(parent, os.W_OK)):
            found.append(name)
    return found
