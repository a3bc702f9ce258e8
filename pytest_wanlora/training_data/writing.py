"""Writing metadata and exports: whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pytest_wanlora.errors import DataError
from pytest_wanlora.files import create_beside, listing, unused


def check_output(output: Path, *, sources: Sequence[Path] = (), overwrite: bool = False) -> None:
    """Refuse an output that would destroy something or cannot be written, before any work is done for it.

    Args:
        sources: Files that are read for it and must stay.
        overwrite: Whether an existing file may be replaced. A source never may.

    Raises:
        DataError: It is a source, exists, or its folder is missing or cannot be written to.
    """
    elsewhere = {"--output": str(unused(output))}
    for source in sources:
        if output.exists() and source.exists() and output.samefile(source):
            raise DataError(
                f"--output: {output} is the file that is read; allowed: another one", options=elsewhere
            )
    if output.is_dir():
        raise DataError(f"--output: {output} is a folder; allowed: a file", options=elsewhere)
    if output.exists() and not overwrite:
        raise DataError(
            f"--output: {output} exists; allowed: a new file, or this one with --overwrite", options=elsewhere
        )
    if not output.parent.is_dir():
        raise DataError(
            f"{output}: its folder does not exist", next_command=f"mkdir -p {shlex.quote(str(output.parent))}"
        )
    if not os.access(output.parent, os.W_OK):
        raise DataError(
            f"{output}: its folder cannot be written to",
            next_command=f"ls -ld {shlex.quote(str(output.parent))}",
        )


def with_commas(table: Path, mark: str) -> str:
    """The command that writes a table beside it once more, with commas instead of another mark."""
    code = (
        "import csv, sys; csv.writer(sys.stdout, lineterminator=chr(10))"
        f".writerows(csv.reader(sys.stdin, delimiter={mark!r}))"
    )
    new = unused(table.with_name(f"{table.stem}.commas.csv"))
    return f"python -c {shlex.quote(code)} < {shlex.quote(str(table))} > {shlex.quote(str(new))}"


def write_text(output: Path, write: Callable[[IO[str]], object]) -> None:
    """Write a UTF-8 file through a temporary one, so that it appears whole or not at all."""
    try:
        opened, temporary = create_beside(output)
        try:
            # a lone half of a surrogate pair, which JSON may hold, is written as the escape that it came from
            with io.TextIOWrapper(opened, encoding="utf-8", errors="backslashreplace", newline="") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{output} cannot be written: {error.strerror or error}", next_command=listing(output)
        ) from error


def write_table(
    output: Path, kind: str, columns: Sequence[str], records: Iterable[Sequence[str] | Mapping[str, Any]]
) -> None:
    """Write rows as csv, json or jsonl.

    Args:
        kind: One of `metadata.FORMATS`.
        columns: Names of the columns: the header of a csv, the keys of a record of texts in json.
        records: Texts by column, or objects (json, jsonl only), as `metadata.Row.record` has them.
    """

    def write(file: IO[str]) -> None:
        if kind in ("csv", "tsv"):
            mark = "," if kind == "csv" else "\t"
            plain = csv.writer(file, lineterminator="\n", delimiter=mark)
            # Python 3.11 leaves a carriage return unquoted, and readers then end the row there
            quoted = csv.writer(file, lineterminator="\n", delimiter=mark, quoting=csv.QUOTE_ALL)
            for record in chain([columns], records):
                (quoted if any("\r" in text for text in record) else plain).writerow(record)
            return
        objects = (
            record if isinstance(record, Mapping) else dict(zip(columns, record, strict=True))
            for record in records
        )
        lines = (json.dumps(record, ensure_ascii=False) for record in objects)
        if kind == "jsonl":
            file.writelines(f"{line}\n" for line in lines)
            return
        file.write("[")
        for number, line in enumerate(lines):
            file.write((",\n" if number else "\n") + line)
        file.write("\n]\n")

    write_text(output, write)
