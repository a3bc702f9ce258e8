"""Commands to type and names of files, quoted so that no name can be anything but a name."""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pytest_wanlora.phrases import digits
from pytest_wanlora.suite import packaged

if TYPE_CHECKING:
    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord
    from pytest_wanlora.verdict.judgement import ItemId

#: Control and format characters (some turn the reading direction), separators, and halves of pairs.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SAFE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SUITE: Final = "--wanlora-suite"
_SEEDS: Final = "--wanlora-seeds"
#: What pytest itself reads.
_PYTEST: Final = ("-c", "--config-file", "--rootdir", "--confcutdir", "-o", "--override-ini", "-p")
_REPEATED: Final = frozenset({"--lora", "--wanlora-export", "-o", "--override-ini", "-p"})
#: Options without a value.
_FLAGS: Final = frozenset(
    f"--wanlora-{word}"
    for name in ("cache", "previews", "allow-environment", "model-cards", "race", "plan", "force")
    for word in (name, f"no-{name}")
)
#: What chooses a part of a gate, or what makes a run something else than a gate.
_ONCE: Final = frozenset(
    f"--wanlora-{name}" for name in ("scenario", "plan", "force", "race", "no-race", "budget")
)
#: Of the cache: what such a run rendered is in it now.
_CACHE: Final = frozenset({"--wanlora-cache", "--wanlora-no-cache"})
#: What a baseline is measured without.
_OF_GATES: Final = (
    *("--wanlora-baseline", "--wanlora-scale", "--wanlora-allow-environment"),
    *("--wanlora-no-allow-environment", "--wanlora-training-data", "--wanlora-export"),
    *("--wanlora-sign-key", "--wanlora-model-cards", "--wanlora-no-model-cards"),
)
# an argument of `--lora` for a pair, as `checkpoint.argument_of` writes it
_HALVES: Final = re.compile(r"(?:high=(?P<high>.+?))?(?:(?:^|,)low=(?P<low>.+))?", re.DOTALL)
_OTHER: Final = MappingProxyType({"high": "low", "low": "high"})
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


def pytest_name(name: str) -> str:
    r"""The name of a test as pytest writes it, which escapes what is not ASCII: `test_checkpoint[\uc5d0]`."""
    return name.encode("unicode_escape").decode("ascii").replace("\x7f", "\\x7f")


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


def files_of(argument: str) -> tuple[str, ...]:
    """The files that an argument of `--lora` names, each once.

    Example:
        >>> files_of("high=a.safetensors@0.8,low=b.safetensors")
        ('a.safetensors', 'b.safetensors')
    """
    halves = _HALVES.fullmatch(argument)
    if halves is None:
        return (argument,)
    found = (re.sub(r"@[-+0-9.]+$", "", half) for half in halves.group("high", "low") if half)
    return tuple(dict.fromkeys(found))


def exchanged(argument: str) -> str:
    """An argument of `--lora` with each half of a pair for the other expert; its strength stays with a file.

    Example:
        >>> exchanged("high=a.safetensors@0.8,low=b.safetensors")
        'high=b.safetensors,low=a.safetensors@0.8'
        >>> exchanged("low=a.safetensors")
        'high=a.safetensors'
    """
    halves = _HALVES.fullmatch(argument)
    if halves is None:
        return argument
    return ",".join(f"{expert}={halves[other]}" for expert, other in _OTHER.items() if halves[other])


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


def _ours(command: Sequence[str]) -> set[str]:
    """The options of ours that were typed and that each run of a gate has in common."""
    return {word.partition("=")[0] for word in command if word.startswith("--wanlora-")} - _ONCE


def _options(record: RunRecord, *without: str) -> tuple[str, ...]:
    """The options that were typed, but those of one run alone, with a packaged suite's name in any case."""
    given = _given(record.command, {*_ours(record.command), *_PYTEST} - _CACHE)
    if record.suite.name in packaged():
        given = {_SUITE: (_SUITE, record.suite.name)} | given
    return tuple(word for name, words in given.items() if name not in without for word in words)


def gate_again(record: RunRecord, card: CandidateCard, *more: str, files: Sequence[str] = ()) -> str:
    """Gate a checkpoint on the same suite once more.

    Args:
        record: The run.
        card: The checkpoint.
        more: Options that take the place of those that were typed.
        files: What to give `--lora` in the place of the checkpoint.
    """
    strengths = {each.scale for each in record.candidates if each.sha256 is not None}
    strengths |= {each.scale for each in record.race.entrants} if record.race is not None else set()
    if len(strengths) > 1 and "--wanlora-scale" not in more:
        more = (*more, "--wanlora-scale", digits(card.scale))
    without = [word for word in more if word.startswith("--")]
    given = files or (checkpoint_file(record, card),)
    loras = (word for file in given for word in ("--lora", file))
    return typed("pytest", *loras, *_options(record, *without), *more)


def item_again(command: Sequence[str], nodeid: str, seeds: str = "") -> str:
    """Run one item of a gate alone.

    Options that choose tests or write a file, such as `--junitxml`, are left out: the file would be replaced.

    Args:
        command: The words of the command line.
        nodeid: Of the item.
        seeds: What `--wanlora-seeds` takes in the place of what was typed; empty: that stays.
    """
    given = _given(command, {*_ours(command), *_PYTEST, "--lora"})
    given |= {_SEEDS: (_SEEDS, seeds)} if seeds else {}
    return typed("pytest", *(word for words in given.values() for word in words), nodeid)


def more_seeds(record: RunRecord, seeds: int) -> tuple[str, ...]:
    """The option that allows as many seeds, where the run allowed fewer; else nothing."""
    looks = record.suite.looks
    if looks and seeds <= looks[-1]:
        return ()
    return _SEEDS, f"{min(looks[0], seeds) if looks else seeds}:{seeds}"


def alone_again(record: RunRecord, item: ItemId, seeds: int) -> str:
    """Run one item of a run's gate alone, with as many seeds as it takes to decide it."""
    return item_again(record.command, f"wanlora::{pytest_name(str(item))}", *more_seeds(record, seeds)[1:])


def install(record: RunRecord) -> str:
    """Install the versions that the run had; which build of one, such as torch's for a CUDA, is not told."""
    packages = [f"{name}=={version.partition('+')[0]}" for name, version in record.versions.items()]
    return typed("python", "-m", "pip", "install", *packages) if packages else ""


def update_baseline(record: RunRecord, *more: str) -> str:
    """Measure the model without LoRA on the same suite; empty where another baseline was asked for.

    Which checkpoint that one was measured with is not known.

    Args:
        record: The run.
        more: An option and its value in the place of what was typed.
    """
    asked = _given(record.command, ["--wanlora-baseline"]).get("--wanlora-baseline", ("base",))
    if asked[-1].rpartition("=")[2] != "base":
        return ""
    return typed("pytest", *_options(record, *_OF_GATES, *more[:1]), *more, "--update-baselines")


def names_of(record: RunRecord) -> dict[str, str]:
    """Candidate to its part of a file's name; no two alike, not even where case makes no difference.

    A name that is not plain ASCII, too long, or alike but for case, gets a digest behind what is left of it.
    """
    names = [card.name for card in record.candidates]
    alike = Counter(name.casefold() for name in names)
    return {name: safe_name(name, unique=alike[name.casefold()] == 1) for name in names}


def file_name(record: RunRecord, candidate: str, stem: str, suffix: str) -> str:
    """`receipt.json`, or `receipt-<candidate>.json` in a run of several checkpoints."""
    if len(record.candidates) == 1:
        return f"{stem}{suffix}"
    return f"{stem}-{names_of(record)[candidate]}{suffix}"


def safe_name(name: str, *, unique: bool = True) -> str:
    """A name as part of a file's name, with a digest behind it where it is not plain or not unique."""
    if unique and _SAFE.fullmatch(name) and not name.endswith("."):
        return name
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:80]
    digest = hashlib.sha256(name.encode("utf-8", errors="surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest
