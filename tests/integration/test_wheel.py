"""What `pip install` brings: built, compared with the repository, installed and used from an empty folder.

The packages are built from the files that git tracks, once for all workers of a test run, without a network.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_wanlora import results

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_wanlora"
#: What the wheel leaves out.
LEFT_OUT = {"pytest_wanlora/tiny/contact-sheet.png"}
#: Nobody has heard of these, and they are packed all the same.
UNHEARD_OF = (
    "pytest_wanlora/suites/suffix.nobody-knows",
    "pytest_wanlora/suites/NOSUFFIX",
    "pytest_wanlora/baselines/no-package 1.0/base/.hidden",
)
#: Left behind by tools, and never packed.
JUNK = (
    "pytest_wanlora/tiny/__pycache__/model.cpython-311.pyc",
    "pytest_wanlora/suites/tiny.yaml~",
    "pytest_wanlora/.plugin.py.swp",
    "pytest_wanlora/tiny/.DS_Store",
)
REPORTS = {"receipt.json", "report.html", "report.ko.md", "report.md", "results.json"}


@dataclass(frozen=True)
class Built:
    """The packages.

    Attributes:
        tracked: Files that git tracks.
        wheel: Built from the tree.
        sdist: Built from the tree.
        wheel_of_sdist: Built from the unpacked sdist.
        python: Of a fresh environment in which the wheel is installed.
    """

    tracked: frozenset[str]
    wheel: Path
    sdist: Path
    wheel_of_sdist: Path
    python: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build and install once, whichever worker comes first."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "packages"
    with FileLock(shared / "packages.lock"):
        if not (folder / "done").exists():
            # what an earlier worker could not finish must not look finished
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            (folder / "done").touch()
    (wheel,) = folder.glob("wheel/*.whl")
    (sdist,) = folder.glob("sdist/*.tar.gz")
    (again,) = folder.glob("again/*.whl")
    return Built(tracked_files(), wheel, sdist, again, python_of(folder / "venv"))


def build(folder: Path) -> None:
    for copy in ("tree", "tree-for-sdist"):
        for name in tracked_files():
            target = folder / copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
        for name in (*UNHEARD_OF, *JUNK):
            target = folder / copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("x")
    backend(folder / "tree", "build_wheel", folder / "wheel")
    backend(folder / "tree-for-sdist", "build_sdist", folder / "sdist")
    (sdist,) = folder.glob("sdist/*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    backend(unpacked, "build_wheel", folder / "again")
    install(folder)


def backend(source: Path, hook: str, output: Path) -> None:
    """Call the build backend as pip does, in this environment instead of one that it would download."""
    output.mkdir()
    code = f"import sys, setuptools.build_meta as backend; backend.{hook}(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(output)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Deprecat" not in done.stderr


def install(folder: Path) -> None:
    """Install the wheel into a fresh environment that finds everything else where these tests run."""
    environment = folder / "venv"
    venv.create(environment, symlinks=True)
    (wheel,) = folder.glob("wheel/*.whl")
    python = python_of(environment)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
        env=clean_environment(),
    )
    (site_packages,) = environment.glob("lib/python*/site-packages")
    # a path in such a file is appended as it is: the link from there to the checkout is not followed
    outer = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site_packages / "dependencies.pth").write_text("\n".join(outer) + "\n")


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def tracked_files() -> frozenset[str]:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    return frozenset(listed.stdout.decode().rstrip("\0").split("\0"))


def clean_environment() -> dict[str, str]:
    """Without what could lead Python to the checkout, or tell pytest and the gate about this run."""
    prefixes = ("PYTHON", "PYTEST", "PIP", "GITHUB", "WANLORA")
    kept = {
        name: value
        for name, value in os.environ.items()
        # whether byte code may be written stays the developer's choice
        if name == "PYTHONDONTWRITEBYTECODE" or not name.startswith(prefixes)
    }
    return {**kept, "COLUMNS": "160"}


def members(wheel: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata_of(wheel: Path) -> str:
    (found,) = [data for name, data in members(wheel).items() if name.endswith(".dist-info/METADATA")]
    return found.decode()


class TestBuilt:
    def test_the_wheel_holds_every_file_of_the_package(self, built: Built) -> None:
        wanted = {name for name in built.tracked if name.startswith("pytest_wanlora/")}
        assert wanted >= LEFT_OUT
        held = {name for name in members(built.wheel) if ".dist-info/" not in name}
        assert held == wanted - LEFT_OUT | set(UNHEARD_OF)

    def test_its_files_are_those_of_the_repository(self, built: Built) -> None:
        for name, data in members(built.wheel).items():
            if name in built.tracked:
                assert data == (ROOT / name).read_bytes(), name

    def test_the_wheel_of_the_source_distribution_is_the_same(self, built: Built) -> None:
        assert built.wheel_of_sdist.name == built.wheel.name
        own, again = members(built.wheel), members(built.wheel_of_sdist)
        assert {name for name in own.keys() | again.keys() if own.get(name) != again.get(name)} == set()

    def test_the_source_distribution_holds_what_the_build_reads_and_no_more(self, built: Built) -> None:
        with tarfile.open(built.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        assert {"pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"} <= names
        assert not {name for name in names if name.startswith(("tests", "benchmarks", "tools", "examples"))}

    def test_its_metadata_is_the_projects(self, built: Built) -> None:
        found = message_from_string(metadata_of(built.wheel))
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        required = [line for line in found.get_all("Requires-Dist", []) if "extra ==" not in line]

        def plain(lines: Sequence[str]) -> list[str]:
            return sorted(re.sub(r"\s", "", line).lower() for line in lines)

        assert plain(required) == plain(project["dependencies"])
        urls = dict(line.split(", ", 1) for line in found.get_all("Project-URL", []))
        assert urls == project["urls"]
        assert found["Description-Content-Type"] == "text/markdown"
        assert found.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


class Home:
    """An empty folder in which the installed package is used."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python = python
        self.environment = python.parents[1]
        self.folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
        )

    def take(self, name: str) -> None:
        """Have one example LoRA in the folder, and nothing else."""
        written = self.run("-m", "pytest_wanlora", "examples", "all")
        assert written.returncode == 0, written.stderr
        (self.folder / "all" / name).rename(self.folder / name)
        shutil.rmtree(self.folder / "all")

    def gate(self, name: str, seeds: int) -> str:
        """Gate a file, and prove that the installed plugin did it and left every report; what was printed."""
        done = self.run("-m", "pytest", "--trace-config", "--lora", name, "--wanlora-seeds", str(seeds))
        (plugin,) = re.findall(r"^\s*wanlora\s*: (\S+)$", done.stdout, re.MULTILINE)
        assert Path(plugin).is_relative_to(self.environment)
        assert "was not written" not in done.stdout + done.stderr
        record = self.records()[-1]
        assert results.load(record).exit_status == done.returncode, done.stdout + done.stderr
        assert {path.name for path in record.parent.iterdir()} >= REPORTS
        assert (self.folder / ".wanlora" / "runs" / "latest").resolve() == record.parent
        page = (record.parent / "report.html").read_text(encoding="utf-8")
        # the style, the script and the packaged baseline's videos; those of seed 0 may be rendered
        for file in ("page.css", "page.js"):
            text = (PACKAGE / "reports" / "templates" / file).read_text(encoding="utf-8")
            assert max(text.splitlines(), key=len).strip() in page
        videos = sorted(PACKAGE.glob("baselines/tiny/base/videos/*-1.mp4"))
        assert len(videos) == 3
        assert all(base64.b64encode(video.read_bytes()).decode() in page for video in videos)
        return done.stdout

    def records(self) -> Sequence[Path]:
        return results.records(self.folder / ".wanlora" / "runs")


@pytest.fixture
def home(built: Built, tmp_path: Path) -> Home:
    return Home(built.python, tmp_path)


class TestInstalled:
    def test_it_is_imported_from_the_fresh_environment(self, home: Home) -> None:
        code = (
            "import pytest_wanlora, torch; from importlib import metadata; "
            "print(pytest_wanlora.__file__, metadata.distribution('pytest-wanlora').locate_file(''), "
            "torch.__file__, sep='\\n')"
        )
        package, distribution, torch = home.run("-c", code).stdout.splitlines()
        assert Path(package).is_relative_to(home.environment)
        assert Path(distribution).is_relative_to(home.environment)
        assert not Path(torch).is_relative_to(home.environment)

    def test_epoch_2_may_be_published_and_the_cache_says_so_again(self, home: Home) -> None:
        home.take("epoch-2.safetensors")
        first = home.gate("epoch-2.safetensors", 2)
        assert re.search(r"epoch-2 may be published: ", first)
        again = home.gate("epoch-2.safetensors", 2)
        assert "no video was rendered, " in again or "reused" in again
        before, after = map(results.load, home.records())
        assert after.judgements == before.judgements
        (applied,) = [each.reason for each in before.judgements if each.kind == "checkpoint"]
        assert "80 of 80 targets patched" in applied
        assert after.exit_status == pytest.ExitCode.OK

    def test_epoch_0_fails_on_nature_and_not_on_urban(self, home: Home) -> None:
        home.take("epoch-0.safetensors")
        shown = home.gate("epoch-0.safetensors", 3)
        (record,) = home.records()
        assert results.load(record).exit_status == pytest.ExitCode.TESTS_FAILED
        failed = {line.split()[1] for line in shown.splitlines() if line.startswith("FAILED ")}
        assert "wanlora::test_regression[epoch-0-test2_nature-clip]" in failed
        assert not any("test1_korean_city" in nodeid for nodeid in failed)
        assert "wanlora::test_checkpoint[epoch-0]" not in failed
        # the reason, in words and numbers
        assert "FAIL: CLIPScore of test2_nature (epoch-0)" in shown
        assert re.search(r"\d% worse \(band: warn from 1\.00%, fail beyond 5\.00%\)", shown)
