"""What the HTML page says of a checkpoint's file, and of what became of it in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pytest_wanlora.checkpoint.reads_in import summary
from pytest_wanlora.phrases import Language
from pytest_wanlora.reports import plots, sentences
from pytest_wanlora.reports.html_text import label
from pytest_wanlora.reports.words_html import Html
from pytest_wanlora.reports.words_page import Page

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


def facts(card: CandidateCard, language: Language) -> tuple[Fact, ...]:
    """What a checkpoint's file is; empty for the model without LoRA."""
    known = card.checkpoint
    if known is None:
        return ()

    def say(phrase: Html) -> str:
        return phrase.say(language)

    size = known.get("size")
    megabytes = f", {size / 2**20:.1f} MiB" if isinstance(size, int) else ""
    alphas = _listed(known.get("alphas"))
    words = (Page.READ_BY, Page.READ_IN_PART, Page.NOT_READ)
    programs = summary(known.get("reads_in"), *(each.say(language) for each in words))
    blocks = known.get("model_blocks") or known.get("blocks", "?")
    return (
        Fact(say(Html.FACT_FILE), f"{known.get('file', card.name)}{megabytes}"),
        Fact(say(Html.FACT_FORMAT), f"{known.get('format', '?')}, {known.get('dtype', '?')}"),
        Fact(
            say(Html.FACT_RANK),
            card.rank + (alphas and f", alpha {alphas}"),
        ),
        Fact(say(Html.FACT_TARGETS), Html.FACT_LAYERS.say(language, count=known.get("targets", "?"))),
        Fact(
            say(Html.FACT_BLOCKS),
            Html.FACT_OF.say(language, part=known.get("block_count", "?"), whole=blocks),
        ),
        *([Fact(say(Html.FACT_PROGRAMS), programs)] if programs else []),
        Fact(say(Html.FACT_STRENGTH), card.strength),
        *(Fact(say(Html.FACT_HINT), words) for words in sentences.hints(card, language)),
        Fact("SHA-256", str(card.sha256), digest=True),
        *(
            Fact(f"SHA-256, {sentences.half_name(expert, language)}: {half.file}", half.sha256, digest=True)
            for expert, half in card.halves.items()
        ),
    )


def _listed(values: object) -> str:
    many = values if isinstance(values, (list, tuple)) else [] if values is None else [values]
    return ", ".join(map(str, many))


def problems(card: CandidateCard) -> tuple[str, ...]:
    """What is wrong with the file, or to be known of it, in words."""
    return tuple(words for kind in ("problems", "warnings") for _, words in card.told(kind))


def layers(card: CandidateCard) -> tuple[tuple[str, str], ...]:
    """Kinds of layers that it has, and how many of each."""
    listed = (card.checkpoint or {}).get("layers")
    return tuple((str(k), str(v)) for k, v in listed.items()) if isinstance(listed, Mapping) else ()


def applied(record: RunRecord, candidate: str, language: Language) -> tuple[Fact, ...]:
    """The change that the weights really made beside the intended one, over all of a candidate's videos."""
    own = [
        video.applied
        for video in record.videos
        if video.role == "candidate" and video.candidate == candidate and video.applied
    ]
    if not own:
        return ()

    def ends(key: str, form: str) -> str:
        return _least_and_most(own, key, form, language)

    mode = ", ".join(sorted({str(each.get("mode")) for each in own}))
    patched, changed, targets = (ends(key, ".0f") for key in ("patched", "changed", "targets"))
    said = (
        (Html.PATCHED, Html.PATCHED_OF.say(language, part=patched, whole=targets, mode=mode)),
        (Html.DIFFER, Html.FACT_OF.say(language, part=changed, whole=targets)),
        (
            Html.SURVIVES,
            Html.SURVIVES_OF.say(language, strength=ends("strength", ".1%"), cosine=ends("cosine", ".3f")),
        ),
        (Html.ITS_SIZE, Html.SIZE_SHARE.say(language, share=ends("relative_size", ".2%"))),
    )
    return tuple(Fact(title.say(language), value) for title, value in said)


def _least_and_most(own: list[dict[str, Any]], key: str, form: str, language: Language) -> str:
    known = [float(each[key]) for each in own if isinstance(each.get(key), (int, float))]
    if not known:
        return Html.UNKNOWN.say(language)
    low, high = format(min(known), form), format(max(known), form)
    return low if low == high else Html.RANGE.say(language, low=low, high=high)


def norms(card: CandidateCard, top: float, language: Language) -> Markup | None:
    """A bar for each block; None where no norm is known.

    Args:
        card: Of the checkpoint.
        top: Largest norm of the run, so that the plots of several checkpoints share a scale.
        language: `"en"` or `"ko"`.
    """
    if not card.norms:
        return None
    count = (card.checkpoint or {}).get("block_count")
    count = min(max(count if isinstance(count, int) else 0, max(card.norms) + 1), _MOST_BLOCKS)
    largest = max(card.norms, key=lambda block: card.norms[block])
    missing = [str(block) for block in range(count) if block not in card.norms]
    absent = Html.NORMS_ABSENT.say(language, blocks=", ".join(missing[:8])) if missing else ""
    return plots.bars(
        card.norms,
        count,
        top,
        Html.NORMS_OF.say(language, name=label(card.name)),
        Html.NORMS_WORDS.say(
            language, count=len(card.norms), largest=largest, norm=card.norms[largest], absent=absent
        ),
    )
