"""`doctor`: whether this machine can gate on a suite."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import util
from pathlib import Path

from pytest_wanlora import environment
from pytest_wanlora import suite as suites
from pytest_wanlora.cli.output import BAD, OK, say
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.files import write_whole


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
    parser.add_argument("--suite", default=None, metavar="NAME|FILE", help="default: every packaged suite")
    parser.add_argument(
        "--baselines-dir",
        type=Path,
        default=Path("baselines"),
        metavar="FOLDER",
        help="where baselines are stored; default: baselines",
    )
    parser.add_argument(
        "--baseline", default="base", metavar="NAME", help="baseline to compare with; default: base"
    )
    parser.add_argument(
        "--pin",
        action="store_true",
        help="write the digests of the files that are on this disk, and the commits of the hub they are of, "
        "into the suite's file; needs --suite FILE",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    # not above: `verify` runs where little more than Python is installed
    from pytest_wanlora.run.preflight import Request, examine, folder_option

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
    baselines_dir = arguments.baselines_dir.absolute()
    again = "python -m pytest_wanlora doctor" + folder_option(baselines_dir, "--baselines-dir")
    names = [arguments.suite] if arguments.suite else list(suites.packaged())
    for name in names:
        suite = suites.load(name, baselines=baselines_dir)
        sampling = suite.sampling
        here = environment.detect(sampling.dtype, suite.device, attention=sampling.attention)
        if here.device_name == environment.NO_GPU:
            say(
                [
                    f"suite {suite.name}: {suite.where('device')}: device is cuda, and no GPU is visible",
                    "next: nvidia-smi, and look at CUDA_VISIBLE_DEVICES; or gate with --wanlora-device cpu",
                ]
            )
            code = BAD
        preflight = examine(
            suite,
            here,
            Request(
                baselines_dir=baselines_dir,
                baseline=arguments.baseline,
                with_baseline=f"{again} --suite {suites.option_value(suite)} --baseline {{}}".format,
                scenarios=suite.scenarios,
                cache_dir=Path(".wanlora/cache"),
                videos=len(suite.scenarios) * suite.seeds.most,
            ),
        )
        count = len(preflight.findings)
        missing = f"{count} missing" if count else "everything is there"
        named = "" if suite.device == "auto" else ", named by the suite"
        say([f"suite {suite.name} on {here.device_name}{named}: {missing}", *preflight.lines()])
        say([f"warning: {line}" for line in suites.contradicting_names(suite)])
        code = BAD if count else code
    return code


def _pin(arguments: argparse.Namespace) -> int:
    from pytest_wanlora.new_project.suite_file import load_text
    from pytest_wanlora.suite import pinning

    if arguments.suite is None or arguments.suite in suites.packaged():
        raise SettingsError(
            f"--pin: {arguments.suite or 'no suite'} is no file of yours; allowed: one that init writes",
            next_command="python -m pytest_wanlora init",
        )
    baselines = arguments.baselines_dir.absolute()
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
