"""Reads the reports' Markdown as a renderer would, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

#: What nobody's name may turn into.
FORBIDDEN = {"html_block", "html_inline", "link_open", "image", "s_open", "em_open"}


@dataclass(frozen=True)
class Table:
    """A table under its heading; cells as a reader sees them."""

    heading: str
    head: list[str]
    rows: list[list[str]]

    def column(self, title: str) -> list[str]:
        return [row[self.head.index(title)] for row in self.rows]


def parse(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)


def every(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from every(token.children or [])


def shown(inline: Token) -> str:
    return "".join(each.content for each in inline.children or [] if each.type in ("text", "code_inline"))


def tables(page: str) -> list[Table]:
    found: list[Table] = []
    heading = ""
    row: list[str] = []
    tokens = parse(page)
    for before, token in pairwise(tokens):
        if token.type == "inline" and before.type == "heading_open":
            heading = shown(token)
        elif token.type == "table_open":
            found.append(Table(heading, [], []))
        elif token.type == "tr_open":
            row = []
        elif token.type == "inline" and before.type in ("th_open", "td_open"):
            row.append(shown(token))
        elif token.type == "tr_close":
            if found[-1].head:
                found[-1].rows.append(row)
            else:
                found[-1].head.extend(row)
    return found


def sections(page: str) -> dict[str, list[str]]:
    """Paragraphs and list items by their heading, as a reader sees them."""
    found: dict[str, list[str]] = {}
    heading = ""
    tokens = parse(page)
    for before, token in pairwise(tokens):
        if token.type == "inline" and before.type == "heading_open":
            heading = shown(token)
        elif token.type == "inline" and before.type == "paragraph_open":
            found.setdefault(heading, []).append(shown(token))
    return found
