"""`python -m pytest_wanlora reference`, from folders of videos to a file that a suite takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from pytest_wanlora import suite as suites
from pytest_wanlora import testing
from pytest_wanlora.cli import main, reference
from pytest_wanlora.scoring.frechet import Reference, fewest_videos, read_reference
from pytest_wanlora.scoring.video_features import load_extractor
from pytest_wanlora.scoring.weights import load_reference
from tests.unit.scoring.conftest import moving, save_module, sha256
from tests.unit.scoring.test_videos import write

Add = Callable[..., Path]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of 5 frames of 64x32 whose categories are city and nature, with a real feature network."""
    path = testing.write_suite(tmp_path)
    features = save_module(tmp_path / "fake-files" / "features.safetensors")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["scoring"]["video_features"]["module"] = features.module
    document["scoring"]["reference"] = "baselines:reference.safetensors"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return tmp_path / "videos"


@pytest.fixture
def add(videos: Path) -> Add:
    """Write lossless videos, 64x32 if nothing else is said."""

    def add(*names: str, frames: int = 6, height: int = 32, width: int = 64) -> Path:
        for name in names:
            path = videos / name
            path.parent.mkdir(parents=True, exist_ok=True)
            video = moving(sum(name.encode()), frames=frames, height=height, width=width)
            write(path, video, codec="ffv1")
        return videos

    return add


def run(suite: Path, videos: Path, *more: str | Path) -> int:
    fixed = ["--device", "cpu", "--baselines-dir", suite.parent / "stored"]
    return main([str(part) for part in ["reference", "--suite", suite, "--videos", videos, *fixed, *more]])


def stored(suite: Path) -> Path:
    return suite.parent / "stored" / "fake" / "reference.safetensors"


def read_made(suite: Path, path: Path) -> Reference:
    weights = sha256(suite.parent / "fake-files" / "features.safetensors")
    return read_reference(path, sha256="", extractor_sha256=weights)


CITY = tuple(f"city/{name}.mkv" for name in "abcde")
NATURE = tuple(f"nature/{name}.mkv" for name in "abcd")
PLAIN = tuple(f"{name}.mkv" for name in "abcd")


def test_a_set_for_each_category(suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(suite, add(*CITY, *NATURE)) == 0
    made = read_made(suite, stored(suite))
    assert {name: rows.shape for name, rows in made.sets.items()} == {"city": (5, 12), "nature": (4, 12)}
    assert made.frames == 5
    printed = capsys.readouterr()
    assert f"  reference_sha256: {made.sha256}\n" in printed.out
    assert "9 videos, 5 frames of 64x32 each\n  city: 5\n  nature: 4\n" in printed.out
    assert "256 videos a category or more are recommended; city, nature have fewer" in printed.out
    assert "another size" not in printed.out
    assert "  reference: " not in printed.out
    assert "looked at 9 of 9 videos\n" in printed.err
    assert "measured 9 of 9 videos\n" in printed.err


def test_the_rows_are_the_features_of_the_first_frames(suite: Path, add: Add) -> None:
    assert run(suite, add(*CITY, *NATURE)) == 0
    loaded = suites.load(suite)
    extract = load_extractor(loaded.scoring.video_features, device="cpu")
    rows = [extract(moving(sum(name.encode()), frames=6, height=32, width=64)[:5]) for name in CITY]
    np.testing.assert_array_equal(read_made(suite, stored(suite)).sets["city"], np.stack(rows))


def test_the_suite_takes_what_was_written(suite: Path, add: Add) -> None:
    assert run(suite, add(*CITY, *NATURE)) == 0
    loaded = suites.load(suite, baselines=suite.parent / "stored")
    assert load_reference(loaded.scoring).name_for("nature") == "nature"


def test_one_set_for_all(suite: Path, add: Add, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add(*PLAIN)
    output = tmp_path / "new" / "own.safetensors"
    assert run(suite, folder, "--output", output) == 0
    assert list(read_made(suite, output).sets) == ["all"]
    assert f"  reference: {output}\n" in capsys.readouterr().out
    assert not stored(suite).exists()


def test_another_size_is_told(suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    add("a.mkv", height=64, width=64)
    assert run(suite, add("b.mkv", "c.mkv", "d.mkv")) == 0
    assert "1 video of another size was scaled to cover 64x32" in capsys.readouterr().out


def test_an_unused_category_is_told(suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(suite, add(*CITY, *NATURE, "space/a.mkv", "space/b.mkv")) == 0
    assert "  space: 2; no scenario of suite fake is of it" in capsys.readouterr().out


def test_nothing_is_overwritten_unasked(suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add(*PLAIN)
    assert run(suite, folder) == 0
    before = stored(suite).stat()
    assert run(suite, folder) == 4
    assert capsys.readouterr().err.endswith(" --overwrite\n")
    assert stored(suite).stat() == before
    assert run(suite, folder, "--overwrite") == 0
    assert stored(suite).stat() != before
    assert read_made(suite, stored(suite)).sets["all"].shape == (4, 12)


def test_a_file_of_another_kind_is_never_overwritten(
    suite: Path, add: Add, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add(*PLAIN)
    stored(suite).parent.mkdir(parents=True)
    stored(suite).write_bytes(b"precious")
    for options in ((), ("--overwrite",), ("--overwrite", "--output", str(stored(suite)))):
        assert run(suite, folder, *options) == 4
        assert "exists and is no reference set; allowed: a new file" in capsys.readouterr().err
    assert stored(suite).read_bytes() == b"precious"


class TestShort:
    def test_is_listed_and_refused(self, suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
        add("short.mkv", frames=4)
        assert run(suite, add(*PLAIN)) == 4
        said = capsys.readouterr().err
        assert "1 of 5 videos cannot be part of a reference set" in said
        assert "short.mkv: has fewer than the 5 frames that are needed" in said
        assert "--skip-short" in said
        assert not stored(suite).exists()

    def test_is_left_out_when_asked(self, suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
        add("short.mkv", frames=4)
        assert run(suite, add(*PLAIN), "--skip-short") == 0
        assert len(read_made(suite, stored(suite)).sets["all"]) == 4
        said = capsys.readouterr().out
        assert "1 video was left out, too short:\n  short.mkv: " in said

    def test_the_distance_of_frames_counts(
        self, suite: Path, add: Add, capsys: pytest.CaptureFixture[str]
    ) -> None:
        add("a.mkv", frames=8)
        assert run(suite, add("b.mkv", "c.mkv", frames=9), "--every", "2") == 4
        assert "a.mkv: has fewer than the 9 frames that are needed" in capsys.readouterr().err

    def test_too_few_may_be_left(self, suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
        add("city/z.mkv", frames=4)
        assert run(suite, add(*CITY[:3], *NATURE), "--skip-short") == 4
        said = capsys.readouterr().err
        assert "too few videos: city has 3; allowed: 4 or more a category, as the suite compares fvd" in said


@pytest.mark.parametrize(("compared", "fewest"), [(True, 4), (False, 2)])
def test_what_the_gate_of_the_suite_would_refuse_is_refused(
    suite: Path, add: Add, compared: bool, fewest: int
) -> None:
    if not compared:
        document = yaml.safe_load(suite.read_text(encoding="utf-8"))
        document["tolerances"] = {"fvd": "off"}
        suite.write_text(yaml.safe_dump(document), encoding="utf-8")
    loaded = suites.load(suite, baselines=suite.parent / "stored")
    rendered = {each.category: [each.id] for each in loaded.scenarios}

    def refused_by_the_gate() -> list[str]:
        made = read_made(suite, stored(suite))
        least = fewest_videos(loaded.tolerances)
        return list(made.unfit(rendered, frames=loaded.sampling.frames, fewest=least))

    assert run(suite, add(*CITY, *NATURE[: fewest - 1])) == 4
    assert run(suite, add(*CITY, *NATURE[:fewest])) == 0
    assert refused_by_the_gate() == []


def test_bad_videos_are_all_named(suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add(*PLAIN)
    (folder / "broken.mp4").write_bytes(b"nonsense")
    write(folder / "black.mkv", np.zeros((6, 32, 64, 3), np.uint8), codec="ffv1")
    assert run(suite, folder, "--skip-short") == 4
    said = capsys.readouterr().err
    assert "2 of 6 videos cannot be part of a reference set" in said
    assert "broken.mp4: no frame of it can be decoded" in said
    assert "black.mkv: it is black" in said
    assert "--skip-short" not in said


def test_many_bad_videos_are_counted(suite: Path, add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add("a.mkv")
    for number in range(25):
        (folder / f"{number}.mp4").write_bytes(b"")
    assert run(suite, folder) == 4
    assert "  and 5 more\n" in capsys.readouterr().err


def test_a_category_without_videos_is_refused(
    suite: Path, add: Add, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(suite, add(*CITY)) == 4
    assert "no folder for nature of suite fake; it has city" in capsys.readouterr().err
    shutil.copytree(suite.parent / "videos" / "city", suite.parent / "videos" / "all")
    assert run(suite, suite.parent / "videos") == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--output", "set.npz"], "allowed: a .safetensors file"),
        (["--output", "fake.yaml/x.safetensors"], "is not a folder that you may write to"),
        (["--device", "tpu"], "device 'tpu' cannot be used"),
        (["--every", "0"], "'0' is not a whole number from 1 on"),
    ],
)
def test_bad_arguments(
    suite: Path,
    add: Add,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(suite.parent)
    assert run(suite, add(*PLAIN), *more) == 4
    assert words in capsys.readouterr().err


def test_the_embedded_suites_own_set_is_not_written(
    add: Add, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Path("tiny"), add(*PLAIN)) == 4
    said = capsys.readouterr().err
    assert "scoring.reference is package:tiny/reference.safetensors, which is not written here" in said
    assert said.endswith(" --output reference.safetensors\n")


def test_the_command_line_starts_without_torch() -> None:
    code = (
        "import sys; from pytest_wanlora.cli import main; "
        "main(['reference', '--help']); main(['data', 'report', '--help']); "
        "assert not {'torch', 'cv2', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_recommended_is_what_the_help_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{reference.RECOMMENDED} videos a category or more" in said
