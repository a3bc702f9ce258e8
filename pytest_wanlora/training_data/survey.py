"""One walk through the metadata, which finds what reports and balanced sets are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.analysis import MEANS, NO_CATEGORY, Analyst, Columns, analysed
from pytest_wanlora.training_data.categories import LANGUAGES, UNDECIDED, Means
from pytest_wanlora.training_data.duplicates import THRESHOLD, Duplicates, Signatures, find
from pytest_wanlora.training_data.metadata import Metadata, Row
from pytest_wanlora.training_data.prompts import PromptStore
from pytest_wanlora.training_data.rules import Rules
from pytest_wanlora.training_data.similarity import TextSimilarity, nearest

Progress = Callable[[int, float], None]
"""Told the rows done and the share of the file read, 0 to 1, now and then; 1 once, at the end."""

_ALMOST = 0.99


@dataclass(frozen=True)
class Source:
    """Where the rows come from and what is looked at.

    Attributes:
        path: The metadata file.
        base: The folder that relative names of videos start from.
        prompt_column: Name of the prompts' column.
        video_column: Name of the videos' column.
        check_videos: Whether to look for the video files.
        near: Whether to fingerprint prompts for near duplicates.
    """

    path: Path
    base: Path
    prompt_column: str = "prompt"
    video_column: str = "video"
    check_videos: bool = True
    near: bool = True

    def open(self) -> Metadata:
        """Open the metadata for one pass."""
        return Metadata(self.path, prompt_column=self.prompt_column, video_column=self.video_column)

    def state(self) -> tuple[int, int]:
        """Size and time of the file, to notice that it changed between two passes."""
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class Survey:
    """What a pass found, by row. About 120 bytes a row, whatever the prompts' length.

    Close it, or use it as a context manager: it holds a temporary file with the prompts.

    Attributes:
        source: What was read.
        version: `source.state()` when it was read.
        rules: What the categories were decided by.
        categories: Index into `rules.names`, or `NO_CATEGORY`; uint8.
        means: Index into `MEANS`; uint8.
        languages: Index into `LANGUAGES`; uint8.
        characters: Length of the prompt; uint32.
        prompt_digests: Fingerprint of the prompt without blanks at its ends; uint64.
        row_digests: Fingerprint of all columns; uint64.
        video_digests: Fingerprint of the video's name; uint64.
        video_states: `videos.State`; uint8.
        keys: MinHash keys by band, shape (rows, bands); no band where near duplicates are not looked for.
        sketches: MinHash sketches, shape (rows, minima); the same.
        prompts: The prompts themselves.
    """

    source: Source
    version: tuple[int, int]
    rules: Rules
    categories: NDArray[np.uint8]
    means: NDArray[np.uint8]
    languages: NDArray[np.uint8]
    characters: NDArray[np.uint32]
    prompt_digests: NDArray[np.uint64]
    row_digests: NDArray[np.uint64]
    video_digests: NDArray[np.uint64]
    video_states: NDArray[np.uint8]
    keys: NDArray[np.uint64]
    sketches: NDArray[np.uint8]
    prompts: PromptStore

    def __len__(self) -> int:
        return len(self.categories)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.prompts.close()

    def duplicates(
        self, *, near: bool = True, among: NDArray[np.bool_] | None = None, threshold: float = THRESHOLD
    ) -> Duplicates:
        """What repeats what.

        Args:
            near: Whether near duplicates count too; only where `source.near` had them fingerprinted.
            among: Rows that count; all by default.
            threshold: Similarity from which on prompts are near duplicates, 0 to 1.
        """
        signatures = Signatures(self.keys, self.sketches) if near and self.source.near else None
        return find(
            self.prompts,
            self.prompt_digests,
            self.row_digests,
            signatures,
            among=among,
            threshold=threshold,
        )

    def counts(self, rows: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Rows by category, all categories of the rules in their order.

        Args:
            rows: Which rows to count; all by default.
        """
        chosen = self.categories if rows is None else self.categories[rows]
        counted = np.bincount(chosen, minlength=NO_CATEGORY + 1)
        return {name: int(counted[index]) for index, name in enumerate(self.rules.names)}

    def records(self, rows: Iterable[int]) -> dict[int, Row]:
        """Read some rows again, whole.

        Args:
            rows: Their numbers, from 0.

        Raises:
            DataError: The file changed since the survey.
        """
        wanted = set(rows)
        with self.source.open() as metadata:
            # no further than the last of them: examples stand at the beginning of a long file
            read = islice(metadata, max(wanted, default=-1) + 1)
            found = {number: row for number, row in enumerate(read) if number in wanted}
        if self.source.state() != self.version or len(found) != len(wanted):
            raise DataError(f"{self.source.path} changed while it was read; start again")
        return found


def take(
    source: Source,
    rules: Rules,
    *,
    similarity: TextSimilarity | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Survey:
    """Walk through the metadata once.

    Args:
        source: What to read.
        rules: The word lists.
        similarity: Asked for prompts that no word, or words of several categories alike, decide. None: such a
            prompt is `other`, or of the category that stands first in the rules' order.
        workers: Processes that share the work.
        progress: Told how far it is.

    Raises:
        DataError: The metadata cannot be read.
    """
    analyst = Analyst(rules, str(source.base), check_videos=source.check_videos, near=source.near)
    prompts = PromptStore()
    parts: list[Columns] = []
    done = 0
    try:
        with source.open() as metadata:
            version = source.state()
            for rows, columns in analysed(analyst, metadata, workers=workers):
                if similarity is not None:
                    _by_similarity(similarity, rules, rows, columns)
                parts.append(columns)
                prompts.extend(row.prompt for row in rows)
                done += len(rows)
                if progress is not None:
                    # the reader is ahead of the rows: all is read while some are still to be analysed
                    progress(done, min(metadata.position / max(metadata.size, 1), _ALMOST))
            if progress is not None:
                progress(done, 1.0)
    except BaseException:
        prompts.close()
        raise
    # column by column, so that no more than one is there twice
    whole: dict[str, Any] = {
        name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])
    }
    return Survey(source=source, version=version, rules=rules, prompts=prompts, **whole)


def _by_similarity(similarity: TextSimilarity, rules: Rules, rows: Sequence[Row], columns: Columns) -> None:
    """Decide in place what words did not, in the languages that the model reads."""
    undecided = [place for place, means in enumerate(MEANS) if means in UNDECIDED]
    readable = [LANGUAGES.index(language) for language in similarity.languages if language in LANGUAGES]
    asked = np.isin(columns["means"], undecided) & np.isin(columns["languages"], readable)
    places = np.flatnonzero(asked & (columns["categories"] != NO_CATEGORY))
    decided = nearest(similarity, [rows[place].prompt or "" for place in places.tolist()], rules)
    for place, (category, _, _) in zip(places, decided, strict=True):
        columns["categories"][place] = category
        columns["means"][place] = MEANS.index(Means.SIMILARITY)
