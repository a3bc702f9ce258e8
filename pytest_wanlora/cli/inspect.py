"""`inspect`: what a LoRA file holds, whether it is healthy, and which suite gates it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.checkpoint.programs import PROGRAMS
from pytest_wanlora.checkpoint.reads_in import readings, summary
from pytest_wanlora.cli.output import BAD, OK, USAGE, complain, of_command, say, say_json
from pytest_wanlora.errors import CheckpointError, SettingsError
from pytest_wanlora.phrases import digits, number_of
from pytest_wanlora.suite.header import of_two_models, said_by

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "inspect",
        help="what a LoRA file holds, whether it is healthy, and which suite gates it",
        description=(
            "Reads the header and the numbers of LoRA files; no model is loaded. Exit code 1 for a file that "
            "is broken, or that no packaged suite can gate."
        ),
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE|FOLDER|GLOB", help="or a pair, as in high=FILE,low=FILE"
    )
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
        asked = checkpoints.asked(arguments.files, by_name=False)
    except CheckpointError as error:
        raise of_command(error, "inspect") from error
    for line in checkpoints.left_out(arguments.files):
        complain(line)
    for each in asked:
        (name,), files = checkpoints.names_of([each]), list(each.halves.values()) or [each.path]
        try:
            checkpoint = each.read(name)
        except CheckpointError as error:
            # a file that is not there was named wrongly; one that is refused is what was looked at
            there = all(path.is_file() for path in files)
            code = max(code, BAD if there else USAGE)
            if there and arguments.json:
                refused = {"message": error.message, "next": of_command(error, "inspect").next_command}
                file = ", ".join(path.name for path in files)
                cards.append({"name": name, "file": file, "suite": None, "refused": refused})
            else:
                complain(of_command(error, "inspect"))
            continue
        known = replace(checkpoint, warnings=(*checkpoint.warnings, *of_two_models(checkpoint)))
        card = known.describe() | _fit(checkpoint)
        card["reads_in"] = [
            found.card() | {"dropped_keys": list(found.dropped)} for found in readings(checkpoint, programs)
        ]
        cards.append(card)
        if card["problems"] or not card["suites"]:
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
    """The packaged suites that gate a checkpoint; or, of the one with a model as wide, why it cannot."""
    known = [suites.load(path) for path in suites.packaged().values()]
    by, fitting = suites.chosen_by(checkpoint), suites.fitting_for(checkpoint)
    relatives = [
        f"its header says {said.words}, of {said.relative}, which no packaged suite has"
        for said in said_by([checkpoint])
        if said.relative
    ]
    if not fitting and not relatives:
        # those that only their name chooses
        by, fitting = "name", tuple(suite for suite in known if not suites.misfits(suite, checkpoint))
    alone = len(fitting) == 1 and by != "name" and not suites.misfits(fitting[0], checkpoint)
    found = {
        "suite": fitting[0].name if alone else None,
        "suite_by": by if len(fitting) == 1 else None,
        "suites": [suite.name for suite in fitting],
        "gates": [] if alone else [suites.gate_command(suite, checkpoint) for suite in fitting],
        "model_blocks": fitting[0].model.architecture.blocks if fitting else None,
        "misfits": relatives,
    }
    return found if fitting or relatives else found | _near(known, checkpoint)


def _near(known: Sequence[Suite], checkpoint: checkpoints.Checkpoint) -> dict[str, Any]:
    """Why a checkpoint does not fit the packaged suite with a model as wide, or any."""
    wide = [suite for suite in known if suite.model.architecture.dim == checkpoint.dim]
    # that a model has one denoiser says nothing of a pair that another could have
    wide.sort(key=lambda suite: bool(suite.model.experts) != bool(checkpoint.experts))
    near = next(iter(wide), None)
    if near is not None:
        blocks = near.model.architecture.blocks
        return {
            "model_blocks": blocks,
            "misfits": [f"{near.name}: {line}" for line in suites.misfits(near, checkpoint)],
        }
    # of a model that no packaged suite has: what no suite at all can gate
    lines = suites.misfits(known[0], checkpoint)
    found = [line.partition(":")[0] for line in lines if line.startswith("trained for")]
    return {"misfits": found or ["another model needs a suite of its own, given with --wanlora-suite"]}


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
        *((f"{expert} noise", _half(card, half)) for expert, half in card.get("experts", {}).items()),
        ("format", f"{card['format']}, {card['dtype']}"),
        ("rank", f"{', '.join(map(str, card['ranks'])) or 'none'}; {_alphas(card)}"),
        ("targets", f"{card['targets']} in {card['block_count']}{of} blocks: {layers}"),
        *([("kinds", f"{kinds}, {card['kinds'].get('lora', 0)} lora")] if kinds else []),
        ("model", _model(card)),
        ("suite", _suite(card)),
        *(("gate", command) for command in card["gates"]),
        ("norm", f"{norm} of the whole update"),
        ("health", "; ".join(told) or ("nothing wrong with the numbers" if card["misfits"] else "good")),
    ]
    rows += [("hint", each["words"]) for each in card["hints"]]
    rows += [("programs", summary(card["reads_in"]))]
    rows += [(f"in {each['program']}", _read_in(each)) for each in card["reads_in"]]
    return [card["name"], *(f"  {name:<12} {text}" for name, text in rows)]


def _model(card: dict[str, Any]) -> str:
    """Sizes; of a pair those of each half where they differ, since those of both together say nothing."""
    halves = {expert: _model(half) for expert, half in card.get("experts", {}).items()}
    if len(set(halves.values())) > 1:
        return "; ".join(f"{expert} {said}" for expert, said in halves.items())
    return f"dim {card['dim']}, ffn_dim {card['ffn_dim']}, blocks {card['blocks']}"


def _suite(card: dict[str, Any]) -> str:
    if not card["suites"]:
        return "; ".join(["no packaged suite fits", *card["misfits"]])
    if len(card["suites"]) > 1:
        return "fits several packaged suites"
    by = "" if card["suite_by"] == "shapes" else f", by {card['suite_by']}"
    half = "" if card["suite"] or card["suite_by"] == "name" else ", as half of a pair"
    return f"{card['suites'][0]}{half}{by}"


def _half(card: dict[str, Any], half: dict[str, Any]) -> str:
    # one file with both was named above
    file = "" if half["sha256"] == card["sha256"] else f"{half['file']}, SHA-256 {half['sha256']}, "
    strength = "" if half["strength"] == 1.0 else f", strength {digits(half['strength'])}"
    norm = "not finite" if half["norm"] is None else f"{half['norm']:.4g}"
    return f"{file}rank {half['rank']}, {number_of(half['targets'], 'target')}, norm {norm}{strength}"


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
        return "no alpha is given" + (", so it is equal to the rank" if card["ranks"] else "")
    ranked, have = card["ranked_targets"], card["alpha_targets"]
    missing = f" on {have} of {ranked} targets, none on {ranked - have}" if have < ranked else ""
    return f"alpha {shown}{missing} ({card['alpha_source']})"
