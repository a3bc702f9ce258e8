"""Commands to type and names of files, quoted so that no name can be anything but a name."""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pytest_wanlora.suite import packaged

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord

#: Control and format characters (some turn the reading direction), separators, and halves of pairs.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SAFE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SUITE: Final = "--wanlora-suite"
_DEVICE: Final = "--wanlora-device"
#: Where runs lie unless the user says otherwise.
_RUNS: Final = ".wanlora/runs"


def quoted(word: str) -> str:
    r"""Quote one word for a POSIX shell; characters that cannot be seen are spelt out, as bash reads them.

    Example:
        >>> quoted("epoch 0")
        "'epoch 0'"
        >>> quoted("a\u202eb")
        "$'a\\u202eb'"
    """
    if not any(unicodedata.category(character) in _UNSEEN for character in word):
        return shlex.quote(word)
    return "$'" + "".join(map(_spelt, word)) + "'"


def _spelt(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if unicodedata.category(character) not in _UNSEEN:
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def typed(*words: str) -> str:
    """A command line of these words, each quoted."""
    return " ".join(map(quoted, words))


def run_folder(record: RunRecord) -> str:
    """Where the record lies by default, relative to the root folder."""
    return f"{_RUNS}/{record.run_id}"


def checkpoint_file(record: RunRecord, card: CandidateCard) -> str:
    """The checkpoint's path as the run's command line has it, else the name of its file."""
    known = card.checkpoint or {}
    name = str(known.get("file") or f"{card.name}.safetensors")
    return next((word for word in record.command if re.split(r"[/\\]", word)[-1] == name), name)


def metadata_file(record: RunRecord, default: str) -> str:
    """The training metadata as the run's command line has it, else the name of its file.

    Args:
        record: The run.
        default: Where the run was not told what the checkpoints were trained on.
    """
    if record.training_data is None:
        return default
    name = record.training_data.file
    # an option and its value may be one word
    words = (word.rpartition("=")[2] if word.startswith("--") else word for word in record.command)
    return next((word for word in words if re.split(r"[/\\]", word)[-1] == name), name)


def suite_file(record: RunRecord) -> str:
    """The suite as the run's command line has it, else its name; empty where an ini file names it.

    A suite that is no packaged one has a name that no command takes.
    """
    named = _given(record, _SUITE)
    if named:
        return named
    return record.suite.name if record.suite.name in packaged() else ""


def _given(record: RunRecord, option: str) -> str:
    """The value of an option on the run's command line; empty where it has none."""
    words = [part for word in record.command for part in word.split("=", 1)]
    return next((value for name, value in reversed(list(pairwise(words))) if name == option), "")


def _suite(record: RunRecord) -> tuple[str, ...]:
    """The suite, and the device where one was typed: results of another one cannot be compared."""
    options = ((_SUITE, suite_file(record)), (_DEVICE, _given(record, _DEVICE)))
    return tuple(word for option, value in options if value for word in (option, value))


def gate_again(record: RunRecord, card: CandidateCard, *more: str) -> str:
    """Gate a checkpoint on the same suite once more."""
    return typed("pytest", "--lora", checkpoint_file(record, card), *_suite(record), *more)


def install(record: RunRecord) -> str:
    """Install the versions that the run had; which build of one, such as torch's for a CUDA, is not told."""
    packages = [f"{name}=={version.partition('+')[0]}" for name, version in record.versions.items()]
    return typed("python", "-m", "pip", "install", *packages) if packages else ""


def update_baseline(record: RunRecord) -> str:
    """Measure the model without LoRA on the same suite."""
    return typed("pytest", *_suite(record), "--update-baselines")


def names_of(record: RunRecord) -> dict[str, str]:
    """Candidate to its part of a file's name; no two alike, not even where case makes no difference.

    A name that is not plain ASCII, too long, or alike but for case, gets a digest behind what is left of it.
    """
    names = [card.name for card in record.candidates]
    alike = Counter(name.casefold() for name in names)
    return {name: _safe(name, unique=alike[name.casefold()] == 1) for name in names}


def file_name(record: RunRecord, candidate: str, stem: str, suffix: str) -> str:
    """`receipt.json`, or `receipt-<candidate>.json` in a run of several checkpoints."""
    if len(record.candidates) == 1:
        return f"{stem}{suffix}"
    return f"{stem}-{names_of(record)[candidate]}{suffix}"


def _safe(name: str, *, unique: bool) -> str:
    if unique and _SAFE.fullmatch(name) and not name.endswith("."):
        return name
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:80]
    digest = hashlib.sha256(name.encode("utf-8", errors="surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest
