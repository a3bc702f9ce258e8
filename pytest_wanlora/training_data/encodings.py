"""Why a file cannot be read as the UTF-8 that the training reads, in words that name the way out."""

from __future__ import annotations

import codecs
import io
import re
import shlex
from pathlib import Path

from pytest_wanlora.errors import DataError
from pytest_wanlora.files import listing

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# iconv's name, Python's name, and what a text in it is made of
_LEGACY: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("CP949", "cp949", re.compile("[가-힣]")),
    ("GB18030", "gb18030", re.compile("[一-鿿]")),
    ("SHIFT_JIS", "shift_jis", re.compile("[぀-ヿ一-鿿]")),
)
_LIKELY = 0.8
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def unreadable(path: Path, error: OSError) -> DataError:
    """The error to raise for a file that the system does not open, such as one that is not there."""
    # a path has one slash left of a URL's two
    url = "; a URL is not fetched, allowed: a path" if _URL.match(str(path)) else ""
    return DataError(f"{path} cannot be read: {error.strerror}{url}", next_command=listing(path))


def check_start(path: Path, start: bytes) -> None:
    """Refuse a file whose first bytes say that it is UTF-16 or UTF-32."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            raise _refused(path, f"is {name}, the training reads UTF-8", name)
    if b"\0" in start:
        # without a mark: of commas, blanks and Latin letters the second byte is zero, or the first
        second = start[1::2].count(0) > start[::2].count(0)
        name, codec = ("UTF-16LE", "utf-16-le") if second else ("UTF-16BE", "utf-16-be")
        try:
            # what is cut off in the middle of a letter is no error
            text = codecs.getincrementaldecoder(codec)().decode(start)
        except UnicodeDecodeError:
            text = "\0"
        known = None if "\0" in text else name
        what = f"holds zero bytes, as {known or 'no text'} does; the training reads UTF-8"
        raise _refused(path, what, known)


def undecodable(path: Path, data: bytes | None = None) -> DataError:
    """Find the first byte of a file that is not UTF-8, and guess what it is.

    Args:
        path: The file.
        data: What it holds, where it is not there yet.

    Returns:
        The error to raise: place, byte, and the encoding that the line reads well in, if any.
    """
    line, offset, text = _first_bad_line(path, data)
    position = _bad_position(text)
    guess = _guess(text)
    reads = f"; the line reads as {guess}" if guess else ""
    return _refused(
        path,
        f"is not UTF-8: byte 0x{text[position]:02x} at offset {offset + position}, line {line}{reads}",
        guess,
    )


def _refused(path: Path, message: str, encoding: str | None) -> DataError:
    if encoding is None:
        return DataError(
            f"{path} {message}; allowed: UTF-8, and in which encoding it is cannot be told",
            next_command="save it as UTF-8 with the program that wrote it",
        )
    # another ending, so that nothing takes it for a caption or a table if the command stops midway
    old, new = shlex.quote(str(path)), shlex.quote(f"{path}.utf8")
    return DataError(
        f"{path} {message}", next_command=f"iconv -f {encoding} -t UTF-8 {old} > {new} && mv {new} {old}"
    )


def _first_bad_line(path: Path, data: bytes | None) -> tuple[int, int, bytes]:
    offset = 0
    with path.open("rb") if data is None else io.BytesIO(data) as file:
        for number, line in enumerate(file, start=1):
            if _bad_position(line) < len(line):
                return number, offset, line
            offset += len(line)
    # the file was mended while it was read
    return 1, 0, b"\xff"


def _bad_position(text: bytes) -> int:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(text)


def _guess(text: bytes) -> str | None:
    shares: dict[str, float] = {}
    for name, codec, letters in _LEGACY:
        try:
            decoded = text.decode(codec)
        except UnicodeDecodeError:
            continue
        foreign = [letter for letter in decoded if not letter.isascii()]
        shares[name] = len(letters.findall(decoded)) / max(len(foreign), 1)
    # the first of equals: _LEGACY begins with the languages of the word lists
    best = max(shares, key=lambda name: shares[name], default=None)
    return best if best is not None and shares[best] > _LIKELY else None
