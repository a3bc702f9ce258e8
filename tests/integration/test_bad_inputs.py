"""Every bad input: one clear message with the next command, the right exit code, and nothing rendered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wanlora import testing
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
    "half the blocks": (
        lambda f: testing.write_lora(f / "half.safetensors", blocks=1),
        ("--lora", "half.safetensors"),
        ("does not fit the model of suite fake", "blocks: 1; allowed: 2"),
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
    "model file missing": (_remove("dit.safetensors"), GOOD, ("model.dit[0]", "no such file")),
    "scorer missing": (_remove("clip.safetensors"), GOOD, ("scoring.clip.weights", "no such file")),
    "scale of zero": (_nothing, (*GOOD, "--wanlora-scale", "0"), ("--wanlora-scale: '0' is not allowed",)),
    "scale is no number": (_nothing, (*GOOD, "--wanlora-scale", "much"), ("'much' is not allowed",)),
    "bad seeds": (_nothing, (*GOOD, "--wanlora-seeds", "9:4"), ("FIRST up to MOST",)),
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
        path = folder / "baselines" / "fake" / "base" / name
        path.write_bytes(path.read_bytes()[:100])

    return cut


def _other_reference(folder: Path) -> None:
    import numpy as np

    features = np.random.default_rng(1).normal(size=(8, testing.FEATURES))
    write_reference(
        folder / "fake-files" / "reference.safetensors",
        {"all": features},
        frames=5,
        extractor_sha256="0" * 64,
    )


def _not_finite(folder: Path) -> None:
    state = loras.random_lora(layers=("self_attn.q", "self_attn.v", "ffn.0"), dtype="F32")
    name = "blocks.0.self_attn.q.lora_B.default.weight"
    nan = loras.encode([[float("nan")] * 4] * 16)
    loras.write(folder / "good.safetensors", {**state, name: nan})


# name: how it comes about, words of the failure, items that still pass
FAILURES: dict[str, tuple[Prepare, tuple[str, ...], int]] = {
    "no baseline": (
        lambda f: (f / "baselines").rename(f / "gone"),
        ("NO BASELINE", "there is no baseline 'base' of suite 'fake'", "--update-baselines"),
        3,
    ),
    "another schema": (_baseline(schema_version=2), ("schema_version is 2; allowed: 1",), 3),
    "baseline is no JSON": (_cut("baseline.json"), ("baseline.json: not JSON",), 3),
    "damaged features": (_cut("features.safetensors"), ("do not belong together",), 3),
    "another suite's": (_baseline(suite="other"), ("it is of suite 'other'; allowed here: 'fake'",), 3),
    "another seed range": (_edit_suite("first: 2", "first: 2\n  start: 5"), ("the baseline has 0 seeds",), 3),
    "reference missing": (_remove("reference.safetensors"), ("scoring.reference", "no such file"), 3),
    "another network's reference": (_other_reference, ("INCOMPARABLE", "scoring.reference.sha256"), 3),
    "weights that are not finite": (_not_finite, ("have weights that are NaN: the training diverged",), 0),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(based: Project, name: str) -> None:
    prepare, words, passed = FAILURES[name]
    prepare(based.path)
    result = based.run(*GOOD)
    text = result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for word in words:
        assert word in text
    assert "next: " in text
    assert "Traceback" not in text
    assert "no record was written" not in text
    assert result.parseoutcomes() == {"failed": 24 - passed, **({"passed": passed} if passed else {})}
    assert "may be published:" not in text
