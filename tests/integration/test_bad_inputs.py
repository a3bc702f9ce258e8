"""Every bad input: one clear message with the next command, the right exit code, and nothing rendered."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import results, testing
from pytest_wanlora.scoring.frechet import write_reference
from tests import loras
from tests.integration.conftest import Project
from tests.unit.checkpoint.bad_files import BAD

GOOD = ("--lora", "good.safetensors")
Prepare = Callable[[Path], object]


def _edit_suite(old: str, new: str) -> Prepare:
    def edit(folder: Path) -> None:
        path = folder / "fake.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return edit


def _remove(name: str) -> Prepare:
    return lambda folder: (folder / "fake-files" / name).unlink()


def _nothing(_: Path) -> None:
    pass


# name: how it comes about, what is typed, words of the message
USAGE: dict[str, tuple[Prepare, tuple[str, ...], tuple[str, ...]]] = {
    "no such file": (_nothing, ("--lora", "nope.safetensors"), ("nope.safetensors", "no such file")),
    "empty folder": (lambda f: (f / "e").mkdir(), ("--lora", "e"), ("no .safetensors file in this folder",)),
    "glob without match": (_nothing, ("--lora", "x-*.safetensors"), ("matches no .safetensors file",)),
    "another model": (
        lambda f: testing.write_lora(f / "wide.safetensors", dim=32),
        ("--lora", "wide.safetensors"),
        ("does not fit the model of suite fake", "dim: 32; allowed: 16"),
    ),
    "more blocks than the model has": (
        lambda f: testing.write_lora(f / "long.safetensors", blocks=3),
        ("--lora", "long.safetensors"),
        ("does not fit the model of suite fake", "blocks: 3; allowed: 2"),
    ),
    "no such suite": (_nothing, (*GOOD, "--wanlora-suite", "tinny"), ("did you mean tiny?",)),
    "suite is no YAML": (
        lambda f: (f / "fake.yaml").write_text("{", encoding="utf-8"),
        GOOD,
        ("fake.yaml:1",),
    ),
    "unknown key": (
        _edit_suite("steps: 2", "stpes: 2"),
        GOOD,
        ("fake.yaml:", "stpes", "did you mean steps?"),
    ),
    "value out of range": (
        _edit_suite("frames: 5", "frames: 6"),
        GOOD,
        ("fake.yaml:", "sampling.frames", "6"),
    ),
    "unknown metric": (_edit_suite("metric: clip", "metric: clap"), GOOD, ("limits[0].metric", "clap")),
    "unknown scenario": (
        _nothing,
        (*GOOD, "--wanlora-scenario", "test2_natur"),
        ("'test2_natur' is no scenario of suite fake; did you mean test2_nature?",),
    ),
    "scale of zero": (_nothing, (*GOOD, "--wanlora-scale", "0"), ("--wanlora-scale: '0' is not allowed",)),
    "scale is no number": (_nothing, (*GOOD, "--wanlora-scale", "much"), ("'much' is not allowed",)),
    "bad seeds": (_nothing, (*GOOD, "--wanlora-seeds", "9:4"), ("FIRST up to MOST",)),
    "one video of a set": (
        _nothing,
        (*GOOD, "--wanlora-seeds", "1"),
        ("--wanlora-seeds: '1' is one video", "fvd (tolerances.fvd)", "next: pytest --wanlora-seeds=2"),
    ),
    "one video of a set in the suite": (
        _edit_suite("first: 2", "first: 1"),
        GOOD,
        ("fake.yaml:", "seeds.first: 1: the suite gates fvd", "allowed: 2 or more"),
    ),
    "one video for a baseline": (
        _nothing,
        ("--update-baselines", "--wanlora-seeds=1"),
        ("--wanlora-seeds: '1' is one video", "allowed: 2 or more"),
    ),
    "a suite for GPUs": (
        _edit_suite("name: fake\n", "name: fake\ndevice: cuda\n"),
        GOOD,
        ("fake.yaml:2: device: 'cuda' was asked for and no such GPU is visible", "--wanlora-device=cpu"),
    ),
    "bad device": (_nothing, (*GOOD, "--wanlora-device", "tpu"), ("allowed: auto, cpu, cuda, cuda:N",)),
    "no such GPU": (
        _nothing,
        (*GOOD, "--wanlora-device", "cuda:31"),
        ("'cuda:31' was asked for and no such",),
    ),
    "options without a gate": (_nothing, ("--wanlora-scale", "2"), ("does nothing without a gate",)),
    "two checkpoints to accept": (
        _nothing,
        ("--lora", ".", "--lora", "./good.safetensors", "--update-baselines"),
        ("allowed: one, the one to accept",),
    ),
    "part of a baseline": (
        _nothing,
        ("--update-baselines", "--wanlora-scenario", "test1_city"),
        ("alone make no baseline",),
    ),
    "base by a checkpoint": (
        _nothing,
        (*GOOD, "--update-baselines", "--wanlora-baseline", "base"),
        ("'base' is the model without LoRA",),
    ),
    "unknown item": (_nothing, (*GOOD, "wanlora::test_limits"), ("not found: wanlora::test_limits",)),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage_errors(project: Project, name: str) -> None:
    prepare, arguments, words = USAGE[name]
    prepare(project.path)
    result = project.run(*arguments)
    message = result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
    for word in words:
        assert word in message
    assert "next: " in message
    assert "Traceback" not in message
    assert "INTERNALERROR" not in result.stdout.str()
    assert project.rendered() == []
    assert not (project.path / ".wanlora").exists()


# `--lora` looks into folders and for globs before a file is read
_EXPANDED = {"folder", "name too long"}


@pytest.mark.parametrize("name", sorted(BAD.keys() - _EXPANDED))
def test_files_that_are_refused(project: Project, name: str) -> None:
    build, words = BAD[name]
    folder = project.path / "bad"
    folder.mkdir()
    path = build(folder)
    result = project.run("--lora", str(path))
    message = result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
    for word in words:
        assert word in message
    assert "Traceback" not in message
    assert project.rendered() == []


def _baseline(**changes: object) -> Prepare:
    def edit(folder: Path) -> None:
        path = folder / "baselines" / "fake" / "base" / "baseline.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}), encoding="utf-8")

    return edit


def _cut(name: str) -> Prepare:
    def cut(folder: Path) -> None:
        (path,) = (folder / "baselines" / "fake" / "base").glob(name)
        path.write_bytes(path.read_bytes()[:100])

    return cut


def _reference(sets: dict[str, int], *, frames: int = 5, extractor: str | None = None) -> Prepare:
    def replace(folder: Path) -> None:
        files = folder / "fake-files"
        made_by = hashlib.sha256((files / "features.safetensors").read_bytes()).hexdigest()
        rng = np.random.default_rng(1)
        features = {name: rng.normal(size=(count, testing.FEATURES)) for name, count in sets.items()}
        path = files / "reference.safetensors"
        write_reference(path, features, frames=frames, extractor_sha256=extractor or made_by)

    return replace


def _not_finite(folder: Path) -> None:
    state = loras.random_lora(layers=("self_attn.q", "self_attn.v", "ffn.0"), dtype="F32")
    name = "blocks.0.self_attn.q.lora_B.default.weight"
    nan = loras.encode([[float("nan")] * 4] * 16)
    loras.write(folder / "good.safetensors", {**state, name: nan})


# name: how it comes about, words of the one cause
CAUSES: dict[str, tuple[Prepare, tuple[str, ...]]] = {
    "no baseline": (
        lambda f: (f / "baselines").rename(f / "gone"),
        (
            "there is no baseline 'base' of suite 'fake'",
            "next: pytest --wanlora-suite fake.yaml --update-base",
        ),
    ),
    "mistyped baseline": (
        lambda f: (f / "pytest.ini").write_text("[pytest]\nwanlora_baseline = bsae\n"),
        (
            "there is no baseline 'bsae' of suite 'fake'; did you mean base?",
            "Stored for this suite: base.",
            "next: pytest --wanlora-baseline=base",
        ),
    ),
    "another schema": (_baseline(schema_version=3), ("schema_version is 3; allowed: 1, 2",)),
    "baseline is no JSON": (_cut("baseline.json"), ("baseline.json: not JSON",)),
    "edited by hand": (
        _baseline(created="2027-01-01"),
        ("its seal does not fit what it says",),
    ),
    "damaged features": (_cut("features-*.safetensors"), ("do not belong together",)),
    "another suite's": (_baseline(suite="other"), ("it is of suite 'other'; allowed here: 'fake'",)),
    "another seed range": (
        _edit_suite("first: 2", "first: 2\n  start: 5"),
        ("too few seeds from 5 on: 0 of test1_city, 0 of test2_nature; a first look takes 2",),
    ),
    "another fingerprint": (
        _edit_suite("steps: 2", "steps: 3"),
        ("was measured with another suite:", "sampling.steps: baseline 2, here 3"),
    ),
    "another prompt": (
        _edit_suite("prompt: a test2_nature", "prompt: a forest"),
        ('scenarios.test2_nature.prompt: baseline "a test2_nature", here "a forest"',),
    ),
    "reference missing": (
        _remove("reference.safetensors"),
        ("scoring.reference", "no such file", "reference --suite fake.yaml --videos FOLDER"),
    ),
    "reference damaged": (
        lambda f: (f / "fake-files" / "reference.safetensors").write_bytes(b"cut"),
        ("not a safetensors file",),
    ),
    "reference without a category": (
        _reference({"city": 8}),
        ("the reference set has no videos of the category nature (of test2_nature); it has city",),
    ),
    "reference of other frames": (
        _reference({"all": 8}, frames=9),
        ("made of 9 frames a video; allowed: 5, the suite's sampling.frames",),
    ),
    "another network's reference": (
        _reference({"all": 8}, extractor="0" * 64),
        ("was made by video features",),
    ),
    "model file missing": (_remove("dit.safetensors"), ("model.dit[0]", "no such file")),
    "scorer missing": (_remove("clip.safetensors"), ("scoring.clip.weights", "no such file")),
}


@pytest.mark.parametrize(
    ("name", "workers"),
    [*((name, "none") for name in CAUSES), ("no baseline", "-n2"), ("scorer missing", "-n2")],
)
def test_what_is_missing_is_found_before_rendering(based: Project, name: str, workers: str) -> None:
    prepare, words = CAUSES[name]
    based.forget()
    prepare(based.path)
    result = based.run(*GOOD, workers=workers)
    text = result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for word in words:
        assert text.count(word) == 1, text
    assert "next: " in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= 40
    assert based.rendered() == []
    result.stdout.fnmatch_lines(["*= 26 not measured in *"])
    record = results.load(based.records()[-1])
    assert record.exit_status == 1
    assert not record.candidates[0].publishable
    assert len(record.judgements) == 26
    assert all(judged.verdict.unmeasured for judged in record.judgements)
    assert json.loads((based.records()[-1].parent / "receipt.json").read_text())["predicate"]["verdict"] == {
        "publishable": False,
        "reason": record.candidates[0].reason,
    }


def test_everything_that_is_missing_is_told_at_once(project: Project) -> None:
    for name in ("dit.safetensors", "clip.safetensors", "reference.safetensors"):
        _remove(name)(project.path)
    result = project.run(*GOOD)
    result.stdout.fnmatch_lines(
        [
            "good may not be published: 26 of 26 items could not be measured",
            "not measured: 4 causes; nothing was loaded or rendered",
            "1. *model.dit*",
            "2. *scoring.clip.weights*",
        ]
    )
    result.stdout.fnmatch_lines(["3. *scoring.reference*", "4. *there is no baseline*"])
    shown = project.pytester.run(sys.executable, "-m", "pytest_wanlora", "show")
    assert shown.ret == 1
    assert "there is no baseline 'base'" in shown.stdout.str()


def test_what_the_chosen_items_do_not_need_keeps_none_from_being_measured(project: Project) -> None:
    result = project.run(*GOOD, "-k", "limit or checkpoint")
    assert result.parseoutcomes() == {"passed": 3, "deselected": 23}
    assert result.ret == pytest.ExitCode.TESTS_FAILED  # a part of the gate


def test_a_baseline_is_not_stored_without_its_reference(project: Project) -> None:
    _remove("reference.safetensors")(project.path)
    result = project.run("--update-baselines")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["base: nothing was measured or stored", "1. *scoring.reference*"])
    assert project.rendered() == []
    assert not (project.path / "baselines").exists()


def test_weights_that_are_not_finite_are_never_rendered(based: Project) -> None:
    based.forget()
    _not_finite(based.path)
    result = based.run(*GOOD)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    assert "have weights that are NaN: the training diverged" in text
    assert "Traceback" not in text
    assert based.rendered() == []
    # the file, and the first of its videos; all else has the cause of these
    result.stdout.fnmatch_lines(["not measured: 1 cause", "*= 2 failed, 24 not measured in *"])
