"""What a watch shows: a table in the terminal, one page, and whether the last epochs are worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytest_wanlora.errors import IncomparableError
from pytest_wanlora.files import write_whole
from pytest_wanlora.reports import compare, html, sentences, trend
from pytest_wanlora.reports.commands import run_folder
from pytest_wanlora.reports.terminal_tables import WIDTH, headline, wrapped
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.text_table import aligned
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.race import Epoch, Rules, worse_than
from pytest_wanlora.watch.folders import Found
from pytest_wanlora.watch.gates import Answer

#: Chance that in a whole training any epoch is called worse that is not.
_ALPHA = 0.05


@dataclass(frozen=True)
class History:
    """What was gated so far.

    Attributes:
        answers: Checkpoints in the order of their writing, and what came of each; None: nothing yet.
        working: Digests of those that are being gated.
    """

    answers: Sequence[tuple[Found, Answer | None]]
    working: frozenset[str]

    @cached_property
    def records(self) -> tuple[RunRecord, ...]:
        """Those that were measured, as far as they can be compared with the newest."""
        known = [each.record for _, each in self.answers if each and each.record and not each.problem]
        kept: list[RunRecord] = []
        for record in known:
            try:
                compare.combine([known[-1], record])
            except IncomparableError:
                continue
            kept.append(record)
        return tuple(kept)

    @cached_property
    def together(self) -> RunRecord | None:
        """All of these as one record."""
        return compare.combine(self.records) if self.records else None

    def lines(self) -> Iterator[str]:
        """A line for each checkpoint that is done."""
        for found, answer in self.answers:
            if answer is not None:
                for row in _rows(found, answer, working=False):
                    yield ": ".join(each for each in row if each != "-")

    def table(self, waiting: Mapping[str, str]) -> list[str]:
        """A line a checkpoint, then which is best.

        Args:
            waiting: Files that are not gated, and why.
        """
        rows = [("checkpoint", "verdict", "loss", "worst, or why not")]
        for found, answer in self.answers:
            rows += _rows(found, answer, working=found.digest in self.working)
        rows += [(name, "-", "-", why) for name, why in waiting.items()]
        together = self.together
        best = "" if together is None else sentences.best_text(trend.best(together), "en", str)
        return [*aligned(rows, left={0, 1, 3}), *(wrapped(best, WIDTH) if best else ())]

    def page(self, path: Path) -> bool:
        """Write the page of all checkpoints; False where there is nothing to show yet."""
        together = self.together
        if together is None:
            return False
        write_whole(path, html.page(together, path.parent).encode())
        return True

    def worse(self, last: int) -> str | None:
        """That the last epochs are certainly worse than an earlier one; None if that is not known."""
        records = self.records
        rules = Rules(looks=(), alpha=_ALPHA)
        best = worse_than([_epoch(record) for record in records], last, rules)
        if best is None:
            return None
        names = [
            ", ".join(card.name for card in record.candidates) for record in (*records[-last:], records[best])
        ]
        return (
            f"the last {last}, {'; '.join(names[:-1])}, are certainly worse than {names[-1]}, by paired "
            f"intervals at {1.0 - rules.alpha:.0%} for the whole training. "
            f"{sentences.objective_text(records[-1], 'en')}"
        )


def _rows(found: Found, answer: Answer | None, *, working: bool) -> Iterator[tuple[str, str, str, str]]:
    if answer is None:
        yield found.name, "being gated" if working else "to be gated", "-", ""
    elif answer.record is None or answer.problem:
        why = answer.problem.removeprefix(f"{found.name}: ") or "run deleted"
        yield found.name, "NOT MEASURED" if answer.problem else "gated", "-", why
    else:
        record = answer.record
        for card in record.candidates:
            decision, loss = record.decision(card.name), trend.loss(record, card.name)
            said = "may be published" if card.publishable else decision.outcome.value.replace("_", " ")
            worst = next(iter((*decision.failing, *decision.warnings)), None)
            shown = "-" if loss is None else f"{loss[0]:+.2f}"
            worst_words = [] if worst is None else [headline(worst)]
            yield card.name, said, shown, "; ".join([*worst_words, run_folder(record)])


def _epoch(record: RunRecord) -> Epoch:
    losses = tuple(card.losses for card in record.candidates if card.losses)
    outcomes = {record.decision(card.name).outcome for card in record.candidates}
    whole = len(losses) == len(record.candidates)
    return Epoch(losses if whole else (), fails=not whole and outcomes == {RunOutcome.FAILED})
