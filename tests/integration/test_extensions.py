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
    install(target, "flicker", "csv_report", "slash_format", "depth_scenario", "other_model")
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
    result = run(extended, "--lora", "good.safetensors", "-n2", "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*Flicker*", "*Spread of videos*"])
    assert "Flicker" in read(extended, "report.html")
    assert "Flicker" in read(extended, "report.md")
    assert "깜빡임" in read(extended, "report.ko.md")
    card = read(extended, "model-card.md")
    assert "Flicker" in card
    assert "flicker" in read(extended, "receipt.json")
    record = json.loads(read(extended, "results.json"))
    assert "good,test1_city,flicker,pass" in read(extended, "items.csv")
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


def in_their_process(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_lora_of_another_format_is_read_as_the_same_lora(extended: Project) -> None:
    from safetensors.numpy import load_file, save_file

    renamed = {
        f"wan/{key.replace('.lora_A.default.weight', '/A').replace('.lora_B.default.weight', '/B')}": tensor
        for key, tensor in load_file(extended.path / "good.safetensors").items()
    }
    slashed = {key.replace(".", "/"): tensor for key, tensor in renamed.items()}
    save_file(slashed, extended.path / "slash.safetensors")
    told = in_their_process(
        "import pytest_wanlora as w; one, other = map(w.read_checkpoint, ['good.safetensors', "
        "'slash.safetensors']); print(other.format, one.norms == other.norms and len(one.norms) == 6)",
        extended.path,
    )
    assert told.split() == ["slash", "True"]
    # a key that the format does not have is refused, not dropped
    save_file(
        {**slashed, "wan/blocks/0/self_attn/q/C": slashed["wan/blocks/0/self_attn/q/A"]},
        extended.path / "odd.safetensors",
    )
    result = run(extended, "--lora", "odd.safetensors")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'wan/blocks/0/self_attn/q/C'*is unknown and would be dropped*"])


def test_a_scenario_of_another_type_has_its_file_in_the_key(extended: Project) -> None:
    suite = (extended.path / "fake.yaml").read_text(encoding="utf-8")
    depth = "- id: test2_nature\n  type: depth\n  control_video: depth.mp4\n"
    (extended.path / "fake.yaml").write_text(suite.replace("- id: test2_nature\n", depth), encoding="utf-8")
    result = run(extended, "--update-baselines")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*scenarios[[]1].control_video: */depth.mp4: no such file*"])
    assert extended.rendered() == []
    (extended.path / "depth.mp4").write_bytes(b"near")
    assert run(extended, "--update-baselines").ret == 0
    extended.forget()
    (extended.path / "depth.mp4").write_bytes(b"far away")
    result = run(extended, "--lora", "good.safetensors")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*scenarios.test2_nature.control_video.sha256: baseline*"])
    assert run(extended, "--update-baselines").ret == 0
    # the other scenario's videos were there before
    assert set(extended.rendered()) == {"base test2_nature 0", "base test2_nature 1"}


def test_keys_of_a_scenario_are_checked_at_their_lines(extended: Project) -> None:
    suite = (extended.path / "fake.yaml").read_text(encoding="utf-8")
    for line, words in {
        "type: depth": "*scenarios[[]1].control_video: missing; it has no default*",
        "type: dept": "*scenarios[[]1].type: 'dept': unknown type; did you mean depth?*",
    }.items():
        changed = suite.replace("- id: test2_nature\n", f"- id: test2_nature\n  {line}\n")
        (extended.path / "fake.yaml").write_text(changed, encoding="utf-8")
        result = run(extended, "--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([words])


def test_a_model_brings_its_suite_and_its_version(extended: Project) -> None:
    told = in_their_process(
        "import pytest_wanlora as w; print(w.load_suite('other_model').model.architecture.dim)", extended.path
    )
    assert told.strip() == "24"
    suite = (extended.path / "fake.yaml").read_text(encoding="utf-8")
    named = suite.replace("  name: fake Wan\n", "  name: fake Wan\n  register: other_model\n")
    (extended.path / "fake.yaml").write_text(named, encoding="utf-8")
    assert run(extended, "--update-baselines").ret == 0
    stored = json.loads((extended.path / "baselines/fake/base/baseline.json").read_text(encoding="utf-8"))
    assert stored["fingerprint"]["model"]["register"] == "other_model version 2"
    code = (
        "from pytest_wanlora.suite.models import register; register('other_model'); "
        "from diffsynth.configs import MODEL_CONFIGS; print(MODEL_CONFIGS[-1]['model_name'])"
    )
    assert in_their_process(code, extended.path).split()[-1] == "other"


def test_a_report_that_fails_is_shown_with_its_traceback(
    based: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "failing", "failing_report")
    use(tmp_path / "failing", monkeypatch)
    result = run(based, "--lora", "good.safetensors")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "the report dashboard of wanlora-failing-report 1.0.0 failed:",
            "*wanlora_failing_report.py*, in write",
            "*ConnectionError: the dashboard does not answer",
        ]
    )


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
