"""`--lora FILE` where the file is in another project: the same settings as with `--lora=FILE`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_wanlora import results
from pytest_wanlora.results.run_record import RunRecord
from tests.integration.conftest import WITHOUT, Project

# what pytest would stumble over, or the gate would go by, if these were the settings of the run
HOSTILE = {
    "ours": "wanlora_scale = 0.5\nwanlora_seeds = 3\n",
    "options of a plugin that is not installed": "addopts = --cov=training --no-such-option\n",
    "options that leave everything out": "addopts = -k nothing --collect-only -p no:terminal\n",
    "a plugin that is required": "required_plugins = pytest-no-such-plugin>=3\n",
    "paths of tests": "testpaths = no/such/*\n",
    "warnings are errors": "filterwarnings = error\nno_such_key = 1\naddopts = --strict-config\n",
    "assertions as they are": "addopts = --assert=plain\n",
    "a path for modules": "pythonpath = . src\n",
    "workers": "addopts = -n 1\n",
    "renamed tests": "python_files = check_*.py\npython_functions = check_*\n",
}


@pytest.fixture
def training(project: Project) -> Path:
    """The project that trained `good` and `bad`; the user stands beside it."""
    folder = project.pytester.mkdir("training")
    for name in ("good", "bad"):
        (project.path / f"{name}.safetensors").rename(folder / f"{name}.safetensors")
    (folder / "conftest.py").write_text("raise RuntimeError('not the conftest file of this run')\n")
    (folder / "fake.yaml").write_text("no: suite\n")
    stand = project.pytester.mkdir("stand")
    for each in project.path.glob("fake*"):
        shutil.move(each, stand)
    shutil.move(project.path / "conftest.py", stand)
    os.chdir(stand)
    return folder


@pytest.fixture
def stand(project: Project, training: Path, measured: Path) -> Path:
    """Where the user stands: the suite, its baseline and what renders."""
    stand = project.path / "stand"
    shutil.copytree(measured / "baselines", stand / "baselines")
    shutil.copytree(measured / "fake-files", stand / "fake-files", dirs_exist_ok=True)
    return stand


def gate(project: Project, *arguments: str, workers: str = "none") -> pytest.RunResult:
    """`project.run`, with the suite in one word: `fake.yaml` is a path too, where the right settings are."""
    where = {"none": (), "-n2": ("-n2",), "no:xdist": ("-p", "no:xdist")}[workers]
    words = (*WITHOUT, "--wanlora-suite=fake.yaml", *where, *arguments)
    if workers == "none":
        quiet = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
        return project.pytester.runpytest_inprocess(*words, "-W", quiet)
    return project.pytester.runpytest_subprocess(*words)


def record(stand: Path) -> RunRecord:
    """The newest run of the folder in which the user stands."""
    return results.load(max((stand / ".wanlora" / "runs").glob("*/results.json"), key=os.path.getmtime))


class TestHostileSettings:
    @pytest.mark.parametrize("name", HOSTILE)
    @pytest.mark.parametrize("own", ["", "[pytest]\nfilterwarnings = error\n"])
    def test_they_do_not_hold(
        self, project: Project, stand: Path, training: Path, name: str, own: str
    ) -> None:
        (training / "pytest.ini").write_text(f"[pytest]\n{HOSTILE[name]}")
        if own:
            (stand / "pytest.ini").write_text(own)
        # what was imported before the second start shows only in a process of its own
        workers = "no:xdist" if name == "assertions as they are" else "none"
        result = gate(project, "--lora", "../training/good.safetensors", workers=workers)
        assert result.ret == pytest.ExitCode.OK, result.stdout.str() + result.stderr.str()
        result.stdout.fnmatch_lines([f"rootdir: {stand}", "good may be published: all 26 items pass"])
        assert record(stand).candidates[0].scale == 1.0
        assert not list(training.glob(".*"))

    @pytest.mark.parametrize("file", ["pyproject.toml", "tox.ini", "setup.cfg"])
    def test_in_every_file_that_pytest_reads(
        self, project: Project, stand: Path, training: Path, file: str
    ) -> None:
        section = {"pyproject.toml": "[tool.pytest.ini_options]", "setup.cfg": "[tool:pytest]"}
        options = (
            "addopts = '--no-such-option'\n" if file == "pyproject.toml" else "addopts = --no-such-option\n"
        )
        (training / file).write_text(f"{section.get(file, '[pytest]')}\n{options}")
        assert gate(project, "--lora", "../training/good.safetensors").ret == pytest.ExitCode.OK

    def test_nor_do_conftest_files_above_the_users_own_settings(
        self, project: Project, stand: Path, training: Path
    ) -> None:
        inside = training / "gate"
        stand.rename(inside)
        os.chdir(inside)
        (training / "pytest.ini").write_text("[pytest]\n")
        (inside / "pytest.ini").write_text("[pytest]\nwanlora_suite = fake.yaml\n")
        result = project.pytester.runpytest_subprocess("--lora", "../good.safetensors")
        assert result.ret == pytest.ExitCode.OK, result.stdout.str() + result.stderr.str()

    @pytest.mark.parametrize("first", ["minversion = 999\n", "addopts = -p no_such_plugin\n"])
    def test_what_pytest_says_before_it_loads_plugins_helps_in_one_word(
        self, project: Project, stand: Path, training: Path, first: str
    ) -> None:
        (training / "pytest.ini").write_text(f"[pytest]\n{first}")
        assert gate(project, "--lora", "../training/good.safetensors", workers="no:xdist").ret != 0
        assert gate(project, "--lora=../training/good.safetensors").ret == pytest.ExitCode.OK


class TestOwnSettings:
    def test_they_hold(self, project: Project, stand: Path, training: Path) -> None:
        (training / "pytest.ini").write_text("[pytest]\n")
        (stand / "pytest.ini").write_text("[pytest]\nwanlora_suite = fake.yaml\nwanlora_scale = 0.75\n")
        result = project.pytester.runpytest_inprocess("--lora", "../training/good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        assert record(stand).candidates[0].scale == 0.75

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("suite", "fake.yaml"),
            ("baseline", "baselines/fake/base"),
            ("baselines-dir", "baselines"),
            ("cache-dir", "cache"),
            ("output-dir", "runs"),
            ("training-data", "metadata.csv"),
            ("sign-key", "key"),
        ],
    )
    def test_whichever_option_has_a_path_in_the_other_project(
        self, project: Project, stand: Path, training: Path, option: str, value: str
    ) -> None:
        (training / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
        for folder in ("cache", "runs"):
            (training / folder).mkdir()
        shutil.copytree(stand / "baselines", training / "baselines")
        shutil.copytree(stand / "fake-files", training / "fake-files")
        shutil.copy(stand / "fake.yaml", training)
        (training / "metadata.csv").write_text("video,prompt\na.mp4,a city\n")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", training / "key"], check=True)
        typed = (f"--wanlora-{option}", f"../training/{value}")
        suite = () if option == "suite" else ("--wanlora-suite=fake.yaml",)
        result = project.pytester.runpytest_inprocess("--lora=../training/good.safetensors", *typed, *suite)
        assert result.ret == pytest.ExitCode.OK, result.stdout.str() + result.stderr.str()

    def test_paths_of_tests_choose_the_settings(self, project: Project, stand: Path, training: Path) -> None:
        (training / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
        (stand / "pytest.ini").write_text("[pytest]\npython_functions = check_*\n")
        (stand / "tests").mkdir()
        (stand / "tests" / "test_own.py").write_text("def check_own(wanlora_candidate): pass\n")
        result = gate(project, "--lora", "../training/good.safetensors", "tests")
        assert result.ret == pytest.ExitCode.OK
        assert result.parseoutcomes() == {"passed": 27}

    @pytest.mark.parametrize("option", [("-c", "own.ini"), ("--rootdir", ".."), ("-o", "wanlora_scale=0.25")])
    def test_what_else_is_typed_about_settings_stays(
        self, project: Project, stand: Path, training: Path, option: tuple[str, str]
    ) -> None:
        (training / "pytest.ini").write_text("[pytest]\nwanlora_scale = 0.5\n")
        (stand / "own.ini").write_text("[pytest]\nwanlora_scale = 0.25\n")
        (stand / "pytest.ini").write_text("[pytest]\nwanlora_scale = 0.25\n")
        gate(project, "--lora", "../training/good.safetensors", *option, "--wanlora-output-dir=.wanlora/runs")
        assert record(stand).candidates[0].scale == 0.25


class TestTheRunItself:
    @pytest.fixture(autouse=True)
    def _settings(self, training: Path) -> None:
        (training / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\npythonpath = .\n")

    @pytest.mark.parametrize(
        ("name", "code", "workers"),
        [("good", 0, "none"), ("good", 0, "-n2"), ("bad", 1, "-n2"), ("bad", 1, "no:xdist")],
    )
    def test_exit_codes(self, project: Project, stand: Path, workers: str, name: str, code: int) -> None:
        result = gate(project, "--lora", f"../training/{name}.safetensors", workers=workers)
        assert result.ret == code, result.stdout.str() + result.stderr.str()

    @pytest.mark.parametrize(
        ("more", "code"),
        [
            (["--wanlora-scale=0"], pytest.ExitCode.USAGE_ERROR),
            (["--no-such-option"], pytest.ExitCode.USAGE_ERROR),
            (["-k", "no_such_thing"], pytest.ExitCode.NO_TESTS_COLLECTED),
            (["--help"], pytest.ExitCode.OK),
            (["--collect-only"], pytest.ExitCode.OK),
        ],
    )
    def test_other_exit_codes(self, project: Project, stand: Path, more: list[str], code: int) -> None:
        result = gate(project, "--lora", "../training/good.safetensors", *more, workers="no:xdist")
        assert result.ret == code
        assert "Traceback (most" not in result.stdout.str() + result.stderr.str()

    def test_interrupted(self, project: Project, stand: Path) -> None:
        text = (
            (stand / "conftest.py")
            .read_text()
            .replace("def note(job):", "def note(job):\n    raise KeyboardInterrupt")
        )
        (stand / "conftest.py").write_text(text)
        result = gate(project, "--lora", "../training/good.safetensors", workers="no:xdist")
        assert result.ret == pytest.ExitCode.INTERRUPTED

    @pytest.mark.parametrize("capture", ["--capture=fd", "--capture=sys", "-s", "--capture=tee-sys"])
    def test_progress_is_shown_once(self, project: Project, stand: Path, capture: str) -> None:
        result = gate(project, "--lora", "../training/good.safetensors", capture, workers="no:xdist")
        lines = [line for line in result.outlines if line.startswith("wanlora: 0 of 4 videos")]
        assert len(lines) == 1
        assert sum("test session starts" in line for line in result.outlines) == 1

    def test_within_a_program(self, stand: Path) -> None:
        program = (
            "import sys, pytest\n"
            "class Seen:\n"
            "    count = 0\n"
            "    def pytest_sessionstart(self): self.count += 1\n"
            "seen, before = Seen(), list(sys.path)\n"
            "run = ['--lora', '../training/bad.safetensors', '--wanlora-suite', 'fake.yaml', '-q']\n"
            "code = pytest.main(run, plugins=[seen])\n"
            "kept = [path for path in sys.path if path in before] == before\n"
            "print('returned', int(code), seen.count, kept)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "returned 1 1 True", done.stdout + done.stderr

    def test_the_record_has_a_command_that_does_the_same(self, project: Project, stand: Path) -> None:
        gate(project, "--lora", "../training/good.safetensors")
        assert "--lora=../training/good.safetensors" in record(stand).command

    @pytest.mark.parametrize("file", ["../training/good.safetensors", "good.safetensors"])
    def test_a_second_start_only_where_it_is_needed(
        self, project: Project, stand: Path, training: Path, file: str
    ) -> None:
        shutil.copy(training / "good.safetensors", stand)
        (stand / "count.py").write_text(
            "def pytest_load_initial_conftests():\n    open('starts', 'a').write('x')\n"
        )
        result = gate(project, "--lora", file, "--collect-only", "-p", "count", workers="no:xdist")
        assert result.ret == pytest.ExitCode.OK, result.stderr.str()
        # of a start that is given up, what other plugins do comes after the run
        assert len((stand / "starts").read_text()) == (1 if file == "good.safetensors" else 2)

    def test_refused_in_addopts_of_the_environment_with_a_command_that_works(
        self, project: Project, stand: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (stand.parent / "training" / "pytest.ini").write_text("[pytest]\nwanlora_scale = 0.5\n")
        monkeypatch.setenv("PYTEST_ADDOPTS", "--lora ../training/good.safetensors")
        result = gate(project, workers="no:xdist")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (command,) = [line.removeprefix("next: ") for line in result.errlines if line.startswith("next: ")]
        monkeypatch.delenv("PYTEST_ADDOPTS")
        variable, program, *arguments = shlex.split(command)
        assert program == "pytest"
        again = subprocess.run(
            ["env", variable, sys.executable, "-m", "pytest", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == pytest.ExitCode.OK, again.stdout + again.stderr
