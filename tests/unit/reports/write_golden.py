"""Write the golden pages anew, to be read before they are kept.

`python -m tests.unit.reports.write_golden`
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

# pytest exports no name for it; the reports themselves only give lines
from _pytest._io import TerminalWriter

from pytest_wanlora.phrases import LANGUAGES, Language
from pytest_wanlora.reports import markdown, terminal
from pytest_wanlora.results.run_record import RunRecord
from tests.unit.reports.sample_records import epochs_record, mission_record

GOLDEN = Path(__file__).parent / "golden"
COMMAND = "python -m tests.unit.reports.write_golden"


def mission(language: Language) -> str:
    return markdown.page(mission_record(), language)


def epochs(language: Language) -> str:
    return markdown.page(epochs_record(), language)


PAGES: dict[str, tuple[Callable[[Language], str], Language]] = {
    f"{make.__name__}.{language}.md": (make, language) for make in (mission, epochs) for language in LANGUAGES
}
"""File name to what makes it, and in which language."""


def _terminal(make: Callable[[], RunRecord], width: int, *, colour: bool) -> str:
    """The terminal's page as pytest would write it, with or without colour."""
    file = io.StringIO()
    writer = TerminalWriter(file)
    writer.hasmarkup = colour
    for line in terminal.summary(make(), "run/results.json", width=width):
        writer.line(line, **getattr(line, "markup", {}))
    return file.getvalue()


TERMINALS: dict[str, Callable[[], str]] = {
    f"{name}.{width}{'.colour' * colour}.txt": partial(_terminal, make, width, colour=colour)
    for name, make in (("mission", mission_record), ("epochs", epochs_record))
    for width in (80, 120)
    for colour in (False, True)
}
"""File name to what makes the terminal's page."""

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, (make, language) in PAGES.items():
        (GOLDEN / name).write_text(make(language), encoding="utf-8", newline="\n")
    for name, lines in TERMINALS.items():
        (GOLDEN / name).write_text(lines(), encoding="utf-8", newline="\n")
