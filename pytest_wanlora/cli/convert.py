"""`convert`: a LoRA file in the names of another program."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.checkpoint.converting import FORMATS, Converted, convert, convert_halves
from pytest_wanlora.checkpoint.pair_words import names_experts
from pytest_wanlora.checkpoint.pairs import Asked, asked
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
            "replaced. `peft` writes a folder with adapter_model.safetensors and adapter_config.json. A file "
            "with the LoRAs of two experts becomes two, NAME_high_noise and NAME_low_noise."
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
        _refuse_pair(arguments.file, to)
        path = Path(arguments.file)
        checkpoint = Asked(path).read(path.stem)
    except CheckpointError as error:
        raise of_command(error, "convert", "--to", to) from error
    suffix = "" if to == "peft" else ".safetensors"
    out = Path(arguments.out or path.with_name(f"{path.stem}-{to}{suffix}"))
    if checkpoint.experts:
        paths = {expert: _file(_of_expert(out, expert), to) for expert in checkpoint.experts}
        done = convert_halves(checkpoint, to, paths)
    else:
        done = (convert(checkpoint, to, _file(out, to)),)
    for converted in done:
        say(_lines(converted))
    return OK


def _refuse_pair(argument: str, to: str) -> None:
    """Refuse `high=A,low=B`: each file of a pair is converted by itself.

    Raises:
        CheckpointError: Names the command for each of its files.
    """
    if not names_experts(argument):
        return
    from pytest_wanlora.reports.commands import typed

    halves = [path for each in asked([argument], by_name=False) for path in each.halves.values()]
    each_alone = [
        typed("python", "-m", "pytest_wanlora", "convert", str(path), "--to", to)
        for path in dict.fromkeys(halves)
    ]
    raise CheckpointError(
        f"{argument}: names the files of experts; allowed: one file, so each half by itself, without high= "
        "and low=, and without a strength, which no file holds",
        next_command=" && ".join(each_alone),
    )


def _of_expert(out: Path, expert: str) -> Path:
    """The name that pairs a half with the other: `X_high_noise` beside `X_low_noise`."""
    stem, suffix = (out.stem, out.suffix) if out.suffix == ".safetensors" else (out.name, "")
    return out.with_name(f"{stem}_{expert}_noise{suffix}")


def _file(out: Path, to: str) -> Path:
    return out / "adapter_model.safetensors" if to == "peft" else out


def _lines(converted: Converted) -> Iterable[str]:
    targets = number_of(converted.targets, "target")
    yield f"{converted.path}: {targets}, read again: every update has the same bits"
    if converted.folded:
        yield (
            f"  alpha is multiplied into A of {number_of(len(converted.folded), 'target')}, in float32: "
            f"the largest difference from the exact update is {converted.difference:.1e} of its norm"
        )
    cards = [each.card() for each in readings(checkpoints.read(converted.path))]
    yield f"  {summary(cards)}"
