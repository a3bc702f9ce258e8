"""`python -m pytest_wanlora`: look at checkpoints, runs and the installation, without pytest.

Each command is a function from its arguments to an exit code: 0 all is well, 1 something is wrong with what
was looked at, 4 the command was used wrongly.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import environment
from pytest_wanlora import suite as suites
from pytest_wanlora.errors import RecordError, WanloraError
from pytest_wanlora.scoring import reference_set
from pytest_wanlora.training_data import commands as training_data

__all__ = ["main"]

OK, BAD, USAGE = 0, 1, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; `sys.argv` by default.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pytest_wanlora", description="Look at LoRA checkpoints of Wan video models."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    inspect = commands.add_parser("inspect", help="what a LoRA file holds and whether it is healthy")
    inspect.add_argument("files", nargs="+", metavar="FILE|FOLDER|GLOB")
    inspect.add_argument("--json", action="store_true", help="as JSON, one object a file")
    inspect.set_defaults(run_command=_inspect)

    show = commands.add_parser("show", help="print the report of a run again")
    show.add_argument("run", nargs="?", metavar="RUN", help="results.json or its folder; default: the newest")
    show.add_argument("--runs", default=".wanlora/runs", metavar="FOLDER", help="where runs are kept")
    show.set_defaults(run_command=_show)

    doctor = commands.add_parser("doctor", help="whether this machine can gate on a suite")
    doctor.add_argument("--suite", default=None, metavar="NAME|FILE", help="default: every packaged suite")
    doctor.set_defaults(run_command=_doctor)

    reference_set.add_parser(commands)
    training_data.add_parser(commands)

    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as error:
        return USAGE if error.code else OK
    command: Callable[[argparse.Namespace], int] = chosen.run_command
    try:
        return command(chosen)
    except WanloraError as error:
        print(error, file=sys.stderr)
        return USAGE


def _inspect(arguments: argparse.Namespace) -> int:
    code = OK
    cards = []
    for path in checkpoints.expand(arguments.files):
        checkpoint = checkpoints.read(path)
        card = checkpoint.describe()
        card["suite"] = _suite_of(checkpoint)
        cards.append(card)
        if checkpoint.problems:
            code = BAD
    if arguments.json:
        print(json.dumps(cards, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(card_lines(card)) for card in cards))
    return code


def _suite_of(checkpoint: checkpoints.Checkpoint) -> str | None:
    try:
        return suites.find_for(checkpoint).name
    except WanloraError:
        return None


def card_lines(card: dict[str, Any]) -> Iterable[str]:
    """A checkpoint card as aligned lines."""
    alphas = ", ".join(f"{alpha:g}" for alpha in card["alphas"]) or "none given: equal to the rank"
    layers = ", ".join(f"{name} x{count}" for name, count in card["layers"].items())
    size = f"{card['size'] / 2**20:.1f} MiB"
    norm = "not finite" if card["norm"] is None else f"{card['norm']:.4g}"
    rows = [
        ("file", f"{card['file']}, {size}"),
        ("sha256", card["sha256"]),
        ("format", f"{card['format']}, {card['dtype']}"),
        ("rank", f"{', '.join(map(str, card['ranks']))}; alpha {alphas} ({card['alpha_source']})"),
        ("targets", f"{card['targets']} in {card['block_count']} blocks: {layers}"),
        ("model", f"dim {card['dim']}, ffn_dim {card['ffn_dim']}, blocks {card['blocks']}"),
        ("suite", card["suite"] or "no packaged suite fits"),
        ("norm", f"{norm} of the whole update"),
        ("health", "good" if not card["problems"] else "; ".join(p["words"] for p in card["problems"])),
    ]
    return [card["name"], *(f"  {name:<8} {text}" for name, text in rows)]


def _doctor(arguments: argparse.Namespace) -> int:
    code = OK
    found = environment.detect("float32")
    print(f"python {found.python} on {found.processor}")
    print(f"device {found.device_name} ({environment.visible_gpus()} GPUs visible)")
    for package in ("pytest-wanlora", "pytest", "pytest-xdist", "torch", "diffsynth", "open-clip-torch"):
        try:
            print(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"{package} is not installed; next: pip install {package}")
            code = BAD
    names = [arguments.suite] if arguments.suite else list(suites.packaged())
    for name in names:
        suite = suites.load(name)
        try:
            suites.check_digests(suite)
        except WanloraError as error:
            print(f"suite {suite.name}: {error}")
            code = BAD
        else:
            print(f"suite {suite.name}: all local files are there; {_hub_files(suite)} are on the hub")
    return code


def _hub_files(suite: suites.Suite) -> int:
    return sum(text.startswith("hub:") for _, text in suites.references(suite))


def _show(arguments: argparse.Namespace) -> int:
    from pytest_wanlora import results
    from pytest_wanlora.reports import terminal

    path = Path(arguments.run) if arguments.run else newest_run(Path(arguments.runs))
    record = results.load(path)
    print("\n".join(terminal.summary(record, str(path))))
    return OK if all(card.publishable for card in record.candidates) else BAD


def newest_run(folder: Path) -> Path:
    """The record of the newest run in a folder.

    Raises:
        RecordError: There is none.
    """
    found = max(folder.glob("*/results.json"), key=lambda path: path.stat().st_mtime, default=None)
    if found is None:
        raise RecordError(
            f"{folder}: no run has a record here", next_command="pytest --lora FILE.safetensors"
        )
    return found
