"""A race from end to end: the winner alone is collected, gated and recorded, with and without workers."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_wanlora import results, testing
from pytest_wanlora.reports import i18n
from tests import unusual

CONFTEST = """
from tests import unusual


def change(job, made):
    lost = {"epoch-1": 0.25, "epoch-2": 0.0, "epoch-3": 0.5}.get(job.candidate.partition("@")[0])
    return made if lost is None else unusual.scored(made, sharpness=1.0 - lost * job.scale)


def pytest_wanlora_producer(suite):
    return unusual.Sketches(suite, change)
"""


def _project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, conftest: str = CONFTEST
) -> tuple[str, ...]:
    """A baseline and three checkpoints; the options that race them at two strengths."""
    root = str(Path(unusual.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]))
    unusual.write_unusual_suite(pytester.path)
    for number in (1, 2, 3):
        testing.write_lora(pytester.path / f"epoch-{number}.safetensors", seed=number)
    pytester.makeconftest(conftest)
    common = ("-p", "no:cacheprovider", "--wanlora-suite", "fake.yaml")
    assert pytester.runpytest_subprocess(*common, "--update-baselines").ret == pytest.ExitCode.OK
    return (*common, "--lora", ".", "--wanlora-scale", "0.6,1", "--wanlora-race")


def _only_case(path: Path) -> str:
    """What the only test case of a JUnit file says, which is an error."""
    (case,) = ElementTree.parse(path).iter("testcase")  # noqa: S314 - pytest wrote it
    (error,) = case.iter("error")
    assert (case.get("classname"), case.get("name")) == ("wanlora", "race")
    assert error.text is not None
    return error.text


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "with a worker"])
@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--wanlora-budget=10", "its budget is 10 videos"),
        ("--wanlora-seeds=2:2", "2 seeds a scenario at most"),
    ],
)
def test_a_race_that_gates_nobody_is_an_error_in_the_junit_file(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    workers: tuple[str, ...],
    option: str,
    why: str,
) -> None:
    race = _project(pytester, monkeypatch)
    ran = pytester.runpytest_subprocess(*race, *workers, option, "--junitxml=out/junit.xml")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    told = _only_case(pytester.path / "out" / "junit.xml")
    assert why in told
    assert "next: pytest " in told


#: Ctrl-C while the second look is rendered.
STOPPED = f"""{CONFTEST.replace("return unusual.Sketches", "return Stopped")}

class Stopped(unusual.Sketches):
    def begin(self, jobs, checkpoint):
        if any(job.candidate == "epoch-2@0.6" and job.seed == 8 for job in jobs):
            raise KeyboardInterrupt
        return super().begin(jobs, checkpoint)
"""


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "with a worker"])
def test_a_race_that_ctrl_c_ends_says_once_what_was_decided_and_how_to_go_on(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    race = _project(pytester, monkeypatch, STOPPED)
    ran = pytester.runpytest_subprocess(*race, *workers, "--junitxml=stopped.xml")
    assert ran.ret == pytest.ExitCode.INTERRUPTED
    told = _only_case(pytester.path / "stopped.xml")
    assert "stopped before its end, by Ctrl-C: " in told
    assert "nobody was gated" in told
    assert "next: pytest " in told
    ran.stdout.fnmatch_lines(
        [
            "race: epoch-2@0.6 (*",
            "race: stopped before its end, by Ctrl-C: * of 6 candidates cannot win any*",
            "race: nobody was gated, so nothing may be published",
            "  epoch-2@0.6 *",
            "      ahead when it stopped",
            "  next: pytest * --wanlora-race*",
            "Nothing of the gate was judged; exit code 2, because 0 means publishable.",
        ]
    )
    assert ran.stdout.str().count("KeyboardInterrupt") <= 3
    assert "left out" not in ran.stdout.str()
    (path,) = (pytester.path / ".wanlora" / "runs").glob("*-6-checkpoints/results.json")
    record = results.load(path)
    assert (record.candidates, record.expected, record.partial) == ((), (), True)
    assert record.race is not None
    assert not record.race.gated
    assert not [*path.parent.glob("receipt*")]
    for page in ("report.html", "report.md", "report.ko.md"):
        text = (path.parent / page).read_text(encoding="utf-8")
        assert i18n.BEST["race_stopped"].en in text or page == "report.ko.md"
        assert i18n.BEST["race_stopped"].ko in text or page == "report.md"
        assert "--wanlora-race" in text
    pytester.makeconftest(CONFTEST)
    assert pytester.runpytest_subprocess(*shlex.split(record.race.next_command)[1:]).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "with a worker"])
def test_the_winner_of_a_race_is_gated_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    race = _project(pytester, monkeypatch)
    folder = pytester.path
    planned = pytester.runpytest_subprocess(*race, "--wanlora-plan")
    planned.stdout.fnmatch_lines(
        [
            "*race: 6 candidates on the same seeds, 3 to 12 of 2 scenarios: 36 videos *",
            "videos up to the first look: 36, *",
        ]
    )
    ran = pytester.runpytest_subprocess(*race, *workers)
    assert ran.ret == pytest.ExitCode.OK
    ran.stdout.fnmatch_lines(
        [
            "*race: 3 seeds each: * of 6 go on, epoch-2@0.6 ahead",
            "race: epoch-2@0.6 (+0.00 fail bands, +0.00 where it is worst at n = 12); not*",
            "*distinguishable from it at n = *: epoch-2@1; *",
            "race: Best is the smallest mean loss*",
            "race: * videos of 144 in *, * rendered and 0 from the cache; *",
            "*epoch-2@0.6 * won",
        ]
    )
    again = pytester.runpytest_subprocess(*race, *workers)
    assert again.ret == pytest.ExitCode.OK
    again.stdout.fnmatch_lines(
        [
            "race: * videos of 144 in *, 0 rendered and * from the cache; *",
            "epoch-2@0.6, the race's videos of it included: no video was rendered, *",
            "*the cache; the run took *",
        ]
    )
    record = max(
        map(results.load, (folder / ".wanlora" / "runs").glob("*/results.json")), key=lambda each: each.run_id
    )
    assert [card.name for card in record.candidates] == ["epoch-2@0.6"]
    assert record.candidates[0].publishable
    assert {each.candidate for each in record.judgements} == {"epoch-2@0.6"}
    assert record.race is not None
    assert record.race.winner == record.race.gated == "epoch-2@0.6"
    assert {each.name: each.state for each in record.race.entrants}["epoch-3@1"] in ("behind", "failed")
    looks = record.candidates[0].losses
    assert all(len(values) == n + 1 for n, values in looks.items())
    won = record.race.entrant("epoch-2@0.6")
    assert looks[won.seeds][0] == won.loss
    run = folder / ".wanlora" / "runs" / record.run_id
    for page in ("report.html", "report.md", "report.ko.md"):
        text = (run / page).read_text(encoding="utf-8")
        assert i18n.OBJECTIVES["mean"].ko in text or page == "report.md"
        assert i18n.OBJECTIVES["mean"].en in text or page == "report.ko.md"
        assert "epoch-3@1" in text
