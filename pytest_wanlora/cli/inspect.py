"""`inspect`: what a LoRA file holds, whether it is healthy, and which suite gates it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.checkpoint.programs import PROGRAMS
from pytest_wanlora.checkpoint.reads_in import readings, summary
from pytest_wanlora.cli.output import BAD, OK, USAGE, complain, of_command, say, say_json
from pytest_wanlora.errors import CheckpointError, SettingsError, WanloraError
from pytest_wanlora.suite.header import said_by


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "inspect",
        help="what a LoRA file holds, whether it is healthy, and which suite gates it",
        description=(
            "Reads the header and the numbers of LoRA files; no model is loaded. Exit code 1 for a file that "
            "is broken, or that no suite can gate."
        ),
    )
    parser.add_argument("files", nargs="+", metavar="FILE|FOLDER|GLOB")
    parser.add_argument(
        "--for",
        dest="programs",
        metavar="PROGRAM,...",
        default=",".join(PROGRAMS),
        help="programs to say of whether the file works there; default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, one object a file")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    code = OK
    cards = []
    programs = _programs(arguments.programs, arguments.files)
    try:
        paths = checkpoints.expand(arguments.files)
    except CheckpointError as error:
        raise of_command(error, "inspect") from error
    for path in paths:
        try:
            checkpoint = checkpoints.read(path)
        except CheckpointError as error:
            # a file that is not there was named wrongly; one that is refused is what was looked at
            code = max(code, BAD if path.is_file() else USAGE)
            if path.is_file() and arguments.json:
                refused = {"message": error.message, "next": of_command(error, "inspect").next_command}
                cards.append({"name": path.stem, "file": path.name, "suite": None, "refused": refused})
            else:
                complain(of_command(error, "inspect"))
            continue
        card = checkpoint.describe() | _fit(checkpoint)
        card["reads_in"] = [
            each.card() | {"dropped_keys": list(each.dropped)} for each in readings(checkpoint, programs)
        ]
        cards.append(card)
        if card["problems"] or card["misfits"]:
            code = max(code, BAD)
        if not arguments.json:
            say([""] if len(cards) > 1 else [])
            say(card_lines(card))
    if arguments.json and (cards or code != USAGE):
        say_json(cards)
    return code


def _programs(text: str, files: Sequence[str]) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in found if name not in PROGRAMS]
    if unknown or not found:
        from pytest_wanlora.reports.commands import typed

        raise SettingsError(
            f"--for: {unknown[0] if unknown else text!r} is not known; allowed: {', '.join(PROGRAMS)}, "
            "separated by commas",
            next_command=typed(
                "python", "-m", "pytest_wanlora", "inspect", *files, "--for", ",".join(PROGRAMS)
            ),
        )
    return found


def _fit(checkpoint: checkpoints.Checkpoint) -> dict[str, Any]:
    """The packaged suite that gates a checkpoint; or, of the one with a model as wide, why it cannot."""
    known = [suites.load(path) for path in suites.packaged().values()]
    found = [(suites.misfits(suite, checkpoint), suite) for suite in known]
    try:
        fitting = suites.find_for(checkpoint)
    except WanloraError:
        fitting = None
    near = fitting or next((s for _, s in found if s.model.architecture.dim == checkpoint.dim), None)
    misfits = [f"{suite.name}: {line}" for lines, suite in found if suite is near for line in lines]
    if near is None and found:
        # of a model that no packaged suite has: what no suite at all can gate
        misfits = [line.partition(":")[0] for line in found[0][0] if line.startswith("trained for")]
    misfits += [
        f"its header says {said.words}, of {said.relative}, which no packaged suite has"
        for said in said_by([checkpoint])
        if said.relative
    ]
    return {
        "suite": None if fitting is None else fitting.name,
        "model_blocks": None if near is None else near.model.architecture.blocks,
        "misfits": misfits,
    }


def card_lines(card: dict[str, Any]) -> Iterable[str]:
    """A checkpoint card as aligned lines."""
    layers = ", ".join(f"{name} x{count}" for name, count in card["layers"].items())
    kinds = ", ".join(f"{count} {kind}" for kind, count in card["kinds"].items() if kind != "lora")
    size = f"{card['size'] / 2**20:.1f} MiB"
    norm = "not finite" if card["norm"] is None else f"{card['norm']:.4g}"
    of = f" of {card['model_blocks']}" if card["model_blocks"] else ""
    told = [each["words"] for each in (*card["problems"], *card["warnings"])]
    rows = [
        ("file", f"{card['file']}, {size}"),
        ("sha256", card["sha256"]),
        ("format", f"{card['format']}, {card['dtype']}"),
        ("rank", f"{', '.join(map(str, card['ranks'])) or 'none'}; {_alphas(card)} ({card['alpha_source']})"),
        ("targets", f"{card['targets']} in {card['block_count']}{of} blocks: {layers}"),
        *([("kinds", f"{kinds}, {card['kinds'].get('lora', 0)} lora")] if kinds else []),
        ("model", f"dim {card['dim']}, ffn_dim {card['ffn_dim']}, blocks {card['blocks']}"),
        ("suite", card["suite"] or "; ".join(["no packaged suite fits", *card["misfits"]])),
        ("norm", f"{norm} of the whole update"),
        ("health", "; ".join(told) or ("nothing wrong with the numbers" if card["misfits"] else "good")),
    ]
    rows += [("hint", each["words"]) for each in card["hints"]]
    rows += [("reads in", summary(card["reads_in"]))]
    rows += [(f"in {each['program']}", _read_in(each)) for each in card["reads_in"]]
    return [card["name"], *(f"  {name:<12} {text}" for name, text in rows)]


def _read_in(reading: dict[str, Any]) -> str:
    """`works at scale 0.5 (0.3.64)`, or how much of it and why not all."""
    scales = ", ".join(f"{scale:g}" for scale in reading["scales"])
    counted = f" {reading['read']} of {reading['targets']} targets" if reading["state"] == "in part" else ""
    at = f" at scale {scales}" if scales else ""
    why = f": {reading['why']} [{reading['source']}]" if reading["why"] else ""
    return f"{reading['state']}{counted}{at} ({reading['version']}){why}"


def _alphas(card: dict[str, Any]) -> str:
    shown = ", ".join(f"{alpha:g}" for alpha in card["alphas"])
    if not shown:
        return "alpha none given: equal to the rank"
    ranked, have = card["ranked_targets"], card["alpha_targets"]
    missing = f" on {have} of {ranked} targets, none on {ranked - have}" if have < ranked else ""
    return f"alpha {shown}{missing}"
