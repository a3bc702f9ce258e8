"""A gate written to TensorBoard and to Weights & Biases offline, and read back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_wanlora import results
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.reports import export, trend, writing
from pytest_wanlora.reports.summary import rows
from pytest_wanlora.results.run_record import RunRecord
from tests.integration.conftest import Project

FILMED = """
import dataclasses

from pytest_wanlora import testing
from pytest_wanlora.studio.previews import write_preview


class Filmed(testing.FakeProducer):
    def produce(self, job, checkpoint):
        made = super().produce(job, checkpoint)
        video = testing.fake_video(f"{job.prompt}|{job.seed}", (5, 32, 64), quality=1.0, tint=0)
        return dataclasses.replace(made, write_preview=lambda path: write_preview(video, path))


def pytest_wanlora_producer(suite):
    return Filmed(suite, {"epoch-3": {"test2_nature": 0.4}})
"""


@pytest.fixture
def gated(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, RunRecord]:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    (project.path / "conftest.py").write_text(FILMED, encoding="utf-8")
    (project.path / "good.safetensors").rename(project.path / "epoch-2.safetensors")
    (project.path / "bad.safetensors").rename(project.path / "epoch-3.safetensors")
    start = project.pytester.runpytest_subprocess
    common = ("-p", "no:cacheprovider", "--wanlora-suite", "fake.yaml")
    assert start(*common, "--update-baselines").ret == pytest.ExitCode.OK
    trackers = ("--wanlora-export=tensorboard", "--wanlora-export=wandb")
    ran = start(*common, "--lora=epoch-2.safetensors", "--lora=epoch-3.safetensors", *trackers)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.no_fnmatch_line("*was not written*")
    (path,) = [path for path in project.records() if len(results.load(path).candidates) == 2]
    return path.parent, results.load(path)


def test_a_run_of_each_holds_scores_intervals_verdicts_and_videos(gated: tuple[Path, RunRecord]) -> None:
    folder, record = gated
    expected: dict[int, dict[str, float | None]] = {}
    for name, point in zip(("epoch-2", "epoch-3"), export.points(record, folder), strict=True):
        loss = trend.loss(record, name)
        assert loss is not None
        scores = {f"score/{row.metric}/{row.scenario}": row.value for row in rows(record, name)}
        expected[point.step] = {"loss": loss[0], **scores}
    assert list(expected) == [2, 3]
    _tensorboard(folder.parent / "tensorboard" / "epoch", expected)
    _wandb(folder.parent, expected)


def _tensorboard(place: Path, expected: dict[int, dict[str, float | None]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(place), size_guidance={"scalars": 0, "images": 0})
    read.Reload()
    for step, numbers in expected.items():
        for name, value in numbers.items():
            assert {each.step: each.value for each in read.Scalars(name)}[step] == pytest.approx(value)
    tags = read.Tags()
    assert {"verdict/clip/all", "change_low/clip/test1_city", "publishable"} <= set(tags["scalars"])
    images = [image for tag in tags["images"] for image in read.Images(tag)]
    assert len(images) == 4
    assert all(image.encoded_image_string.startswith(b"GIF8") for image in images)
    assert {(image.width, image.height) for image in images} == {(2 * 64, 32)}


def _wandb(folder: Path, expected: dict[int, dict[str, float | None]]) -> None:
    runs = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    rows = [row for run in runs for row in _logged(run)]
    found = {int(row["epoch"]): row for row in rows}
    for step, numbers in expected.items():
        for name, value in numbers.items():
            assert float(found[step][name]) == pytest.approx(value)
    assert "may not be published" in found[3]["decision"]
    videos = sorted((folder / "wandb").glob("offline-run-*/files/media/videos/**/*.mp4"))
    assert len(videos) == 4
    assert {path.stem.partition("/")[0][:8] for path in videos}


def _logged(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a run's history in wandb's own file: records of protobuf in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2 as proto

    # wandb chooses the code by protobuf's version, where no type checker sees it
    record_of = vars(proto)["Record"].FromString
    data, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        held += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            record, held = record_of(held), b""
            if record.HasField("history"):
                items = record.history.item
                yield {item.key or "/".join(item.nested_key): item.value_json.strip('"') for item in items}


def test_a_library_that_is_not_installed_is_named_before_anything_is_rendered(
    based: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = based.run("--lora=good.safetensors", "--wanlora-export=wandb")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(
        [
            "*--wanlora-export (ini: wanlora_export): wandb: its library is not installed here",
            "next: pip install 'pytest-wanlora[[]wandb[]]'",
        ]
    )
    assert based.rendered() == []


def test_an_exporter_that_is_none_is_refused(based: Project) -> None:
    ran = based.run("--lora=good.safetensors", "--wanlora-export=mlflow")
    ran.stderr.fnmatch_lines(["*--wanlora-export: 'mlflow' is not allowed; allowed: tensorboard, wandb*"])
    with pytest.raises(SettingsError):
        writing.exporter("no_such_library")
