"""Every command that a view prints works as it is printed, from the folder where the user stood."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_wanlora import cli, results, testing
from tests.integration.conftest import Project

#: Terminal, Markdown, HTML: a command stands behind `next:`, in a code block or in a visible one.
_NEXT = re.compile(r"next: ((?:pytest|python) .*?)(?:, which reuses the videos)?$", re.MULTILINE)
_CODE = re.compile(r"^```\n((?:pytest|python) .*)\n```$", re.MULTILINE)
_SPAN = re.compile(r"→ `((?:pytest|python) [^`]*)`")
_HTML = re.compile(r"<code[^>]*>((?:pytest|python) .*?)</code>", re.DOTALL)


@dataclass
class Work:
    """A user in a folder below the project's, where pytest's ini file is."""

    project: Project
    here: Path

    def pytest(self, *words: str) -> pytest.RunResult:
        quiet = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
        return self.project.pytester.runpytest_inprocess(*words, "-W", quiet)

    def printed(self, *words: str) -> list[str]:
        """Run the gate and return all commands that its views print, each once."""
        result = self.pytest(*words)
        found = [*_NEXT.findall(result.stdout.str() + result.stderr.str())]
        (place,) = re.findall(r"^record: (.*)/results.json$", result.stdout.str(), re.MULTILINE)
        folder = Path(place)
        for name in ("report.md", "report.ko.md"):
            page = (folder / name).read_text(encoding="utf-8") if (folder / name).is_file() else ""
            found += [*_CODE.findall(page), *_SPAN.findall(page)]
        if (folder / "report.html").is_file():
            page = (folder / "report.html").read_text(encoding="utf-8")
            found += [html.unescape(re.sub("<[^>]*>", "", each)) for each in _HTML.findall(page)]
        return list(dict.fromkeys(found))

    def check_all(self, commands: Iterable[str]) -> None:
        """Run commands; words in capitals stand for something of the user's."""
        # of those that run one item again, which differ by its id alone, one is enough
        different = {re.sub(r"wanlora::.*", "", command): command for command in commands}
        for command in different.values():
            self.check(command.replace("METADATA.csv", "'../data/set 1.csv'"))

    def check(self, command: str) -> None:
        """Run one command as it is printed; it does what it says."""
        first, *words = shlex.split(command)
        if first == "pytest":
            result = self.pytest(*words)
            assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), command
            (place,) = re.findall(r"^record: (.*)$", result.stdout.str(), re.MULTILINE)
            record = results.load(Path(place))
            storing = "--update-baselines" in words
            assert storing or record.videos, (command, result.stdout.str())
            assert not any(judged.verdict.unmeasured for judged in record.judgements), command
            return
        if words[:2] == ["-m", "pip"]:
            # it needs an index of packages
            return
        assert words[:2] == ["-m", "pytest_wanlora"], command
        # a report of training data ends with 1 where it finds faults, as in the videos here
        allowed = (0, 1) if words[2:4] == ["data", "report"] else (0,)
        assert cli.main(words[2:]) in allowed, command


@pytest.fixture
def work(project: Project, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Checkpoints, suite and training data each in a folder of its own, beside the one the user is in."""
    root = project.path
    testing.write_suite(root, scenarios=("test1_urban", "test2_nature"))
    project.measure_base()
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n", encoding="utf-8")
    (root / "epochs").mkdir()
    for name in ("good", "bad"):
        (root / f"{name}.safetensors").rename(root / "epochs" / f"{name}.safetensors")
    (root / "data").mkdir()
    rows = ["a street with traffic", "a cherry tree", "a cup", "a box"]
    lines = [f"{number}.mp4,{rows[number % 4]} {number}" for number in range(45)]
    (root / "data" / "set 1.csv").write_text("\n".join(["video,prompt", *lines]), encoding="utf-8")
    for number in range(45):
        (root / "data" / f"{number}.mp4").write_bytes(b"0")
    here = root / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return Work(project, here)


SUITE = ("--wanlora-suite", "../fake.yaml")
DATA = ("--wanlora-training-data", "../data/set 1.csv")
#: So many prove a loss.
SEEDS = ("--wanlora-seeds", "4")


def test_a_checkpoint_that_fails(work: Work) -> None:
    found = work.printed("--lora", "../epochs/bad.safetensors", *SUITE, "--junitxml=all.xml")
    assert any("wanlora::test_regression[bad-test2_nature-sharpness]" in command for command in found)
    assert any("data balance METADATA.csv" in command for command in found)
    junit = Path("all.xml").read_bytes()
    work.check_all(command for command in found if "--junitxml" not in command)
    # what runs one item again does not replace the report of all of them
    assert Path("all.xml").read_bytes() == junit


def test_the_training_data_is_known(work: Work) -> None:
    work.pytest(*SUITE, "--update-baselines", *SEEDS)
    found = work.printed("--lora", "../epochs/bad.safetensors", *SUITE, *DATA, *SEEDS)
    (balance,) = [command for command in found if "data balance" in command]
    assert "'../data/set 1.csv'" in balance
    assert "--samples 45" in balance
    assert any("data report" in command for command in found)
    work.check_all(found)


def test_training_data_without_a_category_cannot_be_balanced(work: Work) -> None:
    data = work.project.path / "data" / "set 1.csv"
    data.write_text("video,prompt\n0.mp4,a cherry tree\n", encoding="utf-8")
    found = work.printed("--lora", "../epochs/bad.safetensors", *SUITE, *DATA)
    assert not any("data balance" in command for command in found)


@pytest.mark.parametrize(
    "lora",
    [("--lora", "../epochs"), ("--lora=../epochs/good.safetensors",), ("--lora", "../epochs/*.safetensors")],
)
def test_a_folder_of_checkpoints_and_a_receipt(work: Work, lora: tuple[str, ...]) -> None:
    (work.project.path / "epochs" / "bad.safetensors").unlink()
    found = work.printed(*lora, *SUITE, "--wanlora-output-dir", "../out put")
    assert any("verify '../out put/" in command for command in found), found
    work.check_all(found)


def test_every_scenario_regressed_and_a_gentler_strength_is_proposed(work: Work) -> None:
    work.project.producer(quality={"bad": {"test1_urban": 0.4, "test2_nature": 0.4}})
    folders = ("--wanlora-cache-dir", "../cache", "--wanlora-baselines-dir", "../stored")
    (work.project.path / "baselines").rename(work.project.path / "stored")
    work.pytest(*SUITE, "--update-baselines", *folders, *SEEDS)
    found = work.printed("--lora=../epochs/bad.safetensors", *SUITE, *folders, *SEEDS)
    assert any("--wanlora-scale 0.7" in command for command in found)
    work.check_all(found)


def test_a_suite_of_the_ini_file(work: Work) -> None:
    ini = work.project.path / "pytest.ini"
    ini.write_text(f"{ini.read_text()}wanlora_suite = fake.yaml\n", encoding="utf-8")
    work.pytest("--update-baselines", *SEEDS)
    found = work.printed("--lora", "../epochs/bad.safetensors", *SEEDS)
    named = [command for command in found if "--suite ../fake.yaml" in command]
    assert named
    work.check_all([*named, *(command for command in found if "wanlora::" in command)])


@pytest.mark.parametrize("folder", [(), ("--wanlora-baselines-dir", "../elsewhere")])
def test_no_baseline(work: Work, folder: tuple[str, ...]) -> None:
    work.project.path.joinpath("baselines").rename(work.project.path / "away")
    words = ("--lora", "../epochs/good.safetensors", *SUITE, *folder)
    found = work.printed(*words)
    stored = [command for command in found if command.endswith("--update-baselines")]
    assert stored
    for command in stored:
        work.check(command)
        assert work.pytest(*words).ret == pytest.ExitCode.OK, command
        (work.project.path / (folder[1][3:] if folder else "baselines")).rename(
            work.project.path / f"old {len(work.project.records())}"
        )


def test_one_of_two_checkpoints_fails(work: Work) -> None:
    found = work.printed("--lora", "../epochs", *SUITE, "--wanlora-scale=0.9")
    again = "pytest --lora ../epochs/good.safetensors --wanlora-suite ../fake.yaml --wanlora-scale=0.9"
    assert again in found
    assert any("--candidate bad" in command for command in found)
    work.check_all(found)
