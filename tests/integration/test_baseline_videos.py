"""The baseline's videos stand beside the candidates' in the record, wherever they can be had."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from pytest_wanlora import results
from pytest_wanlora.baseline.store import seal_of
from tests.integration.conftest import Project

# a producer whose previews say what they show
FILMED = """
import dataclasses


class Filmed(FakeProducer):
    def produce(self, job, checkpoint):
        made = super().produce(job, checkpoint)
        text = f"{job.candidate} {job.scenario} {job.seed}"
        return dataclasses.replace(made, write_preview=lambda path: path.write_text(text))
"""
PLACES = [(scenario, seed) for scenario in ("test1_city", "test2_nature") for seed in (0, 1)]


@pytest.fixture
def filmed(project: Project) -> Project:
    project.producer(extra=FILMED)
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("return FakeProducer(", "return Filmed("))
    return project


def shown(project: Project) -> dict[str, list[str | None]]:
    """What the previews of the last record show, by role."""
    path = project.records()[-1]
    found: dict[str, list[str | None]] = {}
    for video in results.load(path).videos:
        words = None if video.preview is None else (path.parent / video.preview).read_text()
        found.setdefault(video.role, []).append(words)
    return found


def previews(project: Project) -> list[Path]:
    path = project.records()[-1]
    return [
        (path.parent / video.preview).resolve()
        for video in results.load(path).videos
        if video.role == "baseline" and video.preview is not None
    ]


def both(candidate: str, base: str) -> dict[str, list[str | None]]:
    return {
        "candidate": [f"{candidate} {scenario} {seed}" for scenario, seed in PLACES],
        "baseline": [f"{base} {scenario} {seed}" for scenario, seed in PLACES],
    }


def test_an_update_keeps_the_videos_and_the_record_shows_those_of_the_cache(filmed: Project) -> None:
    filmed.measure_base()
    stored = filmed.path / "baselines/fake/base/videos"
    assert sorted(path.name for path in stored.iterdir()) == sorted(f"{s}-{seed}.mp4" for s, seed in PLACES)
    filmed.run("--lora", "good.safetensors")
    assert shown(filmed) == both("good", "base")
    cache = filmed.path / ".wanlora/cache"
    assert all(path.is_relative_to(cache.resolve()) for path in previews(filmed))


def test_where_the_cache_is_gone_the_baselines_own_are_shown(filmed: Project) -> None:
    filmed.measure_base()
    shutil.rmtree(filmed.path / ".wanlora")
    filmed.run("--lora", "good.safetensors")
    assert shown(filmed) == both("good", "base")
    stored = (filmed.path / "baselines/fake/base/videos").resolve()
    own = [path for path in previews(filmed) if path.is_relative_to(stored)]
    # the first was rendered anew, to prove that the LoRA changes it
    assert len(own) == 3


def test_another_video_of_the_cache_is_not_taken_for_the_baselines(filmed: Project) -> None:
    filmed.measure_base()
    baseline = filmed.path / "baselines/fake/base/baseline.json"
    # scores have a point; the version of the metric, in the fingerprint, has none
    other = json.loads(re.sub(r'"motion": (\d+\.)', r'"motion": 1\1', baseline.read_text()))
    baseline.write_text(json.dumps({**other, "seal": seal_of(other)}))
    filmed.run("--lora", "good.safetensors")
    stored = (filmed.path / "baselines/fake/base/videos").resolve()
    assert len(previews(filmed)) == 4
    assert all(path.is_relative_to(stored) for path in previews(filmed))


def test_without_previews_there_are_none_and_nothing_is_wrong(filmed: Project) -> None:
    filmed.measure_base()
    shutil.rmtree(filmed.path / "baselines/fake/base/videos")
    shutil.rmtree(filmed.path / ".wanlora")
    filmed.producer()
    result = filmed.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.OK
    assert shown(filmed) == {"candidate": [None] * 4, "baseline": [None] * 4}


def test_an_accepted_checkpoint_shows_its_own_videos(filmed: Project) -> None:
    filmed.measure_base()
    assert (
        filmed.run("--lora", "bad.safetensors", "--update-baselines", "--wanlora-force").ret
        == pytest.ExitCode.OK
    )
    filmed.run("--lora", "good.safetensors", "--wanlora-baseline", "accepted")
    assert shown(filmed) == both("good", "bad")
    elsewhere = filmed.path / "elsewhere"
    shutil.copytree(filmed.path / "baselines/fake/accepted", elsewhere)
    filmed.run("--lora", "good.safetensors", "--wanlora-baseline", "./elsewhere")
    assert shown(filmed) == both("good", "bad")
    assert all(path.is_relative_to(elsewhere.resolve()) for path in previews(filmed))
