"""Which programs read a LoRA file, how much of it, and at which strength: from the names of its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_wanlora.checkpoint import formats, names
from pytest_wanlora.checkpoint.programs import PROGRAMS, Keys, Program, Seen
from pytest_wanlora.phrases import number_of

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint.record import Checkpoint, Target


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a program makes of a file.

    Attributes:
        state: Whether the file works there, in part, or does nothing.
        scales: What it multiplies updates by; different values, ascending.
        why: One sentence where it does not simply work, else empty.
        source: File and line of the program that this rests on.
    """

    program: str
    version: str
    state: Literal["works", "in part", "nothing"]
    read: int
    targets: int
    scales: tuple[float, ...]
    dropped: Keys
    why: str
    source: str

    def card(self) -> dict[str, Any]:
        """Plain values for JSON; of the dropped keys their number and the first."""
        first = list(self.dropped[:1])
        return {
            **asdict(self),
            "scales": list(self.scales),
            "dropped": len(self.dropped),
            "first_dropped": first,
        }


def readings(checkpoint: Checkpoint, programs: Sequence[str] = tuple(PROGRAMS)) -> tuple[Reading, ...]:
    """Say for each program what it makes of a file."""
    if checkpoint.experts:
        # a pair works where both of its LoRAs do
        worst = ("works", "in part", "nothing")
        each = [readings(half, programs) for half in checkpoint.experts.values()]
        return tuple(
            max(same, key=lambda found: worst.index(found.state)) for same in zip(*each, strict=True)
        )
    return tuple(_reading(checkpoint, PROGRAMS[name](checkpoint.keys)) for name in programs)


def summary(
    cards: object, works: str = "read by", in_part: str = "read in part by", none: str = "not read by"
) -> str:
    """`read by: comfyui, diffusers; not read by: musubi`, for a line of a report.

    Args:
        cards: What `Reading.card` gave, as a record has it; empty where it has something else.
        works: Words before programs that read all of it.
        in_part: Before those that read a part.
        none: Before those in which it does nothing.
    """
    listing = cards if isinstance(cards, (list, tuple)) else ()
    lists = {
        words: ", ".join(
            str(card.get("program"))
            for card in listing
            if isinstance(card, Mapping) and card.get("state") == state
        )
        for state, words in (("works", works), ("in part", in_part), ("nothing", none))
    }
    return "; ".join(f"{words}: {listed}" for words, listed in lists.items() if listed)


def _reading(checkpoint: Checkpoint, program: Program) -> Reading:
    keys = checkpoint.keys
    seen = program.seen(keys)
    refused = program.refuses(keys)
    known = {rule.text for rule in program.endings + program.alphas}
    read = set() if refused else {key for key in keys if _reads(program, key, seen, known, keys)}
    # what a program leaves out on purpose does not count as unknown to it
    unknown = [key for key in keys if key not in read and seen(key) is not None]
    if refused is None and program.strict is not None and unknown:
        refused, read = program.strict, set()
    found = [target for target in checkpoint.targets if read.issuperset(target.keys.values())]
    scales = {target.name: _scale(program, checkpoint, target, read) for target in found}
    other = [target for target in found if scales[target.name] != target.scale]
    total = len(checkpoint.targets)
    dropped = tuple(key for key in keys if key not in read)
    whole = len(found) == total and not other
    if refused is not None:
        why = f"{refused.text}; {unknown[0]!r}" if refused is program.strict else refused.text
    elif whole:
        why = ""
    elif other:
        first = other[0]
        why = (
            f"{len(other)} of {number_of(total, 'target')} are applied at another strength: {first.name} at "
            f"{scales[first.name]:g} instead of {first.scale:g}"
        )
    else:
        why = f"reads {len(found)} of {number_of(total, 'target')}; {dropped[0]!r} is not read"
    return Reading(
        program=program.name,
        version=program.version,
        state="works" if whole else "in part" if found else "nothing",
        read=len(found),
        targets=total,
        scales=tuple(sorted(set(scales.values()))),
        dropped=dropped,
        why=why,
        source=(refused or program.modules[0]).source,
    )


def _reads(program: Program, key: str, seen: Seen, known: set[str], keys: Keys) -> bool:
    name = seen(key)
    parsed = None if name is None else formats.taken_apart(name)
    if parsed is None:
        return False
    module, ending = parsed
    if ending not in known and re.sub(r"^(\.lora_[AB])\.[^.]+\.weight$", r"\1.*.weight", ending) not in known:
        return False
    # ComfyUI reads the one only beside the other (comfy/lora.py:65-70)
    if ending == ".b_norm" and f"{key.removesuffix('b_norm')}w_norm" not in keys:
        return False
    own = names.own_name(names.split(module)[1])
    if own is None:
        return False
    forms = {"wan": own, "flat": own.replace(".", "_"), "diffusers": names.diffusers_name(own) or ""}
    return any(module == rule.text.format(**forms) for rule in program.modules)


def _scale(program: Program, checkpoint: Checkpoint, target: Target, read: set[str]) -> float:
    if target.alpha_key is None:
        in_header = program.metadata is not None and checkpoint.alpha_source == "lora_adapter_metadata"
        return target.scale if in_header else 1.0
    # DiffSynth finds alpha by the end of the other key (diffsynth/utils/lora/general.py:31)
    lost = program.name == "diffsynth" and not re.search(
        r"\.(lora_B(\.default)?|lora_up)\.weight$", target.keys.get("lora_B", "")
    )
    return target.scale if target.alpha_key in read and not lost else 1.0
