"""A machine without ffmpeg is told so before anything is loaded; what is written can be read."""

from __future__ import annotations

from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from pytest_wanlora import cli
from pytest_wanlora.environment import Environment
from pytest_wanlora.errors import StudioError
from pytest_wanlora.studio.previews import require_ffmpeg, write_preview
from pytest_wanlora.studio.producer import StudioProducer
from pytest_wanlora.testing import write_suite as write_fake_suite
from tests.unit.studio.random_wan import jobs_of, write_suite


@pytest.fixture
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)


def test_every_frame_is_written(tmp_path: Path) -> None:
    require_ffmpeg()
    frames = np.zeros((5, 32, 64, 3), np.uint8)
    frames[..., 0] = 50 * np.arange(5, dtype=np.uint8)[:, None, None]
    write_preview(frames, tmp_path / "preview.mp4")
    video = cv2.VideoCapture(str(tmp_path / "preview.mp4"))
    found = np.stack([cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB) for _ in frames])
    assert not video.read()[0], "there are more frames than were written"
    video.release()
    assert found.shape == frames.shape
    assert np.abs(found.mean(axis=(1, 2)) - frames.mean(axis=(1, 2))).max() < 5


@pytest.mark.usefixtures("no_ffmpeg")
def test_without_ffmpeg_nothing_is_loaded_or_rendered(folder: Path, environment: Environment) -> None:
    suite = write_suite(folder)
    producer = StudioProducer(suite, environment, threads=1)
    with pytest.raises(StudioError, match="no ffmpeg") as caught:
        producer.produce(jobs_of(producer.studio, None)[0], None)
    assert "--wanlora-no-previews" in caught.value.message
    assert producer.studio.seconds == {}


@pytest.mark.usefixtures("no_ffmpeg")
def test_doctor_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--suite", str(write_fake_suite(tmp_path))]) == 1
    assert "previews (mp4) cannot be written" in capsys.readouterr().out
