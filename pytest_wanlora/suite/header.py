"""What the header of a LoRA file says of the model that it was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_wanlora.checkpoint.record import Problem
from pytest_wanlora.files import from_here

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint.record import Checkpoint
    from pytest_wanlora.suite.schema import Suite

# what trainers say of the base model, in whatever words
_FACTS: Final = (
    ("version", re.compile(r"wan[ _.-]*v?(2)[._]?([12])(?![0-9])")),
    ("task", re.compile(r"(?<![a-z])(ti2v|t2v|i2v)(?![a-z])")),
    ("size", re.compile(r"(?<![0-9.])a?(1[._]3|5|14)b(?![a-z])")),
)
# models with the widths and layers of those that suites have
_RELATIVES: Final = (
    ("VACE", re.compile(r"(?<![a-z])vace(?![a-z])")),
    ("FLF2V", re.compile(r"(?<![a-z])flf2v(?![a-z])")),
    ("Fun", re.compile(r"(?<![a-z])fun(?![a-z])")),
    ("S2V", re.compile(r"(?<![a-z])s2v(?![a-z])")),
    ("Animate", re.compile(r"(?<![a-z])animate(?![a-z])")),
    ("LongCat", re.compile(r"(?<![a-z])longcat(?![a-z])")),
)
_TELLING: Final = (
    "ss_base_model_version",
    "modelspec.architecture",
    "base_model",
    "base_model_name_or_path",
    "ss_sd_model_name",
    "model_id",
)
# musubi-tuner writes it into every LoRA of a Wan model, those of 2.2 too
_SAYS_NOTHING: Final = {"modelspec.architecture": re.compile(r"wan2\.1(/lora)?")}


@dataclass(frozen=True)
class Said:
    """What a file says.

    Attributes:
        file: Its path, from the current folder.
        words: The key and its value.
        facts: Version, task and size of the model, as far as it says them.
        relative: The model's name if it is one that no packaged suite has, else empty.
    """

    file: str
    words: str
    facts: Mapping[str, str]
    relative: str

    def fits(self, suite: Suite) -> bool:
        """Whether a suite's model contradicts none of it; of a model whose names say nothing, none does."""
        own = f"{suite.name} {suite.model.name}".lower()
        has = _facts(own)
        return self.relative in ("", _relative(own)) and all(
            _alike(has.get(name, value), value) for name, value in self.facts.items()
        )


def said_by(checkpoints: Iterable[Checkpoint]) -> tuple[Said, ...]:
    """What the files of checkpoints say, of those that say something; of a pair those of both halves."""
    files = {each.path: each for found in checkpoints for each in (found.experts or {"": found}).values()}
    return tuple(said for each in files.values() if (said := _said(each)) is not None)


def contradicting(said: Iterable[Said]) -> bool:
    """Whether files say different models."""
    known: dict[str, str] = {}
    return any(known.setdefault(name, value) != value for each in said for name, value in each.facts.items())


def of_two_models(checkpoint: Checkpoint) -> Iterator[Problem]:
    """Warn of a pair whose halves say different models in their headers."""
    said = said_by([checkpoint])
    if contradicting(said):
        words = " and ".join(f"{each.file} says {each.words}" for each in said)
        yield Problem(
            code="two_models",
            words=f"the headers of its halves name different models, {words}; without --wanlora-suite the "
            "gate refuses that",
            targets=(),
        )


def other_model(suite: Suite, checkpoint: Checkpoint) -> Iterator[Problem]:
    """Warn of files whose header names another model than a suite has."""
    for each in said_by([checkpoint]):
        if not each.fits(suite):
            named = f", of {each.relative}" if each.relative else ""
            yield Problem(
                code="other_model",
                words=f"the header of {each.file} says {each.words}{named}, and the model of suite "
                f"{suite.name} is another one, {suite.model.name}",
                targets=(),
            )


def named_for(suite: Suite, checkpoint: Checkpoint) -> bool:
    """Whether a file's name contradicts nothing of a suite's model: a hint, since anybody may rename it."""
    return Said("", "", _facts(checkpoint.path.stem.lower()), "").fits(suite)


def _said(checkpoint: Checkpoint) -> Said | None:
    texts = {key: checkpoint.metadata[key] for key in _TELLING if checkpoint.metadata.get(key)}
    found = {key: (_facts(text.lower()), _relative(text.lower())) for key, text in texts.items()}
    for key, rule in _SAYS_NOTHING.items():
        if rule.fullmatch(texts.get(key, "").lower()):
            del found[key]
    # a model that no suite has is told wherever it stands, for all else the first key decides
    telling = sorted(
        (key for key, (facts, name) in found.items() if facts or name), key=lambda k: not found[k][1]
    )
    if not telling:
        return None
    facts, relative = found[telling[0]]
    words = f"{telling[0]} {texts[telling[0]][:80]!r}"
    return Said(from_here(checkpoint.path), words, facts, relative)


def _facts(text: str) -> dict[str, str]:
    return {
        name: "".join(found.groups()).replace("_", ".")
        for name, rule in _FACTS
        if (found := rule.search(text))
    }


def _relative(text: str) -> str:
    return next((name for name, rule in _RELATIVES if rule.search(text)), "")


def _alike(has: str, said: str) -> bool:
    # the one model for both tasks
    return has == said or (has == "ti2v" and said in ("t2v", "i2v"))
