"""Why a file cannot be read as the UTF-8 that the training reads, in words that name the way out."""

from __future__ import annotations

import codecs
import io
import re
import shlex
import unicodedata
from pathlib import Path
from typing import BinaryIO

from pytest_wanlora.errors import DataError, EncodingError
from pytest_wanlora.files import dangling, fetching, listing, read_regular, unused, url_of

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_KANA = frozenset(map(chr, (*range(0x3041, 0x3097), *range(0x30A1, 0x30FB), 0x30FC)))
# a name that iconv and Python know, and letters that are common in its texts and rare in what is misread
_LEGACY: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "CP949",
        frozenset(
            "이다는을에의가를은하고한로지서도어리기사대시나자아들해있으라일여인그수부정스보장과전주구상동오우무마와거비면려적"
            "원제세게선화성미빛물바람니조경위내늘모두산색트카진며방영밤소용차꽃란간만러레르네드크양길남녀관속계안공연"
        ),
    ),
    (
        "GB18030",
        frozenset(
            "的一是不了在人有我他这中大来上个国和地到说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多"
            "经去法学如都同现当没动面起看定天分还进好小部其主样理心她本前开但因只从想实日无力与长机明全三点正外两高间重物手向头"
            "美新身西月海水气女电安光白空山金马书色路南北边红雨夜街灯影树花城市车云雪风"
        ),
    ),
    (
        "BIG5",
        frozenset(
            "的一是不了在人有我他這中大來上個國和地到說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多"
            "經去法學如都同現當沒動面起看定天分還進好小部其主樣理心她本前開但因只從想實日無力與長機明全三點正外兩高間重物手向頭"
            "美新身西月海水氣女電安光白空山金馬書色路南北邊紅雨夜街燈影樹花城市車雲雪風"
        ),
    ),
    ("CP932", _KANA),
    ("EUC-JP", _KANA),
)
_LIKELY = 0.25
_PIECE = 2**20
_FEWEST_LETTERS = 4
# letters of three bytes or four; in texts of other encodings hardly any word consists of such
_UTF8_WORD = re.compile(rb"[\x80-\xff]+")


def unreadable(path: Path, error: OSError) -> DataError:
    """The error to raise for a file that the system does not open, such as one that is not there."""
    if (url := url_of(path)) is not None:
        return DataError(
            f"{url} cannot be read: a URL is not fetched, allowed: a path",
            next_command=fetching(url) or "download it, and name the file",
        )
    why = dangling(path) or error.strerror
    return DataError(f"{path} cannot be read: {why}", next_command=listing(path))


def check_start(path: Path, start: bytes, data: bytes | None = None) -> None:
    """Refuse a file whose first bytes say that it is no UTF-8.

    Args:
        path: The file.
        start: Its first bytes.
        data: What it holds, where it is not there yet.
    """
    mark = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if mark is None and b"\0" not in start:
        return
    if data is None:
        try:
            data = read_regular(path)
        except OSError:
            # too large, or gone: nothing is known of what follows
            data = b""
    if mark is not None:
        if _is_text(data, mark):
            raise _refused(path, f"is {mark}, the training reads UTF-8", mark)
        raise _refused(path, f"begins as {mark} does and does not go on so", None)
    name = next((name for name in ("UTF-16LE", "UTF-16BE") if _is_utf_16(data, name)), None)
    if name is not None:
        raise _refused(path, f"holds zero bytes, as {name} does; the training reads UTF-8", name)
    raise _with_nul(path, io.BytesIO(start))


def check_rest(path: Path, file: BinaryIO) -> None:
    """Refuse a file that holds a NUL byte anywhere behind where it was read to."""
    # a search in large pieces costs a small part of what the rows do; lines are counted only where one is
    while piece := file.read(_PIECE):
        if b"\0" in piece:
            file.seek(0)
            raise _with_nul(path, file)


def _with_nul(path: Path, lines: BinaryIO) -> DataError:
    line = next(number for number, text in enumerate(lines, start=1) if b"\0" in text)
    return DataError(
        f"{path} holds a NUL byte in line {line}, the first; allowed: text in UTF-8 without one",
        next_command=_look(path, line),
    )


def undecodable(path: Path, data: bytes | None = None) -> DataError:
    """Find the first byte of a file that is not UTF-8, and the encoding that all of the file reads well in.

    Args:
        path: The file.
        data: What it holds, where it is not there yet.

    Returns:
        The error to raise: place, byte, and the encoding, if it is certain.
    """
    found: tuple[int, int, int] | None = None
    line_of_utf8: int | None = None
    offset, words_of_utf8 = 0, False
    letters: dict[str, int] = dict.fromkeys((name for name, _ in _LEGACY), 0)
    common = dict(letters)
    with path.open("rb") if data is None else io.BytesIO(data) as file:
        for number, line in enumerate(file, start=1):
            if not line.isascii():
                position = _bad_position(line)
                if position == len(line):
                    line_of_utf8 = line_of_utf8 or number
                elif found is None:
                    found = number, offset + position, line[position]
                words_of_utf8 = words_of_utf8 or _has_word_of_utf8(line)
                _count(line, letters, common)
            offset += len(line)
    # None: the file was mended while it was read
    number, at, byte = found or (1, 0, 0xFF)
    what = f"is not UTF-8: byte 0x{byte:02x} at offset {at}, line {number}"
    if line_of_utf8 is not None and found is not None:
        return DataError(
            f"{path} {what}; line {line_of_utf8} is UTF-8, so no encoding is that of the whole file: line "
            f"{number} and others like it must be typed again",
            next_command=_look(path, number),
        )
    guess = None if words_of_utf8 else _guess(letters, common)
    return _refused(path, f"{what}; the whole file reads as {guess}" if guess else what, guess, number)


def _look(path: Path, line: int) -> str:
    """The command that shows a line, whatever its bytes are."""
    return f"sed -n {line}p {shlex.quote(str(path))} | cat -v"


def _refused(path: Path, message: str, encoding: str | None, line: int = 1) -> DataError:
    if encoding is None:
        return DataError(
            f"{path} {message}; allowed: UTF-8, and in which encoding it is cannot be told: save it again "
            "with the program that wrote it",
            next_command=_look(path, line),
        )
    # the original is kept: under another ending, so that nothing takes it for a caption or a table
    kept = shlex.quote(str(unused(path.with_name(f"{path.name}.{encoding.lower()}"))))
    old = shlex.quote(str(path))
    return EncodingError(
        f"{path} {message}",
        next_command=f"test ! -e {kept} && mv {old} {kept} && iconv -f {encoding} -t UTF-8 {kept} > {old}",
        file=path,
        encoding=encoding,
    )


def _is_text(data: bytes, encoding: str) -> bool:
    """Whether all of the bytes are text, without control characters or any that Unicode does not have."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return bool(text) and _printable(text)


def _printable(text: str) -> bool:
    # Cc control, Cn not assigned, Co private use
    return all(
        unicodedata.category(letter) not in ("Cc", "Cn", "Co") or letter in "\t\r\n" for letter in text
    )


def _is_utf_16(data: bytes, name: str) -> bool:
    """Whether bytes without a mark are UTF-16, and no text in UTF-8 with a few NUL bytes."""
    if not _is_text(data, name):
        return False
    # UTF-16 of Latin letters is UTF-8 too, and half of it zero; of others, commas and blanks are some of it
    least = 0.45 if _bad_position(data) == len(data) else 0.1
    return data.count(0) >= least * len(data)


def _has_word_of_utf8(line: bytes) -> bool:
    return any(max(word) >= 0xE0 and _bad_position(word) == len(word) for word in _UTF8_WORD.findall(line))


def _count(line: bytes, letters: dict[str, int], common: dict[str, int]) -> None:
    """Count the letters of a line in each encoding that is left, and the common ones among them."""
    for name, usual in _LEGACY:
        if name not in letters:
            continue
        try:
            foreign = [letter for letter in line.decode(name) if not letter.isascii()]
        except UnicodeDecodeError:
            del letters[name]
            continue
        if not _printable("".join(foreign)):
            del letters[name]
            continue
        letters[name] += sum(map(str.isalpha, foreign))
        common[name] += sum(letter in usual for letter in foreign)


def _bad_position(text: bytes) -> int:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(text)


def _guess(letters: dict[str, int], common: dict[str, int]) -> str | None:
    """The encoding whose language the letters are of; None where another fits half as well, or none does."""
    shares = {name: common[name] / of for name, of in letters.items() if of >= _FEWEST_LETTERS}
    best = max(shares, key=lambda name: shares[name], default=None)
    if best is None or shares[best] < _LIKELY:
        return None
    others = [share for name, share in shares.items() if name != best]
    return best if max(others, default=0) < shares[best] / 2 else None
