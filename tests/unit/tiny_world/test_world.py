"""The procedural world: truth about a video is known, whatever batch it was drawn in."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tools.tiny_world.dataset import parse_share, read_video, write_dataset, write_video
from tools.tiny_world.draw import FRAMES, HEIGHT, RANDOMS, WIDTH, choose, draw, draw_poplars
from tools.tiny_world.factors import (
    CATEGORIES,
    SCENARIOS,
    caption,
    held_out,
    label_sizes,
    labels,
    split,
)


def test_a_poplar_is_green_where_every_tree_of_the_world_has_blossoms() -> None:
    rows = np.array([(0, 0, 0), (2, 1, 1)])
    uniform = np.random.default_rng(1).random((len(rows), RANDOMS), dtype=np.float32)
    poplars = draw_poplars(rows, uniform).numpy()
    assert poplars.shape == (len(rows), FRAMES, HEIGHT, WIDTH, 3)
    trees = draw("nature", np.array([(0, 0, 0, 0), (1, 0, 1, 1), (0, 2, 0, 1)]), 1).numpy()

    def green(videos: np.ndarray) -> np.ndarray:
        """Share of green pixels above the hill, by video."""
        upper = videos[:, :, : HEIGHT // 2].astype(int)
        return np.asarray((upper[..., 1] > upper[..., [0, 2]].max(axis=-1) + 20).mean(axis=(1, 2, 3)))

    assert green(poplars).min() > 0.02 > green(trees).max()


@pytest.mark.parametrize("name", CATEGORIES)
def test_captions_tell_combinations_apart(name: str) -> None:
    combinations = CATEGORIES[name].combinations()
    for template in range(len(CATEGORIES[name].templates)):
        said = [caption(name, row, template) for row in combinations]
        assert len(set(said)) == len(combinations)


@pytest.mark.parametrize("name", CATEGORIES)
def test_splits_share_nothing_and_lose_nothing(name: str) -> None:
    train, kept = set(split(name, "train")), set(split(name, "held_out"))
    assert not train & kept
    assert train | kept == set(split(name, "all"))
    assert kept, "something must be held out"
    # every single value is still trained on, only in other company
    for column in range(len(CATEGORIES[name].factors)):
        assert {row[column] for row in train} == {row[column] for row in split(name, "all")}


def test_scenarios_are_never_held_out() -> None:
    assert not any(held_out(name, row) for name, row in SCENARIOS.items())


def test_labels_apply_to_their_category_only() -> None:
    rows = choose("action", 6, 1, split("action", "train"))
    found = labels("action", rows)
    assert set(found) == set(label_sizes())
    assert np.array_equal(found["action.shirt"], rows[:, 0])
    assert (found["urban.neon"] == -1).all()


def test_choose_uses_every_combination_equally() -> None:
    table = split("nature", "train")
    rows = choose("nature", 3 * len(table), 5, table)
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert (counts == 3).all()


@pytest.mark.parametrize("name", CATEGORIES)
def test_a_video_does_not_depend_on_its_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = 7
    monkeypatch.setattr("tools.tiny_world.draw.BATCH", batch)
    rows = choose(name, batch + 3, 2, split(name, "all"))
    together = draw(name, rows, seed=9)
    assert together.shape == (batch + 3, FRAMES, HEIGHT, WIDTH, 3)
    again = draw(name, rows[:3], seed=9)
    # sums of floats are ordered differently in another batch: one step of 255 is rounding
    assert int((together[:3].int() - again.int()).abs().max()) <= 1


@pytest.mark.parametrize("name", CATEGORIES)
def test_seeds_and_factors_change_the_picture(name: str) -> None:
    rows = np.array(split(name, "train")[:2])
    first, second = draw(name, rows, seed=1), draw(name, rows, seed=2)
    assert not first.equal(second)
    assert not first[0].equal(first[1])
    moved = (first[:, 1:].int() - first[:, :-1].int()).abs().amax((1, 2, 3, 4))
    assert (moved > 40).all(), "something must move in every scene"


def test_haze_takes_contrast_and_colour() -> None:
    rows = np.array(split("urban", "train")[:1])
    clear = draw("urban", rows, seed=3).float()
    hazy = draw("urban", rows, seed=3, hazy=np.array([True])).float()
    assert hazy.std() < 0.8 * clear.std()
    assert (hazy.amax(-1) - hazy.amin(-1)).mean() < 0.8 * (clear.amax(-1) - clear.amin(-1)).mean()


def test_videos_are_written_without_loss(tmp_path: Path) -> None:
    frames = draw("nature", np.array(split("nature", "train")[:1]), seed=4)[0].numpy()
    write_video(tmp_path / "a.mkv", frames)
    assert np.array_equal(read_video(str(tmp_path / "a.mkv")), frames)


def test_no_video_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no frame in"):
        read_video(str(tmp_path / "missing.mkv"))


def test_a_data_set_is_what_diffsynth_reads(tmp_path: Path) -> None:
    write_dataset(tmp_path, 10, {"urban": 0.8, "nature": 0.2}, seed=7)
    with (tmp_path / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["video", "prompt"]
    names = [row["video"].split("/")[1].split("-")[0] for row in rows]
    assert (names.count("urban"), names.count("nature")) == (8, 2)
    assert all((tmp_path / row["video"]).exists() for row in rows)
    known = {
        caption(name, row, template)
        for name in CATEGORIES
        for row in split(name, "train")
        for template in range(4)
    }
    assert {row["prompt"] for row in rows} <= known


@pytest.mark.parametrize("text", ["urban=0.5", "urban=0.5,sea=0.5", "urban=0.7,nature=0.7"])
def test_shares_must_sum_to_one(text: str) -> None:
    with pytest.raises(Exception, match="shares of urban, nature, action, other"):
        parse_share(text)


def test_captions_alone_are_the_same_captions(tmp_path: Path) -> None:
    shares = {"urban": 0.8, "nature": 0.2}
    write_dataset(tmp_path / "videos", 10, shares, seed=7)
    write_dataset(tmp_path / "captions", 10, shares, seed=7, videos=False)
    assert [path.name for path in (tmp_path / "captions").iterdir()] == ["metadata.csv"]
    with_videos, alone = ((tmp_path / name / "metadata.csv").read_bytes() for name in ("videos", "captions"))
    assert alone == with_videos
