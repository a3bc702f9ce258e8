"""Exit code 0 means that every item of every checkpoint was judged, whatever left one out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from pytest_wanlora import results
from pytest_wanlora.publishing.verify import Demands, verify
from pytest_wanlora.verdict.judgement import PytestOutcome
from tests.integration.conftest import Project

Run = Callable[..., pytest.RunResult]

FIRST = "test_checkpoint[good]"
OURS = "item.nodeid.startswith('wanlora::')"
CLIP = "'test2_nature-clip' in item.nodeid"


class Way(NamedTuple):
    """A way to leave items out.

    Attributes:
        outcome: What the record says about them.
        words: What the terminal says.
        left: How many of 26 items it leaves out.
        arguments: Of the command line.
        conftest: What a conftest.py has besides the producer.
        plugin: A plugin's code; a conftest.py's hooks on single items do not reach the gate's.
        ini: Of pytest.ini.
    """

    outcome: PytestOutcome
    words: str
    left: int = 26
    arguments: tuple[str, ...] = ()
    conftest: str = ""
    plugin: str = ""
    ini: str = ""


def write_plugin(project: Project, code: str) -> tuple[str, ...]:
    """A plugin with this code, as arguments that load it; none without code."""
    if not code:
        return ()
    (project.path / "leaves_out.py").write_text(f"import pytest\n\n\n{code}")
    project.pytester.syspathinsert()
    return ("-p", "leaves_out")


def modify(body: str) -> str:
    return f"def pytest_collection_modifyitems(config, items):\n{body}"


def marked(marker: str, where: str) -> str:
    return modify(f"    for item in items:\n        if {where}:\n            item.add_marker({marker})\n")


WAYS = {
    "k": Way(PytestOutcome.DESELECTED, "deselected: -k 'unrelated'", arguments=("-k", "unrelated")),
    "m": Way(PytestOutcome.DESELECTED, "deselected: -m 'not wanlora'", arguments=("-m", "not wanlora")),
    "deselect": Way(
        PytestOutcome.DESELECTED, "deselected: --deselect wanlora::", arguments=("--deselect", "wanlora::")
    ),
    "k of one item": Way(
        PytestOutcome.DESELECTED,
        "deselected: -k 'not (test2_nature and clip)'",
        left=2,
        arguments=("-k", "not (test2_nature and clip)"),
    ),
    "addopts": Way(
        PytestOutcome.DESELECTED, "deselected: -k 'unrelated'", ini="[pytest]\naddopts = -k unrelated\n"
    ),
    "dropped without a word": Way(
        PytestOutcome.REMOVED,
        "removed after collection by a plugin or a conftest.py",
        conftest=modify(f"    items[:] = [item for item in items if not {OURS}]\n"),
    ),
    "two dropped without a word": Way(
        PytestOutcome.REMOVED,
        "removed after collection by a plugin or a conftest.py",
        left=2,
        conftest=modify(f"    items[:] = [item for item in items if not {CLIP}]\n"),
    ),
    "deselected by a plugin": Way(
        PytestOutcome.REMOVED,
        "removed after collection by a plugin or a conftest.py",
        left=2,
        conftest=modify(
            f"    gone = [item for item in items if {CLIP}]\n"
            f"    items[:] = [item for item in items if not {CLIP}]\n"
            "    config.hook.pytest_deselected(items=gone)\n"
        ),
    ),
    "never collected": Way(
        PytestOutcome.NOT_COLLECTED,
        "not collected: a path that does not exist, a plugin or a conftest.py prevented it",
        left=2,
        plugin="@pytest.hookimpl(wrapper=True)\ndef pytest_pycollect_makeitem(collector, name):\n"
        "    made = yield\n    return [] if name == 'test_limit' else made\n",
    ),
    "skip": Way(
        PytestOutcome.SKIPPED,
        "skipped: no time",
        left=2,
        conftest=marked("pytest.mark.skip(reason='no time')", CLIP),
    ),
    "skipif": Way(
        PytestOutcome.SKIPPED,
        "skipped: no GPU",
        conftest=marked("pytest.mark.skipif(True, reason='no GPU')", OURS),
    ),
    "xfail that is not run": Way(
        PytestOutcome.XFAILED,
        "expected to fail (xfail): [NOTRUN] flaky",
        left=2,
        conftest=marked("pytest.mark.xfail(run=False, reason='flaky')", CLIP),
    ),
    "a fixture that skips": Way(
        PytestOutcome.SKIPPED,
        "skipped: not here",
        conftest="@pytest.fixture(autouse=True)\ndef not_here(request):\n"
        "    if request.node.nodeid.startswith('wanlora::'):\n        pytest.skip('not here')\n",
    ),
    "another protocol": Way(
        PytestOutcome.NOT_RUN,
        "not run: no report arrived, a plugin or a conftest.py may have prevented it",
        left=2,
        conftest=f"def pytest_runtest_protocol(item):\n    return True if {CLIP} else None\n",
    ),
    "another call": Way(
        PytestOutcome.NOT_JUDGED,
        "reported as passed, but nothing was judged: a plugin or a conftest.py ran something else",
        left=2,
        plugin="def pytest_pyfunc_call(pyfuncitem):\n    item = pyfuncitem\n"
        f"    return True if {CLIP} else None\n",
    ),
    "another loop": Way(
        PytestOutcome.NOT_RUN,
        "not run: no report arrived, a plugin or a conftest.py may have prevented it",
        conftest="def pytest_runtestloop(session):\n    return True\n",
    ),
    "pytest.exit in a test's set-up": Way(
        PytestOutcome.STOPPED,
        "not run: the run was stopped: enough",
        plugin="def pytest_runtest_setup(item):\n    pytest.exit('enough', returncode=0)\n",
    ),
    "an exit code that is set to 0": Way(
        PytestOutcome.SKIPPED,
        "skipped: no time",
        conftest=marked("pytest.mark.skip(reason='no time')", OURS)
        + "\n\n@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session):\n"
        "    session.exitstatus = 0\n",
    ),
}
#: The ways that workers could make a difference to, and that are the same way with them; `-k` and a skip
#: with workers are in test_each_checkpoint_and_reason_has_its_line.
WITH_WORKERS = (
    "dropped without a word",
    "deselected by a plugin",
    "never collected",
    "xfail that is not run",
    "another protocol",
    "another call",
    "an exit code that is set to 0",
)


@pytest.fixture
def beside(based: Project) -> Project:
    """Another test, without any fixture of the package."""
    (based.path / "test_other.py").write_text("def test_unrelated(): pass\n")
    return based


@pytest.mark.parametrize(
    ("name", "workers"),
    [*((name, "none") for name in WAYS), *((name, "-n2") for name in WITH_WORKERS)],
)
def test_what_was_left_out_is_said_and_does_not_end_with_0(beside: Project, name: str, workers: str) -> None:
    way = WAYS[name]
    beside.producer(extra=way.conftest)
    if way.ini:
        (beside.path / "pytest.ini").write_text(way.ini)
    arguments = (*way.arguments, *write_plugin(beside, way.plugin))
    result = beside.run("--lora", "good.safetensors", "test_other.py", *arguments, workers=workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = result.stdout.str()
    (line,) = [line for line in result.outlines if line.startswith("good: left out: ")]
    first = FIRST if way.left == 26 else line.partition("the first ")[2].partition(": ")[0]
    assert line == f"good: left out: {way.left} of 26 items, the first {first}: {way.words}"
    nothing = way.left == 26
    closing = "Nothing of the gate was judged" if nothing else "Only part of the gate ran"
    assert f"{closing}; exit code 1, because 0 means publishable." in said
    assert "may be published" not in said
    assert "died" not in said
    records = beside.records()
    assert records or nothing
    for path in records:
        record = results.load(path)
        assert record.partial
        assert record.exit_status == pytest.ExitCode.TESTS_FAILED
        assert not record.candidates[0].publishable
        assert len(record.left_out) == way.left
        assert {each.outcome for each in record.left_out} == {way.outcome}
        assert {each.name for each in record.left_out} == {
            str(item) for item in set(record.expected) - {judged.item for judged in record.judgements}
        }
        assert len(record.judgements) == 26 - way.left
        found = verify(path.parent / "receipt.json", beside.path / "good.safetensors", Demands())
        assert not found.verified


def test_nothing_collected_at_all_keeps_its_exit_code(beside: Project, run: Run) -> None:
    result = run("--lora", "good.safetensors", "-k", "unrelated")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(
        [
            "good: left out: 26 of 26 items, the first test_checkpoint[[]good]: deselected: -k 'unrelated'",
            "Nothing of the gate was judged; exit code 5, because 0 means publishable.",
        ]
    )
    # `latest` leads to a record that says so, not to an earlier run's receipt
    (record,) = [results.load(path) for path in beside.records()]
    assert len(record.left_out) == 26
    assert not record.candidates[0].publishable
    assert record.exit_status == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_file_of_project_tests_that_skips_itself_is_a_skipped_test(based: Project, run: Run) -> None:
    lines = {
        "test_one": "pytest.importorskip('not_there')",
        "test_two": "pytest.skip('x', allow_module_level=True)",
    }
    for name, line in lines.items():
        (based.path / f"{name}.py").write_text(
            f"import pytest\n\n{line}\n\n\ndef test_mine(wanlora_candidate):\n    assert False\n"
        )
    (based.path / "test_else.py").write_text("import pytest\n\npytest.importorskip('not_there')\n")
    result = run("--lora", "good.safetensors", "test_one.py", "test_two.py", "test_else.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    record = results.load(based.records()[-1])
    assert sorted((test.name, str(test.outcome)) for test in record.project_tests) == [
        ("test_one.py", "skipped"),
        ("test_two.py", "skipped"),
    ]
    assert not record.candidates[0].publishable


def test_ids_on_the_command_line_name_a_part(beside: Project, run: Run) -> None:
    result = run("--lora", "good.safetensors", "wanlora::test_limit", "test_other.py")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["good: left out: 24 of 26 items, the first *: not among the test ids on the command line"]
    )


def test_each_checkpoint_and_reason_has_its_line(beside: Project, run: Run) -> None:
    beside.producer(extra=marked("pytest.mark.skip(reason='no time')", "'[bad-all' in item.nodeid"))
    result = run("--lora", ".", "-k", "not limit")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [line for line in result.outlines if ": left out: " in line] == [
        "bad: left out: 2 of 26 items, the first test_limit[bad-test1_city-clip]: deselected: -k 'not limit'",
        "bad: left out: 7 of 26 items, the first test_regression[bad-all-clip]: skipped: no time",
        "good: left out: 2 of 26 items, the first test_limit[good-test1_city-clip]: "
        "deselected: -k 'not limit'",
    ]


@pytest.mark.parametrize(("outcome", "workers"), [("passed", "none"), ("passed", "-n2"), ("skipped", "none")])
def test_a_report_that_was_turned_changes_no_verdict(beside: Project, outcome: str, workers: str) -> None:
    arguments = write_plugin(
        beside,
        "@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_makereport(item, call):\n"
        f"    report = yield\n    if report.failed:\n        report.outcome = {outcome!r}\n"
        "        report.longrepr = ('x.py', 1, 'Skipped: turned')\n    return report\n",
    )
    result = beside.run("--lora", "bad.safetensors", *arguments, workers=workers)
    assert "failed" not in result.parseoutcomes()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["bad may not be published: * items are undecided*"])
    record = results.load(beside.records()[-1])
    assert record.exit_status == pytest.ExitCode.TESTS_FAILED
    assert not record.left_out


@pytest.mark.parametrize("strict", [False, True])
def test_xfail_on_what_fails_changes_no_verdict(beside: Project, strict: bool) -> None:
    beside.producer(
        extra=marked(f"pytest.mark.xfail(strict={strict}, reason='known')", "'nature' in item.nodeid")
    )
    result = beside.run("--lora", "bad.safetensors", "-k", "not all")
    assert result.parseoutcomes()["xfailed"] > 1
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["bad may not be published: * items are undecided*"])


def test_xfail_on_what_passes_leaves_nothing_out(beside: Project) -> None:
    beside.producer(extra=marked("pytest.mark.xfail(reason='known')", CLIP))
    result = beside.run("--lora", "good.safetensors")
    assert result.parseoutcomes()["xpassed"] == 2
    assert result.ret == pytest.ExitCode.OK
    assert results.load(beside.records()[-1]).candidates[0].publishable


def test_a_set_up_that_fails_judges_nothing_and_says_so(beside: Project) -> None:
    beside.producer(
        extra="@pytest.fixture(autouse=True)\ndef broken(request):\n"
        "    if 'test2_nature-clip' in request.node.nodeid:\n        raise OSError('no licence')\n"
    )
    result = beside.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["good: left out: 2 of 26 items, *: error: setup: OSError: no licence"])
    record = results.load(beside.records()[-1])
    # the checkpoint's own item explains the exit code
    assert record.other_failures == ()
    assert record.candidates[0].reason.startswith("2 of 26 were not measured")


def test_a_tear_down_that_fails_is_held_against_every_checkpoint(beside: Project) -> None:
    beside.producer(
        extra="@pytest.fixture(autouse=True)\ndef broken(request):\n    yield\n"
        "    if 'good-test2_nature-clip' in request.node.nodeid:\n        raise OSError('disk full')\n"
    )
    result = beside.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    record = results.load(beside.records()[-1])
    assert not record.candidates[0].publishable
    assert record.candidates[0].reason == (
        "the pytest run ended with exit code 1: 2 other tests failed, the first "
        "wanlora::test_limit[good-test2_nature-clip]"
    )


def test_a_run_that_is_stopped_says_what_was_not_run(beside: Project) -> None:
    result = beside.run("--lora", "bad.safetensors", "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["bad: left out: 13 of 26 items, *: not run: the run was stopped: stopping after 1 failures"]
    )


@pytest.mark.parametrize("option", ["--lf", "--sw"])
def test_what_the_last_run_left_to_do_is_a_part(beside: Project, option: str) -> None:
    arguments = ("--wanlora-suite", "fake.yaml", "--lora", "bad.safetensors", "test_other.py")
    beside.pytester.runpytest_inprocess(*arguments, *([option] if option == "--sw" else []))
    beside.producer(quality={})
    result = beside.pytester.runpytest_inprocess(*arguments, "--wanlora-no-cache", option)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    # --last-failed takes what did not fail out of the module before anything is deselected
    why = {"--lf": "deselected: --last-failed", "--sw": "deselected: --stepwise"}[option]
    result.stdout.fnmatch_lines([f"bad: left out: * of 26 items, *: {why}", "Only part of the gate*"])


def test_blocking_the_hooks_by_name_is_no_way_around_them(beside: Project) -> None:
    beside.producer(extra=marked("pytest.mark.skip", OURS))
    blocked = [f"-pno:wanlora-{name}" for name in ("run", "collection", "outcomes", "controller")]
    assert beside.run("--lora", "good.safetensors", *blocked).ret == pytest.ExitCode.TESTS_FAILED


def test_collecting_only_judges_nothing_and_ends_with_0(beside: Project) -> None:
    result = beside.run("--lora", "good.safetensors", "test_other.py", "--collect-only", "-k", "unrelated")
    assert result.ret == pytest.ExitCode.OK
    assert "left out" not in result.stdout.str()
    assert beside.run("--lora", "good.safetensors", "--help").ret == pytest.ExitCode.OK
    assert beside.run("--lora", "good.safetensors", "--markers").ret == pytest.ExitCode.OK


@pytest.mark.parametrize("hook", ["pytest_configure(config)", "pytest_sessionstart(session)"])
def test_ending_pytest_before_its_session_is_no_way_to_0(beside: Project, hook: str) -> None:
    beside.producer(extra=f"def {hook}:\n    pytest.exit('no GPU here', returncode=0)\n")
    result = beside.run("--lora", "good.safetensors")
    assert result.ret != pytest.ExitCode.OK
    assert "nothing was gated" in result.stderr.str() or "Nothing of the gate" in result.stdout.str()


class TestWithoutTheTerminal:
    def test_the_exit_code_says_it(self, beside: Project) -> None:
        beside.producer(extra=marked("pytest.mark.skip", OURS))
        result = beside.run("--lora", "good.safetensors", "-p", "no:terminal")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert results.load(beside.records()[-1]).exit_status == pytest.ExitCode.TESTS_FAILED


class TestStoring:
    """`--update-baselines` that did not store everything."""

    @pytest.mark.parametrize(
        ("arguments", "plugin", "words"),
        [
            (("-k", "unrelated"), "", "deselected: -k 'unrelated'"),
            ((), marked("pytest.mark.skip(reason='no time')", OURS), "skipped: no time"),
            (
                (),
                "def pytest_pyfunc_call(pyfuncitem):\n"
                "    return True if 'wanlora::' in pyfuncitem.nodeid else None\n",
                "*nothing was judged*",
            ),
            (
                (),
                modify(f"    items[:] = [item for item in items if not {OURS}]\n"),
                "removed after collection*",
            ),
        ],
        ids=["deselected", "skipped", "replaced", "removed"],
    )
    def test_it_does_not_end_with_0(
        self, beside: Project, arguments: tuple[str, ...], plugin: str, words: str
    ) -> None:
        arguments += write_plugin(beside, plugin)
        result = beside.run("--update-baselines", "test_other.py", *arguments)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            [
                f"base: left out: 1 of 1 items, the first test_baseline[[]base]: {words}",
                "Nothing was stored; exit code 1.",
            ]
        )

    def test_limits_that_were_not_judged_are_left_out_too(self, beside: Project, run: Run) -> None:
        result = run("--lora", "good.safetensors", "--update-baselines", "-k", "test_baseline")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            [
                "good: left out: 3 of 3 items, *: deselected: -k 'test_baseline'",
                "stored *",
                "The baseline was stored, but not everything ran; exit code 1.",
            ]
        )
