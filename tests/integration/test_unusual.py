"""The gate from end to end in a project where no value is the usual one: see `tests.unusual`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_wanlora import baseline as baselines
from pytest_wanlora import results, testing
from pytest_wanlora.verdict.judgement import ALL, Verdict
from tests import unusual
from tests.unusual import CITY, NATURE, PROMPTS, SCALE

CONFTEST = """
from tests import unusual


def change(job, made):
    # sharper and blurrier by turns, in one scenario alone
    if job.candidate == "good" and job.scenario == "test2_nature":
        return unusual.scored(made, sharpness=0.55 if job.seed % 2 else 1.05)
    return made


def pytest_wanlora_producer(suite):
    return unusual.Sketches(suite, change)
"""


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(Path(unusual.__file__).parents[1]))
    unusual.write_unusual_suite(pytester.path)
    testing.write_lora(pytester.path / "good.safetensors")
    pytester.makeconftest(CONFTEST)
    return pytester.path


def _run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    quiet = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    common = ("-p", "no:cacheprovider", "--wanlora-suite", "fake.yaml", "--wanlora-scale", str(SCALE))
    return pytester.runpytest_inprocess(*common, *arguments, "-W", quiet)


def test_every_value_arrives_in_baseline_record_and_receipt(pytester: pytest.Pytester, folder: Path) -> None:
    assert _run(pytester, "--update-baselines").ret == pytest.ExitCode.OK
    stored = baselines.load(folder / "baselines", "fake", "base")
    assert {name: stored.seeds(name) for name in PROMPTS} == dict.fromkeys(PROMPTS, tuple(range(5, 17)))
    assert _run(pytester, "--lora", "good.safetensors").ret == pytest.ExitCode.OK
    record = max(map(results.load, (folder / ".wanlora" / "runs").iterdir()), key=lambda each: each.run_id)
    seeds = {
        name: [video.seed for video in record.videos if video.role == "candidate" and video.scenario == name]
        for name in PROMPTS
    }
    # what scatters about its band in one scenario gets another look, the other does not
    assert seeds == {CITY: [5, 6, 7], NATURE: list(range(5, 11))}
    compared = {(each.scenario, each.metric): each for each in record.judgements if each.kind == "regression"}
    warned = {place for place, each in compared.items() if each.verdict is Verdict.WARN}
    assert warned == {(NATURE, "sharpness"), (ALL, "sharpness")}
    assert {place: compared[place, "sharpness"].n for place in (CITY, NATURE, ALL)} == {
        CITY: 3,
        NATURE: 6,
        ALL: 9,
    }
    assert compared[ALL, "fvd"].n == 6
    assert record.candidates[0].scale == SCALE
    receipt = json.loads(next((folder / ".wanlora" / "runs").glob("*/receipt.json")).read_text())
    assert receipt["predicate"]["checkpoint"]["scale"] == SCALE
    assert receipt["predicate"]["seeds"] == seeds
    assert receipt["predicate"]["suite"]["weak"] == "fail"
