"""On which device a run renders: the user's, else the suite's, else a GPU if there is one."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.integration.conftest import FAKE_GPUS, Project

GOOD = ("--lora", "good.safetensors")
GPUS = ("-p", "fake_gpus")


@pytest.fixture(autouse=True)
def _fake_gpus(project: Project) -> None:
    (project.path / "fake_gpus.py").write_text(FAKE_GPUS)


def name_device(project: Project, device: str) -> None:
    path = project.path / "fake.yaml"
    path.write_text(f"device: {device}\n{path.read_text()}" if device else path.read_text())


@pytest.mark.parametrize(
    ("suite", "ini", "typed", "header"),
    [
        ("", "", (), "Fake GPU, the first GPU"),
        ("auto", "", (), "Fake GPU, the first GPU"),
        ("cpu", "", (), "cpu, named by the suite"),
        ("cuda", "", (), "Fake GPU, named by the suite"),
        ("cpu", "auto", (), "Fake GPU, the first GPU (wanlora_device in pytest.ini: auto)"),
        ("cpu", "cuda:1", (), "Fake GPU, named by wanlora_device in pytest.ini"),
        ("cpu", "", ("--wanlora-device", "auto"), "Fake GPU, the first GPU (--wanlora-device: auto)"),
        ("cuda", "auto", ("--wanlora-device", "cpu"), "cpu, named by --wanlora-device"),
    ],
)
def test_the_header_says_which_and_why(
    project: Project, suite: str, ini: str, typed: tuple[str, ...], header: str
) -> None:
    name_device(project, suite)
    if ini:
        (project.path / "pytest.ini").write_text(f"[pytest]\nwanlora_device = {ini}\n")
    result = project.run(*GOOD, *GPUS, *typed, "--collect-only", workers="no:xdist")
    assert result.ret == pytest.ExitCode.OK
    assert f"wanlora: good on suite fake, {header}" in result.outlines


def test_without_a_gpu_the_header_says_so(project: Project) -> None:
    result = project.run(*GOOD, "--collect-only")
    assert "wanlora: good on suite fake, cpu, no GPU is visible" in result.outlines


@pytest.mark.parametrize("workers", ["no:xdist", "-n2"])
def test_a_baseline_of_a_cpu_is_comparable_on_a_machine_with_gpus(
    based: Project, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    name_device(based, "cpu")
    based.producer(
        before="tell_gpu",
        extra="def tell_gpu(job):\n    note(job)\n"
        "    worker = os.environ.get('PYTEST_XDIST_WORKER', 'main')\n"
        "    (HERE / f'gpu-{worker}').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))\n",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert based.run(*GOOD, *GPUS, workers=workers).ret == pytest.ExitCode.OK
    # no worker was given a GPU of its own
    assert {path.read_text() for path in Path(based.path).glob("gpu-*")} == {"5,7"}


def test_a_device_that_the_user_typed_is_in_the_command_for_its_baseline(based: Project) -> None:
    name_device(based, "cpu")
    typed = ("--wanlora-device", "cuda")
    result = based.run(*GOOD, *GPUS, *typed, workers="no:xdist")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    command = "pytest --wanlora-suite fake.yaml --wanlora-device cuda --update-baselines"
    result.stdout.fnmatch_lines(["*device: baseline cpu, here cuda", f"*next: {command}"])
    report = based.path / ".wanlora" / "runs" / "latest" / "report.md"
    assert command in report.read_text()
    assert based.run(*shlex.split(command)[3:], *GPUS, workers="no:xdist").ret == pytest.ExitCode.OK
    assert based.run(*GOOD, *GPUS, *typed, workers="no:xdist").ret == pytest.ExitCode.OK


def test_the_command_of_a_suite_for_gpus_works_on_a_cpu(project: Project) -> None:
    name_device(project, "cuda")
    result = project.run(*GOOD, "--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("next: ")]
    command = shlex.split(line.removeprefix("next: "))
    assert project.pytester.runpytest_inprocess(*command[1:]).ret == pytest.ExitCode.OK
