from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu import speed_records

CONFTEST = "from benchmarks.gpu.speed_records import *"
TEST = """
from benchmarks.gpu.speed_records import check_peak

def test_video(benchmark, request):
    benchmark.pedantic(lambda: None, rounds=1)
    check_peak(request, benchmark.extra_info, 1000)
"""


@pytest.fixture
def pytester_on_a_gpu(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Items that were recorded once, on "GPU A"."""
    monkeypatch.setattr(speed_records, "gpu_name", lambda: "GPU A")
    # in a worker of xdist pytest-benchmark times nothing
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TEST)
    saved = run(pytester, "--benchmark-save", "first")
    saved.assert_outcomes(passed=1)
    return pytester


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def record(pytester: pytest.Pytester) -> Path:
    (path,) = pytester.path.glob(".benchmarks/*/*_first.json")
    return path


def test_the_gpu_is_recorded(pytester_on_a_gpu: pytest.Pytester) -> None:
    assert json.loads(record(pytester_on_a_gpu).read_text())["machine_info"]["gpu"] == "GPU A"


def test_a_record_of_the_same_gpu_is_compared(pytester_on_a_gpu: pytest.Pytester) -> None:
    result = run(pytester_on_a_gpu, "--benchmark-compare")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*test_video (0001_first)*"])


def test_a_record_of_another_gpu_is_refused(
    pytester_on_a_gpu: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_records, "gpu_name", lambda: "GPU B")
    result = run(pytester_on_a_gpu, "--benchmark-compare")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*is of GPU A, this machine has GPU B; *", "*next:*--benchmark-save*"])


def test_a_record_that_names_no_gpu_is_refused(pytester_on_a_gpu: pytest.Pytester) -> None:
    path = record(pytester_on_a_gpu)
    document = json.loads(path.read_text())
    del document["machine_info"]["gpu"]
    path.write_text(json.dumps(document))
    result = run(pytester_on_a_gpu, "--benchmark-compare")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_more_memory_than_recorded_is_seen(pytester_on_a_gpu: pytest.Pytester) -> None:
    path = record(pytester_on_a_gpu)
    document = json.loads(path.read_text())
    document["benchmarks"][0]["extra_info"][speed_records.PEAK] = 900
    path.write_text(json.dumps(document))
    result = run(pytester_on_a_gpu, "--benchmark-compare")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*peak memory is 1000 bytes, recorded are 900; allowed is 1.02 times that*"])
    # without a record to compare with there is nothing to fail by
    run(pytester_on_a_gpu).assert_outcomes(passed=1)
