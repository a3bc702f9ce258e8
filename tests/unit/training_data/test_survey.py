from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_wanlora.errors import DataError
from pytest_wanlora.training_data.categories import LANGUAGES, Means
from pytest_wanlora.training_data.rules import packaged_rules
from pytest_wanlora.training_data.survey import CHUNK, MEANS, NO_CATEGORY, Source, take
from pytest_wanlora.training_data.videos import State
from tests.unit.training_data.sets import prompts, survey, write_csv, write_prompts


class Nearest:
    """Says that every text is nearest to the second description."""

    languages = frozenset({"en"})

    def __init__(self) -> None:
        self.asked: list[str] = []

    def cosines(self, texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        cosines = np.zeros((len(texts), len(others)), dtype=np.float32)
        cosines[:, 1] = 0.1
        return cosines


def test_a_survey_counts_categories_languages_lengths_and_videos(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "b.mp4").write_bytes(b"")
    rows = [
        ("a.mp4", "A tram in the old town"),
        ("b.mp4", "벚꽃이 핀 연못"),
        ("c.mp4", "两名拳击手"),
        ("d.txt", "lorem ipsum"),
        ("https://x/e.mp4", ""),
        ("", "a chef"),
    ]
    found = survey(write_csv(tmp_path / "m.csv", rows), check_videos=True)
    assert len(found) == 6
    assert found.counts() == {"action": 1, "urban": 1, "nature": 1, "other": 2}
    assert [LANGUAGES[index] for index in found.languages] == ["en", "ko", "zh", "en", "und", "en"]
    assert found.categories[4] == NO_CATEGORY
    assert MEANS[found.means[3]] == Means.NOTHING
    assert [State(state) for state in found.video_states] == [
        State.PRESENT,
        State.EMPTY,
        State.MISSING,
        State.UNSUPPORTED,
        State.REMOTE,
        State.NAMELESS,
    ]
    assert found.prompts[1] == "벚꽃이 핀 연못"


def test_similarity_is_asked_where_words_do_not_decide_and_in_its_language_only(tmp_path: Path) -> None:
    path = write_prompts(
        tmp_path / "m.csv",
        ["a tram", "lorem ipsum", "a volcano and a skyline", "어쩌고 저쩌고", ""],
    )
    nearest = Nearest()
    found = take(Source(path, tmp_path), packaged_rules(), similarity=nearest)
    assert nearest.asked == ["lorem ipsum", "a volcano and a skyline"]
    assert found.counts() == {"action": 0, "urban": 3, "nature": 0, "other": 1}
    means = [MEANS[index] for index in found.means]
    assert means[:4] == [Means.WORDS, Means.SIMILARITY, Means.SIMILARITY, Means.NOTHING]


def test_progress_is_told(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", prompts(urban=CHUNK + 1))
    told: list[tuple[int, float]] = []
    take(Source(path, tmp_path), packaged_rules(), progress=lambda *now: told.append(now))
    assert [done for done, _ in told] == [CHUNK, CHUNK + 1] * 2 + [CHUNK + 1]
    assert [share for _, share in told] == sorted(share for _, share in told)
    # a terminal ends the line where it is told that all is done: once
    assert [share for _, share in told if share >= 1] == [1.0]
    assert told[-1][1] == 1


def test_rows_are_read_again_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    records = [{"video": f"{n}.mp4", "prompt": "a tram", "fps": n} for n in range(5)]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    found = survey(path)
    assert {number: row.record for number, row in found.records([4, 1, 4]).items()} == {
        1: records[1],
        4: records[4],
    }


def test_a_file_that_changes_in_between_is_noticed(tmp_path: Path) -> None:
    path = write_prompts(tmp_path / "m.csv", ["a tram", "a forest"])
    found = survey(path)
    write_prompts(path, ["a tram", "a forest", "a chef"])
    with pytest.raises(DataError, match="changed while it was read"):
        found.records([0])


def test_the_order_of_keys_in_an_object_does_not_change_its_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('[{"video": "a.mp4", "prompt": "x"}, {"prompt": "x", "video": "a.mp4"}]')
    found = survey(path)
    assert found.row_digests[0] == found.row_digests[1]


def test_an_error_in_the_middle_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("video,prompt\n" + "a.mp4,a tram\n" * CHUNK + "a.mp4\n")
    with pytest.raises(DataError, match=f"line {CHUNK + 2} has 1 fields"):
        survey(path)
