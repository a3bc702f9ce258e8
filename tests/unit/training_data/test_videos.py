from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pytest_wanlora.training_data.videos import Clip, Fit, State, Target, fit, read, read_all, state_of

TI2V = Target(height=480, width=832, frames=9)
DYNAMIC = Target(height=None, width=None)


def video(path: Path, frames: int, size: tuple[int, int] = (64, 48)) -> Path:
    writer = imageio_ffmpeg.write_frames(str(path), size, fps=8, macro_block_size=1)
    writer.send(None)
    for number in range(frames):
        writer.send(np.full((size[1], size[0], 3), 20 * number, dtype=np.uint8).tobytes())
    writer.close()
    return path


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("there.mp4", State.PRESENT),
        ("there.MP4", State.MISSING),
        ("deep/there.mov", State.PRESENT),
        ("empty.mp4", State.EMPTY),
        ("folder.mp4", State.MISSING),
        ("there.m4v", State.UNSUPPORTED),
        ("there", State.UNSUPPORTED),
        ("http://host/there.mp4", State.REMOTE),
        ("s3://host/there.mp4", State.UNSUPPORTED),
        ("//host/there.mp4", State.UNSUPPORTED),
        ("nul\0.mp4", State.MISSING),
        (None, State.NAMELESS),
    ],
)
def test_the_state_of_a_file(tmp_path: Path, name: str | None, state: State) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "folder.mp4").mkdir()
    for present in ("there.mp4", "deep/there.mov", "there.m4v", "there"):
        (tmp_path / present).write_bytes(b"x")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert state_of(name, str(tmp_path)) == state


def test_an_absolute_name_does_not_need_the_base(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert state_of(str(tmp_path / "a.mp4"), "/nowhere") == State.PRESENT


@pytest.mark.parametrize(
    ("clip", "target", "expected"),
    [
        (Clip(480, 832, 9, 16), TI2V, Fit(480, 832, 9, False, 0.0, 0, False)),
        (Clip(960, 1664, 200, 16), TI2V, Fit(480, 832, 9, False, 0.0, 0, False)),
        (Clip(240, 416, 9, 16), TI2V, Fit(480, 832, 9, True, 0.0, 0, False)),
        (Clip(480, 1664, 9, 16), TI2V, Fit(480, 832, 9, False, 0.5, 0, False)),
        (Clip(480, 832, 8, 16), TI2V, Fit(480, 832, 5, False, 0.0, 3, False)),
        (Clip(480, 832, 4, 16), TI2V, Fit(480, 832, 1, False, 0.0, 3, False)),
        (Clip(480, 832, 1, 0), TI2V, Fit(480, 832, 1, False, 0.0, 0, False)),
        (Clip(720, 1280, 81, 24), DYNAMIC, Fit(720, 1280, 81, False, 0.0, 0, True)),
        (Clip(704, 1280, 81, 24), DYNAMIC, Fit(704, 1280, 81, False, 0.0, 0, False)),
        (Clip(8, 8, 81, 24), DYNAMIC, Fit(0, 0, 81, False, 1.0, 0, True)),
        (Clip(480, 832, 9, 16), Target(480, 840, 9, multiple=16), Fit(480, 840, 9, True, 0.0, 0, True)),
    ],
)
def test_what_the_training_makes_of_a_video(clip: Clip, target: Target, expected: Fit) -> None:
    made = fit(clip, target)
    assert made.cropped == pytest.approx(expected.cropped, abs=0.011)
    assert (made.height, made.width, made.frames) == (expected.height, expected.width, expected.frames)
    assert (made.enlarged, made.lost_frames, made.refused) == (
        expected.enlarged,
        expected.lost_frames,
        expected.refused,
    )


def test_a_large_video_shrinks_to_the_most_pixels() -> None:
    made = fit(Clip(2160, 3840, 81, 24), DYNAMIC)
    assert made.height * made.width <= DYNAMIC.max_pixels
    assert (made.height % 16, made.width % 16) == (0, 0)
    assert not made.enlarged


def test_videos_and_images_are_read(tmp_path: Path) -> None:
    clip = read(video(tmp_path / "a.mp4", 6))
    assert clip == Clip(48, 64, 6, 8.0)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png") == Clip(10, 20, 1, 0.0)


def test_what_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mp4", 6).read_bytes()
    for name, content in (("cut.mp4", whole[: len(whole) // 2]), ("text.mp4", b"no video"), ("x.png", b"no")):
        (tmp_path / name).write_bytes(content)
        reason = read(tmp_path / name)
        assert isinstance(reason, str)
        assert 3 < len(reason) <= 200


def test_many_are_read_in_order(tmp_path: Path) -> None:
    good = video(tmp_path / "a.mp4", 2)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    paths = [good, tmp_path / "b.mp4", good]
    found = list(read_all(paths, workers=1))
    assert [path for path, _ in found] == paths
    assert [isinstance(clip, Clip) for _, clip in found] == [True, False, True]
