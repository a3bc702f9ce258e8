"""Write the golden pages anew, to be read before they are kept.

`python -m tests.unit.reports.write_golden`
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_wanlora.phrases import LANGUAGES, Language
from pytest_wanlora.reports import markdown
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

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, (make, language) in PAGES.items():
        (GOLDEN / name).write_text(make(language), encoding="utf-8", newline="\n")
