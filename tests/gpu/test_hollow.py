from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pytest_wanlora.errors import StudioError, SuiteError
from pytest_wanlora.studio.pictures import frames_sha256
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.suite import load
from tests.gpu.conftest import Hollow

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
# few enough to be quick, many enough that a LoRA's share of each step adds up
STEPS = 4


@pytest.fixture(scope="module")
def studio(hollow: Hollow) -> Iterator[Studio]:
    """One studio with the suite's own levers, for all tests that render."""
    made = hollow.studio(hollow.suite(steps=STEPS))
    yield made
    made.close()


def bits(studio: Studio) -> list[torch.Tensor]:
    # hot loading renames the layers that it wraps: order is what stays
    return [value.clone() for value in studio.pipe.dit.state_dict().values()]


@pytest.mark.parametrize("mode", ["fused", "unfused"])
def test_every_target_is_patched_and_every_weight_comes_back(hollow: Hollow, mode: str) -> None:
    suite = hollow.suite(lora_mode=mode, compile=False, steps=STEPS)
    studio = hollow.studio(suite)
    before = bits(studio)
    wanted = 10 * suite.model.architecture.blocks
    for name in ("epoch-0", "epoch-1"):
        with studio.lora(hollow.checkpoint(name)) as applied:
            assert (applied.targets, applied.patched, applied.changed) == (wanted, wanted, wanted)
            assert applied.relative_size == pytest.approx(0.01, rel=0.02)
            # 1 % of the weights is well above what bfloat16 rounds away
            assert applied.strength == pytest.approx(1.0, abs=0.05)
            assert applied.cosine > (0.97 if mode == "fused" else 0.999)
        after = list(studio.pipe.dit.state_dict().values())
        assert len(after) == len(before)
        assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    del studio, before, after
    gc.collect()


def test_fusing_loses_more_of_a_smaller_lora(hollow: Hollow) -> None:
    studio = hollow.studio(hollow.suite(compile=False, steps=STEPS))
    cosines = []
    for name in ("size-1e-2", "size-1e-3", "size-1e-4"):
        with studio.lora(hollow.checkpoint(name)) as applied:
            cosines.append(applied.cosine)
    assert cosines[0] > 0.97 > cosines[1] > cosines[2]
    del studio
    gc.collect()


def test_checkpoints_take_turns_on_one_loaded_model(hollow: Hollow, studio: Studio) -> None:
    def frames(name: str | None) -> np.ndarray[Any, Any]:
        (job,) = hollow.jobs(studio.suite, name)
        return studio.render(job, None if name is None else hollow.checkpoint(name)).frames

    base = frames(None)
    pipe, loading = studio.pipe, studio.seconds["loading"]
    first, second = frames("epoch-0"), frames("epoch-1")
    assert not np.array_equal(base, first)
    assert not np.array_equal(first, second)
    assert np.array_equal(frames("epoch-0"), first)
    assert np.array_equal(frames(None), base)
    assert studio.pipe is pipe
    assert studio.seconds["loading"] == loading


def test_a_video_depends_on_its_job_alone(hollow: Hollow, studio: Studio) -> None:
    batch = studio.suite.sampling.batch
    jobs = hollow.jobs(studio.suite, seeds=range(2 * batch))
    alone = [studio.render(job, None).frames for job in jobs]
    together = [
        rendered.frames
        for start in (batch, 0)
        for rendered in studio.render_many(jobs[start : start + batch], None)
    ]
    again = [*together[batch:], *together[:batch]]
    assert all(np.array_equal(one, other) for one, other in zip(alone, again, strict=True))
    assert len({frames_sha256(frames) for frames in alone}) == len(jobs)


def test_an_image_is_the_first_frame(hollow: Hollow, studio: Studio) -> None:
    image = hollow.folder / "first-frame.png"
    scenario = studio.suite.scenarios[0].model_copy(update={"input_image": str(image)})
    suite = studio.suite.model_copy(update={"scenarios": (scenario, *studio.suite.scenarios[1:])})
    (plain,), (given,) = hollow.jobs(studio.suite), hollow.jobs(suite)
    assert given.input_image == image
    assert given.key != plain.key
    rendered = studio.render(given, None)
    assert rendered.degenerate is None
    assert not np.array_equal(rendered.frames, studio.render(plain, None).frames)
    assert np.array_equal(rendered.frames, studio.render(given, None).frames)


def test_sizes_that_would_be_rounded_are_refused(hollow: Hollow, tmp_path: Path) -> None:
    suite = hollow.suite()
    height = suite.sampling.height
    path = write_suite(tmp_path, hollow, sampling={"height": height + 8})
    with pytest.raises(SuiteError, match=rf"{height + 8}: no multiple of 32.*{height} or {height + 32}"):
        load(path)
    # past the suite's own check, the model's word counts
    studio = hollow.studio(hollow.suite(height=height + 8, compile=False))
    with pytest.raises(StudioError, match=rf"\({height + 8}, .* would round them to \({height + 32}, "):
        studio.load()


def test_too_little_memory_is_explained(hollow: Hollow) -> None:
    studio = hollow.studio(hollow.suite(compile=False))
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(held + 0.03)
    try:
        with pytest.raises(StudioError, match=r"memory ran out[\s\S]*GiB in all"):
            studio.load()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        gc.collect()
        torch.cuda.empty_cache()


def test_the_gate_from_end_to_end(hollow: Hollow, studio: Studio, tmp_path: Path) -> None:
    suite = write_suite(
        tmp_path, hollow, sampling={"steps": STEPS}, seeds={"first": 2, "most": 2, "start": 0}
    )
    stored = pytest_run(tmp_path, suite, "--update-baselines")
    assert stored.returncode == 0, stored.stdout[-3000:]
    gated = pytest_run(tmp_path, suite, "--lora", str(hollow.lora("epoch-0")))
    (path,) = (tmp_path / ".wanlora" / "runs").glob("*-epoch-0/results.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    verdicts = {judged["verdict"] for judged in record["judgements"]}
    # random pictures may be called worse; nothing else may go wrong with them
    assert verdicts <= {"better", "pass", "warn", "fail"}, gated.stdout[-3000:]
    assert gated.returncode == int("fail" in verdicts)
    kinds = {judged["kind"]: judged["verdict"] for judged in record["judgements"]}
    assert kinds["checkpoint"] == "pass"
    videos = [video for video in record["videos"] if video["role"] == "candidate"]
    assert len(videos) == 2 * len(studio.suite.scenarios)
    targets = 10 * studio.suite.model.architecture.blocks
    assert {video["applied"]["patched"] for video in videos} == {targets}
    # another process, which scored beside rendering, has the same frames
    (job,) = hollow.jobs(studio.suite, "epoch-0", seeds=[1], scenario=2)
    rendered = studio.render(job, hollow.checkpoint("epoch-0"))
    (same,) = (each for each in videos if (each["scenario"], each["seed"]) == (job.scenario, 1))
    assert same["frames_sha256"] == frames_sha256(rendered.frames)


@pytest.mark.parametrize("reason", ["other-width", "half-the-blocks", "wan-1.3b"])
def test_loras_of_other_models_are_refused_before_anything_is_loaded(
    hollow: Hollow, tmp_path: Path, reason: str
) -> None:
    path = hollow.folder / "loras" / "refused" / f"{reason}.safetensors"
    done = pytest_run(tmp_path, hollow.suite_file, "--lora", str(path), "-p", "tests.gpu.no_torch")
    assert done.returncode == 4, done.stdout[-3000:]
    assert "does not fit the model of suite" in done.stderr


def write_suite(folder: Path, hollow: Hollow, **changes: dict[str, Any]) -> Path:
    """The hollow suite with other values, in a folder of its own."""
    document: dict[str, Any] = yaml.safe_load(hollow.suite_file.read_text(encoding="utf-8"))
    for key, values in changes.items():
        document[key] = {**document[key], **values}
    scoring = document["scoring"]
    scoring["reference"] = str(hollow.folder / scoring["reference"])
    for scorer in (scoring["clip"], scoring["video_features"]):
        scorer["weights"] = str(hollow.folder / scorer["weights"])
    if scoring["clip"]["model"].endswith(".json"):
        scoring["clip"]["model"] = str(hollow.folder / scoring["clip"]["model"])
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_code_that_another_process_compiles_gives_the_same_frames(hollow: Hollow, tmp_path: Path) -> None:
    # each compiles for itself, as on two machines; two GPUs take one process each
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    count = max(1, torch.cuda.device_count())
    found = set()
    for number in range(3):
        own = tmp_path / str(number)
        environment = {
            **os.environ,
            "PYTHONPATH": search,
            "TORCHINDUCTOR_CACHE_DIR": str(own / "inductor"),
            "TRITON_CACHE_DIR": str(own / "triton"),
        }
        if torch.cuda.is_available():
            environment["CUDA_VISIBLE_DEVICES"] = str(number % count)
        command = [sys.executable, "-m", "tests.gpu.render_one", str(hollow.suite_file), str(own), str(STEPS)]
        told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr[-3000:]
        found.add(told.stdout.strip().splitlines()[-1])
    assert len(found) == 1


def pytest_run(folder: Path, suite: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    # previews measure nothing, and a machine with a GPU may have no ffmpeg
    command.append("--wanlora-no-previews")
    return subprocess.run(
        [*command, "--wanlora-suite", str(suite), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
