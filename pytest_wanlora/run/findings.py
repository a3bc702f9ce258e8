"""What is missing for a run, and which items cannot be measured without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run.inputs import Download
from pytest_wanlora.verdict.judgement import ItemId, Verdict

#: What an item needs besides the model: a set metric needs the reference, a comparison the baseline.
SETS: Final = "set"
COMPARISONS: Final = "regression"
STORING: Final = "baseline"


@dataclass(frozen=True)
class Finding:
    """One thing that keeps items from being measured.

    Attributes:
        what: Suite key or part of the machine: `model.vae`, `baseline`, `disk`.
        message: What is wrong, with the file, the value and what is allowed.
        next_command: What to type or do next.
        verdict: Of the items that need it.
        concerns: `"set"`, `"regression"`, `"baseline"`: the items that need it; empty for all of them.
    """

    what: str
    message: str
    next_command: str
    verdict: Verdict = Verdict.ERROR
    concerns: frozenset[str] = frozenset()

    def blocks(self, item: ItemId | str) -> bool:
        """Whether an item, or the storing of a candidate of that name, needs what is missing."""
        if not self.concerns:
            return True
        if isinstance(item, str):
            return STORING in self.concerns
        level = METRICS[item.metric].level if item.metric in METRICS else ""
        kind = COMPARISONS if item.kind in ("videos", "question") else item.kind
        return not self.concerns.isdisjoint({kind, level})

    @property
    def sentence(self) -> str:
        """The finding on one line, for a record."""
        return f"{'; '.join(self.message.splitlines())}; next: {self.next_command}"

    def lines(self, number: int) -> list[str]:
        """The finding as a numbered paragraph."""
        first, *rest = self.message.splitlines()
        return [f"{number}. {first}", *(f"   {line}" for line in rest), f"   next: {self.next_command}"]


@dataclass(frozen=True)
class Preflight:
    """What was found.

    Attributes:
        findings: Everything that is missing, in the order of the suite.
        downloads: Files that will be fetched when the model is loaded.
        free_disk: Bytes that are free where results are kept; None where that cannot be told.
        needs: What the suite takes of any machine, a line each: of this one or of one that is rented.
        warnings: Sentences on the suite's own LoRAs that keep nothing from being measured.
    """

    findings: tuple[Finding, ...]
    downloads: tuple[Download, ...]
    free_disk: int | None
    needs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def blocking(self, items: Iterable[ItemId | str]) -> tuple[Finding, ...]:
        """The findings that keep some of these items from being measured; those of the model always count."""
        chosen = list(items)
        return tuple(
            found
            for found in self.findings
            if not found.concerns or any(found.blocks(item) for item in chosen)
        )

    def lines(self, findings: Sequence[Finding] | None = None) -> Iterator[str]:
        """The findings as paragraphs, and what will be fetched."""
        for number, found in enumerate(self.findings if findings is None else findings, 1):
            yield from found.lines(number)
        for each in self.downloads:
            yield f"to be fetched: {each.words}"
