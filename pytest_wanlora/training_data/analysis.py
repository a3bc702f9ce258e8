"""What is found out about a handful of rows; the part of a survey that several processes share."""

from __future__ import annotations

import json
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.training_data.categories import Categorizer, Means, languages_of
from pytest_wanlora.training_data.fingerprints import digest, minhash
from pytest_wanlora.training_data.metadata import Row
from pytest_wanlora.training_data.rules import Rules, fold
from pytest_wanlora.training_data.videos import State, state_of

MEANS = tuple(Means)
"""What `means` in the columns of a survey counts."""

NO_CATEGORY = 255
"""In the column `categories`: the row has no prompt."""

CHUNK = 2048
"""Rows at a time: enough for numpy, few enough for the processor's cache."""

Columns = dict[str, NDArray[Any]]


class Analyst:
    """Turns rows into columns of numbers.

    Args:
        rules: The word lists.
        base: The folder that relative names of videos start from.
        check_videos: Whether to look for the video files.
        near: Whether to fingerprint prompts for near duplicates.
    """

    def __init__(self, rules: Rules, base: str, *, check_videos: bool, near: bool) -> None:
        self._categorizer = Categorizer(rules)
        self._places = {name: place for place, name in enumerate(rules.names)}
        self._base = base
        self._check_videos = check_videos
        self._near = near

    def columns(self, rows: Sequence[Row]) -> Columns:
        """Analyse some rows.

        Args:
            rows: At least one.

        Returns:
            The columns of `survey.Survey` for these rows, by name.
        """
        _, prompts, videos, records = zip(*rows, strict=True)
        return self._columns(prompts, videos, records)

    def _columns(
        self,
        given: Sequence[str | None],
        videos: Sequence[str | None],
        records: Sequence[list[str] | dict[str, Any]],
    ) -> Columns:
        prompts = [prompt or "" for prompt in given]
        folded = [fold(prompt) for prompt in prompts]
        decided = self._categorizer.decide_many(folded)
        categories = [
            NO_CATEGORY if prompt is None else self._places[name]
            for prompt, (name, _) in zip(given, decided, strict=True)
        ]
        keys = np.zeros((len(given), 0), dtype=np.uint64)
        sketches = np.zeros((len(given), 0), dtype=np.uint8)
        if self._near:
            keys, sketches = minhash(folded)
        states = (state_of(video, self._base) if self._check_videos else State.UNCHECKED for video in videos)
        return {
            "categories": np.array(categories, dtype=np.uint8),
            "means": np.array([MEANS.index(means) for _, means in decided], dtype=np.uint8),
            "languages": languages_of(folded),
            "characters": np.array([len(prompt) for prompt in prompts], dtype=np.uint32),
            "prompt_digests": np.array([digest(prompt.strip()) for prompt in prompts], dtype=np.uint64),
            "row_digests": np.array([digest(_text(record)) for record in records], dtype=np.uint64),
            "video_digests": np.array([digest(video or "") for video in videos], dtype=np.uint64),
            "video_states": np.fromiter(states, dtype=np.uint8, count=len(given)),
            "keys": keys,
            "sketches": sketches,
        }


def analysed(analyst: Analyst, rows: Iterable[Row], *, workers: int) -> Iterator[tuple[list[Row], Columns]]:
    """Analyse all rows, some at a time and in their order.

    Args:
        analyst: Analyses them.
        rows: Any number of rows.
        workers: Processes to analyse them in; 1 stays in this one. A few tasks a worker are under way at a
            time, so that memory holds no more.
    """
    chunks = _chunks(rows)
    if workers <= 1:
        for chunk in chunks:
            yield chunk, analyst.columns(chunk)
        return
    # packed once and unpacked once a worker: with every task it would cost a quarter of the analysis
    packed = pickle.dumps(analyst)
    # spawn: this process may have threads, which a fork would break
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        under_way: deque[tuple[list[Row], Future[Columns]]] = deque()
        for chunk in chunks:
            # column by column: a pickled tuple for each row takes four times as long
            task = pool.submit(_work, packed, *list(zip(*chunk, strict=True))[1:])
            under_way.append((chunk, task))
            if len(under_way) > 3 * workers:
                done, columns = under_way.popleft()
                yield done, columns.result()
        for done, columns in under_way:
            yield done, columns.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


def _work(packed: bytes, *columns: Sequence[Any]) -> Columns:
    return _unpacked(packed)._columns(*columns)


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Analyst:
    analyst: Analyst = pickle.loads(packed)  # noqa: S301  from the process that started this one
    return analyst


def _text(record: list[str] | dict[str, Any]) -> str:
    if isinstance(record, list):
        return "\0".join(record)
    return json.dumps(record, sort_keys=True, ensure_ascii=False)
