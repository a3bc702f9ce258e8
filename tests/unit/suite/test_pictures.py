"""Which pictures may be first frames, and what they become."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pytest_wanlora.cli import main
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite import load, packaged
from pytest_wanlora.suite.pictures import read_picture

SIZE = (160, 96)


def colours(size: tuple[int, int] = SIZE, channels: int = 3) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], channels), np.uint8))


def saved(folder: Path, image: Image.Image, name: str = "first.png", **options: Any) -> Path:  # noqa: ANN401
    image.save(folder / name, **options)
    return folder / name


def turned(folder: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(folder, colours(), "turned.jpg", exif=exif)


def animated(folder: Path, name: str) -> Path:
    return saved(folder, colours(), name, save_all=True, append_images=[Image.new("RGB", SIZE)])


def test_a_picture_is_read_as_it_is(tmp_path: Path) -> None:
    image = colours()
    assert read_picture(saved(tmp_path, image), SIZE).tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_other_kinds_of_opaque_pictures_become_rgb(tmp_path: Path, mode: str) -> None:
    image = colours().convert(mode)
    found = read_picture(saved(tmp_path, image), SIZE)
    assert found.mode == "RGB"
    assert found.tobytes() == image.convert("RGB").tobytes()


def test_what_viewers_show_otherwise_is_refused(tmp_path: Path) -> None:
    sixteen = Image.fromarray(np.full((96, 160), 30000, np.uint16))
    shadow = colours()
    shadow.putalpha(128)
    refused = {
        saved(tmp_path, sixteen, "16.png"): r"16\.png: pixels of Pillow's mode 'I;16'.*allowed: RGB or grey",
        saved(tmp_path, colours().convert("CMYK"), "c.jpg"): "mode 'CMYK'",
        turned(tmp_path): "EXIF orientation 6: .*allowed: a picture that is stored upright",
        saved(tmp_path, shadow, "shadow.png"): "transparent in places.*allowed: an opaque picture",
        saved(tmp_path, colours().convert("L"), "key.png", transparency=128): "transparent in places",
        animated(tmp_path, "a.png"): r"2 pictures in one file \(PNG\); allowed: one picture",
        animated(tmp_path, "a.webp"): r"2 pictures in one file \(WEBP\)",
    }
    for path, words in refused.items():
        with pytest.raises(SuiteError, match=words) as caught:
            read_picture(path)
        before = set(tmp_path.iterdir())
        command = str(caught.value.next_command).replace("python", sys.executable, 1)
        subprocess.run(["bash", "-c", command], check=True)
        (written,) = set(tmp_path.iterdir()) - before
        assert read_picture(written).size == SIZE[:: -1 if path.name == "turned.jpg" else 1]
        written.unlink()


@pytest.mark.parametrize("size", [(1000, 1000), (96, 160), (1280, 704), (1, 1), (50, 37)])
def test_a_picture_is_not_stretched(tmp_path: Path, size: tuple[int, int]) -> None:
    path = saved(tmp_path, colours(size))
    with pytest.raises(SuiteError, match=f"{size[0]}x{size[1]}, which DiffSynth would stretch to .*160x96"):
        read_picture(path, SIZE)


@pytest.mark.parametrize("size", [(1600, 960), (416, 250), (80, 48), (1000, 600)])
def test_a_picture_of_the_ratio_is_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    assert read_picture(saved(tmp_path, colours(size)), SIZE).size == size


def test_the_printed_command_writes_a_picture_that_is_taken(tmp_path: Path) -> None:
    path = turned(tmp_path).rename(tmp_path / "it's turned.jpg")
    with pytest.raises(SuiteError) as caught:
        read_picture(path, SIZE)
    command = str(caught.value.next_command).replace("python", sys.executable, 1)
    subprocess.run(["bash", "-c", command], check=True)
    assert read_picture(tmp_path / "it's turned-160x96.png", SIZE).size == SIZE


def test_pin_pins_first_frames_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, colours())
    data = yaml.safe_load(packaged()["tiny-i2v"].read_text(encoding="utf-8"))
    data["name"] = "mine"
    data["scenarios"] = [{**data["scenarios"][0], "input_image": "first.png"}, data["scenarios"][1]]
    del data["scenarios"][0]["input_image_sha256"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    before = load(path).scenarios
    assert main(["doctor", "--suite", str(path), "--pin"]) == 0
    assert "pinned scenarios[0].input_image_sha256: " in capsys.readouterr().out
    after = load(path).scenarios
    assert len(after[0].input_image_sha256) == 64
    assert after[1] == before[1]
