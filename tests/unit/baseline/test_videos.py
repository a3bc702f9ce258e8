"""A baseline's videos are kept beside its numbers and never beside the numbers of another measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wanlora import files
from pytest_wanlora.baseline import load, video_file, write
from pytest_wanlora.baseline.store import features_file
from pytest_wanlora.errors import BaselineError
from tests.unit.baseline.test_store import measured

PLACE = "tiny/base"


def made(folder: Path, *names: tuple[str, int], text: str = "first") -> dict[tuple[str, int], Path]:
    folder.mkdir(exist_ok=True)
    videos = {}
    for scenario, seed in names:
        videos[scenario, seed] = folder / f"{text}-{scenario}-{seed}.mp4"
        videos[scenario, seed].write_text(f"{text} {scenario} {seed}")
    return videos


def kept(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (root / PLACE).glob("videos/*")}


def test_videos_lie_beside_the_numbers_and_change_nothing_of_them(tmp_path: Path) -> None:
    plain = write(measured(), tmp_path / "plain")
    shown = write(measured(), tmp_path / "shown", videos=made(tmp_path / "in", ("s1", 0), ("s2", 11)))
    assert shown.digest == plain.digest
    assert kept(tmp_path / "shown") == {"s1-0.mp4": "first s1 0", "s2-11.mp4": "first s2 11"}
    assert video_file(tmp_path / "shown" / PLACE, "s2", 11).read_text() == "first s2 11"
    assert load(tmp_path / "shown", "tiny", "base").digest == plain.digest


def test_another_measurement_takes_the_old_videos_away(tmp_path: Path) -> None:
    write(measured(), tmp_path, videos=made(tmp_path / "in", ("s1", 0), ("s1", 1)))
    write(measured(), tmp_path, videos=made(tmp_path / "in", ("s1", 0), text="second"))
    assert kept(tmp_path) == {"s1-0.mp4": "second s1 0"}
    write(measured(), tmp_path)
    assert kept(tmp_path) == {}
    assert not (tmp_path / PLACE / "videos").exists()


def test_a_video_that_cannot_be_copied_leaves_everything_as_it_was(tmp_path: Path) -> None:
    before = write(measured(), tmp_path, videos=made(tmp_path / "in", ("s1", 0)))
    with pytest.raises(BaselineError, match="cannot be written: No such file"):
        write(measured(seeds=13), tmp_path, videos={("s1", 0): tmp_path / "gone.mp4"})
    assert load(tmp_path, "tiny", "base").digest == before.digest
    assert kept(tmp_path) == {"s1-0.mp4": "first s1 0"}
    assert sorted(path.name for path in (tmp_path / PLACE).iterdir()) == [
        "baseline.json",
        features_file(tmp_path / PLACE, before.features_sha256).name,
        "videos",
    ]


@pytest.mark.parametrize(("fails_at", "left"), [(1, {"s1-0.mp4": "first s1 0"}), (2, {})])
def test_no_crash_leaves_old_videos_beside_new_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, left: dict[str, str]
) -> None:
    write(measured(), tmp_path, videos=made(tmp_path / "in", ("s1", 0)))
    written = []

    def full(path: Path, data: bytes) -> None:
        written.append(path.name)
        if len(written) == fails_at:
            raise OSError(28, "No space left on device")
        files.write_whole(path, data)

    monkeypatch.setattr("pytest_wanlora.baseline.store.write_whole", full)
    with pytest.raises(BaselineError, match="No space left on device"):
        write(measured(seeds=13), tmp_path, videos=made(tmp_path / "in", ("s1", 0), text="second"))
    assert kept(tmp_path) == left
    assert not list((tmp_path / PLACE).glob(".videos*"))
