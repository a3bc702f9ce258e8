"""One walk through training data, which finds what reports and balanced sets are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import DataError
from pytest_wanlora.text_table import cut
from pytest_wanlora.training_data import film_terms
from pytest_wanlora.training_data.categories import LANGUAGES, UNDECIDED, Categorizer, Means, languages_of
from pytest_wanlora.training_data.clip_similarity import TextSimilarity, nearest
from pytest_wanlora.training_data.duplicates import THRESHOLD, Duplicates, Signatures, find
from pytest_wanlora.training_data.fingerprints import digest, minhash
from pytest_wanlora.training_data.forms import Clips, opened
from pytest_wanlora.training_data.forms import digest as digest_of_files
from pytest_wanlora.training_data.metadata import Metadata, Row
from pytest_wanlora.training_data.rules import OTHER, Rules, fold
from pytest_wanlora.training_data.shared_text import SharedText
from pytest_wanlora.training_data.shared_text import find as find_shared
from pytest_wanlora.training_data.videos import State, state_of

Progress = Callable[[int, float], None]
"""Told the rows done and their share, 0 to 1, now and then; 1 once, at the end."""

MEANS = tuple(Means)
"""What `Survey.means` counts."""

NO_CATEGORY = 255
"""In `Survey.categories`: the row has no prompt."""

CHUNK = 2048
"""Rows at a time: enough for numpy, few enough for the processor's cache."""

EXAMPLES = 5
"""How many examples of a kind a report shows."""

_ALMOST = 0.99


@dataclass(frozen=True)
class Source:
    """Where the rows come from and what is looked at.

    Attributes:
        path: A table, folder, archive or config; see `forms`.
        base: The folder that relative names of videos start from; None for that of the path.
        prompt_column: Name of the prompts' column, None for a usual one.
        video_column: Name of the videos' column, None for a usual one.
        check_videos: Whether to look for the video files.
        near: Whether to fingerprint prompts for near duplicates.
        triggers: Texts that are left out of every prompt.
    """

    path: Path
    base: Path | None = None
    prompt_column: str | None = None
    video_column: str | None = None
    check_videos: bool = True
    near: bool = True
    triggers: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that relative names of videos start from."""
        return self.base or (self.path if self.path.is_dir() else self.path.parent)

    def open(self) -> Metadata | Clips:
        """Open the training data for one pass."""
        return opened(
            self.path,
            prompt_column=self.prompt_column,
            video_column=self.video_column,
            needs_video=self.check_videos,
        )


@dataclass(frozen=True)
class Survey:
    """What a pass found, by row: the prompts, and about 120 bytes a row.

    Attributes:
        kind: Its form: `csv`, `folder`, ...
        columns: Names of the columns, where all rows have the same.
        unit: What the places of rows count: `line`, `record`, `clip`.
        notes: What the user should know of how it was read.
        version: Their sizes and times when they were read.
        rules: What the categories were decided by.
        shared: What nearly all prompts share, which was left out.
        prompts: The prompts, empty where a row has none.
        repeats: How often an epoch takes the row; uint32.
        owners: Index into `rules.order`, or `NO_CATEGORY`; uint8.
        categories: Index into `rules.names`, or `NO_CATEGORY`; uint8.
        means: Index into `MEANS`; uint8.
        languages: Index into `LANGUAGES`; uint8.
        prompt_digests: Fingerprint of the prompt without blanks at its ends; uint64.
        row_digests: Fingerprint of all columns; uint64.
        video_digests: Fingerprint of the video's name; uint64.
        video_states: `videos.State`; uint8.
        signatures: What near duplicates are told by; None where they are not looked for.
    """

    source: Source
    kind: str
    columns: tuple[str, ...]
    unit: str
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    version: tuple[tuple[int, int], ...]
    rules: Rules
    shared: SharedText
    prompts: list[str]
    repeats: NDArray[np.uint32]
    owners: NDArray[np.uint8]
    categories: NDArray[np.uint8]
    means: NDArray[np.uint8]
    languages: NDArray[np.uint8]
    prompt_digests: NDArray[np.uint64]
    row_digests: NDArray[np.uint64]
    video_digests: NDArray[np.uint64]
    video_states: NDArray[np.uint8]
    signatures: Signatures | None

    def __len__(self) -> int:
        return len(self.categories)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which rows have a prompt."""
        return np.not_equal(self.categories, NO_CATEGORY)

    def duplicates(
        self, *, near: bool = True, among: NDArray[np.bool_] | None = None, threshold: float = THRESHOLD
    ) -> Duplicates:
        """What repeats what.

        Args:
            near: Whether near duplicates count too; only where `source.near` had them fingerprinted.
            among: Rows that count; all by default.
            threshold: Similarity from which on prompts are near duplicates, 0 to 1.
        """
        return find(
            self.prompts,
            self.prompt_digests,
            self.row_digests,
            self.signatures if near else None,
            text_of=lambda prompt: film_terms.without(self.shared.without(fold(prompt))),
            among=self.present if among is None else self.present & among,
            threshold=threshold,
        )

    def taken(self, rows: NDArray[np.bool_] | None = None) -> int:
        """How many prompts an epoch takes: rows with their repeats."""
        return int(self.repeats.sum() if rows is None else self.repeats[rows].sum())

    def counts(self, rows: NDArray[np.bool_] | None = None, *, repeats: bool = True) -> dict[str, int]:
        """Rows by category, all categories of the rules in their order.

        Args:
            rows: Which rows to count; all by default.
            repeats: Whether a row counts as often as an epoch takes it.
        """
        chosen = np.ones(len(self), dtype=bool) if rows is None else rows
        weights = self.repeats[chosen] if repeats else None
        counted = np.bincount(self.categories[chosen], weights, minlength=NO_CATEGORY + 1)
        return {name: round(counted[index]) for index, name in enumerate(self.rules.names)}

    @property
    def folded(self) -> dict[str, int]:
        """Prompts of categories that are not reported and count for `other`, by category; none is 0."""
        counted = np.bincount(self.owners, self.repeats, minlength=NO_CATEGORY + 1)
        order = self.rules.order
        found = {
            name: round(counted[place]) for place, name in enumerate(order) if name not in self.rules.names
        }
        return {name: count for name, count in found.items() if count}

    def sha256(self) -> str:
        """SHA-256 of what was read.

        Raises:
            DataError: It changed since the survey.
        """
        found = digest_of_files(self.source.path, list(self.files))
        self._check()
        return found

    def records(self, rows: Iterable[int]) -> dict[int, Row]:
        """Read some rows again, whole.

        Raises:
            DataError: The file changed since the survey.
        """
        wanted = set(rows)
        with self.source.open() as metadata:
            # no further than the last of them: examples stand at the beginning of a long file
            read = islice(metadata, max(wanted, default=-1) + 1)
            found = {number: row for number, row in enumerate(read) if number in wanted}
        self._check(len(found) == len(wanted))
        return found

    def examples(self, rows: NDArray[np.bool_]) -> dict[int, str]:
        """Say where the first of some rows stand and which videos they name, by number of the row.

        Raises:
            DataError: The file changed since the survey.
        """
        first = np.flatnonzero(rows)[:EXAMPLES].tolist()
        found = self.records(first) if first else {}
        return {row: f"{self.unit} {at.place}: {cut(at.video or '(no name)')}" for row, at in found.items()}

    def _check(self, complete: bool = True) -> None:
        if not complete or _version(self.files) != self.version:
            raise DataError(f"{self.source.path} changed while it was read; start again")


def take(
    source: Source,
    rules: Rules,
    *,
    similarity: TextSimilarity | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Walk through training data once.

    Args:
        similarity: Asked for prompts that no word, or words of several categories alike, decide. None: such a
            prompt is `other`, or of the category that stands first in the rules' order.
    """
    prompts: list[str] = []
    parts: list[dict[str, NDArray[Any]]] = []
    with source.open() as metadata:
        base = str(source.folder)
        # what lies in an archive is not on the disk
        look = source.check_videos and metadata.kind != "archive"
        rows = iter(metadata)
        while chunk := list(islice(rows, CHUNK)):
            prompts += [row.prompt or "" for row in chunk]
            states = (state_of(row.video, base) if look else State.UNCHECKED for row in chunk)
            parts.append(
                {
                    "repeats": np.array([row.repeats for row in chunk], dtype=np.uint32),
                    "row_digests": np.array([digest(_text(row.record)) for row in chunk], dtype=np.uint64),
                    "video_digests": np.array([digest(row.video or "") for row in chunk], dtype=np.uint64),
                    "video_states": np.fromiter(states, dtype=np.uint8, count=len(chunk)),
                }
            )
            if progress is not None:
                # what the prompts say is found out later
                progress(len(prompts), min(metadata.position / max(metadata.size, 1), 1.0) / 2)
        whole: dict[str, Any] = {
            "kind": metadata.kind,
            "columns": tuple(metadata.columns),
            "unit": metadata.unit,
            "notes": tuple(metadata.notes),
            "files": tuple(metadata.files),
        }
    version = _version(whole["files"])
    shared = _shared(prompts, rules, [fold(text) for text in source.triggers])
    whole["notes"] += shared.notes
    analysed = _analysed(prompts, rules, shared, similarity, near=source.near, progress=progress)
    # column by column, so that no more than one is there twice
    whole |= {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    return Survey(
        source=source, version=version, rules=rules, shared=shared, prompts=prompts, **whole, **analysed
    )


def _shared(prompts: list[str], rules: Rules, triggers: list[str]) -> SharedText:
    """What nearly all prompts share; a subject that all of them share is none."""
    folded = [fold(prompt) for prompt in dict.fromkeys(prompts)]
    plain = Categorizer(rules)
    found = find_shared(folded, says_something=plain.knows, triggers=triggers)
    if not found.shares:
        return found
    sample = folded[:: -(-len(folded) // CHUNK)]

    def undecided(categorizer: Categorizer) -> int:
        return sum(means is Means.NOTHING for _, means in categorizer.decide_many(sample))

    if undecided(Categorizer(rules, found)) - undecided(plain) > len(sample) / 2:
        return find_shared([], says_something=plain.knows, triggers=triggers)
    return found


def _analysed(
    prompts: list[str],
    rules: Rules,
    shared: SharedText,
    similarity: TextSimilarity | None,
    *,
    near: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    categorizer = Categorizer(rules, shared)
    places = {name: place for place, name in enumerate(rules.order)}
    parts: list[dict[str, NDArray[Any]]] = []
    for start in range(0, len(prompts), CHUNK):
        texts = prompts[start : start + CHUNK]
        folded = [fold(prompt) for prompt in texts]
        decided = categorizer.decide_many(folded)
        part: dict[str, NDArray[Any]] = {
            "owners": np.array(
                [
                    places[name] if text else NO_CATEGORY
                    for text, (name, _) in zip(texts, decided, strict=True)
                ],
                dtype=np.uint8,
            ),
            "means": np.array([MEANS.index(means) for _, means in decided], dtype=np.uint8),
            "languages": languages_of(folded),
            "prompt_digests": np.array([digest(text.strip()) for text in texts], dtype=np.uint64),
        }
        if near:
            part["keys"], part["sketches"], part["sizes"] = minhash(
                [film_terms.without(shared.without(text)) for text in folded]
            )
        if similarity is not None:
            _by_similarity(similarity, rules, texts, part)
        parts.append(part)
        if progress is not None:
            progress(start + len(texts), min(0.5 + (start + len(texts)) / len(prompts) / 2, _ALMOST))
    if progress is not None:
        progress(len(prompts), 1.0)
    whole = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    other = rules.names.index(OTHER)
    reported = [rules.names.index(name) if name in rules.names else other for name in rules.order]
    table = np.full(NO_CATEGORY + 1, NO_CATEGORY, dtype=np.uint8)
    table[: len(reported)] = reported
    whole["categories"] = table[whole["owners"]]
    signatures = Signatures(*(whole.pop(name) for name in ("keys", "sketches", "sizes"))) if near else None
    return {**whole, "signatures": signatures}


def _by_similarity(
    similarity: TextSimilarity, rules: Rules, prompts: list[str], columns: dict[str, NDArray[Any]]
) -> None:
    """Decide in place what words did not, in the languages that the model reads."""
    undecided = [place for place, means in enumerate(MEANS) if means in UNDECIDED]
    readable = [LANGUAGES.index(language) for language in similarity.languages if language in LANGUAGES]
    asked = np.isin(columns["means"], undecided) & np.isin(columns["languages"], readable)
    places = np.flatnonzero(asked & (columns["owners"] != NO_CATEGORY))
    decided = nearest(similarity, [prompts[place] for place in places.tolist()], rules)
    for place, (category, _, _) in zip(places, decided, strict=True):
        columns["owners"][place] = rules.order.index(rules.names[category])
        columns["means"][place] = MEANS.index(Means.SIMILARITY)


def _text(record: list[str] | dict[str, Any]) -> str:
    if isinstance(record, list):
        return "\0".join(record)
    return json.dumps(record, sort_keys=True, ensure_ascii=False)


def _version(files: Iterable[Path]) -> tuple[tuple[int, int], ...]:
    found = [file.stat() for file in files]
    return tuple((each.st_size, each.st_mtime_ns) for each in found)
