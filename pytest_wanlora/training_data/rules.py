"""Word lists: the packaged ones, and what a suite or a file adds to them or puts in their place."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_wanlora.errors import DataError
from pytest_wanlora.files import listing, read_regular
from pytest_wanlora.training_data.encodings import undecodable
from pytest_wanlora.training_data.yaml_text import parse

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite

LANGUAGES = ("en", "ko", "zh")
"""Languages with word lists. Prompts of any other language are left to CLIP similarity or `other`."""

OTHER = "other"
"""The category of everything that no other category claims; always there."""

NEUTRAL = "neutral"
"""Not a category: words that say nothing, listed because a shorter word within them would mislead."""

PACKAGED: Final = ("categories", "subjects")
"""Names of the word lists that come with this package."""

MAX_WORD: Final = 60
"""Longest word or phrase of a list, in characters."""

_FORM = "categories: {space: {en: [rocket, orbit=3]}, neutral: {en: [rocket science]}}"
_CATEGORIES = "words by category, such as {space: {en: [rocket]}}"
_WORDS = f"words by language ({', '.join(LANGUAGES)}), such as {{en: [rocket]}}"
_PLAIN_WEIGHT = 10.0
_SECTION_KEYS = frozenset({"description", "words"})
_TOP_KEYS = frozenset({"order", NEUTRAL, "categories", "replace", "of_people", "of_places"})


def fold(text: str) -> str:
    """Fold a text for comparing: NFKC (macOS decomposes Hangul), lower case, single blanks."""
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
        ambiguous: Words by language that count little where no other word of their category is near.
        of_people: Categories of what people do: their words count more where people are named, and little
            where only animals are.
        of_places: Categories of where it is: their words count less where people are named who do something.
        own: Words by language that are not of this package, and the category that each had in its lists.
    """

    order: tuple[str, ...]
    names: tuple[str, ...]
    descriptions: Mapping[str, str]
    words: Mapping[str, Mapping[str, tuple[str | None, float]]]
    ambiguous: Mapping[str, frozenset[str]] = field(default_factory=dict)
    of_people: frozenset[str] = frozenset()
    of_places: frozenset[str] = frozenset()
    own: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    @property
    def decidable(self) -> frozenset[str]:
        """The categories of `names` that a prompt can be found to be of: those with words, and `other`."""
        worded = {category for table in self.words.values() for category, _ in table.values()}
        return frozenset(self.names) & (worded | {OTHER})


_EMPTY: Final = Rules((), (), {}, {language: {} for language in LANGUAGES})


@cache
def packaged_rules(name: str = "categories") -> Rules:
    """Word lists of this package, read once a process.

    Args:
        name: `categories` (action, urban, nature, other) or `subjects` (people, animals, ..., other).
    """
    file = f"{name}.yaml"
    text = resources.files("pytest_wanlora.training_data").joinpath(file).read_text(encoding="utf-8")
    return replace(_of_document(_yaml(text, file), file, _EMPTY), own={})


def extended(
    rules: Rules, categories: Mapping[str, Any], *, names: Iterable[str] = (), source: str = "categories"
) -> Rules:
    """Add a suite's categories and words.

    Args:
        rules: What to start from.
        categories: Words by language by category, as a suite's `categories` has them: a list of words (weight
            10; `"word=3"` says another weight, `"word=0"` drops the word, `"word?"` is ambiguous), or words
            by weight. `neutral` in place of a category disarms words. A word leaves the category it had.
        names: Further categories to report, such as those of a suite's scenarios. Where neither `names` nor
            `categories` name any, all categories of `rules` are reported.
        source: Where `categories` come from, for messages.

    Returns:
        New rules. Categories that `rules` did not have stand before its own in the order.

    Raises:
        DataError: A language, weight or word that is not allowed.
    """
    words = {language: dict(table) for language, table in rules.words.items()}
    ambiguous = {language: set(rules.ambiguous.get(language, ())) for language in words}
    descriptions = dict(rules.descriptions)
    own = {language: dict(rules.own.get(language, {})) for language in words}
    given: dict[tuple[str, str], str] = {}
    known = [*rules.order, OTHER, NEUTRAL]
    for category, section in categories.items():
        if not isinstance(category, str) or not category.strip():
            raise DataError(f"{source}: the category {category!r} is not a text; quote it: '{category}'")
        alike = next((name for name in known if fold(name) == fold(category) and name != category), None)
        if alike is not None:
            raise DataError(
                f"{source}: the category {category!r} differs from {alike!r} in upper and lower case or "
                f"blanks only; allowed: {alike}, or another name"
            )
        known.append(category)
        target = None if category == NEUTRAL else category
        by_language, description = _section(section, f"{source}.{category}")
        if target is not None and description is not None:
            descriptions[target] = description
        for language, listed in by_language.items():
            for word, weight in listed.items():
                plain = word.removesuffix("?")
                if (other := given.setdefault((language, plain), category)) != category:
                    raise DataError(
                        f"{source}.{category}.{language}: {plain!r} is in {other}.{language} too; "
                        "allowed: each word in one category"
                    )
                before, _ = words[language].pop(plain, (None, 0.0))
                ambiguous[language].discard(plain)
                if weight > 0:
                    words[language][plain] = (target, weight)
                    own[language].setdefault(plain, before)
                    if plain != word or (language == "ko" and len(plain) == 1):
                        ambiguous[language].add(plain)
    reported = list(dict.fromkeys([*names, *(name for name in categories if name != NEUTRAL)])) or list(
        rules.names
    )
    fresh = [name for name in reported if name not in rules.order]
    order = (*fresh, *rules.order) if OTHER in (*fresh, *rules.order) else (*fresh, *rules.order, OTHER)
    shown = tuple(name for name in order if name in reported and name != OTHER)
    if not shown:
        shown = tuple(name for name in rules.names if name != OTHER)
    return Rules(
        order=order,
        names=(*shown, OTHER),
        descriptions={name: descriptions.get(name, name) for name in (*shown, OTHER)},
        words=words,
        ambiguous={language: frozenset(found) for language, found in ambiguous.items()},
        of_people=rules.of_people,
        of_places=rules.of_places,
        own=own,
    )


def of_suite(suite: Suite, rules: Rules | None = None) -> Rules:
    """The rules with a suite's own words and the categories of its scenarios."""
    names = [scenario.category for scenario in suite.scenarios]
    base = with_subjects(packaged_rules() if rules is None else rules, names)
    return extended(base, suite.categories, names=names, source=f"{suite.path}: categories")


def with_subjects(rules: Rules, names: Iterable[str]) -> Rules:
    """Add the packaged words of subjects that are asked for by name and have none yet.

    Args:
        rules: What they are added to. A word that a subject has leaves the category that it had, but not the
            one that a suite or a file gave it.
        names: Categories, such as `food`.
    """
    subjects = packaged_rules("subjects")
    asked = [name for name in dict.fromkeys(names) if name in subjects.names and name not in rules.order]
    sections = {
        name: {
            language: [
                f"{word}{'?' * (word in subjects.ambiguous[language])}={weight:g}"
                for word, (category, weight) in table.items()
                if category == name and word not in rules.own.get(language, ())
            ]
            for language, table in subjects.words.items()
        }
        for name in asked
    }
    descriptions = {name: subjects.descriptions[name] for name in asked}
    found = extended(rules, sections, names=[*asked, *rules.names])
    return replace(found, descriptions={**found.descriptions, **descriptions}, own=rules.own)


def from_file(path: Path) -> Rules:
    """Rules of a YAML file: the packaged ones with its words, or its own alone.

    Args:
        path: The file, or `subjects` for the packaged lists of that name. Its keys: `categories`, `neutral`,
            `order` (which category wins a tie), `of_people` (which are of what people do), `of_places` (which
            are of where it is), `replace: true` (nothing of the packaged lists is kept).

    Raises:
        DataError: The file is missing, is not YAML, or says what is not allowed.
    """
    if str(path) in PACKAGED and not path.exists():
        return packaged_rules(str(path))
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: the word lists cannot be read: {error.strerror}; allowed: a YAML file, or "
            f"{PACKAGED[1]} for the packaged lists of that name",
            next_command=listing(path),
        ) from error
    except UnicodeDecodeError as error:
        raise undecodable(path) from error
    try:
        document = _yaml(text, str(path))
        kept = document.get("replace", False)
        if not isinstance(kept, bool):
            raise DataError(f"{path}: replace: {kept!r}; allowed: true, false")
        return _of_document(document, str(path), _EMPTY if kept else packaged_rules())
    except DataError as error:
        raise DataError(f"{error}; such as {_FORM}", next_command=f"cat {shlex.quote(str(path))}") from error


def _of_document(document: Mapping[str, Any], source: str, base: Rules) -> Rules:
    sections = dict(_mapping(document.get("categories", {}), f"{source}: categories", _CATEGORIES))
    if not sections and base is _EMPTY:
        raise DataError(f"{source}: categories: missing, and nothing is kept")
    names = [name for name in dict.fromkeys([*sections, *base.names]) if name != NEUTRAL]
    if NEUTRAL in document:
        if NEUTRAL in sections:
            raise DataError(f"{source}: {NEUTRAL}: it stands in categories too; allowed: one of both")
        sections[NEUTRAL] = document[NEUTRAL]
    found = extended(base, sections, names=names, source=source)
    if (people := _named(document, "of_people", found, source)) is not None:
        found = replace(found, of_people=frozenset(people))
    if (places := _named(document, "of_places", found, source)) is not None:
        found = replace(found, of_places=frozenset(places))
        if places and not document.get("of_people"):
            raise DataError(
                f"{source}: of_places: {places!r} says nothing without of_people; allowed: of_people beside "
                "it, a list of the categories of what people do"
            )
    if (order := _named(document, "order", found, source)) is None:
        return found

    def sort(names: Iterable[str]) -> tuple[str, ...]:
        # those that are not named keep their places behind
        return tuple(sorted(names, key=lambda name: order.index(name) if name in order else len(order)))

    return replace(found, order=sort(found.order), names=(*sort(n for n in found.names if n != OTHER), OTHER))


def _named(document: Mapping[str, Any], key: str, found: Rules, source: str) -> list[str] | None:
    """A list of categories that a document has under a key."""
    listed = document.get(key)
    if listed is None:
        return None
    if not isinstance(listed, list) or len(set(map(str, listed))) < len(listed):
        raise DataError(f"{source}: {key}: {listed!r} is not a list of categories, each named once")
    unknown = next((name for name in listed if name not in found.order), None)
    if unknown is not None:
        raise DataError(
            f"{source}: {key}: there is no category {unknown!r}; there are {', '.join(found.order)}"
        )
    return listed


def _yaml(text: str, source: str) -> Mapping[str, Any]:
    try:
        document = parse(text)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error
    allowed = ", ".join(sorted(_TOP_KEYS))
    mapping = _mapping(document, source, allowed)
    unknown = next((key for key in mapping if key not in _TOP_KEYS), None)
    if unknown is not None:
        raise DataError(f"{source}: unknown key {unknown!r}; allowed: {allowed}")
    return mapping


def _section(section: object, where: str) -> tuple[dict[str, dict[str, float]], str | None]:
    mapping = _mapping(section, where, _WORDS)
    description: str | None = None
    if set(mapping) <= _SECTION_KEYS and mapping:
        given = mapping.get("description")
        if given is not None and not isinstance(given, str):
            raise DataError(f"{where}.description: {given!r} is not a text")
        description = given
        mapping = _mapping(mapping.get("words", {}), f"{where}.words", _WORDS)
    found: dict[str, dict[str, float]] = {}
    for language, listed in mapping.items():
        if language not in LANGUAGES:
            raise DataError(f"{where}: unknown language {language!r}; allowed: {', '.join(LANGUAGES)}")
        found[language] = _weighted(listed, f"{where}.{language}")
    return found, description


def _weighted(listed: object, where: str) -> dict[str, float]:
    groups = listed.items() if isinstance(listed, Mapping) else [(_PLAIN_WEIGHT, listed)]
    result: dict[str, float] = {}
    plain: set[str] = set()
    for weight, words in groups:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1000:
            raise DataError(f"{where}: weight {weight!r} is not a number from 0 to 1000")
        if not isinstance(words, list | tuple):
            raise DataError(f"{where}: {words!r} is not a list of words")
        for entry in words:
            if not isinstance(entry, str):
                raise DataError(f"{where}: {entry!r} is not a text; quote it, YAML reads it as another type")
            word, own = _entry(entry, float(weight), where)
            if (bare := word.removesuffix("?")) in plain:
                raise DataError(f"{where}: {entry!r}: {bare!r} is in it twice; allowed: each word once")
            plain.add(bare)
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
    if not word.strip("*?") or len(word) > MAX_WORD:
        raise DataError(f"{where}: {entry!r} is not a word of 1 to {MAX_WORD} characters")
    if "*" in word.removesuffix("?")[:-1]:
        raise DataError(f"{where}: {entry!r}: `*` is allowed at the end of a word only")
    return word, weight


def _mapping(value: object, where: str, allowed: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        what = "it is empty" if value is None else f"{value!r} is not a mapping"
        raise DataError(f"{where}: {what}; allowed: {allowed}")
    return value
