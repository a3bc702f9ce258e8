"""The pages of `docs/` that benchmarks fill in: tables, and the marks that they stand between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_wanlora.files import write_whole

__all__ = ["NOT_MEASURED", "Marks", "sections", "table"]

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Marks:
    """The two comments between which a program writes into a page.

    Attributes:
        program: The module that writes there.
    """

    program: str

    @property
    def begin(self) -> str:
        """The first."""
        return f"<!-- begin: {self.program} -->"

    @property
    def end(self) -> str:
        """The last."""
        return f"<!-- end: {self.program} -->"

    def inserted(self, whole: str, tables: str) -> str:
        """Put tables between the marks of a page.

        Raises:
            ValueError: The page lacks a mark.
        """
        if self.begin not in whole or self.end not in whole:
            raise ValueError(f"the page has no {self.begin} and {self.end}")
        head, _, rest = whole.partition(self.begin)
        return f"{head}{self.begin}\n{tables.strip()}\n{self.end}{rest.partition(self.end)[2]}"

    def write(self, page: Path, tables: str) -> None:
        """Put tables between the marks of a file.

        Raises:
            ValueError: It lacks a mark.
        """
        write_whole(page, self.inserted(page.read_text(encoding="utf-8"), tables).encode())


def sections(titled: Iterable[tuple[str, str]]) -> str:
    """Put texts under their titles; one that is empty was not measured."""
    return "\n\n".join(f"### {title}\n\n{text or NOT_MEASURED}" for title, text in titled)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
