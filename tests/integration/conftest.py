"""A project to run the gate in: a suite, checkpoints and a producer without a model."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_wanlora import results, testing
from pytest_wanlora.reports import writing
from tests import schemas

# A run within this process imports again what was not loaded before: slow, and impossible for C extensions.
for name in (
    "run.judge",
    "run.record",
    "hooks.session",
    "reports.terminal",
    "scoring.frames",
    "scoring.weights",
):
    importlib.import_module(f"pytest_wanlora.{name}")
importlib.import_module("scipy.special")
writing.prepare()

#: Plugins for other tests than the gate's, which a run would spend a third of its time on.
WITHOUT = ("-pno:cacheprovider", "-pno:hypothesispytest", "-pno:benchmark", "-pno:anyio")

CONFTEST = """
import os, signal, sys, time
from pathlib import Path

import pytest
from pytest_wanlora.testing import FakeProducer

HERE = Path(__file__).parent


def note(job):
    with (HERE / "rendered.log").open("a", encoding="utf-8") as log:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        log.write(f"{{job.candidate}} {{job.scenario}} {{job.seed}} {{worker}}\\n")


{extra}


@pytest.hookimpl(optionalhook=True)
def pytest_wanlora_producer(suite):
    return FakeProducer(suite, {quality!r}, seconds={seconds}, before={before})
"""

#: A plugin for runs in a process of their own: two GPUs, as the driver's library tells of them.
FAKE_GPUS = """
from pytest_wanlora import environment


class Driver:
    def cuDeviceGetCount(self, count):
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device, number):
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = b"Fake GPU"
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = 9
        return 0


environment._driver = Driver
"""


class Project:
    """A folder with `fake.yaml`, `good.safetensors` and `bad.safetensors`; bad is bad on nature."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        testing.write_suite(self.path)
        testing.write_lora(self.path / "good.safetensors")
        testing.write_lora(self.path / "bad.safetensors", seed=1)
        self.producer()

    def producer(
        self,
        *,
        quality: dict[str, dict[str, float]] | None = None,
        seconds: float = 0.0,
        before: str = "note",
        extra: str = "",
    ) -> None:
        """Say how jobs are made."""
        default = {"bad": {"test2_nature": 0.4}}
        text = CONFTEST.format(
            quality=default if quality is None else quality, seconds=seconds, before=before, extra=extra
        )
        (self.path / "conftest.py").write_text(text, encoding="utf-8")

    def run(self, *arguments: str, workers: str = "none") -> pytest.RunResult:
        """Run the gate on the project's suite, in a process of its own where there are workers."""
        options = {"none": (), "-n2": ("-n2",), "no:xdist": ("-p", "no:xdist")}[workers]
        inside = workers == "none"
        start = self.pytester.runpytest_inprocess if inside else self.pytester.runpytest_subprocess
        # In an editable install the outer pytest has imported what the inner one would rewrite.
        # Given last, so that a test's own -W cannot undo it.
        quiet = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
        imported = ("-W", quiet) if inside else ()
        return start(*WITHOUT, "--wanlora-suite", "fake.yaml", *options, *arguments, *imported)

    def measure_base(self) -> None:
        """Store the baseline of the model without LoRA."""
        assert self.run("--update-baselines").ret == pytest.ExitCode.OK

    def use_base(self, measured: Path) -> None:
        """Take a baseline that was measured before, with the reference set it was measured against."""
        shutil.copytree(measured / "baselines", self.path / "baselines")
        shutil.copytree(measured / "fake-files", self.path / "fake-files", dirs_exist_ok=True)

    def rendered(self) -> list[str]:
        """What was rendered so far: candidate, scenario, seed."""
        log = self.path / "rendered.log"
        if not log.exists():
            return []
        return [" ".join(line.split()[:3]) for line in log.read_text(encoding="utf-8").splitlines()]

    def forget(self) -> None:
        """Empty the log of what was rendered."""
        (self.path / "rendered.log").unlink(missing_ok=True)

    def records(self) -> list[Path]:
        """The run records, oldest first."""
        return list(results.records(self.path / ".wanlora" / "runs"))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name in ("PYTEST_XDIST_WORKER", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    made = Project(pytester)
    yield made
    schemas.check_runs(made.path)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project's suite and its baseline, measured once."""
    folder = tmp_path_factory.mktemp("measured")
    testing.write_suite(folder)
    (folder / "conftest.py").write_text(
        "from pytest_wanlora.testing import FakeProducer\n\n\n"
        "def pytest_wanlora_producer(suite):\n    return FakeProducer(suite)\n"
    )
    command = [sys.executable, "-m", "pytest", "--wanlora-suite", "fake.yaml", "--update-baselines"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def based(project: Project, measured: Path) -> Project:
    """The project with a baseline of the model without LoRA."""
    project.use_base(measured)
    return project


@pytest.fixture(params=["none", "-n2"])
def run(request: pytest.FixtureRequest, project: Project) -> Callable[..., pytest.RunResult]:
    """`project.run` with and without workers."""

    def with_workers(*arguments: str) -> pytest.RunResult:
        return project.run(*arguments, workers=request.param)

    return with_workers
