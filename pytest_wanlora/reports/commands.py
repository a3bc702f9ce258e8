"""Commands to type and names of files, quoted so that no name can be anything but a name."""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from pytest_wanlora.suite import packaged

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord

#: Control and format characters (some turn the reading direction), separators, and halves of pairs.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SAFE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SUITE: Final = "--wanlora-suite"
#: What another run must have in common with this one to be compared with it.
_COMPARABLE: Final = (
    *("--wanlora-device", "--wanlora-seeds", "--wanlora-baseline", "--wanlora-scale"),
    "--wanlora-allow-environment",
)
#: Where files are, and what pytest itself reads.
_FOLDERS: Final = (
    *("--wanlora-baselines-dir", "--wanlora-cache-dir", "--wanlora-output-dir"),
    *("-c", "--config-file", "--rootdir", "--confcutdir", "-o", "--override-ini", "-p"),
)
_REPEATED: Final = frozenset({"--lora", "-o", "--override-ini", "-p"})
#: Options without a value.
_FLAGS: Final = frozenset(
    f"--wanlora-{word}"
    for name in ("cache", "previews", "allow-environment", "model-cards")
    for word in (name, f"no-{name}")
)
#: Where runs are stored by default; of a record that does not know.
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
    """The folder of the record."""
    return f"{_RUNS}/{record.run_id}" if record.paths is None else record.paths.run


def checkpoint_file(record: RunRecord, card: CandidateCard) -> str:
    """The checkpoint's path; of an earlier record as the command line has it, else the name of its file."""
    if record.paths is not None and card.name in record.paths.checkpoints:
        return record.paths.checkpoints[card.name]
    return _named(record, str((card.checkpoint or {}).get("file") or f"{card.name}.safetensors"))


def metadata_file(record: RunRecord) -> str:
    """The path of the training metadata; a placeholder where the run was not given it."""
    if record.training_data is None:
        return "METADATA.csv"
    known = None if record.paths is None else record.paths.training_data
    return known or _named(record, record.training_data.file)


def suite_file(record: RunRecord) -> str:
    """What `--suite` takes to get the suite of the run."""
    return record.suite.name if record.paths is None else record.paths.suite


def _named(record: RunRecord, name: str) -> str:
    """The path on the command line that ends in a file's name, else the name."""
    # an option and its value may be one word
    words = (word.rpartition("=")[2] if word.startswith("--") else word for word in record.command)
    return next((word for word in words if re.split(r"[/\\]", word)[-1] == name), name)


def _given(command: Sequence[str], options: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Some options of a command line as they were typed: name to the words of the option and its value."""
    found: dict[str, tuple[str, ...]] = {}
    words = iter(command[1:])
    for word in words:
        name, equals, _ = word.partition("=")
        if name in options:
            given = (word,) if equals or name in _FLAGS else (word, *islice(words, 1))
            # of all other options the last one counts
            found[name] = (*found.get(name, ()), *given) if name in _REPEATED else given
    return found


def _options(record: RunRecord, *without: str) -> tuple[str, ...]:
    """The options that another run needs to be comparable, the suite first."""
    given = _given(record.command, [*_FOLDERS, *_COMPARABLE, _SUITE])
    if _SUITE not in given and record.suite.name in packaged():
        given[_SUITE] = (_SUITE, record.suite.name)
    order = (_SUITE, *_COMPARABLE, *_FOLDERS)
    return tuple(word for name in order if name not in without for word in given.get(name, ()))


def gate_again(record: RunRecord, card: CandidateCard, *more: str) -> str:
    """Gate a checkpoint on the same suite once more.

    Args:
        record: The run.
        card: The checkpoint.
        more: Options that take the place of those that were typed.
    """
    return typed("pytest", "--lora", checkpoint_file(record, card), *_options(record, *more[:1]), *more)


def item_again(command: Sequence[str], nodeid: str) -> str:
    """Run one item of a gate alone.

    Options that choose tests or write a file, such as `--junitxml`, are left out: the file would be replaced.

    Args:
        command: The words of the command line.
        nodeid: Of the item.
    """
    own = dict.fromkeys(word.partition("=")[0] for word in command if word.startswith("--wanlora-"))
    given = _given(command, {*own, *_FOLDERS, "--lora"} - {"--wanlora-scenario"})
    return typed("pytest", *(word for words in given.values() for word in words), nodeid)


def install(record: RunRecord) -> str:
    """Install the versions that the run had; which build of one, such as torch's for a CUDA, is not told."""
    packages = [f"{name}=={version.partition('+')[0]}" for name, version in record.versions.items()]
    return typed("python", "-m", "pip", "install", *packages) if packages else ""


def update_baseline(record: RunRecord) -> str:
    """Measure the model without LoRA on the same suite; empty where another baseline was asked for.

    Which checkpoint that one was measured with is not known.
    """
    asked = _given(record.command, ["--wanlora-baseline"]).get("--wanlora-baseline", ("base",))
    if asked[-1].rpartition("=")[2] != "base":
        return ""
    own = ("--wanlora-baseline", "--wanlora-scale", "--wanlora-allow-environment")
    return typed("pytest", *_options(record, *own), "--update-baselines")


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
