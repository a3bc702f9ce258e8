"""The picture of a run: the frames of the videos beside their scores, the worst that fails first."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pytest_wanlora.reports import figure
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.studio.previews import write_preview
from tests.unit.reports.pages import videos
from tests.unit.reports.records import SCENARIOS, compared, run_record
from tests.unit.reports.sample_records import EPOCHS, epochs_record

BLUE, RED = (20, 40, 220), (220, 40, 20)


def drawn(record: RunRecord, folder: Path) -> NDArray[np.uint8]:
    made = figure.png(record, folder)
    assert made is not None
    return np.asarray(Image.open(io.BytesIO(made)).convert("RGB"))


def rows_of(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    """How many strips of a colour stand below each other."""
    column = np.abs(picture[:, picture.shape[1] // 2].astype(int) - colour).max(axis=1) < 30
    return int(np.diff(column.astype(int), prepend=0).clip(0).sum())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blue videos of the baseline and red ones of a checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    for video in videos(["epoch-0"], SCENARIOS, (3,)):
        path = folder / str(video.preview)
        path.parent.mkdir(exist_ok=True)
        colour = BLUE if video.role == "baseline" else RED
        write_preview(np.full((9, 96, 160, 3), colour, dtype=np.uint8), path)
    return folder


def test_each_scenario_that_fails_has_the_baseline_above_the_candidate(folder: Path) -> None:
    lost = [compared(scenario, "clip", 1.0, 0.5) for scenario in SCENARIOS[:2]]
    kept = compared(SCENARIOS[2], "clip", 1.0, 1.0)
    known = videos(["epoch-0"], SCENARIOS, (3,), scores={"clip": 0.5})
    picture = drawn(run_record([*lost, kept], videos=known), folder)
    assert (rows_of(picture, BLUE), rows_of(picture, RED)) == (2, 2)
    # a title in the colour of a refusal, and scores beside the strips
    red = np.abs(picture[:70].astype(int) - (0xB3, 0x26, 0x1E)).max(axis=2) < 40
    assert red.any()
    assert (picture[100:, :150].min(axis=2) < 120).any()


def test_a_run_in_which_nothing_fails_shows_its_worst_pair(folder: Path) -> None:
    kept = [compared(scenario, "clip", 1.0, 1.0) for scenario in SCENARIOS]
    known = videos(["epoch-0"], SCENARIOS, (3,), scores={"clip": 0.5})
    picture = drawn(run_record(kept, videos=known), folder)
    assert (rows_of(picture, BLUE), rows_of(picture, RED)) == (1, 1)


def test_a_long_name_keeps_its_end_which_says_the_strength(folder: Path) -> None:
    def of(name: str) -> NDArray[np.uint8]:
        lost = compared(SCENARIOS[0], "clip", 1.0, 0.5, candidate=name)
        known = videos([name], SCENARIOS, (3,), scores={"clip": 0.5})
        for video in known:
            path = folder / str(video.preview)
            if not path.exists():
                write_preview(np.full((9, 96, 160, 3), RED, dtype=np.uint8), path)
        return drawn(run_record([lost], names=(name,), videos=known), folder)

    long = "portrait-of-a-seoul-night-in-the-rain-rank-64-step-12000"
    first, second = of(f"{long}@high0.5,low1"), of(f"{long}@high0.5,low2")
    assert first.shape == second.shape
    # in the column of names, not only in the title
    assert (first[100:] != second[100:]).any()
    assert first.shape[1] < 1600


@pytest.mark.parametrize(
    "record",
    [
        run_record([], names=()),
        run_record([compared(SCENARIOS[0], "clip", 1.0, 0.5)]),
        epochs_record(videos=videos(EPOCHS, SCENARIOS, (0,))),
    ],
)
def test_without_a_video_there_is_no_picture(record: RunRecord, tmp_path: Path) -> None:
    assert figure.png(record, tmp_path) is None


def test_what_is_no_video_is_left_out(tmp_path: Path) -> None:
    known = videos(["epoch-0"], SCENARIOS[:1], (3,))
    for video in known:
        path = tmp_path / str(video.preview)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\0\0\x18ftypisom")
    assert figure.png(run_record([compared(SCENARIOS[0], "clip", 1.0, 0.5)], videos=known), tmp_path) is None
