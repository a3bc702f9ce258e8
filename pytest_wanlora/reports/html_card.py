"""What the HTML page says of a checkpoint's file, and of what became of it in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pytest_wanlora.checkpoint.reads_in import summary
from pytest_wanlora.reports import plots
from pytest_wanlora.reports.html_text import label

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord

# no model has as many; a record that says so is not to hang the page
_MOST_BLOCKS = 1000


@dataclass(frozen=True)
class Fact:
    """A name and its value.

    Attributes:
        name: What it is.
        value: As printed.
        digest: It is a long row of hexadecimal digits.
    """

    name: str
    value: str
    digest: bool = False


def facts(card: CandidateCard) -> tuple[Fact, ...]:
    """What a checkpoint's file is; empty for the model without LoRA."""
    known = card.checkpoint
    if known is None:
        return ()
    size = known.get("size")
    megabytes = f", {size / 2**20:.1f} MiB" if isinstance(size, int) else ""
    alphas = _listed(known.get("alphas"))
    blocks = known.get("model_blocks") or known.get("blocks", "?")
    return (
        Fact("File", f"{known.get('file', card.name)}{megabytes}"),
        Fact("Format", f"{known.get('format', 'unknown')}, {known.get('dtype', 'unknown')}"),
        Fact("Rank", _listed(known.get("ranks") or known.get("rank")) + (alphas and f", alpha {alphas}")),
        Fact("Targets", f"{known.get('targets', 'unknown')} layers"),
        Fact("Blocks", f"{known.get('block_count', '?')} of {blocks}"),
        *([Fact("Reads in", reads)] if (reads := summary(known.get("reads_in"))) else []),
        Fact("Strength", f"{card.scale:g}"),
        Fact("SHA-256", str(card.sha256), digest=True),
    )


def _listed(values: object) -> str:
    many = values if isinstance(values, (list, tuple)) else [] if values is None else [values]
    return ", ".join(map(str, many))


def problems(card: CandidateCard) -> tuple[str, ...]:
    """What is wrong with the file, or to be known of it, in words."""
    known = card.checkpoint or {}
    return tuple(
        str(each.get("words", each.get("code", ""))) if isinstance(each, Mapping) else str(each)
        for listed in (known.get("problems"), known.get("warnings"))
        for each in (listed if isinstance(listed, (list, tuple)) else ())
    )


def layers(card: CandidateCard) -> tuple[tuple[str, str], ...]:
    """Kinds of layers that it has, and how many of each."""
    listed = (card.checkpoint or {}).get("layers")
    return tuple((str(k), str(v)) for k, v in listed.items()) if isinstance(listed, Mapping) else ()


def applied(record: RunRecord, candidate: str) -> tuple[Fact, ...]:
    """The change that the weights really made beside the intended one, over all of a candidate's videos."""
    own = [
        video.applied
        for video in record.videos
        if video.role == "candidate" and video.candidate == candidate and video.applied
    ]
    if not own:
        return ()
    targets = _least_and_most(own, "targets", ".0f")
    mode = ", ".join(sorted({str(each.get("mode")) for each in own}))
    return (
        Fact("Layers patched", f"{_least_and_most(own, 'patched', '.0f')} of {targets} ({mode})"),
        Fact("Layers that differ", f"{_least_and_most(own, 'changed', '.0f')} of {targets}"),
        Fact(
            "Survives rounding",
            f"{_least_and_most(own, 'strength', '.1%')} of the intended change, "
            f"cosine {_least_and_most(own, 'cosine', '.3f')}",
        ),
        Fact("Size", f"{_least_and_most(own, 'relative_size', '.2%')} of the weights"),
    )


def _least_and_most(own: list[dict[str, Any]], key: str, form: str) -> str:
    known = [float(each[key]) for each in own if isinstance(each.get(key), (int, float))]
    ends = (min(known), max(known)) if known else ()
    return " to ".join(dict.fromkeys(format(end, form) for end in ends)) or "unknown"


def norms(card: CandidateCard, top: float) -> Markup | None:
    """A bar for each block; None where no norm is known.

    Args:
        card: Of the checkpoint.
        top: Largest norm of the run, so that the plots of several checkpoints share a scale.
    """
    if not card.norms:
        return None
    count = (card.checkpoint or {}).get("block_count")
    count = min(max(count if isinstance(count, int) else 0, max(card.norms) + 1), _MOST_BLOCKS)
    largest = max(card.norms, key=lambda block: card.norms[block])
    missing = [str(block) for block in range(count) if block not in card.norms]
    absent = f" No finite norm in block {', '.join(missing[:8])}." if missing else ""
    return plots.bars(
        card.norms,
        count,
        top,
        f"Norm of the update in each block, {label(card.name)}",
        f"{len(card.norms)} blocks; the largest is block {largest} with {card.norms[largest]:.3g}.{absent}",
    )
