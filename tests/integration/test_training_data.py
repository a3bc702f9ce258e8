"""`--wanlora-training-data`: the shares of the training prompts beside the verdicts of the gate."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wanlora import results, testing
from tests.integration.conftest import Project

Run = Callable[..., pytest.RunResult]

DATA = ("--wanlora-training-data", "metadata.csv")
# notes which process reads the metadata
WATCHED = """
from pytest_wanlora.run import training_data

read = training_data.read


def watched(path, suite):
    with (HERE / "read.log").open("a", encoding="utf-8") as log:
        log.write(os.environ.get("PYTEST_XDIST_WORKER", "main") + "\\n")
    return read(path, suite)


training_data.read = watched
"""


@pytest.fixture
def trained(project: Project) -> Project:
    """Two scenarios, of which the one that `bad` is bad at is of a rare category."""
    testing.write_suite(project.path, scenarios=("test1_urban", "test2_nature"))
    project.measure_base()
    prompts = ["a street with traffic"] * 97 + ["a cherry tree"] * 3
    rows = "".join(f"{number}.mp4,{prompt}\n" for number, prompt in enumerate(prompts))
    (project.path / "metadata.csv").write_text(f"video,prompt\n{rows}", encoding="utf-8")
    return project


def test_the_record_and_the_terminal_name_the_rare_category(trained: Project) -> None:
    seeds = ("--wanlora-seeds", "4")
    trained.run("--update-baselines", *seeds)
    result = trained.run("--lora", "bad.safetensors", "--lora", "good.safetensors", *DATA, *seeds)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "training data metadata.csv, 100 prompts: urban 97.0%, nature 3.0%, other 0.0%",
            "  scenario      category  share       bad   good",
            "  test1_urban   urban     97.0%       pass  pass",
            "  test2_nature  nature    3.0%, rare  FAIL  pass",
        ]
    )
    lines = re.sub(r"\n {4}", " ", result.stdout.str())
    told = "bad: test2_nature is worse in .* by .*%, and nature is rare in the training data: 3.0% of"
    assert re.search(told, lines)
    data = results.load(trained.records()[-1]).training_data
    assert data is not None
    assert (data.file, data.prompts, data.counts) == (
        "metadata.csv",
        100,
        {"urban": 97, "nature": 3, "other": 0},
    )
    assert [(each.candidate, each.scenario) for each in data.suspicions] == [("bad", "test2_nature")]


def test_without_the_option_nothing_is_said(trained: Project) -> None:
    result = trained.run("--lora", "bad.safetensors")
    assert "training data" not in result.stdout.str()
    assert results.load(trained.records()[-1]).training_data is None


def test_it_is_read_once_and_by_no_worker(trained: Project) -> None:
    trained.producer(extra=WATCHED)
    trained.run("--lora", "good.safetensors", *DATA, workers="-n2")
    assert (trained.path / "read.log").read_text().split() == ["main"]
    assert results.load(trained.records()[-1]).training_data is not None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b"video,words\na,b\n",
            "there is no column 'prompt' or 'caption' or 'text'; there is 'video', 'words'",
        ),
        (None, "a file or folder; *metadata.csv is not there"),
    ],
)
def test_bad_metadata_is_a_usage_error_before_anything_is_rendered(
    trained: Project, data: bytes | None, words: str
) -> None:
    path = trained.path / "metadata.csv"
    path.unlink() if data is None else path.write_bytes(data)
    trained.forget()
    result = trained.run("--lora", "good.safetensors", *DATA)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --wanlora-training-data*"])
    result.stderr.fnmatch_lines([f"*{words}*"])
    assert trained.rendered() == []
    runs = trained.path / ".wanlora" / "runs"
    assert [path.name for path in runs.iterdir() if "good" in path.name] == []


def test_balancing_toward_a_run_reads_its_record(
    trained: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_wanlora.cli import main

    trained.run("--lora", "bad.safetensors", *DATA)
    run = trained.records()[-1].parent
    capsys.readouterr()
    monkeypatch.chdir(trained.path)
    arguments = ["--suite", "fake.yaml", "--toward", str(run), "--share", "urban=0.5,nature=0.5"]
    options = ["--samples", "6", "--repeat", "--drop", "none", "--videos", "none", "--output", "toward.csv"]
    assert main(["data", "balance", "metadata.csv", *arguments, *options]) == 0
    prompts = [line.partition(",")[2] for line in Path("toward.csv").read_text().splitlines()[1:]]
    # a comparison of nature failed, so its share is doubled: 2/3 of 6
    assert sorted(prompts) == ["a cherry tree"] * 4 + ["a street with traffic"] * 2
