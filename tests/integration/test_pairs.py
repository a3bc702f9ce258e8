"""Pairs of LoRAs, through whole runs of the gate: a candidate each, its halves in the record."""

from __future__ import annotations

import pytest

from pytest_wanlora import results, testing
from tests.integration.conftest import Project


def two_experts(project: Project) -> None:
    """Turn the project's suite into one for two experts."""
    path = project.path / "fake.yaml"
    text = path.read_text(encoding="utf-8")
    one = "  dit: fake-files/dit.safetensors\n"
    assert one in text
    high, low = "high: {dit: fake-files/dit.safetensors}", "low: {dit: fake-files/low.safetensors}"
    experts = f"  experts:\n    {high}\n    {low}\n"
    path.write_text(text.replace(one, f"{experts}  boundary: 0.875\n"), encoding="utf-8")
    (project.path / "fake-files" / "low.safetensors").write_bytes(b"low")


def test_a_folder_of_pairs_is_gated_pair_by_pair(project: Project) -> None:
    two_experts(project)
    project.measure_base()
    for seed, name in enumerate(("a_high_noise", "a_low_noise", "b_high_noise", "b_low_noise")):
        testing.write_lora(project.path / "out" / f"{name}.safetensors", seed=seed)
    done = project.run("--lora", "out", workers="-n2")
    assert done.ret == pytest.ExitCode.OK, done.stdout.str()[-3000:]
    (path,) = (project.path / ".wanlora" / "runs").glob("*-2-checkpoints/results.json")
    record = results.load(path)
    assert [card.name for card in record.candidates] == ["a", "b"]
    card = record.candidates[0].checkpoint
    assert card is not None
    assert [half["file"] for half in card["experts"].values()] == [
        "a_high_noise.safetensors",
        "a_low_noise.safetensors",
    ]
    assert record.paths is not None
    given = record.paths.checkpoints["a"]
    assert given == "high=out/a_high_noise.safetensors,low=out/a_low_noise.safetensors"
    # the command that the record names gates the same pair again, from the cache
    again = project.run("--lora", given)
    assert again.ret == pytest.ExitCode.OK
    again.stdout.fnmatch_lines(["no video was rendered, * came from the cache; *"])
    (project.path / "out" / "b_low_noise.safetensors").unlink()
    refused = project.run("--lora", "out")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*no partner for *b_high_noise.safetensors; allowed: *"])
