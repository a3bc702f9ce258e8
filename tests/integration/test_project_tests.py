"""A project's own tests belong to the verdict: in the record, in every report, in the receipt."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pytest_wanlora import cli, results
from pytest_wanlora.publishing import receipt
from pytest_wanlora.publishing.predicate import Statement
from pytest_wanlora.publishing.verify import Demands, verify
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.judgement import PytestOutcome
from tests.integration.conftest import Project

Run = Callable[..., pytest.RunResult]

PASSING = "def test_kept(wanlora_candidate): pass\n\n"


@pytest.fixture(autouse=True)
def _only_good(based: Project) -> None:
    (based.path / "bad.safetensors").unlink()


def write(project: Project, code: str) -> None:
    (project.path / "test_own.py").write_text(f"import pytest\n\n\n{code}", encoding="utf-8")


def last(project: Project) -> RunRecord:
    return results.load(project.records()[-1])


def problems(project: Project, name: str = "good", file: str = "receipt.json") -> tuple[str, ...]:
    folder = project.records()[-1].parent
    return verify(folder / file, project.path / f"{name}.safetensors", Demands()).problems


#: What a test does, what becomes of it, and the reason that is given.
BAD = {
    "a failing assertion": (
        "def test_bad(wanlora_candidate):\n    assert len(wanlora_candidate.name) == 0\n",
        PytestOutcome.FAILED,
        "AssertionError: assert 4 == 0",
    ),
    "an exception": (
        "def test_bad(wanlora_scenario, wanlora_candidate):\n    raise OSError('no disk')\n",
        PytestOutcome.FAILED,
        "OSError: no disk",
    ),
    "its set-up": (
        "@pytest.fixture\ndef clip(wanlora_candidate):\n    raise OSError('no licence')\n\n\n"
        "def test_bad(clip): pass\n",
        PytestOutcome.ERROR,
        "setup: OSError: no licence",
    ),
    "its teardown": (
        "@pytest.fixture\ndef clip(wanlora_candidate):\n    yield\n    raise OSError('no licence')\n\n\n"
        "def test_bad(clip): pass\n",
        PytestOutcome.ERROR,
        "teardown: OSError: no licence",
    ),
    "a skip marker": (
        "@pytest.mark.skip(reason='no time')\ndef test_bad(wanlora_candidate): pass\n",
        PytestOutcome.SKIPPED,
        "no time",
    ),
    "a skip in its body": (
        "def test_bad(wanlora_candidate):\n    pytest.skip('not today')\n",
        PytestOutcome.SKIPPED,
        "not today",
    ),
    "an xfail": (
        "@pytest.mark.xfail(reason='known')\ndef test_bad(wanlora_candidate):\n    assert False\n",
        PytestOutcome.XFAILED,
        "known",
    ),
    "a strict xfail that passes": (
        "@pytest.mark.xfail(strict=True, reason='known')\ndef test_bad(wanlora_candidate): pass\n",
        PytestOutcome.FAILED,
        "[XPASS(strict)] known",
    ),
    "an xfail that is not run": (
        "@pytest.mark.xfail(run=False, reason='slow')\ndef test_bad(wanlora_candidate): pass\n",
        PytestOutcome.XFAILED,
        "[NOTRUN] slow",
    ),
    "a subtest": (
        "def test_bad(wanlora_candidate, subtests):\n    with subtests.test('one'):\n        assert 1 == 2\n",
        PytestOutcome.FAILED,
        "",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_one_that_does_not_pass_keeps_the_checkpoint_from_being_published(based: Project, name: str) -> None:
    code, outcome, reason = BAD[name]
    write(based, PASSING + code)
    result = based.run("--lora", "good.safetensors", "test_own.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    record = last(based)
    bad = next(test for test in record.project_tests if "test_bad" in test.name)
    assert bad.outcome is outcome
    assert reason in bad.detail
    assert bad.candidate == "good"
    (card,) = record.candidates
    assert not card.publishable
    assert "project tests did not pass, the first test_own.py::test_bad[good" in card.reason
    assert record.exit_status == pytest.ExitCode.TESTS_FAILED
    assert record.other_failures == ()
    assert not record.partial
    result.stdout.fnmatch_lines(
        ["good may not be published: * project tests did not pass*", "*test_kept*: passed"]
    )
    closing = "All of the gate ran, but not 1 project test; exit code 1, because 0 means publishable."
    assert (closing in result.stdout.str()) == (not outcome.ran)
    assert "Only part of the gate" not in result.stdout.str()
    found = problems(based)
    assert any("the project test test_own.py::test_bad[good" in problem for problem in found)
    assert any("ended with exit code 1" in problem for problem in found)


def test_what_becomes_of_each_is_the_same_with_workers(based: Project) -> None:
    kinds = dict(enumerate(BAD.values()))
    write(
        based,
        PASSING
        + "\n\n".join(
            code.replace("test_bad", f"test_bad_{number}")
            .replace("clip(", f"clip_{number}(")
            .replace("(clip)", f"(clip_{number})")
            for number, (code, _, _) in kinds.items()
        ),
    )
    result = based.run("--lora", "good.safetensors", "test_own.py", workers="-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = {test.name.partition("::")[2].partition("[")[0]: test for test in last(based).project_tests}
    assert found["test_kept"].passed
    for number, (_, outcome, reason) in kinds.items():
        assert found[f"test_bad_{number}"].outcome is outcome
        assert reason in found[f"test_bad_{number}"].detail
    assert not last(based).candidates[0].publishable


PASSES: dict[str, tuple[str, dict[str, str | None]]] = {
    "a candidate": ("def test_own(wanlora_candidate): pass\n", {"test_own[good]": "good"}),
    "a scenario": (
        "def test_own(wanlora_scenario): pass\n",
        {"test_own[test1_city]": None, "test_own[test2_nature]": None},
    ),
    "the gate": ("def test_own(wanlora_gate): pass\n", {"test_own": None}),
    "the baseline": ("def test_own(wanlora_baseline): pass\n", {"test_own": None}),
    "a fixture of its own": (
        "@pytest.fixture\ndef one(wanlora_baseline): pass\n\n\n@pytest.fixture\ndef two(one): pass\n\n\n"
        "def test_own(two): pass\n",
        {"test_own": None},
    ),
    "a marker": ("@pytest.mark.usefixtures('wanlora_gate')\ndef test_own(): pass\n", {"test_own": None}),
    "getfixturevalue": (
        "def test_own(request):\n    request.getfixturevalue('wanlora_gate')\n",
        {"test_own": None},
    ),
    "getfixturevalue in a fixture": (
        "@pytest.fixture\ndef one(request):\n    return request.getfixturevalue('wanlora_baseline')\n\n\n"
        "def test_own(one): pass\n",
        {"test_own": None},
    ),
    "a class": (
        "class TestOwn:\n    def test_own(self, wanlora_candidate): pass\n",
        {"TestOwn::test_own[good]": "good"},
    ),
    "an xfail that passes": (
        "@pytest.mark.xfail(reason='was bad')\ndef test_own(wanlora_candidate): pass\n",
        {"test_own[good]": "good"},
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_one_that_passes_is_listed(based: Project, name: str) -> None:
    code, tests = PASSES[name]
    write(based, f"{code}\n\ndef test_of_something_else(): pass\n")
    result = based.run("--lora", "good.safetensors", "test_own.py")
    assert result.ret == pytest.ExitCode.OK
    record = last(based)
    assert {test.name.removeprefix("test_own.py::"): test.candidate for test in record.project_tests} == tests
    assert all(test.passed for test in record.project_tests)
    assert record.candidates[0].publishable
    counted = f"{len(tests)} project test{'s' * (len(tests) > 1)}"
    assert record.candidates[0].reason == f"all 26 items and {counted} pass"
    assert problems(based) == ()


def test_those_that_pass_are_the_same_with_workers(based: Project) -> None:
    names = []
    for number, (code, tests) in enumerate(PASSES.values()):
        (based.path / f"test_own_{number}.py").write_text(f"import pytest\n\n\n{code}", encoding="utf-8")
        names += [(f"test_own_{number}.py::{name}", candidate) for name, candidate in tests.items()]
    files = [path.name for path in based.path.glob("test_own_*.py")]
    result = based.run("--lora", "good.safetensors", *files, workers="-n2")
    assert result.ret == pytest.ExitCode.OK
    assert sorted((test.name, str(test.candidate)) for test in last(based).project_tests) == sorted(
        (name, str(candidate)) for name, candidate in names
    )
    assert problems(based) == ()


class TestThroughGetfixturevalue:
    def test_one_that_fails_counts(self, based: Project) -> None:
        write(
            based,
            "def test_own(request):\n    baseline = request.getfixturevalue('wanlora_baseline')\n"
            "    assert baseline.mean('test1_city', 'clip') > 1\n",
        )
        assert based.run("--lora", "good.safetensors", "test_own.py").ret == pytest.ExitCode.TESTS_FAILED
        (test,) = last(based).project_tests
        assert (test.outcome, test.candidate) == (PytestOutcome.FAILED, None)
        assert last(based).other_failures == ()


SKIPPED = "def test_own(wanlora_candidate):\n    pytest.skip('no time')\n"


@pytest.mark.parametrize("workers", ["none", "-n2"])
@pytest.mark.parametrize(
    ("code", "asked", "status", "said"),
    [
        (
            PASSING,
            ("-k", "city"),
            1,
            "good: left out: 17 of 26 items, * deselected: -k 'city'*Only part of the gate ran",
        ),
        (PASSING, ("-k", "nowhere"), 5, "good: left out: 26 of 26 items, *Nothing of the gate was judged"),
        (
            SKIPPED,
            ("test_own.py",),
            1,
            "good may not be published: 1 of 1 *test_own.py::test_own[[]good[]] (good): skipped: no time",
        ),
    ],
)
def test_a_junit_file_without_a_failing_case_says_why_the_run_does_not_end_well(
    based: Project, workers: str, code: str, asked: tuple[str, ...], status: int, said: str
) -> None:
    write(based, code)
    ran = based.run("--lora", "good.safetensors", *asked, "--junitxml=out/junit.xml", workers=workers)
    assert ran.ret == status == last(based).exit_status
    (suite,) = ET.parse(based.path / "out" / "junit.xml").getroot()  # noqa: S314 - written by the run
    assert (suite.attrib["errors"], suite.attrib["failures"]) == ("1", "0")
    (case,) = (case for case in suite.iter("testcase") if case.find("error") is not None)
    assert (case.attrib["classname"], case.attrib["name"]) == ("wanlora", "run")
    (error,) = case
    flat = " ".join(str(error.text).split())
    assert fnmatchcase(flat, f"*{said}*pytest ended with exit code {status}"), flat
    # the record is that of the same run without the file
    assert last(based).other_failures == ()
    assert not based.path.joinpath("out").joinpath("junit.xml").read_text().count("<failure")


@pytest.mark.parametrize("asked", [(), ("-k", "city")])
def test_a_junit_file_says_no_more_where_all_is_well_or_a_case_fails(
    based: Project, asked: tuple[str, ...]
) -> None:
    # either everything passes, or a part is left out and a test fails
    write(based, PASSING if not asked else "def test_city(wanlora_candidate):\n    assert False\n")
    based.run("--lora", "good.safetensors", "test_own.py", *asked, "--junitxml=junit.xml")
    cases = ET.parse(based.path / "junit.xml").getroot().iter("testcase")  # noqa: S314 - written by the run
    assert not [case for case in cases if case.find("error") is not None]


class TestEveryReport:
    """One passes and one fails, and every view names both."""

    @pytest.fixture
    def folder(self, based: Project) -> Path:
        write(based, PASSING + "def test_strict(wanlora_candidate):\n    assert '<b>' == '|`x`|'\n")
        asked = ("--junitxml", "junit.xml", "--wanlora-model-cards")
        based.run("--lora", "good.safetensors", "test_own.py", *asked)
        return based.records()[-1].parent

    @pytest.mark.parametrize(
        "name", ["report.html", "report.md", "report.ko.md", "model-card.md", "receipt.json"]
    )
    def test_names_them(self, folder: Path, name: str) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        for escaped in (("&#95;", "_"), ("&#91;", "["), ("&#93;", "]"), ("&#58;", ":")):
            text = text.replace(*escaped)
        assert "test_own.py::test_strict[good]" in text
        assert "test_own.py::test_kept[good]" in text
        assert (
            "<b>"
            not in (folder / "report.html").read_text(encoding="utf-8").partition("test_strict")[2][:600]
        )

    def test_junit_names_them_and_their_checkpoint(self, folder: Path, based: Project) -> None:
        cases = ET.parse(based.path / "junit.xml").getroot().iter("testcase")  # noqa: S314 - written by the run
        own = {case.attrib["name"]: case for case in cases if case.attrib["classname"] == "test_own"}
        assert set(own) == {"test_kept[good]", "test_strict[good]"}
        assert own["test_strict[good]"].find("failure") is not None
        for case in own.values():
            (known,) = case.iter("property")
            assert known.attrib == {"name": "wanlora_candidate", "value": "good"}

    def test_show_prints_them(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        assert cli.main(["show", str(folder)]) == 1
        printed = capsys.readouterr().out
        assert "project tests: 1 of 2 pass" in printed
        assert "test_own.py::test_strict[good] (good): failed: AssertionError" in printed

    def test_compare_prints_them(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        assert cli.main(["compare", str(folder), str(folder)]) == 1
        printed = capsys.readouterr().out
        assert printed.count("1 of 2 pass FAIL") == 2
        assert "project test test_own.py::test_strict[good] (good #1): failed" in printed
        assert cli.main(["compare", str(folder), "--json"]) == 1
        (found,) = json.loads(capsys.readouterr().out)["checkpoints"]
        assert [test["outcome"] for test in found["project_tests"]] == ["failed", "passed"]

    def test_github_is_told(self, based: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        write(based, "def test_strict(wanlora_candidate):\n    assert 1 == 2\n")
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(based.path / "summary.md"))
        result = based.run("--lora", "good.safetensors", "test_own.py")
        (error,) = [line for line in result.outlines if line.startswith("::error")]
        assert "project test" in error
        assert "test_own.py::test_strict[good]: failed: assert 1 == 2" in error
        assert "test_strict" in (based.path / "summary.md").read_text(encoding="utf-8")


class TestLeftOut:
    @pytest.mark.parametrize(
        ("arguments", "conftest", "outcome"),
        [
            (("-k", "not strict"), "", PytestOutcome.DESELECTED),
            (
                (),
                "def pytest_collection_modifyitems(items):\n"
                "    items[:] = [item for item in items if 'strict' not in item.name]\n",
                PytestOutcome.REMOVED,
            ),
            (
                (),
                "def pytest_runtest_protocol(item):\n    return True if 'strict' in item.name else None\n",
                PytestOutcome.NOT_RUN,
            ),
        ],
        ids=["k", "removed", "not run"],
    )
    def test_a_collected_one_that_is_not_run_makes_the_run_partial(
        self, based: Project, run: Run, arguments: tuple[str, ...], conftest: str, outcome: PytestOutcome
    ) -> None:
        write(based, PASSING + "def test_strict(wanlora_candidate):\n    assert False\n")
        based.producer(extra=conftest)
        result = run("--lora", "good.safetensors", "test_own.py", *arguments)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        record = last(based)
        assert record.partial
        assert [test.outcome for test in record.project_tests] == [outcome, PytestOutcome.PASSED]
        assert not record.candidates[0].publishable
        assert not record.left_out
        assert any("partial" in problem for problem in problems(based))

    def test_one_that_was_never_asked_for_is_not_missed(self, based: Project) -> None:
        write(based, PASSING + "def test_strict(wanlora_candidate):\n    assert False\n")
        assert based.run("--lora", "good.safetensors", "test_own.py::test_kept").ret == pytest.ExitCode.OK
        assert based.run("--lora", "good.safetensors").ret == pytest.ExitCode.OK
        assert last(based).project_tests == ()

    def test_one_whose_worker_dies_has_not_passed(self, based: Project) -> None:
        write(
            based,
            PASSING + "def test_strict(wanlora_candidate):\n    import os, signal\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n",
        )
        result = based.run("--lora", "good.safetensors", "test_own.py", workers="-n2")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        lost, kept = last(based).project_tests
        assert (lost.outcome, kept.outcome) == (PytestOutcome.LOST, PytestOutcome.PASSED)
        assert not last(based).candidates[0].publishable

    def test_a_file_that_cannot_be_collected_is_held_against_the_run(self, based: Project, run: Run) -> None:
        write(based, "import no_such_module\n\n\ndef test_own(wanlora_candidate): pass\n")
        result = run("--lora", "good.safetensors", "test_own.py", "--continue-on-collection-errors")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert last(based).other_failures == ("test_own.py",)
        assert not last(based).candidates[0].publishable


class TestSeveralCheckpoints:
    @pytest.fixture(autouse=True)
    def _two(self, based: Project) -> None:
        shutil.copy(based.path / "good.safetensors", based.path / "better.safetensors")

    def test_one_that_is_about_a_checkpoint_concerns_that_one_alone(self, based: Project) -> None:
        write(based, "def test_own(wanlora_candidate):\n    assert wanlora_candidate.name == 'good'\n")
        result = based.run("--lora", ".", "test_own.py")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        record = last(based)
        assert {card.name: card.publishable for card in record.candidates} == {"better": False, "good": True}
        # the run as a whole did not end well, so neither receipt counts
        (problem,) = problems(based, "good", "receipt-good.json")
        assert problem == (
            "the pytest run ended with exit code 1, and 0 is needed; gate this checkpoint alone, with the "
            "other options of its run: rendered videos are reused"
        )
        assert len(problems(based, "better", "receipt-better.json")) == 3
        result.stdout.fnmatch_lines(
            [
                "good may be published: all 26 items and 1 project test pass",
                "  but verify refuses its receipt: the pytest run ended with exit code 1",
                "  next: pytest --lora good.safetensors *, which reuses the videos",
            ]
        )

    def test_one_about_no_checkpoint_concerns_them_all(self, based: Project) -> None:
        write(based, "def test_own(wanlora_baseline):\n    assert False\n")
        assert based.run("--lora", ".", "test_own.py").ret == pytest.ExitCode.TESTS_FAILED
        assert not any(card.publishable for card in last(based).candidates)
        for name in ("good", "better"):
            statement = receipt.parse((based.records()[-1].parent / f"receipt-{name}.json").read_bytes())
            assert isinstance(statement, Statement)
            assert [test.outcome for test in statement.predicate.project_tests] == [PytestOutcome.FAILED]


class TestOtherTests:
    def test_a_failing_one_is_held_against_every_checkpoint(self, based: Project, run: Run) -> None:
        (based.path / "test_other.py").write_text("def test_other():\n    assert 1 == 2\n")
        result = run("--lora", "good.safetensors", "test_other.py")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        record = last(based)
        assert record.other_failures == ("test_other.py::test_other",)
        why = "the pytest run ended with exit code 1: 1 other test failed, test_other.py::test_other"
        assert record.candidates[0].reason == why
        assert f"good may not be published: {why}" in re.sub(r"\n +", " ", result.stdout.str())
        assert problems(based)[0] == f"not publishable: {why}"

    def test_a_passing_or_skipped_one_concerns_nobody(self, based: Project) -> None:
        (based.path / "test_other.py").write_text(
            "import pytest\n\n\ndef test_other(): pass\n\n\n@pytest.mark.skip\ndef test_skipped(): pass\n"
        )
        assert based.run("--lora", "good.safetensors", "test_other.py").ret == pytest.ExitCode.OK
        assert last(based).project_tests == ()
        assert problems(based) == ()


class TestTheLastWord:
    """What the record says about the exit code is what pytest ends with."""

    @pytest.mark.parametrize(
        ("hook", "exit_status"),
        [
            (
                "@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session):\n"
                "    session.exitstatus = 7\n",
                7,
            ),
            (
                "@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_sessionfinish(session):\n"
                "    yield\n    session.exitstatus = 8\n",
                8,
            ),
            (
                "def pytest_unconfigure(config):\n    config.was.exitstatus = 9\n\n\n"
                "def pytest_sessionstart(session):\n    session.config.was = session\n",
                9,
            ),
            ("def pytest_terminal_summary():\n    raise pytest.UsageError('slower than before')\n", 4),
            (
                "@pytest.hookimpl(wrapper=True)\ndef pytest_runtestloop(session):\n"
                "    ran = yield\n    session.testsfailed += 1\n    return ran\n",
                1,
            ),
        ],
        ids=["sessionfinish", "its wrapper", "unconfigure", "the summary", "a counter"],
    )
    def test_a_plugin_that_changes_it_reaches_record_and_receipt(
        self, based: Project, hook: str, exit_status: int
    ) -> None:
        based.producer(extra=hook)
        result = based.run("--lora", "good.safetensors")
        assert result.ret == exit_status
        record = last(based)
        assert record.exit_status == exit_status
        assert not record.candidates[0].publishable
        assert f"ended with exit code {exit_status}" in record.candidates[0].reason
        found = receipt.parse((based.records()[-1].parent / "receipt.json").read_bytes())
        assert isinstance(found, Statement)
        assert found.predicate.run.exit_status == exit_status
        assert any(f"exit code {exit_status}," in problem for problem in problems(based))
        assert "may not be published" in result.stdout.str()

    def test_too_many_warnings_are_an_exit_code_too(self, based: Project) -> None:
        based.producer(
            extra="import warnings\n\n\ndef pytest_runtest_setup(item):\n    warnings.warn('mind')\n"
        )
        write(based, "import warnings\n\n\ndef test_own(wanlora_candidate):\n    warnings.warn('mind')\n")
        result = based.run("--lora", "good.safetensors", "test_own.py", "--max-warnings=0", "-Wdefault")
        assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        assert last(based).exit_status == result.ret
        assert not last(based).candidates[0].publishable
        assert problems(based)

    def test_a_project_test_that_is_reported_as_passed_has_failed_all_the_same(
        self, based: Project, run: Run
    ) -> None:
        write(based, "def test_own(wanlora_candidate):\n    assert 1 == 2\n")
        based.producer(
            extra="@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
            "    report = yield\n    if report.failed:\n        report.outcome = 'passed'\n"
            "        report.longrepr = None\n    return report\n"
        )
        result = run("--lora", "good.safetensors", "test_own.py")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        (test,) = last(based).project_tests
        assert test.outcome is PytestOutcome.FAILED
        assert test.detail == "AssertionError: assert 1 == 2; a plugin or a conftest.py reported it as passed"
        assert problems(based)

    def test_running_one_again_until_it_passes_is_no_pass(self, based: Project) -> None:
        write(based, "def test_own(wanlora_candidate): pass\n")
        based.producer(
            extra="import copy\n\n\ndef pytest_configure(config):\n    Again.config = config\n\n\n"
            "class Again:\n    config = None\n\n\n"
            "@pytest.hookimpl(tryfirst=True)\ndef pytest_runtest_logreport(report):\n"
            "    if 'test_own' in report.nodeid and report.outcome == 'passed' and report.when == 'call':\n"
            "        first = copy.copy(report)\n        first.outcome = 'rerun'\n"
            "        Again.config.hook.pytest_runtest_logreport(report=first)\n"
        )
        result = based.run("--lora", "good.safetensors", "test_own.py")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        (test,) = last(based).project_tests
        assert test.outcome is PytestOutcome.FAILED
        assert "rerun" in test.detail
