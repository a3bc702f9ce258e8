"""Pairs of LoRAs, through whole runs of the gate: a candidate each, its halves in the record."""

from __future__ import annotations

import shlex
import shutil
import sys

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


def test_half_of_a_pair_on_one_denoiser_is_warned_of_wherever_it_is_told(based: Project) -> None:
    for seed, expert in enumerate(("high", "low")):
        testing.write_lora(based.path / f"seoul_{expert}_noise.safetensors", seed=seed)
    done = based.run("--lora", "seoul_low_noise.safetensors")
    assert done.ret == pytest.ExitCode.OK
    said = "seoul_low_noise.safetensors is the low-noise half of a pair by its name"
    command = "high=seoul_high_noise.safetensors,low=seoul_low_noise.safetensors"
    assert said in " ".join(done.stdout.str().split())
    folder = based.records()[-1].parent
    for name in ("report.md", "report.ko.md", "report.html", "model-card.md"):
        text = (folder / name).read_text(encoding="utf-8").replace("\\", "").replace("&#95;", "_")
        assert said in text, name
        assert command in text, name


def test_strengths_reach_the_receipt_and_the_printed_command_verifies_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_experts(project)
    project.measure_base()
    names = ("a_high_noise.safetensors", "a_low_noise.safetensors")
    for seed, name in enumerate(names):
        testing.write_lora(project.path / name, seed=seed)
    high, low = names
    done = project.run("--lora", f"high={high}@0.5,low={low}@0.25", "--wanlora-scale", "0.8")
    assert done.ret == pytest.ExitCode.OK, done.stdout.str()[-3000:]
    said = "high 0.4 (0.5 x 0.8), low 0.2 (0.25 x 0.8)"
    done.stdout.fnmatch_lines([f"a at strength {said} may be published: *"])
    folder = project.path / ".wanlora" / "runs" / "latest"
    command = next(
        line for line in (folder / "model-card.md").read_text("utf-8").splitlines() if " verify " in line
    )
    # published beside its receipt
    shutil.copy(folder / "receipt.json", project.path)
    monkeypatch.chdir(project.path)
    verified = project.pytester.run(sys.executable, *shlex.split(command)[1:])
    assert verified.ret == 0, verified.stderr.str()
    verified.stdout.fnmatch_lines([f"*at strength {said}"])
    apart = project.run("--lora", f"high={high}", "--lora", f"low={low}", "--wanlora-plan")
    apart.stdout.fnmatch_lines(
        [f"wanlora: warning: a_high_noise and a_low_noise are two *: pytest --lora=high={high},low={low} *"]
    )
