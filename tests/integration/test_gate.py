"""The gate from end to end, with pictures instead of a model."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_wanlora import results, testing
from pytest_wanlora.baseline.store import seal_of
from pytest_wanlora.gate_tests import properties
from pytest_wanlora.verdict.judgement import Verdict
from tests.integration.conftest import Project

Run = Callable[..., pytest.RunResult]


def _failed(result: pytest.RunResult) -> set[str]:
    return {line.split(" ")[1] for line in result.outlines if line.startswith("FAILED ")}


class TestVerdicts:
    def test_a_good_checkpoint_is_publishable(self, based: Project, run: Run) -> None:
        result = run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["good may be published: all 26 items pass"])
        record = results.load(based.records()[-1])
        (card,) = record.candidates
        assert card.publishable
        assert record.exit_status == 0
        assert {judged.verdict for judged in record.judgements} <= {Verdict.PASS, Verdict.BETTER}
        assert len(record.judgements) == 26

    def test_a_bad_checkpoint_fails_where_it_is_bad(self, based: Project, run: Run) -> None:
        result = run("--lora", "bad.safetensors")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        failed = _failed(result)
        assert "wanlora::test_regression[bad-test2_nature-sharpness]" in failed
        assert not any("test1_city" in nodeid for nodeid in failed)
        result.stdout.fnmatch_lines(
            [
                "UNDECIDED: Sharpness of test2_nature (bad)",
                "*worse (band: warn from 2.00%, fail beyond 15.00%)*",
                "higher is better",
                "worst: test2_nature, seed *",
                "next: pytest *'wanlora::test_regression[[]bad-test2_nature-sharpness]'",
                "bad may not be published: * items are undecided in test2_nature (clip,*",
            ]
        )

    def test_several_checkpoints_are_judged_apart(self, based: Project) -> None:
        result = based.run("--lora", ".")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        record = results.load(based.records()[-1])
        assert {card.name: card.publishable for card in record.candidates} == {"bad": False, "good": True}

    def test_a_broken_limit_fails_whatever_the_baseline(self, project: Project) -> None:
        testing.write_suite(
            project.path, limits=[{"metric": "clip", "min": 0.7}, {"metric": "fvd", "max": 1}]
        )
        project.measure_base()
        result = project.run("--lora", "good.safetensors")
        assert _failed(result) == {
            "wanlora::test_limit[good-test1_city-clip]",
            "wanlora::test_limit[good-test2_nature-clip]",
            "wanlora::test_limit[good-all-fvd]",
        }
        result.stdout.fnmatch_lines(["*limit: >= 0.7*", "*reference 64), limit: <= 1*"])


class TestIntegrity:
    def test_an_untrained_lora_is_not_even_rendered(self, based: Project) -> None:
        based.forget()
        testing.write_lora(based.path / "zero.safetensors", size=0.0)
        result = based.run("--lora", "zero.safetensors")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            ["*change nothing (B @ A is zero)*: it was not trained*", "*= 2 failed, 24 not measured in *"]
        )
        assert not any(line.startswith("zero") for line in based.rendered())


class TestSelection:
    def test_only_what_is_chosen_is_rendered(self, based: Project) -> None:
        based.forget()
        result = based.run("--lora", "good.safetensors", "-k", "test2_nature and sharpness")
        assert "1 passed" in result.stdout.str()
        assert sorted(based.rendered()) == ["good test2_nature 0", "good test2_nature 1"]

    def test_a_part_of_the_gate_publishes_nothing(self, based: Project) -> None:
        result = based.run("--lora", "good.safetensors", "-k", "sharpness")
        result.stdout.fnmatch_lines(
            [
                "good may not be published: 23 of 26 were not measured*",
                "Only part of the gate ran; exit code 1, because 0 means publishable.",
            ]
        )
        # 0 would mean publishable
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        record = results.load(based.records()[-1])
        assert record.partial
        assert record.exit_status == pytest.ExitCode.TESTS_FAILED
        assert not record.candidates[0].publishable

    def test_one_item_by_its_id(self, based: Project) -> None:
        result = based.run(
            "--lora", "bad.safetensors", "wanlora::test_regression[bad-test2_nature-sharpness]"
        )
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert _failed(result) == {"wanlora::test_regression[bad-test2_nature-sharpness]"}
        result.assert_outcomes(failed=1)

    def test_scenarios_by_option(self, based: Project) -> None:
        result = based.run("--lora", "bad.safetensors", "--wanlora-scenario", "test1_city")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            ["wanlora: partial run: test1_city only", "*a partial run publishes nothing*"]
        )

    def test_stopping_at_the_first_failure(self, based: Project) -> None:
        result = based.run("--lora", "bad.safetensors", "-x")
        result.assert_outcomes(failed=1, passed=12)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert "no result arrived" not in result.stdout.str()
        assert "lost" not in result.stdout.str()

    def test_last_failed(self, based: Project) -> None:
        (based.path / "test_own.py").write_text("def test_own(): assert False\n")
        arguments = ("--wanlora-suite", "fake.yaml", "--lora", "bad.safetensors", "test_own.py")
        first = based.pytester.runpytest_inprocess(*arguments)
        again = based.pytester.runpytest_inprocess(*arguments, "--lf")
        assert _failed(again) == _failed(first)
        assert len(_failed(again)) > 2
        assert again.parseoutcomes().get("passed") is None


class TestCache:
    def test_a_second_run_renders_nothing_and_says_so(self, based: Project) -> None:
        based.run("--lora", "good.safetensors")
        based.forget()
        result = based.run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        assert based.rendered() == []
        result.stdout.fnmatch_lines(["no video was rendered, 4 came from the cache; *"])

    def test_without_the_cache_everything_is_rendered_anew(self, based: Project) -> None:
        based.run("--lora", "good.safetensors")
        based.forget()
        based.run("--lora", "good.safetensors", "--wanlora-no-cache")
        assert sorted(based.rendered()) == [
            "base test1_city 0",
            *(f"good {scenario} {seed}" for scenario in ("test1_city", "test2_nature") for seed in (0, 1)),
        ]

    def test_a_renamed_file_is_the_same_lora(self, based: Project) -> None:
        based.run("--lora", "good.safetensors")
        based.forget()
        shutil.copy(based.path / "good.safetensors", based.path / "renamed.safetensors")
        based.run("--lora", "renamed.safetensors")
        assert based.rendered() == []

    def test_no_torch_is_imported_when_everything_is_cached(self, based: Project) -> None:
        based.run("--lora", "good.safetensors")
        check = "import sys\ndef pytest_unconfigure():\n    assert 'torch' not in sys.modules\n"
        (based.path / "check_torch.py").write_text(check)
        result = based.run("--lora", "good.safetensors", "-p", "check_torch", workers="no:xdist")
        assert result.ret == pytest.ExitCode.OK


class TestBaselines:
    def test_a_stored_baseline_tells_what_changed(self, project: Project) -> None:
        first = project.run("--update-baselines")
        first.stdout.fnmatch_lines(["stored *baselines/fake/base", "*test1_city  clip  none -> 0.60*"])
        second = project.run("--update-baselines", "--wanlora-no-cache")
        second.stdout.fnmatch_lines(["*test1_city  clip  0.60* -> 0.60*  unchanged"])
        assert second.ret == pytest.ExitCode.OK

    def test_accepting_a_checkpoint_and_comparing_with_it(self, based: Project) -> None:
        refused = based.run("--lora", "bad.safetensors", "--update-baselines")
        assert refused.ret == pytest.ExitCode.TESTS_FAILED
        refused.stdout.fnmatch_lines(
            [
                "*test_regression[[]bad-test2_nature-clip], against 'base': *",
                "  remove these reasons; --wanlora-force stores it in spite of them, and the baseline *",
                "next: pytest --wanlora-force *",
                "bad: refused as the baseline 'accepted': *",
                "  next: pytest --wanlora-force *",
                "Nothing was stored; exit code 1.",
                "FAILED wanlora::test_baseline[[]bad] - refused: test_regression*",
            ]
        )
        assert "partial" not in refused.stdout.str()
        assert "left out" not in refused.stdout.str()
        told = results.load(based.records()[-1])
        assert told.storing is not None
        assert (told.storing.name, told.storing.refused, told.outcome) == ("accepted", True, "failed")
        assert not told.left_out
        assert not (based.path / "baselines" / "fake" / "accepted").exists()
        accepted = based.run("--lora", "bad.safetensors", "--update-baselines", "--wanlora-force")
        assert accepted.ret == pytest.ExitCode.OK
        accepted.stdout.fnmatch_lines(
            [
                "bad: stored as the baseline 'accepted', which decides nothing about publishing",
                "*note: the baseline 'accepted' was stored with --wanlora-force by *",
            ]
        )
        assert results.load(based.records()[-1]).outcome == "passed"
        (record,) = [text for text in map(Path.read_text, based.records()) if "--wanlora-force by" in text]
        stored = json.loads((based.path / "baselines" / "fake" / "accepted" / "baseline.json").read_text())
        assert stored["insisted"]["by"] in record
        accepted.stdout.fnmatch_lines(["stored *baselines/fake/accepted"])
        assert "may be published" not in accepted.stdout.str()
        result = based.run("--lora", "bad.safetensors", "--wanlora-baseline", "accepted")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(
            [
                "bad may be published: all 26 items pass",
                "note: bad is compared with itself: baseline accepted was measured with the same file, *",
            ]
        )
        card = (based.records()[-1].parent / "model-card.md").read_text(encoding="utf-8")
        assert "compare it with another LoRA, the accepted baseline" in card
        assert "| accepted | with |" in card

    def test_a_checkpoint_that_breaks_a_limit_is_not_accepted(self, project: Project) -> None:
        testing.write_suite(project.path, limits=[{"metric": "clip", "min": 0.5}])
        project.measure_base()
        result = project.run("--lora", "bad.safetensors", "--update-baselines")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            [
                "refused, not stored as the baseline 'accepted'; nothing was changed:",
                "*test_limit[[]bad-test2_nature-clip]: fail: 0.45*",
            ]
        )
        assert not (project.path / "baselines" / "fake" / "accepted").exists()

    def _edit(self, project: Project, **fields: str) -> None:
        path = project.path / "baselines" / "fake" / "base" / "baseline.json"
        stored = json.loads(path.read_text())
        stored["environment"].update(fields)
        path.write_text(json.dumps({**stored, "seal": seal_of(stored)}))

    def test_another_gpu_is_incomparable_unless_allowed(self, based: Project) -> None:
        self._edit(based, device="cuda", device_name="NVIDIA A100")
        result = based.run("--lora", "good.safetensors")
        result.stdout.fnmatch_lines(
            ["*device_name: baseline NVIDIA A100, here cpu", "*= 26 not measured in *"]
        )
        record = results.load(based.records()[-1])
        verdicts = {judged.verdict for judged in record.judgements if judged.kind == "regression"}
        assert verdicts == {Verdict.INCOMPARABLE}
        allowed = based.run("--lora", "good.safetensors", "--wanlora-allow-environment")
        assert allowed.ret == pytest.ExitCode.OK
        allowed.stdout.fnmatch_lines(["*differs: device_name: baseline NVIDIA A100, here cpu"])

    def test_other_versions_count_as_equal_when_a_base_video_says_so(self, based: Project) -> None:
        self._edit(based, torch="1.0.0")
        result = based.run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["*differs: torch: baseline 1.0.0, here *"])

    def test_other_versions_are_incomparable_when_a_base_video_says_so(self, based: Project) -> None:
        self._edit(based, torch="1.0.0")
        based.producer(quality={"base": {"test1_city": 0.99}})
        result = based.run("--lora", "good.safetensors")
        # one cause, which only rendering shows: told once, and counted for the others
        assert len(_failed(result)) == 1
        result.stdout.fnmatch_lines(
            [
                "*with other versions, and base, test1_city, seed 0 has clip 0.60* there and 0.60* here:",
                "*= 1 failed, 3 passed, 22 not measured in *",
            ]
        )


class TestRecord:
    def test_there_is_one_record_a_run_and_no_notes_stay(self, based: Project, run: Run) -> None:
        run("--lora", "bad.safetensors")
        (folder,) = [path.parent for path in based.records()]
        assert not (folder / "board").exists()
        assert [path.name for path in folder.iterdir() if path.suffix == ".json"].count("results.json") == 1
        record = results.load(folder)
        assert record.run_id == folder.name
        assert len([video for video in record.videos if video.role == "candidate"]) == 4
        assert {scored.scenario for scored in record.sets} == {"test1_city", "test2_nature", "all"}
        assert record.totals.rendered == 4

    def test_what_every_job_fails_of_is_one_cause(self, based: Project, run: Run) -> None:
        based.producer(
            before="break_all",
            extra="from pytest_wanlora.errors import StudioError\n\n\n"
            "def break_all(job):\n"
            "    figures = f'{job.scenario} {job.seed} needs a GiB more'\n"
            "    raise StudioError(f'memory ran out\\n{figures}', next_command='nvidia-smi')\n",
        )
        result = run("--lora", "good.safetensors")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        record = results.load(based.records()[-1])
        (cause,) = record.causes
        assert cause.reason.splitlines()[0] == "memory ran out"
        assert len(cause.judgements) == len(record.expected)
        # which video fails first is a matter of time where two workers render
        first = cause.videos[0]
        assert re.fullmatch(r"(base|good), test\d_\w+, seed \d", first)
        result.stdout.fnmatch_lines(
            [
                "not measured: 1 cause",
                "1. memory ran out",
                f"   {len(record.expected)} items, the first test_checkpoint?good?",
                f"   not rendered: {first} and others",
                "   next: nvidia-smi",
            ]
        )
        folder = based.records()[-1].parent
        page, markdown = (
            (folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")
        )
        # once for each language
        assert page.count('<div class="why"><bdi class="prose">memory ran out') == 1
        assert page.count(f"Not rendered, the first: {first}") == 1
        assert sum("error: " in line and "memory ran out" in line for line in markdown.splitlines()) == 1

    def test_a_job_that_fails_is_told_once_and_fails_its_items(self, based: Project, run: Run) -> None:
        based.producer(
            before="break_one",
            extra="from pytest_wanlora.errors import StudioError\n\n\n"
            "def break_one(job):\n    note(job)\n"
            "    if job.scenario == 'test2_nature' and job.seed == 1:\n"
            "        raise StudioError('out of memory', next_command='use a larger GPU')\n",
        )
        based.forget()
        result = run("--lora", "good.safetensors")
        assert based.rendered().count("good test2_nature 1") == 1
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*good, test2_nature, seed 1: out of memory*", "next: use a larger GPU"])
        record = results.load(based.records()[-1])
        assert [(each.scenario, each.seed) for each in record.failures] == [("test2_nature", 1)]
        verdicts = {
            judged.item.scenario: judged.verdict for judged in record.judgements if judged.kind == "limit"
        }
        assert verdicts == {"test1_city": Verdict.PASS, "test2_nature": Verdict.ERROR}

    def test_interrupted_by_hand_the_record_tells_what_was_judged(self, based: Project) -> None:
        based.producer(
            before="interrupt",
            extra="def interrupt(job):\n    note(job)\n"
            "    if job.scenario == 'test2_nature':\n        raise KeyboardInterrupt\n",
        )
        result = based.run("--lora", "good.safetensors", workers="no:xdist")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        record = results.load(based.records()[-1])
        assert record.partial
        assert [judged.item.kind for judged in record.judgements] == ["checkpoint"]
        assert not record.candidates[0].publishable

    def test_a_run_in_which_nothing_is_judged_has_a_record_that_says_so(self, based: Project) -> None:
        assert based.run("--lora", "good.safetensors", "-k", "nothing").ret == (
            pytest.ExitCode.NO_TESTS_COLLECTED
        )
        (record,) = [results.load(path) for path in based.records()]
        assert len(record.left_out) == 26
        assert not record.candidates[0].publishable

    def test_what_a_run_leaves_is_not_for_git(self, based: Project) -> None:
        based.run("--lora", "good.safetensors", "-k", "test_limit")
        assert (based.path / ".wanlora" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(
    "limits",
    [[{"metric": "clip", "min": 0.3}], [{"metric": "clip", "min": 0.3}, {"metric": "fvd", "max": 1e6}]],
)
def test_one_video_a_scenario_is_enough_where_no_set_is_too_small(
    project: Project, limits: list[dict[str, object]]
) -> None:
    path = testing.write_suite(project.path, seeds=(1, 1), limits=limits)
    path.write_text(f"{path.read_text()}tolerances: {{fvd: off}}\n", encoding="utf-8")
    project.measure_base()
    result = project.run("--lora", "good.safetensors")
    assert result.ret == pytest.ExitCode.OK
    assert {judged.n for judged in results.load(project.records()[-1]).judgements if judged.metric} == {1, 2}


def test_two_videos_a_scenario_are_enough_for_every_metric_of_sets(project: Project) -> None:
    limits = [
        {"metric": name, "max": 1e6, "scenario": place}
        for name in ("fvd", "kvd")
        for place in ("each", "all")
    ]
    path = testing.write_suite(project.path, seeds=(2, 2), limits=limits)
    path.write_text(f"{path.read_text()}tolerances: {{kvd: {{warn: 0.5, fail: 1}}}}\n", encoding="utf-8")
    project.measure_base()
    result = project.run("--lora", "good.safetensors")
    verdicts = {judged.verdict for judged in results.load(project.records()[-1]).judgements}
    assert Verdict.ERROR not in verdicts
    assert result.ret == pytest.ExitCode.OK


class TestFolders:
    def test_a_cache_that_cannot_be_written_is_a_usage_error(self, project: Project) -> None:
        (project.path / "file").write_bytes(b"")
        result = project.run("--lora", "good.safetensors", "--wanlora-cache-dir", "file/cache")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["*file/cache: cannot keep the scores of rendered videos: */file is a file; allowed: a folder*"]
        )
        assert project.rendered() == []

    def test_an_output_folder_that_cannot_be_written_is_a_usage_error(self, project: Project) -> None:
        (project.path / "file").write_bytes(b"")
        result = project.run("--lora", "good.safetensors", "--wanlora-output-dir", "file/runs")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [
                "*file/runs: cannot write the record: */file is a file; *--wanlora-output-dir",
                "next: ls -l */file",
            ]
        )

    def test_folders_by_option(self, based: Project, tmp_path: Path) -> None:
        based.run(
            *("--lora", "good.safetensors", "--wanlora-cache-dir", str(tmp_path / "c")),
            *("--wanlora-output-dir", str(tmp_path / "o")),
        )
        assert len(list((tmp_path / "c").glob("*/result.json"))) == 5
        assert len(results.records(tmp_path / "o")) == 1


class TestOwnTests:
    @pytest.fixture(autouse=True)
    def _tests(self, project: Project) -> None:
        (project.path / "test_own.py").write_text(
            "def test_motion(wanlora_candidate, wanlora_baseline, wanlora_scenario):\n"
            "    own = wanlora_candidate.mean(wanlora_scenario, 'motion')\n"
            "    assert own > 0.5 * wanlora_baseline.mean(wanlora_scenario, 'motion')\n\n"
            "def test_metric(wanlora_candidate, wanlora_metric):\n"
            "    assert len(wanlora_candidate.scores('test2_nature', wanlora_metric)) == 2\n\n"
            "def test_strict(wanlora_candidate, wanlora_baseline):\n"
            "    assert wanlora_candidate.mean('test2_nature', 'sharpness') >= "
            "wanlora_baseline.mean('test2_nature', 'sharpness')\n"
        )

    def test_they_run_over_the_suite(self, based: Project) -> None:
        result = based.run("--lora", "bad.safetensors", "test_own.py")
        failed = {nodeid for nodeid in _failed(result) if "test_own" in nodeid}
        assert failed == {"test_own.py::test_strict[bad]"}
        assert result.parseoutcomes()["passed"] >= 2 + 6

    def test_without_a_checkpoint_they_fail_and_say_what_to_type(self, project: Project) -> None:
        result = project.pytester.runpytest_inprocess("-p", "no:cacheprovider", "test_own.py")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.assert_outcomes(errors=3)
        result.stdout.fnmatch_lines(
            ["*no checkpoint was named, so nothing can be measured", "next: pytest --lora FILE.safetensors*"]
        )

    def test_without_a_checkpoint_they_can_be_left_out(self, project: Project) -> None:
        (project.path / "test_other.py").write_text("def test_other(): pass\n")
        result = project.pytester.runpytest_inprocess("-p", "no:cacheprovider", "-m", "not wanlora")
        result.assert_outcomes(passed=1, deselected=3)


def test_warnings_as_errors_do_not_reach_into_the_gate(based: Project) -> None:
    assert based.run("--lora", "good.safetensors", "-W", "error").ret == pytest.ExitCode.OK


def test_quiet_and_without_a_terminal(based: Project) -> None:
    assert based.run("--lora", "good.safetensors", "-q").ret == pytest.ExitCode.OK
    assert based.run("--lora", "good.safetensors", "-p", "no:terminal").ret == pytest.ExitCode.OK


def test_junit_carries_the_judgements(based: Project, run: Run) -> None:
    run("--lora", "bad.safetensors", f"--junitxml={based.path / 'junit.xml'}")
    cases = ElementTree.parse(based.path / "junit.xml").iter("testcase")  # noqa: S314 - written by the run above
    told = {
        str(case.get("name")): [(each.get("name"), each.get("value")) for each in case.iter("property")]
        for case in cases
    }
    record = results.load(based.records()[-1])
    # each item's own judgement, each property once, and nothing of what travels between processes
    assert told == {
        str(judged.item).removeprefix("wanlora::"): [
            (f"wanlora_{name}", text) for name, text in properties(judged)
        ]
        for judged in record.judgements
    }
    assert dict(told["test_limit[bad-test1_city-clip]"])["wanlora_minimum"] == "0.3"
    (sharpness,) = [j for j in record.judgements if str(j.item).endswith("[bad-test2_nature-sharpness]")]
    assert sharpness.evidence is not None
    assert dict(told["test_regression[bad-test2_nature-sharpness]"]) == {
        "wanlora_verdict": "undecided",
        "wanlora_candidate": "bad",
        "wanlora_scenario": "test2_nature",
        "wanlora_metric": "sharpness",
        "wanlora_value": repr(sharpness.value),
        "wanlora_baseline": repr(sharpness.baseline),
        "wanlora_change": repr(sharpness.change),
        "wanlora_warn": "0.02",
        "wanlora_fail": "0.15",
        "wanlora_n": "2",
        "wanlora_interval_low": repr(sharpness.evidence.low),
        "wanlora_interval_high": repr(sharpness.evidence.high),
        "wanlora_interval_level": repr(sharpness.evidence.level),
        "wanlora_weak": "true",
        "wanlora_reason": sharpness.reason,
        "wanlora_code": "too_few_pairs",
    }
