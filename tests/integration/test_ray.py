"""A gate on a Ray cluster of local nodes: the same numbers, each video once, and a node that dies."""

from __future__ import annotations

import pytest

from pytest_wanlora import results
from tests.integration.conftest import Project
from tests.integration.test_xdist import _numbers
from tests.ray.nodes import cluster, start, wait_until_rendered

pytest.importorskip("ray", reason="Ray is not installed: pip install 'pytest-wanlora[ray]'")

SLOWLY = "def slowly(job):\n    time.sleep(0.4)\n    note(job)\n"


def test_verdicts_do_not_depend_on_nodes_even_if_one_is_killed(based: Project) -> None:
    based.run("--lora", ".", "--wanlora-no-cache")
    alone = results.load(based.records()[-1])
    based.forget()
    based.producer(before="slowly", extra=SLOWLY)
    with cluster(2) as nodes:
        gate = start(based.path, nodes.address, "--lora", ".", "--wanlora-no-cache")
        # each of the two proves itself with a video first
        wait_until_rendered(based, 5, gate)
        nodes.kill()
        printed, _ = gate.communicate(timeout=120)
    record = results.load(based.records()[-1])
    assert gate.returncode == record.exit_status == alone.exit_status, printed
    assert _numbers(record) == _numbers(alone)
    videos = [video for video in record.videos if video.role == "candidate"]
    assert len({video.key for video in videos}) == len(videos) == 8
    assert len({video.node for video in videos}) == 2
    assert {video.gpu for video in videos} == {"cpu"}
    assert [note for note in record.notes if "was lost" in note]
    rendered = [line for line in based.rendered() if not line.startswith("base")]
    assert 8 <= len(rendered) <= 9, "the dead node's job is rendered again, and no other"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--wanlora-ray", "127.0.0.1:1"), "*no Ray cluster at '127.0.0.1:1': nothing answers there: *"),
        (("--wanlora-ray", "auto", "-n2"), "*-n (pytest-xdist) and --wanlora-ray: *allowed: one of them"),
        (
            ("--wanlora-ray", "auto", "--wanlora-device", "cuda:1"),
            "*--wanlora-device: 'cuda:1' names one GPU; allowed with --wanlora-ray: auto, cpu, cuda",
        ),
        (
            ("--wanlora-ray", "gpu-1"),
            "*--wanlora-ray: 'gpu-1' is not allowed; allowed: auto, local, HOST:*",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_else(
    project: Project, arguments: tuple[str, ...], words: str
) -> None:
    result = project.run("--lora", "good.safetensors", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([words, "next: *"])
