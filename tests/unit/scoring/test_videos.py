from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.videos import find_sets, fitted, read_frames

from .conftest import moving

Video = NDArray[np.uint8]


def write(path: Path, video: Video, *, codec: str = "mpeg4") -> Path:
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (video.shape[2], video.shape[1]),
        fps=8,
        codec=codec,
        pix_fmt_out="bgr0" if codec == "ffv1" else "yuv420p",
        macro_block_size=1,
        quality=None,
        output_params=["-qscale:v", "2"],
    )
    writer.send(None)
    for frame in video:
        writer.send(np.ascontiguousarray(frame).tobytes())
    writer.close()
    return path


def write_gif(path: Path, video: Video, milliseconds: int) -> Path:
    first, *others = (Image.fromarray(frame) for frame in video)
    first.save(path, save_all=True, append_images=others, duration=milliseconds)
    return path


def distance(a: Video, b: Video) -> float:
    """Mean difference of the pixels, 0 to 255."""
    return float(np.abs(a.astype(int) - b).mean())


class TestFindSets:
    @pytest.fixture
    def touch(self, tmp_path: Path) -> Callable[..., None]:
        def touch(*names: str) -> None:
            for name in names:
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")

        return touch

    def test_folders_are_categories(self, tmp_path: Path, touch: Callable[..., None]) -> None:
        touch("urban/b.MP4", "urban/a.webm", "urban/notes.txt", "nature/c.gif", "list.csv", ".trash/d.mp4")
        sets = find_sets(tmp_path)
        assert {name: [path.name for path in of] for name, of in sets.items()} == {
            "nature": ["c.gif"],
            "urban": ["a.webm", "b.MP4"],
        }

    def test_videos_alone_are_one_set(self, tmp_path: Path, touch: Callable[..., None]) -> None:
        touch(
            *(f"{number}.{kind}" for number, kind in enumerate(("mp4", "mkv", "webm", "avi", "mov", "gif")))
        )
        sets = find_sets(tmp_path)
        assert {name: len(of) for name, of in sets.items()} == {"all": 6}

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (["urban/a.mp4", "b.mp4"], r"holds b\.mp4 and the folder urban"),
            (["urban/a.mp4", "nature/notes.txt"], "nature: no videos here; allowed: .avi"),
            (["notes.txt"], "no videos here"),
        ],
    )
    def test_what_is_unclear_is_refused(
        self, tmp_path: Path, touch: Callable[..., None], names: list[str], words: str
    ) -> None:
        touch(*names)
        with pytest.raises(ScoringError, match=words):
            find_sets(tmp_path)

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(
            ScoringError, match=r"gone: the videos cannot be listed: No such file.*; allowed: .*each category"
        ):
            find_sets(tmp_path / "gone")


class TestReadFrames:
    def test_gives_back_the_pixels_in_rgb(self, tmp_path: Path) -> None:
        video = moving(1)
        path = write(tmp_path / "a.mkv", video, codec="ffv1")
        np.testing.assert_array_equal(read_frames(path, 9), video)
        np.testing.assert_array_equal(read_frames(path, 4), video[:4])
        np.testing.assert_array_equal(read_frames(path, 4, every=2), video[:7:2])
        assert len(read_frames(path, 10)) == 9
        assert len(read_frames(path, 6, every=2)) == 5

    @pytest.mark.parametrize(
        ("ending", "codec"),
        [("mp4", "mpeg4"), ("mov", "mpeg4"), ("avi", "mjpeg"), ("mkv", "mpeg4"), ("webm", "libvpx")],
    )
    def test_reads_every_kind_of_file(self, tmp_path: Path, ending: str, codec: str) -> None:
        video = moving(2)
        found = read_frames(write(tmp_path / f"a.{ending}", video, codec=codec), 9)
        assert found.shape == video.shape
        assert distance(found, video) < distance(found, video[..., ::-1]) / 2

    @pytest.mark.parametrize("milliseconds", [0, 100])
    def test_reads_gifs(self, tmp_path: Path, milliseconds: int) -> None:
        video = moving(3)
        found = read_frames(write_gif(tmp_path / "a.gif", video, milliseconds), 9)
        assert found.shape == video.shape
        assert distance(found, video) < distance(found, video[..., ::-1]) / 2

    @pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
    def test_what_cannot_be_decoded_has_no_frames(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"nonsense")
        assert read_frames(tmp_path / name, 9).shape == (0, 0, 0, 3)


class TestFitted:
    @pytest.mark.parametrize("size", [(64, 96), (32, 64), (31, 47), (96, 96), (128, 64)])
    def test_is_what_the_training_does(self, size: tuple[int, int]) -> None:
        video = moving(4)
        found = fitted(video, *size)
        scale = max(size[1] / 96, size[0] / 64)
        for frame, made in zip(video, found, strict=True):
            image = functional.resize(
                Image.fromarray(frame),
                [round(64 * scale), round(96 * scale)],
                interpolation=InterpolationMode.BILINEAR,
            )
            np.testing.assert_array_equal(made, np.asarray(functional.center_crop(image, list(size))))

    def test_the_right_size_is_left_alone(self) -> None:
        video = moving(5)
        assert fitted(video, 64, 96) is video
