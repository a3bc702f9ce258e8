"""Workers: the same numbers, each video once, and no green from a dead one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_wanlora import results
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.judgement import PytestOutcome
from tests.integration.conftest import Project

SLOW = "slowly"
SLOWLY = "def slowly(job):\n    note(job)\n    time.sleep(0.3)\n"
KILLER = """
def killer(job):
    note(job)
    mark = HERE / f"killed-{job.key}-{LIVES}"
    if job.scenario == "test2_nature" and job.seed == 1 and job.candidate == "good":
        for life in range(LIVES):
            mark = HERE / f"killed-{life}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
"""

#: Notes which of some modules a process has imported: the controller before and after its workers, a worker
#: that has collected and waits for its first item.
IMPORTS = """
import json

LATE = ("scipy", "pytest_wanlora.run.record", "pytest_wanlora.reports.html", "torch")

def told(when):
    line = json.dumps([when, [name for name in LATE if name in sys.modules]])
    with (HERE / "imports.log").open("a", encoding="utf-8") as log:
        log.write(line + "\\n")

def pytest_configure_node():
    told("starting a worker")

@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    told("worker waits")

def pytest_testnodedown():
    told("worker is done")

def pytest_unconfigure():
    told("end")
"""


def _numbers(record: RunRecord) -> object:
    """All that must not depend on who rendered what."""
    videos = [
        (video.candidate, video.scenario, video.seed, video.scores, video.frames_sha256)
        for video in record.videos
        if video.role == "candidate"
    ]
    return videos, record.sets, record.judgements


def test_scores_and_verdicts_do_not_depend_on_workers_or_order(based: Project) -> None:
    seen = []
    for workers in ("none", "-n2", "no:xdist"):
        based.run("--lora", "bad.safetensors", "--wanlora-no-cache", workers=workers)
        seen.append(_numbers(results.load(based.records()[-1])))
    based.producer(extra="def pytest_collection_modifyitems(items):\n    items.reverse()\n")
    based.run("--lora", "bad.safetensors", "--wanlora-no-cache")
    seen.append(_numbers(results.load(based.records()[-1])))
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_every_video_is_rendered_once_and_by_more_than_one_worker(based: Project) -> None:
    based.producer(before=SLOW, extra=SLOWLY)
    result = based.run("--lora", ".", workers="-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    rendered = based.rendered()
    assert sorted(rendered) == sorted(set(rendered))
    assert len(rendered) == 9
    workers = {line.split()[3] for line in (based.path / "rendered.log").read_text().splitlines()}
    assert workers == {"gw0", "gw1"}


def test_a_worker_killed_while_rendering_costs_its_job_and_never_ends_green(based: Project) -> None:
    based.producer(before="killer", extra=f"LIVES = 1\n{KILLER}")
    result = based.run("--lora", "good.safetensors", workers="-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running 'wanlora::*", "note: worker gw? died"])
    rendered = based.rendered()
    assert rendered.count("good test2_nature 1") == 2, "a dead worker's job is taken over"
    assert len(rendered) == 6, "everything else was rendered once"
    record = results.load(based.records()[-1])
    assert not record.candidates[0].publishable
    assert "not measured" in record.candidates[0].reason or "fail" in record.candidates[0].reason


def test_a_job_that_kills_every_worker_is_given_up(based: Project) -> None:
    based.producer(before="killer", extra=f"LIVES = 9\n{KILLER}")
    result = based.run("--lora", "good.safetensors", workers="-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert based.rendered().count("good test2_nature 1") == 2
    result.stdout.fnmatch_lines(["*2 processes died while rendering it; not tried again in this run*"])


def test_when_no_worker_may_be_replaced_the_lost_items_are_told(based: Project) -> None:
    based.producer(before="killer", extra=f"LIVES = 9\n{KILLER}")
    result = based.run("--lora", "good.safetensors", "--max-worker-restart=0", workers="-n2")
    assert result.ret != pytest.ExitCode.OK
    record = results.load(based.records()[-1])
    assert not record.candidates[0].publishable
    assert record.exit_status == result.ret
    assert {each.outcome for each in record.left_out} == {PytestOutcome.LOST}
    assert len(record.left_out) + len(record.judgements) == 26
    result.stdout.fnmatch_lines(
        ["good: left out: * of 26 items, *: lost with its worker: worker gw?, gw? died"]
    )


def test_a_checkpoint_accepted_by_a_worker_is_stored_once(based: Project) -> None:
    result = based.run("--lora", "good.safetensors", "--update-baselines", workers="-n2")
    assert result.ret == pytest.ExitCode.OK
    stored = json.loads((based.path / "baselines" / "fake" / "accepted" / "baseline.json").read_text())
    assert stored["candidate"]["name"] == "good"


def test_progress_is_shown_from_the_controller(based: Project) -> None:
    based.producer(seconds=1.5)
    result = based.run("--lora", "good.safetensors", workers="-n2")
    # a line comes every five seconds at most: where a busy machine starts slowly, only one is due, and early
    result.stdout.fnmatch_lines(["wanlora: * of 4 videos, *"])


def test_workers_start_before_what_writes_reports_is_imported(based: Project) -> None:
    based.producer(extra=IMPORTS)
    for cached in (False, True):
        assert based.run("--lora", "good.safetensors", workers="-n2").ret == pytest.ExitCode.OK
        lines = (based.path / "imports.log").read_text(encoding="utf-8").splitlines()
        seen = [(when, set(names)) for when, names in map(json.loads, lines)]
        begun = [names for when, names in seen if when in ("starting a worker", "worker waits")]
        assert begun == [set()] * 4, cached
        done = [names for when, names in seen if when == "worker is done"]
        assert done == [{"scipy", "pytest_wanlora.run.record", "pytest_wanlora.reports.html"}] * 2, cached
        assert not any("torch" in names for _, names in seen)
        (based.path / "imports.log").unlink()


def test_one_gpu_a_worker(based: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    based.producer(
        before="tell_gpu",
        extra="def tell_gpu(job):\n    note(job)\n    time.sleep(0.3)\n"
        "    worker = os.environ['PYTEST_XDIST_WORKER']\n"
        "    (HERE / f'gpu-{worker}').write_text(os.environ.get('CUDA_VISIBLE_DEVICES', ''))\n"
        "from pytest_wanlora import workers\nworkers.visible_gpus = lambda: 2\n",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    result = based.run("--lora", "good.safetensors", workers="-n2")
    assert result.ret == pytest.ExitCode.OK
    assert {path.read_text() for path in Path(based.path).glob("gpu-*")} == {"5", "7"}
