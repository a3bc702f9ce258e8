"""Tables of training data, read row by row: csv, tsv, json (objects in a list or by path) or jsonl.

What the training's own reader (pandas for csv, `json` for the others) would refuse or take for something else
is refused here with its place; what it would read is read the same way. `forms` reads everything else.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from pytest_wanlora.errors import DataError
from pytest_wanlora.files import listing, open_regular
from pytest_wanlora.training_data.encodings import check_rest, check_start, undecodable, unreadable
from pytest_wanlora.training_data.videos import ENDINGS, named_in
from pytest_wanlora.training_data.writing import with_commas

FORMATS = ("csv", "tsv", "json", "jsonl")
"""Told by the file's ending, as the training does; any other ending is read as csv there and refused here."""

PROMPTS = ("prompt", "caption", "text", "captions", "prompts", "description")
VIDEOS = ("video", "video_path", "file_name", "path", "image", "image_path", "file", "filename")
"""Names of the columns, in this order, where none is named: those of DiffSynth, musubi-tuner and others."""

# What pandas.read_csv takes for a missing value: such a prompt reaches the training as NaN.
_MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
_MISSING |= {"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
_START = 4096
_LONGEST_CSV_FIELD = 131_072  # csv's own limit, left alone: it is shared by the whole process
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_CSV_REASONS = (
    (
        "field limit",
        f"a field is longer than {_LONGEST_CSV_FIELD:,} characters: a quote that is never closed?",
    ),
    ("unexpected end of data", "the file ends within a quoted field: a quote that is never closed?"),
    (
        "expected after",
        'text follows a closing quote; a quote within a quoted field is written twice (""like this"")',
    ),
)
_UNREAD = "it is nested too deeply, or a number in it has too many digits"
_BY_PATH = ("caption", "prompt", "text", "tags")  # what kohya's {path: {...}} says of a clip


class Row(NamedTuple):
    """One row of the metadata.

    Attributes:
        place: Line of the file that the row ends on (csv, jsonl), or number of the record (json), from 1.
        prompt: The prompt, None where the training would read none.
        video: The path or URL of the video as it stands there, None where there is none.
        record: All columns: texts in the order of `Metadata.columns` (csv, tsv), or the object (json, jsonl).
    """

    place: int
    prompt: str | None
    video: str | None
    record: list[str] | dict[str, Any]
    repeats: int = 1


class Metadata:
    """Reads a table once, from front to back.

    Args:
        path: The file; its ending says which of `FORMATS` it is.
        prompt_column: By default the first of `PROMPTS` that is there.
        video_column: By default the first of `VIDEOS` that is there.
        needs_video: Whether a table without a column of videos is refused.

    Attributes:
        kind: One of `FORMATS`.
        columns: Names in the file's order; empty for json and jsonl, whose records have their own.
        size: Bytes of the file.
        unit: What `Row.place` counts: `line` or `record`.
        notes: What the user should know of how it was read.

    Raises:
        DataError: It is missing, empty, not UTF-8, of another format, or lacks a column; the iteration too.
    """

    def __init__(
        self,
        path: Path,
        *,
        prompt_column: str | None = None,
        video_column: str | None = None,
        needs_video: bool = True,
    ) -> None:
        self.path = path
        self.kind = _kind(path)
        self.columns: tuple[str, ...] = ()
        self.files = [path]
        self.unit = "record" if self.kind == "json" else "line"
        self.notes: list[str] = []
        self._asked = (prompt_column, video_column)
        self._needs_video = needs_video
        self._known: dict[tuple[str, ...], tuple[str, str | None]] = {}
        self._raw = _open(path)
        self.size = path.stat().st_size
        # csv may begin with a byte order mark, since pandas skips it; Python's json refuses it, and so do we
        table = self.kind in ("csv", "tsv")
        self._text = io.TextIOWrapper(self._raw, encoding="utf-8-sig" if table else "utf-8", newline="")
        self._reader = csv.reader(self._text, strict=True, delimiter="\t" if self.kind == "tsv" else ",")
        self._row_end = 0  # the line that the last whole row of a csv ends on
        try:
            if table:
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

    def __iter__(self) -> Iterator[Row]:
        """Read the rows; at least one, in the file's order."""
        rows = {"json": self._json_rows, "jsonl": self._jsonl_rows}.get(self.kind, self._csv_rows)()
        try:
            first = next(rows, None)
            if first is None:
                raise DataError(f"{self.path}: there is no row in it", next_command=self._look(1))
            yield first
            yield from rows
        except UnicodeDecodeError as error:
            raise undecodable(self.path) from error
        except csv.Error as error:
            raise self._broken_csv(error) from error

    def _names(self, columns: Sequence[str], place: str) -> tuple[str, str | None]:
        """The columns of prompts and videos of a header or an object."""
        key = tuple(columns)
        if key not in self._known:
            prompt = _named(columns, self._asked[0], PROMPTS)
            video = _named(columns, self._asked[1], VIDEOS)
            if prompt is None:
                raise _unnamed(columns, place, self._asked[0], PROMPTS, "--prompt-column")
            if video is None and (self._needs_video or self._asked[1]):
                raise _unnamed(columns, place, self._asked[1], VIDEOS, "--video-column")
            if prompt == video:
                why = f"{self.path}: {prompt!r} is the column of the prompts and of the videos"
                asked = zip(("--prompt-column", "--video-column"), self._asked, strict=True)
                raise DataError(why, options={option: False for option, name in asked if name is not None})
            if (not self._known and prompt != "prompt") or video not in (None, "video"):
                self.notes.append(f"the prompts are those of {prompt!r}, the videos those of {video!r}")
            self._known[key] = (prompt, video)
        return self._known[key]

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
            if len(header) == 1 and mark in header[0] and self.kind == "csv" and not self._asked[0]:
                raise DataError(
                    f"{self.path}: line 1 is one column, {_short(header[0])}: it is separated by {marks}, "
                    "the training reads commas",
                    next_command=with_commas(self.path, mark),
                )
        self._names(header, f"{self.path}: there is no column")
        self._row_end = self._reader.line_num
        return tuple(header)

    def _csv_rows(self) -> Iterator[Row]:
        width = len(self.columns)
        names = self._names(self.columns, f"{self.path}: there is no column")
        prompt_at = self.columns.index(names[0])
        video_at = None if names[1] is None else self.columns.index(names[1])
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
            prompt, video = record[prompt_at], "" if video_at is None else record[video_at]
            yield Row(
                self._row_end,
                None if prompt in _MISSING or prompt.isspace() else prompt,
                None if video in _MISSING else video,
                record,
            )

    def _broken_csv(self, error: csv.Error) -> DataError:
        # a quote that is never closed swallows what follows: the place to look at is where the row begins
        line = self._row_end + 1
        reason = next((said for part, said in _CSV_REASONS if part in str(error)), str(error))
        return DataError(f"{self.path}: the row on line {line}: {reason}", next_command=self._look(line))

    def _look(self, line: int) -> str:
        show = f"sed -n {line}p" if self.unit == "line" else "python -m json.tool"
        return f"{show} {_quoted(self.path)}"

    def _jsonl_rows(self) -> Iterator[Row]:
        for number, line in enumerate(self._text, start=1):
            if not line.strip():
                raise DataError(
                    f"{self.path}: line {number} is empty; the training's reader fails on it",
                    next_command=f"sed -i '/^[[:space:]]*$/d' {_quoted(self.path)}",
                )
            try:
                value = json.loads(line, object_pairs_hook=self._object)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", _UNREAD)
                raise DataError(
                    f"{self.path}: line {number} is not JSON: {reason}; each line is one object",
                    next_command=self._look(number),
                ) from error
            yield self._json_row(number, value)

    def _json_rows(self) -> Iterator[Row]:
        text = self._text.read()
        if text.startswith("\ufeff"):
            copy = self.path.with_name(f"{self.path.stem}.plain{self.path.suffix}")
            raise DataError(
                f"{self.path} begins with a byte order mark, at which the training's JSON reader stops",
                next_command=f"tail -c +4 {_quoted(self.path)} > {_quoted(copy)}",
            )
        # the standard reader, which the training uses, shows line and column
        try:
            values = json.loads(text, object_pairs_hook=self._object)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, json.JSONDecodeError) else _UNREAD
            raise DataError(f"{self.path} is not JSON: {reason}", next_command=self._look(1)) from error
        del text
        if isinstance(values, dict) and any(map(_names_a_clip, values.items())):
            self.kind, self.columns = "by path", ("video", "prompt")
            self.notes.append("an object by path, as kohya's trainers and diffusion-pipe have it")
            yield from self._rows_by_path(values)
        elif isinstance(values, list):
            for number, value in enumerate(values, start=1):
                yield self._json_row(number, value)
        else:
            raise DataError(
                f"{self.path}: neither a JSON list of objects nor captions by path; it begins with "
                f"{_short(json.dumps(values, ensure_ascii=False))}",
                next_command=self._look(1),
            )

    def _rows_by_path(self, values: dict[str, Any]) -> Iterator[Row]:
        number = 0
        for path, said in values.items():
            captions = said if isinstance(said, list) else [said]
            if isinstance(said, dict):
                captions = [said[name] for name in _BY_PATH if name in said][:1]
            wrong = next((each for each in captions if not isinstance(each, str | None)), None)
            if wrong is not None:
                raise DataError(
                    f"{self.path}: {_short(path)}: its caption is {_short(str(wrong))}, not a text; allowed: "
                    "one in double quotes",
                    next_command=self._look(1),
                )
            video = path
            if path.rpartition(".")[2].lower() not in ENDINGS:
                # kohya's older files name a clip without its ending
                there = (f"{path}.{ending}" for ending in sorted(ENDINGS))
                video = next((each for each in there if os.path.exists(self.path.parent / each)), path)  # noqa: PTH110  many
            for caption in captions or [None]:
                number += 1
                text = caption if caption and not caption.isspace() else None
                yield Row(number, text, video, [video, text or ""])

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
                f"{place} is not an object with columns but {_short(str(value))}; allowed: one such as "
                '{"video": "a.mp4", "prompt": "a tram"}',
                next_command=self._look(number),
            )
        texts: list[str | None] = []
        for name in self._names(list(value), f"{place} has no"):
            text = None if name is None else value[name]
            if text is not None and not isinstance(text, str):
                said = json.dumps({name: named_in(text) or "..."}, ensure_ascii=False)[1:-1]
                raise DataError(
                    f"{place}: {name!r} is {_short(str(text))}, not a text; allowed: {said}",
                    next_command=self._look(number),
                )
            texts.append(text if text and not text.isspace() else None)
        return Row(number, texts[0], texts[1], value)


def _named(columns: Sequence[str], asked: str | None, usual: Sequence[str]) -> str | None:
    if asked is not None:
        return asked if asked in columns else None
    by_name = {name.strip().casefold(): name for name in reversed(columns)}
    return next((by_name[name] for name in usual if name in by_name), None)


def _unnamed(
    columns: Sequence[str], place: str, asked: str | None, usual: Sequence[str], option: str
) -> DataError:
    wish = " or ".join(repr(name) for name in ((asked,) if asked is not None else usual[:3]))
    return DataError(
        f"{place} {wish}; there is {_listed(list(columns)) or 'nothing'}",
        next_command=f"name another column with {option} NAME",
    )


def _names_a_clip(item: tuple[str, Any]) -> bool:
    path, said = item
    if isinstance(said, dict):
        return any(isinstance(said.get(name), str) for name in _BY_PATH)
    return isinstance(said, str | list) and path.rpartition(".")[2].lower() in ENDINGS


def _kind(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise DataError(
            f"{path}: {path.suffix or 'no ending'}; training data is a folder or ends in "
            ".csv, .tsv, .json, .jsonl, .toml, .yaml or .zip",
            next_command=listing(path.parent),
        )
    return kind


def _open(path: Path) -> BinaryIO:
    try:
        file = open_regular(path)
    except OSError as error:
        raise unreadable(path, error) from error
    start = file.read(_START)
    try:
        check_start(path, start)
        check_rest(path, file)
        if not start.strip():
            raise DataError(f"{path} is empty", next_command=listing(path))
    except DataError:
        file.close()
        raise
    file.seek(0)
    return file


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _listed(names: list[str]) -> str:
    return ", ".join(_short(name) for name in names[:12]) + (
        f" and {len(names) - 12} more" if len(names) > 12 else ""
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
