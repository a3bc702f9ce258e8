"""Inputs that change while a run starts, and inputs that are no files."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from pytest_wanlora import cli, results
from tests.integration.conftest import Project

#: Changes an input when the first worker is started: the controller has read it, no worker has.
WHILE_IT_STARTS = """
import shutil


class Producer(FakeProducer):
    def _quality(self, job):
        return 0.4 if job.identity == {bad!r} and job.scenario == "test2_nature" else 1.0


FakeProducer = Producer


def pytest_configure_node(node):
    if not (HERE / "done").exists():
        (HERE / "done").touch()
        {change}
"""
REPLACE = (
    "shutil.copy(HERE / 'good.safetensors', HERE / 'new'); os.replace(HERE / 'new', HERE / 'x.safetensors')"
)
HALF = "(HERE / 'x.safetensors').write_bytes(b'half a file')"
SUITE = "path = HERE / 'fake.yaml'; path.write_text(path.read_text().replace('min: 0.3', 'min: 0.1'))"
BASELINE = "shutil.rmtree(HERE / 'baselines'); shutil.copytree(HERE / 'other', HERE / 'baselines')"


def _starts(project: Project, change: str) -> None:
    from pytest_wanlora.files import file_sha256

    shutil.copy(project.path / "bad.safetensors", project.path / "x.safetensors")
    shutil.copy(project.path / "bad.safetensors", project.path / "old.safetensors")
    bad = file_sha256(project.path / "bad.safetensors")
    project.producer(extra=WHILE_IT_STARTS.format(bad=bad, change=change))


@pytest.mark.parametrize("change", [REPLACE, HALF], ids=["replaced", "half written"])
def test_a_trainer_that_overwrites_the_checkpoint_gets_no_pass_for_the_old_one(
    based: Project, change: str
) -> None:
    _starts(based, change)
    result = based.run("--lora", "x.safetensors", workers="-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    record = results.load(based.records()[-1])
    assert record.candidates[0].sha256 is not None
    assert any(judged.verdict.fails for judged in record.judgements if judged.metric == "sharpness")
    receipt = based.records()[-1].with_name("receipt.json")
    assert cli.main(["verify", str(receipt), str(based.path / "old.safetensors")]) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [(SUITE, "changed after the run began: the suite is"), (BASELINE, "the baseline is")],
    ids=["suite", "baseline"],
)
def test_a_suite_or_baseline_that_changes_ends_the_run(based: Project, change: str, words: str) -> None:
    _starts(based, change)
    shutil.copytree(based.path / "baselines", based.path / "other")
    path = based.path / "other/fake/base/baseline.json"
    based.producer(extra=WHILE_IT_STARTS.format(bad="", change=change), quality={})
    if change == BASELINE:
        shutil.rmtree(based.path / "other")
        (based.path / "baselines").rename(based.path / "kept")
        assert based.run("--update-baselines", "--wanlora-no-cache").ret == 0
        (based.path / "baselines").rename(based.path / "other")
        (based.path / "kept").rename(based.path / "baselines")
        assert path.read_bytes() != (based.path / "baselines/fake/base/baseline.json").read_bytes()
    result = based.run("--lora", "good.safetensors", workers="-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*{words}*"])
    record = results.load(based.records()[-1])
    assert not record.candidates[0].publishable


#: Changes an input when all has been judged and nothing is written yet.
AT_THE_END = """
import shutil


def pytest_sessionfinish():
    if "PYTEST_XDIST_WORKER" not in os.environ:
        {change}
"""


@pytest.mark.parametrize("workers", ["none", "-n2"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (REPLACE.replace("good", "bad"), "x.safetensors: changed since it was read: SHA-256 was"),
        ("(HERE / 'x.safetensors').unlink()", "x.safetensors: cannot be read again: No such file"),
    ],
    ids=["replaced", "gone"],
)
def test_a_checkpoint_that_is_another_one_at_the_end_may_not_be_published(
    based: Project, change: str, words: str, workers: str
) -> None:
    shutil.copy(based.path / "good.safetensors", based.path / "x.safetensors")
    based.producer(extra=AT_THE_END.format(change=change))
    result = based.run("--lora", "x.safetensors", workers=workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*x may not be published: 1 of 26 items could not be measured*"])
    assert words in result.stdout.str()
    record = results.load(based.records()[-1])
    assert not record.candidates[0].publishable
    receipt = based.records()[-1].with_name("receipt.json")
    assert cli.main(["verify", str(receipt), str(based.path / "good.safetensors")]) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [(SUITE, "suite fake: "), (BASELINE, "baseline base: ")],
    ids=["suite", "baseline"],
)
def test_an_edit_of_suite_or_baseline_while_the_run_goes_on_is_told(
    based: Project, change: str, words: str
) -> None:
    shutil.copytree(based.path / "baselines", based.path / "other")
    path = based.path / "other/fake/base/baseline.json"
    path.write_text(path.read_text().replace('"seal"', '"sealed"'))
    based.producer(extra=AT_THE_END.format(change=change))
    result = based.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.OK
    notes = [note for note in results.load(based.records()[-1]).notes if note.startswith(words)]
    assert [" changed while the run went on: its SHA-256 was " in note for note in notes] == [True]
    result.stdout.fnmatch_lines([f"*{words}*"])


def test_a_baseline_without_a_seal_is_told(based: Project) -> None:
    place = based.path / "baselines/fake/base"
    (features,) = place.glob("features-*.safetensors")
    features.rename(place / "features.safetensors")
    document = json.loads((place / "baseline.json").read_text())
    document["schema_version"] = 1
    del document["seal"]
    (place / "baseline.json").write_text(json.dumps(document))
    assert based.run("--lora", "good.safetensors").ret == pytest.ExitCode.OK
    (note,) = [each for each in results.load(based.records()[-1]).notes if "has no seal" in each]
    assert note.startswith(f"baseline base: {place} has no seal")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lora=~nosuchuser/x.safetensors",), "~nosuchuser is no user's home folder"),
        (("--lora=~~~.safetensors",), "~~~.safetensors is no user's home folder"),
        (("--lora=good.safetensors", "--wanlora-cache-dir=~nobody-at-all"), "~nobody-at-all is no user's"),
        (("--lora=pipe.safetensors",), "is not a regular file"),
        (("--lora=good.safetensors", "--wanlora-suite=pipe.yaml"), "not a regular file (a pipe or a device)"),
        (("--lora=good.safetensors", "--wanlora-suite=/dev/zero"), "not a regular file (a pipe or a device)"),
        (("--lora=/dev/zero",), "is not a regular file"),
    ],
)
def test_paths_that_are_no_files_are_usage_errors(
    based: Project, arguments: tuple[str, ...], words: str
) -> None:
    for name in ("pipe.yaml", "pipe.safetensors"):
        os.mkfifo(based.path / name)
    result = based.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words.replace('[', '[[]')}*", "*next: *"])


def test_earlier_records_of_any_kind_are_no_obstacle(based: Project) -> None:
    runs = based.path / ".wanlora/runs"
    for number, content in enumerate(
        [None, "[" * 100_000, "{}", '{"candidates": 3, "suite": {"name": "fake"}}']
    ):
        folder = runs / f"earlier-{number}"
        folder.mkdir(parents=True)
        if content is None:
            (folder / "results.json").mkdir()
        else:
            (folder / "results.json").write_text(content)
    assert based.run("--lora", "good.safetensors").ret == 0
    for folder in runs.glob("earlier-*"):
        shutil.rmtree(folder)


@pytest.mark.parametrize("content", ["[" * 200_000, '{"a":' * 200_000, "[]", '"text"'])
def test_a_baseline_of_deep_json_is_not_measured(based: Project, content: str) -> None:
    (based.path / "baselines/fake/base/baseline.json").write_text(content)
    result = based.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    result.stdout.fnmatch_lines(["*baseline.json: *"])


def test_a_receipt_that_is_a_pipe_is_refused(based: Project, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(based.path / "receipt.json")
    arguments = ["verify", str(based.path / "receipt.json"), str(based.path / "good.safetensors")]
    assert cli.main(arguments) == 4
    assert "not a regular file" in capsys.readouterr().err
