"""Word lists: the packaged ones, what a suite adds to them, and finding their words in a text."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from pytest_wanlora.errors import DataError
from pytest_wanlora.files import read_regular

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite

LANGUAGES = ("en", "ko", "zh")
"""Languages with word lists. Prompts of any other language are left to CLIP similarity or `other`."""

OTHER = "other"
"""The category of everything that no other category claims; always there."""

NEUTRAL = "neutral"
"""Not a category: words that say nothing, listed because a shorter word within them would mislead."""

MAX_WORD: Final = 60
"""Longest word or phrase of a list, in characters."""

_FORM = "write it as categories: {space: {en: [rocket, orbit=3]}, neutral: {en: [rocket science]}}"
_PLAIN_WEIGHT = 10.0
_SECTION_KEYS = frozenset({"description", "words"})
_TOP_KEYS = frozenset({"order", NEUTRAL, "categories"})

_ANYTHING = re.compile("")
_NO_LATIN_BEFORE = re.compile(r"(?<![a-z0-9])")
_NO_LATIN = re.compile(r"(?![a-z0-9])")
_ANY_ENDING = re.compile(r"[a-z]*(?![a-z0-9])")
_NO_HANGUL_BEFORE = re.compile("(?<![가-힣])")
# particles that may follow a Korean word of one syllable
_PARTICLE = re.compile(
    "(?=(?:으로|에서|에는|에도|에서는|까지|부터|처럼|마다|들이|들을|들은|들의|위에|위로"
    "|[이가을를은는의에도와과로만들])?(?![가-힣]))"
)


def fold(text: str) -> str:
    """Fold a text for comparing: NFKC (macOS decomposes Hangul), lower case, single blanks.

    Args:
        text: Any text.

    Returns:
        The folded text, without blanks at its ends.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(text.lower().split())


@dataclass(frozen=True)
class Rules:
    """Everything that the categories of prompts are decided by.

    Attributes:
        order: Categories by precedence, first wins a tie; the last is always `other`.
        names: The categories that are reported; words of any other category in `order` count for `other`.
        descriptions: What each of `names` looks like, for text similarity. By category.
        words: Category and weight by word by language; category None is neutral.
    """

    order: tuple[str, ...]
    names: tuple[str, ...]
    descriptions: Mapping[str, str]
    words: Mapping[str, Mapping[str, tuple[str | None, float]]]

    @property
    def decidable(self) -> frozenset[str]:
        """The categories of `names` that a prompt can be found to be of: those with words, and `other`."""
        worded = {category for table in self.words.values() for category, _ in table.values()}
        return frozenset(self.names) & (worded | {OTHER})


@cache
def packaged_rules() -> Rules:
    """The word lists of this package: action, urban, nature, other; read once a process."""
    text = (
        resources.files("pytest_wanlora.training_data")
        .joinpath("categories.yaml")
        .read_text(encoding="utf-8")
    )
    return _parse(_yaml(text, "categories.yaml"), "categories.yaml")


def extended(
    rules: Rules, categories: Mapping[str, Any], *, names: Iterable[str] = (), source: str = "categories"
) -> Rules:
    """Add a suite's categories and words.

    Args:
        rules: What to start from.
        categories: Words by language by category, as a suite's `categories` has them. A list of words (weight
            10; `"word=3"` says another weight, `"word=0"` drops the word), or words by weight. `neutral` in
            place of a category disarms words. A word that is named here leaves the category that it had.
        names: Further categories to report, such as those of a suite's scenarios. Where neither `names` nor
            `categories` name any, all categories of `rules` are reported.
        source: Where `categories` come from, for messages.

    Returns:
        New rules. Categories that `rules` did not have stand before its own in the order.

    Raises:
        DataError: A language, weight or word that is not allowed.
    """
    words = {language: dict(table) for language, table in rules.words.items()}
    descriptions = dict(rules.descriptions)
    for category, section in categories.items():
        target = None if category == NEUTRAL else category
        by_language, description = _section(section, f"{source}.{category}")
        if target is not None and description is not None:
            descriptions[target] = description
        for language, listed in by_language.items():
            for word, weight in listed.items():
                words[language].pop(word, None)
                if weight > 0:
                    words[language][word] = (target, weight)
    reported = list(dict.fromkeys([*names, *(name for name in categories if name != NEUTRAL)])) or list(
        rules.names
    )
    fresh = [name for name in reported if name not in rules.order]
    order = (*fresh, *rules.order)
    shown = tuple(name for name in order if name in reported and name != OTHER)
    if not shown:
        shown = tuple(name for name in rules.names if name != OTHER)
    return Rules(
        order=order,
        names=(*shown, OTHER),
        descriptions={name: descriptions.get(name, name) for name in (*shown, OTHER)},
        words=words,
    )


def of_suite(suite: Suite, rules: Rules | None = None) -> Rules:
    """The rules with a suite's own words and the categories of its scenarios.

    Args:
        suite: Its `categories` and scenarios are taken.
        rules: What they are added to; by default the packaged ones.
    """
    names = [scenario.category for scenario in suite.scenarios]
    return extended(
        packaged_rules() if rules is None else rules,
        suite.categories,
        names=names,
        source=f"{suite.path}: categories",
    )


def from_file(path: Path) -> Rules:
    """The packaged rules, extended by a YAML file in the form of `categories.yaml`.

    Args:
        path: The file. `order` and `neutral` may be left out.

    Raises:
        DataError: The file is missing, is not YAML, or says what is not allowed.
    """
    try:
        text = read_regular(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: the word lists cannot be read: {error}",
            next_command=f"ls {shlex.quote(str(path.parent))}",
        ) from error
    base = packaged_rules()
    try:
        document = _yaml(text, str(path))
        sections = dict(_mapping(document.get("categories", {}), f"{path}: categories"))
        if NEUTRAL in document:
            sections[NEUTRAL] = document[NEUTRAL]
        return extended(base, sections, names=base.names, source=str(path))
    except DataError as error:
        raise DataError(str(error), next_command=_FORM) from error


def _parse(document: Mapping[str, Any], source: str) -> Rules:
    order = tuple(document["order"])
    empty = Rules(order, order, {}, {language: {} for language in LANGUAGES})
    sections = {**document["categories"], NEUTRAL: document[NEUTRAL]}
    return extended(empty, sections, names=order, source=source)


def _yaml(text: str, source: str) -> Mapping[str, Any]:
    try:
        # the safe loader too, but in C: the lists are read at every start
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  safe
    except yaml.YAMLError as error:
        raise DataError(f"{source}: not YAML: {error}") from error
    mapping = _mapping(document, source)
    unknown = sorted(set(mapping) - _TOP_KEYS)
    if unknown:
        raise DataError(f"{source}: unknown key {unknown[0]!r}; allowed: {', '.join(sorted(_TOP_KEYS))}")
    return mapping


def _section(section: object, where: str) -> tuple[dict[str, dict[str, float]], str | None]:
    mapping = _mapping(section, where)
    description: str | None = None
    if set(mapping) <= _SECTION_KEYS and mapping:
        given = mapping.get("description")
        if given is not None and not isinstance(given, str):
            raise DataError(f"{where}.description: {given!r} is not a text")
        description = given
        mapping = _mapping(mapping.get("words", {}), f"{where}.words")
    found: dict[str, dict[str, float]] = {}
    for language, listed in mapping.items():
        if language not in LANGUAGES:
            raise DataError(f"{where}: unknown language {language!r}; allowed: {', '.join(LANGUAGES)}")
        found[language] = _weighted(listed, f"{where}.{language}")
    return found, description


def _weighted(listed: object, where: str) -> dict[str, float]:
    groups = listed.items() if isinstance(listed, Mapping) else [(_PLAIN_WEIGHT, listed)]
    result: dict[str, float] = {}
    for weight, words in groups:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1000:
            raise DataError(f"{where}: weight {weight!r} is not a number from 0 to 1000")
        if not isinstance(words, list | tuple):
            raise DataError(f"{where}: {words!r} is not a list of words")
        for entry in words:
            if not isinstance(entry, str):
                raise DataError(f"{where}: {entry!r} is not a text; quote it, YAML reads it as another type")
            word, own = _entry(entry, float(weight), where)
            result[word] = own
    return result


def _entry(entry: str, weight: float, where: str) -> tuple[str, float]:
    text, equals, number = entry.partition("=")
    if equals:
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not 0 <= weight <= 1000:
            raise DataError(f"{where}: {entry!r}: the weight after `=` is not a number from 0 to 1000")
    word = " ".join(fold(text).replace("-", " ").split())
    if not word.strip("*") or len(word) > MAX_WORD:
        raise DataError(f"{where}: {entry!r} is not a word of 1 to {MAX_WORD} characters")
    if "*" in word[:-1]:
        raise DataError(f"{where}: {entry!r}: `*` is allowed at the end of a word only")
    return word, weight


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: {value!r} is not a mapping")
    return value


class _Form(NamedTuple):
    """One way to write a word: what must stand before it, and what `after` adds to it."""

    text: str
    language: str
    word: int
    before: re.Pattern[str] = _ANYTHING
    after: re.Pattern[str] = _ANYTHING


class WordFinder:
    """Finds the words of all lists in one pass over a text, by an Aho-Corasick automaton.

    English words are whole words; the regular plural is found too, and `*` at the end stands for any ending.
    Korean words are found anywhere, with `^` only at the beginning of a word; those of one syllable only
    alone or before a particle. Chinese words are found anywhere. A blank of a word also matches a hyphen.

    Args:
        words: Folded words by language. Their place in the sequence is their index.
    """

    def __init__(self, words: Mapping[str, Iterable[str]]) -> None:
        forms: dict[str, list[_Form]] = {}
        for language, listed in words.items():
            for form in _FORMS[language](language, list(listed)):
                forms.setdefault(form.text, []).append(form)
        # `verify` runs without it
        import ahocorasick

        self._automaton = ahocorasick.Automaton()
        for text, entries in forms.items():
            self._automaton.add_word(text, (len(text), entries))
        self._automaton.make_automaton()

    def find(self, folded: str) -> dict[str, set[int]]:
        """Indexes of the words in a text by language: leftmost first, the longest at each place.

        Args:
            folded: A text that `fold` returned.
        """
        if not self._automaton:
            return {}
        text = folded.replace("-", " ")
        matches = []
        for last, (length, forms) in self._automaton.iter(text):
            start = last + 1 - length
            for rank, form in enumerate(forms):
                if form.before.match(text, start) and (end := form.after.match(text, last + 1)):
                    matches.append((start, -length, rank, end.end(), form))
        matches.sort()
        found: dict[str, set[int]] = {}
        free: dict[str, int] = {}
        for start, _, _, end, form in matches:
            if start >= free.get(form.language, 0):
                found.setdefault(form.language, set()).add(form.word)
                free[form.language] = end
        return found


def _english(language: str, words: list[str]) -> Iterator[_Form]:
    exact = {word: index for index, word in enumerate(words) if not word.endswith("*")}
    for word, index in list(exact.items()):
        # a plural that is listed itself keeps its own index
        exact.setdefault(_plural(word), index)
    for word, index in exact.items():
        yield _Form(word, language, index, _NO_LATIN_BEFORE, _NO_LATIN)
    for index, word in enumerate(words):
        if word.endswith("*"):
            yield _Form(word[:-1], language, index, _NO_LATIN_BEFORE, _ANY_ENDING)


def _korean(language: str, words: list[str]) -> Iterator[_Form]:
    begins = {word[1:] for word in words if word.startswith("^")}
    for word, index in {word.removeprefix("^"): index for index, word in enumerate(words)}.items():
        if len(word) == 1 and "가" <= word <= "힣":
            yield _Form(word, language, index, _NO_HANGUL_BEFORE, _PARTICLE)
        else:
            yield _Form(word, language, index, _NO_HANGUL_BEFORE if word in begins else _ANYTHING)


def _chinese(language: str, words: list[str]) -> Iterator[_Form]:
    yield from (_Form(word, language, index) for index, word in enumerate(words))


_FORMS: Final = {"en": _english, "ko": _korean, "zh": _chinese}


def _plural(word: str) -> str:
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"
