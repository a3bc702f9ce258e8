"""Candidates: their names, their strengths and what is demanded of them."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from pytest_wanlora import suite as suites
from pytest_wanlora import testing
from pytest_wanlora.errors import CheckpointError, SettingsError, SuiteError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.run.candidates import (
    Candidate,
    apart,
    check_fits,
    distinct,
    read_candidates,
    repeated,
    with_warnings,
)
from pytest_wanlora.verdict.judgement import ALL, ItemId
from tests import loras, unusual
from tests.unit.conftest import OpenGate
from tests.unusual import CITY, NATURE


def test_every_limit_is_demanded_where_it_is_in_force_and_once(open_gate: OpenGate) -> None:
    gate = open_gate()
    limits = [(item.scenario, item.metric) for item in gate.items if item.kind == "limit"]
    assert limits == [(CITY, "clip"), (NATURE, "clip"), (ALL, "clip"), (CITY, "fvd"), (ALL, "fvd")]
    compared = [(item.scenario, item.metric) for item in gate.items if item.kind == "regression"]
    metrics = [metric for metric in METRICS if metric in gate.suite.tolerances]
    assert "kvd" in metrics
    assert compared == [(place, metric) for place in (CITY, NATURE, ALL) for metric in metrics]
    assert gate.items[0] == ItemId("checkpoint", "good", "", "")


def test_a_part_of_the_scenarios_demands_nothing_of_the_others(open_gate: OpenGate) -> None:
    gate = open_gate(scenarios=(NATURE,))
    assert {item.scenario for item in gate.items} == {"", NATURE, ALL}


def test_a_file_called_base_is_not_taken_for_the_model_without_lora(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    path = testing.write_lora(tmp_path / "base.safetensors")
    (found,) = read_candidates(unusual.settings_of(tmp_path, (path,)))
    assert found.name == "base-lora"
    assert found.checkpoint is not None
    other = testing.write_lora(tmp_path / "base-lora.safetensors", seed=1)
    both = read_candidates(unusual.settings_of(tmp_path, (path, other)))
    assert [each.name for each in both] == ["base-lora", "base-lora-2"]


def test_each_file_at_each_strength_is_a_candidate_and_is_read_once(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    paths = tuple(testing.write_lora(tmp_path / f"epoch-{i}.safetensors", seed=i) for i in (1, 2))
    found = read_candidates(unusual.settings_of(tmp_path, paths, scales=(0.6, 1.0)))
    assert [(each.name, each.scale) for each in found] == [
        ("epoch-1@0.6", 0.6),
        ("epoch-1@1", 1.0),
        ("epoch-2@0.6", 0.6),
        ("epoch-2@1", 1.0),
    ]
    assert found[0].checkpoint is found[1].checkpoint
    (one,) = read_candidates(unusual.settings_of(tmp_path, paths[:1], scales=(0.6,)))
    assert one.name == "epoch-1"
    near = read_candidates(unusual.settings_of(tmp_path, paths[:1], scales=(0.12345678, 0.12345679)))
    assert [each.name for each in near] == ["epoch-1@0.12345678", "epoch-1@0.12345679"]


@pytest.mark.parametrize(
    ("strength", "scales", "words", "kept"),
    [
        ("@10", (10.0,), "10 times 10, the strength of high in {}, is 100; allowed: a product from -10", "1"),
        ("@-4", (0.5, 3.0), "3 times -4, the strength of high in {}, is -12; allowed", "0.5"),
    ],
)
def test_the_strength_of_a_half_times_that_of_the_run_stays_in_the_range_of_strengths(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strength: str,
    scales: tuple[float, ...],
    words: str,
    kept: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    unusual.write_unusual_suite(tmp_path)
    path = testing.write_lora(tmp_path / "x.safetensors").name
    pair = f"high={path}{strength},low={path}"
    settings = replace(unusual.settings_of(tmp_path, (), scales=scales), lora=(pair,), typed=("--lora", pair))
    with pytest.raises(SettingsError, match=re.escape(words.format(pair))) as caught:
        read_candidates(settings)
    assert caught.value.next_command == f"pytest --wanlora-scale={kept} --lora={pair}"


def test_all_files_that_cannot_be_read_are_named_at_once_with_the_command_that_leaves_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unusual.write_unusual_suite(tmp_path)
    paths = tuple(testing.write_lora(tmp_path / f"epoch {i}.safetensors", seed=i) for i in range(4))
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: len(whole) // 2])
    paths[3].write_bytes(b"no tensors")
    settings = unusual.settings_of(tmp_path, paths)
    settings = replace(settings, typed=("--lora", "*.safetensors", "--wanlora-race"))
    with pytest.raises(CheckpointError) as raised:
        read_candidates(settings)
    first, *reasons = raised.value.message.splitlines()
    assert first == "--lora: 2 of 4 checkpoints cannot be gated, so nothing is rendered"
    for path, line in zip(paths[1::2], reasons, strict=True):
        assert line.startswith(f"  {path}: ")
        assert "no whole" in line
    command = str(raised.value.next_command)
    assert shlex.split(command) == [
        "pytest",
        "--lora=epoch 0.safetensors",
        "--lora=epoch 2.safetensors",
        "--wanlora-race",
    ]
    kept = tuple(word.partition("=")[2] for word in shlex.split(command)[1:3])
    assert [each.name for each in read_candidates(replace(settings, lora=kept))] == ["epoch 0", "epoch 2"]
    # where the options would name them again, and where nothing is left, the first reason says what to do
    for changed in (replace(settings, typed=()), replace(settings, lora=tuple(map(str, paths[1::2])))):
        with pytest.raises(CheckpointError) as raised:
            read_candidates(changed)
        assert str(raised.value.next_command).startswith("sha256sum ")
        assert raised.value.message.count("no whole") == 2
    # one alone is told as it is
    with pytest.raises(CheckpointError) as raised:
        read_candidates(replace(settings, lora=(str(paths[3]),)))
    assert raised.value.message.startswith(str(paths[3]))


@pytest.mark.parametrize("named", [True, False])
def test_those_that_do_not_fit_are_named_with_those_that_cannot_be_read(tmp_path: Path, named: bool) -> None:
    """With a suite of the user's, and with the one that the first of the others fits."""
    paths = tuple(tmp_path / f"{name}.safetensors" for name in ("epoch-1", "epoch-2", "odd", "broken"))
    for path in paths[:2]:
        shutil.copy(Path(str(resources.files("pytest_wanlora"))) / "examples" / path.name, path)
    testing.write_lora(paths[2])
    paths[-1].write_bytes(b"no tensors")
    settings = replace(
        unusual.settings_of(tmp_path, paths), suite="tiny" if named else None, typed=("--lora", ".")
    )
    with pytest.raises(CheckpointError) as raised:
        read_candidates(settings)
    first, *reasons = raised.value.message.splitlines()
    assert first == "--lora: 2 of 4 checkpoints cannot be gated, so nothing is rendered"
    assert "broken.safetensors: 10 bytes" in reasons[0]
    assert "odd: does not fit the model of suite tiny" in reasons[1]
    kept = [Path(word).name for word in shlex.split(str(raised.value.next_command)) if "--lora=" in word]
    assert kept == ["epoch-1.safetensors", "epoch-2.safetensors"]
    # which suite is meant is not known: that is said when all can be read
    with pytest.raises(CheckpointError, match="1 of 4") as raised:
        read_candidates(replace(settings, suite="nosuch"))


def test_a_broken_half_of_the_first_pair_hides_no_pair(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    for epoch in (1, 2):
        for expert in ("high", "low"):
            testing.write_lora(tmp_path / f"epoch-{epoch}_{expert}_noise.safetensors", seed=epoch)
    (tmp_path / "epoch-1_low_noise.safetensors").write_bytes(b"no tensors")
    settings = replace(unusual.settings_of(tmp_path, (tmp_path,)), suite=None, typed=("--lora=.",))
    with pytest.raises(CheckpointError, match=r"epoch-1_low_noise\.safetensors: .* no whole") as raised:
        read_candidates(settings)
    assert "1 of " in raised.value.message


def test_all_that_do_not_fit_the_suite_are_named_at_once(tmp_path: Path) -> None:
    settings = unusual.settings_of(tmp_path, (), typed=("--lora", "."))
    dims = {"epoch-1": 224, "epoch-2": 3072, "epoch-3": 256}
    candidates = [Candidate(name, loras.known(dim, name=name), 1.0) for name, dim in dims.items()]
    with pytest.raises(SuiteError) as raised:
        check_fits(settings, suites.load("wan2.2-ti2v-5b"), candidates)
    first, *reasons = raised.value.message.splitlines()
    assert first == "--lora: 2 of 3 checkpoints cannot be gated, so nothing is rendered"
    assert ["epoch-1: does not fit the model of suite wan2.2-ti2v-5b" in reasons[0], len(reasons)] == [
        True,
        2,
    ]
    assert "dim: 256; allowed: 3072" in reasons[1]
    assert raised.value.next_command == "pytest --lora=epoch-2.safetensors"
    check_fits(settings, suites.load("wan2.2-ti2v-5b"), candidates[1:2])


def test_one_lora_under_several_names_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unusual.write_unusual_suite(tmp_path)
    first = testing.write_lora(tmp_path / "epoch-1.safetensors", seed=1)
    testing.write_lora(tmp_path / "epoch-2.safetensors", seed=2)
    shutil.copy(first, tmp_path / "last.safetensors")
    settings = unusual.settings_of(tmp_path, (tmp_path,), scales=(0.5, 1.0))
    end = "which nothing can tell apart: one is enough"
    assert repeated(read_candidates(settings)) == (
        f"epoch-1.safetensors, last.safetensors are one LoRA (equal files), {end}",
    )
    with safe_open(first, "numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    save_file(tensors, tmp_path / "last.safetensors", {"step": "1000"})
    assert repeated(read_candidates(settings)) == (
        "epoch-1.safetensors, last.safetensors are one LoRA (different files with equal norms in every "
        f"layer), {end}",
    )
    (key, *_) = tensors
    save_file({**tensors, key: tensors[key] * 1.01}, tmp_path / "last.safetensors")
    assert repeated(read_candidates(settings)) == ()


def test_a_file_with_both_experts_given_as_file_and_as_pair_is_one_candidate(tmp_path: Path) -> None:
    unusual.write_unusual_suite(tmp_path)
    plain = loras.random_lora()
    both = {f"transformer_{number}.{key}": value for number in (1, 2) for key, value in plain.items()}
    path = str(loras.write(tmp_path / "both.safetensors", both))
    settings = replace(unusual.settings_of(tmp_path, ()), lora=(f"high={path},low={path}", path))
    assert [each.name for each in read_candidates(settings)] == ["both"]
    weaker = replace(settings, lora=(f"high={path}@0.5,low={path}", path))
    assert [each.name for each in read_candidates(weaker)] == ["both", "both-2"]


def test_halves_given_as_two_candidates_are_told_with_the_command_that_pairs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unusual.write_unusual_suite(tmp_path)
    for seed, name in enumerate(("a_high", "a_low", "b_high", "b_low")):
        testing.write_lora(tmp_path / f"{name}.safetensors", seed=seed)

    def told(*arguments: str) -> tuple[str, ...]:
        typed = tuple(word for each in arguments for word in ("--lora", each))
        settings = replace(unusual.settings_of(tmp_path, (), typed=(*typed, "-v")), lora=arguments)
        return apart(settings, read_candidates(settings))

    (said,) = told("high=a_high.safetensors@0.8", "low=a_low.safetensors")
    assert said == (
        "a_high and a_low are two candidates, a high-noise LoRA alone and a low-noise LoRA alone, each with "
        "the base model for the other expert; to gate them as one pair: pytest "
        "--lora=high=a_high.safetensors@0.8,low=a_low.safetensors -v"
    )
    # one of each is a pair by any name; of several those are that are called alike
    assert "high=a_high.safetensors,low=b_low.safetensors" in "".join(
        told("high=a_high.safetensors", "low=b_low.safetensors")
    )
    both = told(*(f"{expert}={name}_{expert}.safetensors" for name in "ab" for expert in ("high", "low")))
    assert ["low=a_low" in both[0], "low=b_low" in both[1], len(both)] == [True, True, 2]
    assert told("high=a_high.safetensors,low=a_low.safetensors", "high=b_high.safetensors") == ()


@pytest.mark.parametrize(
    ("names", "scenarios", "expected"),
    [
        (("x", "x-y"), ("y-z", "z"), ("x", "x-y-2")),
        (("x-y", "x"), ("y-z", "z"), ("x-y", "x-2")),
        (("base-lora", "base-lora"), ("s",), ("base-lora", "base-lora-2")),
        (("a", "a-all"), ("s",), ("a", "a-all")),
        (("a", "a-s"), ("all-t", "s-all", "t"), ("a", "a-s-2")),
        (("a", "a-2", "a"), ("s",), ("a", "a-2", "a-3")),
        (("a", "b"), ("s", "t"), ("a", "b")),
    ],
)
def test_no_two_items_have_one_id(
    names: tuple[str, ...], scenarios: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    found = [each.name for each in distinct([Candidate(name, None) for name in names], scenarios)]
    assert tuple(found) == expected
    ids = [str(ItemId("limit", name, place, "clip")) for name in found for place in (*scenarios, "all")]
    assert len(ids) == len(set(ids))


def test_candidates_of_a_file_that_names_another_model_are_warned_of_and_stay_one_checkpoint() -> None:
    header = {"ss_base_model_version": "wan2.1"}
    odd = replace(loras.known(5120, 13824, range(40)), metadata=header)
    given = [Candidate("x@0.5", odd, 0.5), Candidate("x@1", odd, 1.0), Candidate("base", None)]
    first, second, base = with_warnings(suites.load("wan2.2-t2v-a14b"), given)
    assert first.checkpoint is not None
    assert first.checkpoint is second.checkpoint
    assert [each.code for each in first.checkpoint.warnings] == ["other_model"]
    assert first.checkpoint.identity == odd.identity
    assert base.checkpoint is None
    again = with_warnings(suites.load("wan2.1-t2v-14b"), given)
    assert [each.checkpoint == known.checkpoint for each, known in zip(again, given, strict=True)] == [
        True
    ] * 3


def test_the_next_command_of_several_that_are_refused_names_all_of_them(tmp_path: Path) -> None:
    """A suite that fits them, or each as half of a pair."""
    settings = unusual.settings_of(tmp_path, (), typed=("--lora", "."))
    known = [Candidate(name, loras.known(192, 768, range(8), name=name), 1.0) for name in ("a", "b")]
    with pytest.raises(SuiteError, match="2 of 2") as raised:
        check_fits(settings, suites.load("tiny-pair"), known)
    assert raised.value.options == {"--wanlora-suite": "tiny"}
    wide = [Candidate(name, loras.known(5120, 13824, range(40), name=name), 1.0) for name in ("a", "b")]
    with pytest.raises(SuiteError, match="2 of 2") as raised:
        check_fits(settings, suites.load("wan2.2-t2v-a14b"), wide)
    assert raised.value.options == {"--lora": ("high=a.safetensors", "high=b.safetensors")}
    lost = tmp_path / "b_hihg.safetensors"
    testing.write_lora(tmp_path / "b_high.safetensors")
    settings = replace(settings, lora=(str(lost), str(tmp_path / "c_high.safetensors")), suite="tiny")
    with pytest.raises(CheckpointError, match="2 of 2") as caught:
        read_candidates(settings)
    assert isinstance(meant := caught.value.options["--lora"], tuple)
    assert [Path(each).name for each in meant] == ["b_high.safetensors"] * 2
    # of no similar name is none
    settings = replace(settings, lora=(str(lost), str(tmp_path / "other.safetensors")))
    with pytest.raises(CheckpointError, match="2 of 2") as caught:
        read_candidates(settings)
    assert (caught.value.options, caught.value.next_command) == ({}, f"ls -l {tmp_path}")
