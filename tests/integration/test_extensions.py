"""Packages that extend the gate, installed with pip and used without an edit of this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extensions import install
from tests.integration.conftest import Project


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that work."""
    target = tmp_path_factory.mktemp("packages")
    install(target, "flicker")
    return target


@pytest.fixture
def extended(project: Project, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project where the packages are installed; runs in a process of its own only."""
    use(packages, monkeypatch)
    return project


def use(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")]))


def run(project: Project, *arguments: str) -> pytest.RunResult:
    return project.pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--wanlora-suite", "fake.yaml", *arguments
    )


def read(project: Project, name: str) -> str:
    (found,) = (project.path / ".wanlora" / "runs" / "latest").glob(name)
    return found.read_text(encoding="utf-8")


def test_a_metric_of_another_package_is_in_every_view(extended: Project) -> None:
    assert run(extended, "--update-baselines").ret == 0
    result = run(extended, "--lora", "good.safetensors")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*Flicker*", "*Spread of videos*"])
    assert "Flicker" in read(extended, "report.html")
    assert "Flicker" in read(extended, "report.md")
    assert "깜빡임" in read(extended, "report.ko.md")
    card = read(extended, "model-card.md")
    assert "Flicker" in card
    assert "flicker" in read(extended, "receipt.json")
    record = json.loads(read(extended, "results.json"))
    judged = {judgement["metric"]: judgement for judgement in record["judgements"]}
    assert judged["flicker"]["evidence"] is not None
    assert judged["spread"]["value"] > 0
    assert record["suite"]["metrics"]["flicker"] == 1
    assert {metric for scores in record["sets"] for metric in scores["scores"]} == {"fvd", "kvd", "spread"}
    stored = json.loads((extended.path / "baselines/fake/base/baseline.json").read_text(encoding="utf-8"))
    assert "flicker" in stored["scores"]["test1_city"]["0"]
    assert "spread" in stored["sets"]["all"]
    compared = subprocess.run(
        [sys.executable, "-m", "pytest_wanlora", "compare", ".wanlora/runs/latest"],
        cwd=extended.path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Flicker" in compared.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cannot_import", "*wanlora-cannot-import 0.1.0*needs_more*ModuleNotFoundError*library_that_nobody*"),
        ("second_clip", "*wanlora-second-clip 0.1.0*'clip' is already provided by pytest-wanlora*"),
        ("not_a_metric", "*wanlora-not-a-metric 0.1.0*type function; allowed: pytest_wanlora.Metric*"),
    ],
)
def test_a_broken_package_stops_the_run_before_anything_is_rendered(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    target = tmp_path / "broken"
    install(target, name)
    use(target, monkeypatch)
    result = run(project, "--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {words}", f"next:*pip uninstall wanlora-{name.replace('_', '-')}"])
    assert project.rendered() == []
