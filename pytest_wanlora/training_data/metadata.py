"""DiffSynth's training metadata, read row by row: csv, json (a list of objects) or jsonl.

What the training's own reader (pandas for csv, `json` for the others) would refuse or take for something else
is refused here with its place; what it would read is read the same way.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from pytest_wanlora.errors import DataError
from pytest_wanlora.files import open_regular
from pytest_wanlora.training_data.encodings import check_start, undecodable

FORMATS = ("csv", "json", "jsonl")
"""Told by the file's ending, as the training does; any other ending is read as csv there and refused here."""

# What pandas.read_csv takes for a missing value: such a prompt reaches the training as NaN.
_MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
_CHUNK = 1 << 18
_START = 4096
_LONGEST_CSV_FIELD = 131_072  # csv's own limit, left alone: it is shared by the whole process
_LONGEST_JSON_RECORD = 1 << 24
_NO_BLANK = re.compile(r"[^ \t\r\n]")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_ANOTHER = "name the metadata that the training reads (its --dataset_metadata_path)"


class Row(NamedTuple):
    """One row of the metadata.

    Attributes:
        place: Line of the file that the row ends on (csv, jsonl), or number of the record (json), from 1.
        prompt: The prompt, None where the training would read none.
        video: The path or URL of the video as it stands there, None where there is none.
        record: All columns: texts in the order of `Metadata.columns` (csv), or the object (json, jsonl).
    """

    place: int
    prompt: str | None
    video: str | None
    record: list[str] | dict[str, Any]


class Metadata:
    """Reads a metadata file once, from front to back; holds one row at a time.

    Args:
        path: The file; its ending says which of `FORMATS` it is.
        prompt_column: Name of the prompts' column.
        video_column: Name of the videos' column.

    Attributes:
        path: As given.
        kind: One of `FORMATS`.
        columns: Names in the file's order; empty for json and jsonl, whose records have their own.
        size: Bytes of the file.

    Raises:
        DataError: The file is missing, empty, not UTF-8, of another format, or lacks a column. The iteration
            raises it too, with the place of what is wrong.

    Example:
        >>> with Metadata(Path("metadata.csv")) as metadata:  # doctest: +SKIP
        ...     prompts = [row.prompt for row in metadata]
    """

    def __init__(self, path: Path, *, prompt_column: str = "prompt", video_column: str = "video") -> None:
        self.path = path
        self.kind = _kind(path)
        self.columns: tuple[str, ...] = ()
        self._names = (prompt_column, video_column)
        self._raw: BinaryIO = _open(path)
        self.size = path.stat().st_size
        # csv may begin with a byte order mark, since pandas skips it; Python's json refuses it, and so do we
        encoding = "utf-8-sig" if self.kind == "csv" else "utf-8"
        self._text = io.TextIOWrapper(self._raw, encoding=encoding, newline="")
        self._reader = csv.reader(self._text, strict=True)
        self._row_end = 0  # the line that the last whole row of a csv ends on
        try:
            if self.kind == "csv":
                self.columns = self._header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._text.close()

    @property
    def position(self) -> int:
        """Bytes read so far, to say how far along a pass is."""
        return self._raw.tell()

    @property
    def unit(self) -> str:
        """What `Row.place` counts: `line` or `record`."""
        return "record" if self.kind == "json" else "line"

    def __iter__(self) -> Iterator[Row]:
        """Read the rows; at least one, in the file's order."""
        rows = {"csv": self._csv_rows, "json": self._json_rows, "jsonl": self._jsonl_rows}[self.kind]()
        number = 0
        try:
            for row in rows:
                number += 1
                yield row
        except UnicodeDecodeError as error:
            raise undecodable(self.path) from error
        except csv.Error as error:
            raise self._broken_csv(error) from error
        if number == 0:
            raise DataError(f"{self.path}: there is no row in it", next_command=_ANOTHER)

    def _header(self) -> tuple[str, ...]:
        try:
            header = next(self._reader, None)
        except UnicodeDecodeError as error:
            raise undecodable(self.path) from error
        except csv.Error as error:
            raise self._broken_csv(error) from error
        if not header:
            raise DataError(
                f"{self.path}: the first line is empty; it must name the columns, such as video,prompt",
                next_command=f"sed -i '1i video,prompt' {_quoted(self.path)}",
            )
        double = next((name for name in header if header.count(name) > 1), None)
        if double is not None:
            raise DataError(
                f"{self.path}: line 1 names the column {double!r} {header.count(double)} times; "
                "once is allowed",
                next_command=self._look(1),
            )
        for mark, marks in _SEPARATORS.items():
            if len(header) == 1 and mark in header[0] and not set(self._names) & set(header):
                raise DataError(
                    f"{self.path}: line 1 is one column, {_short(header[0])}: it is separated by {marks}, "
                    "the training reads commas",
                    next_command="export the table again, separated by commas",
                )
        for name, option in zip(self._names, ("--prompt-column", "--video-column"), strict=True):
            if name not in header:
                raise DataError(
                    f"{self.path}: there is no column {name!r}; the columns are {_listed(header)}",
                    next_command=f"name another column with {option} NAME",
                )
        self._row_end = self._reader.line_num
        return tuple(header)

    def _csv_rows(self) -> Iterator[Row]:
        width = len(self.columns)
        prompt_at, video_at = (self.columns.index(name) for name in self._names)
        for record in self._reader:
            if len(record) != width:
                if not record:  # an empty line, which pandas skips
                    self._row_end = self._reader.line_num
                    continue
                raise DataError(
                    f"{self.path}: line {self._reader.line_num} has {len(record)} fields, not {width}: a "
                    "field that is missing, or a comma in a field that is not put in quotes?",
                    next_command=self._look(self._reader.line_num),
                )
            self._row_end = self._reader.line_num
            prompt, video = record[prompt_at], record[video_at]
            yield Row(
                self._row_end,
                None if prompt in _MISSING or prompt.isspace() else prompt,
                None if video in _MISSING else video,
                record,
            )

    def _broken_csv(self, error: csv.Error) -> DataError:
        # a quote that is never closed swallows what follows: the place to look at is where the row begins
        line = self._row_end + 1
        reason = str(error)
        if "field limit" in reason:
            reason = (
                f"a field is longer than {_LONGEST_CSV_FIELD:,} characters: a quote that is never closed?"
            )
        elif "unexpected end of data" in reason:
            reason = "the file ends within a quoted field: a quote that is never closed?"
        elif "expected after" in reason:
            reason = (
                'text follows a closing quote; a quote within a quoted field is written twice (""like this"")'
            )
        return DataError(f"{self.path}: the row on line {line}: {reason}", next_command=self._look(line))

    def _look(self, line: int) -> str:
        return f"sed -n {line}p {_quoted(self.path)}"

    def _jsonl_rows(self) -> Iterator[Row]:
        for number, line in enumerate(self._text, start=1):
            if not line.strip():
                raise DataError(
                    f"{self.path}: line {number} is empty; the training's reader fails on it",
                    next_command=f"sed -i '/^[[:space:]]*$/d' {_quoted(self.path)}",
                )
            try:
                value = json.loads(line, object_pairs_hook=self._object)
            except json.JSONDecodeError as error:
                raise self._broken_line(number, error.msg) from error
            except RecursionError as error:
                raise self._broken_line(number, "it is nested too deeply") from error
            yield self._json_row(number, value)

    def _broken_line(self, number: int, reason: str) -> DataError:
        return DataError(
            f"{self.path}: line {number} is not JSON: {reason}; each line is one object",
            next_command=self._look(number),
        )

    def _json_rows(self) -> Iterator[Row]:
        values = _Array(self._text, self.path, json.JSONDecoder(object_pairs_hook=self._object))
        for number, value in enumerate(values, start=1):
            yield self._json_row(number, value)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise DataError(
                f"{self.path}: an object names {double!r} twice: {_short(str(value))}",
                next_command=f"grep -n {shlex.quote(double)} {_quoted(self.path)}",
            )
        return value

    def _json_row(self, number: int, value: object) -> Row:
        place = f"{self.path}: {self.unit} {number}"
        if not isinstance(value, dict):
            raise DataError(
                f"{place} is not an object with columns but {_short(str(value))}",
                next_command="write it as {" + ", ".join(f'"{name}": "..."' for name in self._names) + "}",
            )
        texts: list[str | None] = []
        for name, option in zip(self._names, ("--prompt-column", "--video-column"), strict=True):
            if name not in value:
                raise DataError(
                    f"{place} has no {name!r}; it has {_listed(list(value))}",
                    next_command=f"name another column with {option} NAME",
                )
            text = value[name]
            if text is not None and not isinstance(text, str):
                raise DataError(
                    f"{place}: {name!r} is {_short(str(text))}, not a text",
                    next_command="write it in double quotes",
                )
            texts.append(text if text and not text.isspace() else None)
        return Row(number, texts[0], texts[1], value)


def _kind(path: Path) -> str:
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; name the .csv, .json or .jsonl file in it",
            next_command=f"ls {_quoted(path)}",
        )
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise DataError(
            f"{path}: {path.suffix or 'no ending'}; training metadata ends in .csv, .json or .jsonl",
            next_command=_ANOTHER,
        )
    return kind


def _open(path: Path) -> BinaryIO:
    try:
        file = open_regular(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}", next_command=f"ls -l {_quoted(path.parent)}"
        ) from error
    start = file.read(_START)
    file.seek(0)
    try:
        check_start(path, start)
        if not start.strip():
            raise DataError(f"{path} is empty", next_command=_ANOTHER)
    except DataError:
        file.close()
        raise
    return file


class _Array:
    """The elements of a JSON array, decoded one at a time."""

    def __init__(self, text: io.TextIOWrapper, path: Path, decoder: json.JSONDecoder) -> None:
        self._text = text
        self._path = path
        self._decoder = decoder
        self._buffer = ""
        self._at = 0

    def __iter__(self) -> Iterator[object]:
        if self._next() != "[":
            if self._buffer.startswith("\ufeff"):
                copy = self._path.with_name(f"{self._path.stem}.plain{self._path.suffix}")
                raise DataError(
                    f"{self._path} begins with a byte order mark, at which the training's JSON reader stops",
                    next_command=f"tail -c +4 {_quoted(self._path)} > {_quoted(copy)}",
                )
            raise self._broken(f"not a JSON list of objects; it begins with {self._rest()}")
        self._at += 1
        number = 0
        if self._next() == "]":
            self._at += 1
        else:
            while True:
                number += 1
                yield self._element(number)
                mark = self._next()
                if mark not in (",", "]"):
                    raise self._broken(f"after record {number} stands {self._rest()}, not ',' or ']'")
                self._at += 1
                if mark == "]":
                    break
                self._next()
        if self._next():
            raise self._broken(f"after the end of the list stands {self._rest()}")

    def _element(self, number: int) -> object:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
                # a number at the very end may go on in the next chunk
                if end < len(self._buffer):
                    self._at = end
                    return value
                problem = "the file ends within the list"
            except json.JSONDecodeError as error:
                problem = error.msg
            except RecursionError:
                problem = "it is nested too deeply"
            if len(self._buffer) - self._at > _LONGEST_JSON_RECORD or not self._more():
                raise self._broken(f"record {number} is not JSON: {problem}; it begins {self._rest()}")

    def _broken(self, reason: str) -> DataError:
        # the standard reader, which the training uses, shows line and column
        return DataError(f"{self._path}: {reason}", next_command=f"python -m json.tool {_quoted(self._path)}")

    def _next(self) -> str:
        """The next character that is no blank, where `_at` then stands; empty at the end of the file."""
        while True:
            found = _NO_BLANK.search(self._buffer, self._at)
            if found is not None:
                self._at = found.start()
                return found.group()
            self._at = len(self._buffer)
            if not self._more():
                return ""

    def _more(self) -> bool:
        chunk = self._text.read(_CHUNK)
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _rest(self) -> str:
        return _short(self._buffer[self._at : self._at + 100])


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _listed(names: list[str]) -> str:
    return ", ".join(_short(name) for name in names[:12]) + (
        f" and {len(names) - 12} more" if len(names) > 12 else ""
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
