"""`inspect`: what a LoRA file holds and whether it is healthy."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.cli.output import BAD, OK, say, say_json
from pytest_wanlora.errors import WanloraError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("inspect", help="what a LoRA file holds and whether it is healthy")
    parser.add_argument("files", nargs="+", metavar="FILE|FOLDER|GLOB")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a file")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
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
        say_json(cards)
    else:
        for place, card in enumerate(cards):
            say([""] if place else [])
            say(card_lines(card))
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
