"""`convert`: a LoRA file in the names of another program."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.checkpoint.converting import FORMATS, convert
from pytest_wanlora.checkpoint.reads_in import readings, summary
from pytest_wanlora.cli.output import OK, of_command, say
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.phrases import number_of


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "convert",
        help="write a LoRA file in the names of another program",
        description=(
            "Writes a new file, reads both again and compares every update: the bits are the same, but where "
            "the format has no place for alpha, which is then multiplied into A in float32. No file is "
            "replaced. `peft` writes a folder with adapter_model.safetensors and adapter_config.json."
        ),
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--to", required=True, choices=tuple(FORMATS), metavar="FORMAT", help=", ".join(FORMATS)
    )
    parser.add_argument(
        "--out",
        metavar="FILE|FOLDER",
        help="the new file, for peft its folder; default: beside FILE, with the format in its name",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    to: str = arguments.to
    try:
        checkpoint = checkpoints.read(Path(arguments.file))
    except CheckpointError as error:
        raise of_command(error, "convert", "--to", to) from error
    suffix = "" if to == "peft" else ".safetensors"
    out = Path(arguments.out or checkpoint.path.with_name(f"{checkpoint.path.stem}-{to}{suffix}"))
    converted = convert(checkpoint, to, out / "adapter_model.safetensors" if to == "peft" else out)
    lines = [f"{converted.path}: {converted.targets} targets, read again: every update has the same bits"]
    if converted.folded:
        lines.append(
            f"  alpha is multiplied into A of {number_of(len(converted.folded), 'target')}, in float32: "
            "the largest "
            f"difference from the exact update is {converted.difference:.1e} of its norm"
        )
    cards = [each.card() for each in readings(checkpoints.read(converted.path))]
    say([*lines, f"  reads in: {summary(cards)}"])
    return OK
