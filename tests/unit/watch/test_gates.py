"""What is kept of a watch: jobs, answers, claims."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_wanlora import results
from pytest_wanlora.files import from_here
from pytest_wanlora.jobs.cache import CLAIM
from pytest_wanlora.results.folders import REPLY
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.watch.folders import Found
from pytest_wanlora.watch.gates import Gates, ended
from tests.unit.reports.records import SHA, run_record
from tests.unit.reports.sample_records import mission_record

FOUND = Found("epoch-1", "out/epoch-1.safetensors", SHA, 20.0)


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates.of(tmp_path, [tmp_path / "out"], ["-q"])


def answered(gates: Gates, record: RunRecord, digest: str = SHA) -> None:
    run = gates.folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    results.write(record, run / "results.json")
    reply = gates.environment(digest)[REPLY]
    Path(reply).write_text(json.dumps({"folder": str(run)}), encoding="utf-8")


def test_other_folders_or_options_are_another_watch(tmp_path: Path) -> None:
    known = [
        Gates.of(tmp_path, places, options).folder
        for places in ([tmp_path / "out"], [tmp_path / "out", tmp_path / "b"])
        for options in ([], ["--wanlora-scale=0.8"])
    ]
    assert len(set(known)) == 4


def test_jobs_are_in_the_order_of_writing_and_keep_their_first_name(gates: Gates) -> None:
    gates.note(FOUND)
    gates.note(Found("epoch-0", "out/epoch-0.safetensors", "cd" * 32, 10.0))
    gates.note(Found("renamed", "out/renamed.safetensors", SHA, 30.0))
    assert [job.name for job in gates.jobs()] == ["epoch-0", "epoch-1"]


def test_an_answer_is_the_record_of_the_run(gates: Gates) -> None:
    assert gates.answer(SHA) is None
    record = mission_record()
    answered(gates, record)
    found = gates.answer(SHA)
    assert found is not None
    assert (found.record, found.problem) == (record, "")
    gates.forget(SHA)
    assert gates.answer(SHA) is None


@pytest.mark.parametrize(
    ("record", "digest", "problem"),
    [
        (mission_record(), "ef" * 32, "it was replaced before it was gated"),
        (mission_record().ended(3), SHA, "pytest ended with exit code 3"),
        (run_record([], expected=mission_record().expected).ended(1), SHA, "not everything was measured"),
    ],
)
def test_what_was_not_measured_says_so(gates: Gates, record: RunRecord, digest: str, problem: str) -> None:
    answered(gates, record, digest)
    found = gates.answer(digest)
    assert found is not None
    assert found.problem == problem


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "ERROR: usage: pytest [options]\npytest: error: unrecognized arguments: --sute\n  rootdir: /\n",
            ": unrecognized arguments: --sute",
        ),
        (
            "collected 0 items\n===\nERROR: file or directory not found: none.py\n",
            ": file or directory not found: none.py",
        ),
        (
            '  raise x\nImportError: Error importing plugin "none": no\n',
            ': ImportError: Error importing plugin "none": no',
        ),
        ("INTERNALERROR>   x\nINTERNALERROR> ValueError: 3\n", ": ValueError: 3"),
        ("3 passed\n", ""),
        (None, ""),
    ],
)
def test_the_log_says_why_pytest_ended(tmp_path: Path, log: str | None, said: str) -> None:
    if log is not None:
        (tmp_path / "log").write_text(log)
    assert ended(4, tmp_path / "log") == f"pytest ended with exit code 4{said}"


def test_an_error_is_an_answer_and_an_interrupted_run_is_none(gates: Gates) -> None:
    answered(gates, mission_record().ended(2))
    assert gates.answer(SHA) is None
    Path(gates.environment(SHA)[REPLY]).write_text('{"error": {"kind": "SuiteError", "message": "no"}}')
    found = gates.answer(SHA)
    assert found is not None
    assert found.problem == "no"


def test_an_error_of_several_lines_is_one_line_and_names_the_suite_that_its_command_adds(
    gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(gates.folder.parent)
    gates.folder.mkdir(parents=True, exist_ok=True)
    error = {"kind": "SuiteError", "message": "x: fits several\n  a\n  b", "next_command": "pytest"}
    note = {"error": error, "options": {"--wanlora-suite": "wan2.2-i2v-a14b"}}
    Path(gates.environment(SHA)[REPLY]).write_text(json.dumps(note))
    found = gates.answer(SHA)
    assert found is not None
    assert found.problem == f"x: fits several; see {from_here(gates.log(SHA))}"
    assert found.suite == "wan2.2-i2v-a14b"


def test_a_run_that_was_deleted_is_gated_all_the_same(gates: Gates) -> None:
    gates.folder.mkdir(parents=True)
    Path(gates.environment(SHA)[REPLY]).write_text('{"folder": "/nowhere/at/all"}')
    found = gates.answer(SHA)
    assert found is not None
    assert (found.record, found.problem) == (None, "")


def test_a_checkpoint_is_claimed_once_and_not_while_its_gate_outlives_its_watch(gates: Gates) -> None:
    other = Gates(gates.folder, gates.options)
    with gates.claim(SHA) as mine, other.claim(SHA) as theirs:
        assert (mine, theirs) == (True, False)
    locks = json.loads(gates.environment(SHA)[CLAIM])
    with FileLock(locks["running"]), other.claim(SHA) as theirs:
        assert not theirs
    with other.claim(SHA) as theirs:
        assert theirs
        assert FileLock(locks["claim"]).lock_file == str(other.folder.absolute() / ".locks" / f"{SHA}.lock")


def test_the_process_of_a_gate_answers_in_the_folder_of_the_watch(
    gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_PLUGINS", "mine")
    environment = gates.environment(SHA)
    assert environment["PYTEST_PLUGINS"] == "mine,pytest_wanlora.hooks.reply"
    assert Path(environment[REPLY]).parent == gates.folder
    assert environment["PATH"] == os.environ["PATH"]
