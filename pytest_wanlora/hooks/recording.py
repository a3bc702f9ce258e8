"""The record of a run and its reports: written at its end, and again if the exit code changes after that."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from pytest_wanlora.hooks.outcomes import Outcomes
from pytest_wanlora.run.session import Gate
from pytest_wanlora.text_table import WIDTH

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.run.record import Ending

#: Columns beyond which prose is hard to read.
_WIDEST: Final = 120
#: What is printed of a baseline that was stored.
_STORED: Final = ("place", "changes", "notes", "insisted")


class Recording:
    """Writes the record of a run and its reports.

    Args:
        config: pytest's configuration.
        gate: The run.
        outcomes: Of the tests.

    Attributes:
        record: As it was written last; None before.
        whole: Whether the run may end well: what it decided on may be published, or was stored, and the
            receipts that were to be signed are.
    """

    def __init__(self, config: pytest.Config, gate: Gate, outcomes: Outcomes) -> None:
        self.config = config
        self.gate = gate
        self.outcomes = outcomes
        self.record: RunRecord | None = None
        self.whole = False

    def write(self, ending: Ending) -> list[str]:
        """Write the record, then its reports; the record is kept if a report fails.

        Returns:
            What to print about the run.

        Raises:
            WanloraError: There is no record: the judgements contradict each other, or it cannot be written.
        """
        from pytest_wanlora.run.record import build

        return self._write(build(self.gate, self.gate.judge, self.outcomes.judged, ending))

    def write_again(self, exit_status: int) -> list[str]:
        """Write both again for another exit code; otherwise like `write`, which must have been called."""
        assert self.record is not None  # a record comes first
        from pytest_wanlora.reports import writing

        # if they cannot be written again, none must be left that says what no longer holds
        record = self.record.ended(exit_status)
        writing.remove_receipts(record, self.gate.run_folder)
        return self._write(record)

    def _write(self, record: RunRecord) -> list[str]:
        from pytest_wanlora import results
        from pytest_wanlora.publishing import bundle
        from pytest_wanlora.reports import terminal, writing

        path = self.gate.run_folder / "results.json"
        results.write(record, path)
        lines = terminal.summary(
            record,
            os.path.relpath(path),
            causes=self._causes(),
            width=min(max(shutil.get_terminal_size().columns, WIDTH), _WIDEST),
            full=self.config.get_verbosity() > 0,
        )
        for stored in self.outcomes.stored:
            lines += ["", *terminal.stored_lines(*(stored[key] for key in _STORED))]
        written = writing.write_all(
            record,
            self.gate.run_folder,
            sign_key=self.gate.settings.sign_key,
            all_cards=self.gate.settings.model_cards,
            exports=self.gate.settings.exports,
        )
        if written.paths:
            first, *others = written.paths
            beside = f", and beside it {', '.join(path.name for path in others)}" if others else ""
            lines.append(f"reports: {os.path.relpath(first)}{beside}")
        lines += written.problems
        key = self.gate.settings.sign_key
        if key is not None and not written.unsigned and (why := bundle.why_not(key)) is not None:
            lines.append(f"the receipt is signed by ssh-keygen alone, no sigstore bundle was written: {why}")
        if written.unsigned:
            lines.append("the receipt was to be signed and is not there: nothing can be published by it")
        publishable = bool(record.candidates) and all(card.publishable for card in record.candidates)
        self.whole = (publishable or self.gate.settings.update_baselines) and not written.unsigned
        self.record = record
        return lines

    def _causes(self) -> list[str]:
        """What kept everything from being measured, a paragraph each."""
        preflight, blocked = self.gate.preflight, self.gate.blocked
        if preflight is None or not blocked:
            return []
        count = f"{len(blocked)} cause{'s' * (len(blocked) > 1)}"
        return [f"not measured: {count}; nothing was loaded or rendered", *preflight.lines(blocked)]
