"""What goes wrong on clusters: each a clear message, a failed item or a job that is handed on; never green.

Run with `make ray`: every test starts nodes of Ray.
"""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_wanlora
from pytest_wanlora import cli, results
from tests.integration.conftest import Project
from tests.ray.nodes import Nodes, client_server, cluster, run, start, wait_until_rendered

PACKAGE = Path(pytest_wanlora.__file__).parent
HANG = """
def hang(job):
    mark = HERE / "hung"
    if job.candidate != "base" and not mark.exists():
        mark.touch()
        time.sleep(600)
    note(job)
"""
SLOWLY = "def slowly(job):\n    time.sleep(0.5)\n    note(job)\n"
FULL = """
import errno
from pytest_wanlora.jobs import cache

real, written = cache.write_whole, []

def full(path, data):
    written.append(path)
    if len(written) > 3:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    real(path, data)

cache.write_whole = full
"""
OTHER_FRAMES = """
class Other(FakeProducer):
    def produce(self, job, checkpoint):
        import dataclasses
        made = super().produce(job, checkpoint)
        return dataclasses.replace(made, frames_sha256=os.environ.get("OTHER_FRAMES", made.frames_sha256))

FakeProducer = Other
"""
#: What makes Python find a GPU of the name in FAKE_GPU.
FAKE_GPU = """
import os
from pytest_wanlora import environment

class Driver:
    def cuDeviceGetCount(self, count):
        count._obj.value = 1
        return 0
    def cuDeviceGet(self, device, number):
        device._obj.value = number
        return 0
    def cuDeviceGetName(self, name, size, device):
        name.value = os.environ["FAKE_GPU"].encode()
        return 0
    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = 9
        return 0

if "FAKE_GPU" in os.environ:
    environment._driver = Driver
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Nodes]:
    with cluster(2) as made:
        yield made


def installed(folder: Path, name: str, version: str) -> dict[str, str]:
    """The environment of a node on which a package has another version."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return {"PYTHONPATH": f"{folder}:{PACKAGE.parent}"}


def nothing_rendered(project: Project) -> bool:
    return not project.rendered()


def test_a_cluster_without_a_gpu(based: Project, shared: Nodes) -> None:
    code, printed = run(based.path, shared.address, "--lora", "good.safetensors", "--wanlora-device", "cuda")
    assert code == 1
    assert "no node of the cluster has a GPU; asked for: one worker a GPU; there: 3 nodes, 2 CPU" in printed
    assert nothing_rendered(based)


def test_a_worker_that_hangs(based: Project, shared: Nodes) -> None:
    based.producer(before="hang", extra=HANG)
    code, printed = run(based.path, shared.address, "--lora", "good.safetensors", "--wanlora-ray-limit", "25")
    assert code == 0, printed
    words = "was lost: it took longer than 25 s, the limit of --wanlora-ray-limit"
    assert [note for note in results.load(based.records()[-1]).notes if words in note]


def test_a_disk_that_is_full_where_pytest_runs(based: Project, shared: Nodes) -> None:
    based.producer(extra=FULL)
    code, printed = run(based.path, shared.address, "--lora", "good.safetensors")
    assert code == 1
    assert "No space left on device" in printed
    assert "--wanlora-cache-dir" in printed
    assert not results.load(based.records()[-1]).candidates[0].publishable


def test_a_killed_controller_goes_on_from_the_cache(based: Project, shared: Nodes) -> None:
    based.producer(before="slowly", extra=SLOWLY)
    arguments = ("--lora", "good.safetensors", "--wanlora-seeds", "2")
    gate = start(based.path, shared.address, *arguments)
    wait_until_rendered(based, 4, gate)
    gate.send_signal(signal.SIGKILL)
    gate.communicate()
    code, printed = run(based.path, shared.address, *arguments)
    assert code == 0, printed
    rendered = [line for line in based.rendered() if line.startswith("good")]
    assert set(rendered) == {f"good {scenario} {seed}" for scenario in SCENARIOS for seed in (0, 1)}
    assert len(rendered) <= 6, "only what was being rendered is rendered again"


def test_base_videos_that_the_baseline_lacks_are_rendered_on_the_nodes(based: Project, shared: Nodes) -> None:
    code, printed = run(based.path, shared.address, "--lora", "bad.safetensors", "--wanlora-seeds", "2:4")
    assert code == 1, printed
    # the first more than once: every worker shows by it that it renders as the others do
    base = {line for line in based.rendered() if line.startswith("base")}
    assert base == {"base test1_city 0", "base test1_city 2", "base test2_nature 2"}
    baseline = results.load(based.records()[-1]).baseline
    assert baseline is not None
    assert (baseline.added, baseline.added_rendered) == ({"test1_city": (2,), "test2_nature": (2,)}, 2)


SCENARIOS = ("test1_city", "test2_nature")


def test_ctrl_c_frees_the_workers(based: Project, shared: Nodes) -> None:
    based.producer(before="slowly", extra=SLOWLY)
    gate = start(based.path, shared.address, "--lora", "good.safetensors")
    wait_until_rendered(based, 3, gate)
    gate.send_signal(signal.SIGINT)
    printed, _ = gate.communicate(timeout=30)
    assert gate.returncode == pytest.ExitCode.INTERRUPTED, printed
    assert not results.load(based.records()[-1]).candidates[0].publishable
    based.producer()
    # both workers are needed and there in time
    code, printed = run(based.path, shared.address, "--lora", "good.safetensors", "--wanlora-ray-wait", "60")
    assert code == 0, printed


def test_the_doctor_of_a_sound_cluster(shared: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ray", "doctor", shared.address, "--suite", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "2 nodes, 2 CPUs, for suite tiny" in shown
    assert "suite tiny: everything is there" in shown


def test_the_embedded_model_through_a_cluster_of_this_machine(pytester: pytest.Pytester) -> None:
    shutil.copy(PACKAGE / "examples" / "epoch-2.safetensors", pytester.path)
    shutil.copytree(PACKAGE / "baselines", pytester.path / "baselines")
    code, printed = run(pytester.path, "local", "--lora", "epoch-2.safetensors", suite="tiny")
    assert code == 0, printed


def test_a_cluster_that_shrinks_to_nothing(based: Project) -> None:
    based.producer(before="slowly", extra=SLOWLY)
    with cluster(1) as made:
        gate = start(based.path, made.address, "--lora", "good.safetensors", "--wanlora-ray-wait", "30")
        wait_until_rendered(based, 2, gate)
        made.kill()
        printed, _ = gate.communicate(timeout=120)
    assert gate.returncode == 1
    assert "the cluster has no worker for this run after" in printed
    assert "asked for: 1 x 1 CPU; there: " in printed
    assert not results.load(based.records()[-1]).candidates[0].publishable


def test_nodes_that_differ_or_lack_something(based: Project, tmp_path: Path, shared: Nodes) -> None:
    """One after another, a third node joins the two sound ones."""
    copied = tmp_path / "copied" / "pytest_wanlora"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "tiny" / "dit.safetensors").unlink()

    def joined_by(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
        node = shared.add(environment)
        try:
            return run(based.path, shared.address, *arguments)
        finally:
            shared.kill(node)

    good = ("--lora", "good.safetensors")
    code, printed = joined_by(installed(tmp_path / "own", "pytest-wanlora", "9.9"), *good)
    assert code == 1
    assert "other versions than the process that judges: pytest-wanlora 9.9 there" in printed
    other = installed(tmp_path / "torch", "torch", "9.9")
    code, printed = joined_by(other, *good)
    assert code == 1
    assert "torch 9.9 there" in printed
    assert "--wanlora-allow-environment mixes them" in printed
    # without the project's producer, which needs no model
    plain = tmp_path / "plain"
    shutil.copytree(PACKAGE / "examples", plain)
    node = shared.add({"PYTHONPATH": str(copied.parent)})
    code, printed = run(plain, shared.address, "--lora", "epoch-2.safetensors", suite="tiny")
    shared.kill(node)
    assert code == 1
    assert "model.dit[0]" in printed
    assert "on 1 of 3 nodes: " in printed
    assert nothing_rendered(based)
    code, printed = joined_by(other, *good, "--wanlora-allow-environment")
    assert code == 0, printed
    record = results.load(based.records()[-1])
    assert "9.9 + " in record.environment["torch"] or " + 9.9" in record.environment["torch"]
    # slow enough for every worker to prove itself before the run ends
    based.producer(before="slowly", extra=SLOWLY.replace("0.5", "3") + OTHER_FRAMES)
    code, printed = joined_by({"OTHER_FRAMES": "f" * 64}, *good, "--wanlora-no-cache")
    assert code == 1
    assert "renders other frames of base, test1_city, seed 0 than" in printed
    verdicts = {each.verdict.value for each in results.load(based.records()[-1]).judgements}
    assert "incomparable" in verdicts


def test_gpus_of_several_models(based: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAKE_GPU)
    path = f"{tmp_path}:{PACKAGE.parent}"
    with cluster(0) as made:
        for name in ("Fake A", "Fake B"):
            made.add({"PYTHONPATH": path, "FAKE_GPU": name}, gpus=1)
        code, printed = run(based.path, made.address, "--lora", "good.safetensors")
        assert code == 1
        assert "the nodes differ, so their videos cannot be compared" in printed
        assert "Fake A, torch" in printed
        assert nothing_rendered(based)
        allowed = ("--lora", "good.safetensors", "--wanlora-allow-environment")
        code, printed = run(based.path, made.address, *allowed)
    assert code == 0, printed
    record = results.load(based.records()[-1])
    assert record.environment["device_name"] == "Fake A + Fake B"
    assert {video.gpu for video in record.videos if video.role == "candidate"} <= {"Fake A 0", "Fake B 0"}


def test_a_gate_through_the_client_of_ray(based: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray://` lets nothing of Ray run in this process: what is called when a call ends may not call Ray."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert based.run("--lora", "good.safetensors", "--wanlora-no-cache").ret == 0
    alone = results.load(based.records()[-1])
    with (
        tempfile.TemporaryDirectory(prefix="ray") as folder,
        client_server(Path(folder), (free_port(), free_port())) as address,
    ):
        code, printed = run(based.path, address, "--lora", "good.safetensors", "--wanlora-no-cache")
    assert code == 0, printed
    assert "rendered by Ray at ray://127.0.0.1" in printed
    made = results.load(based.records()[-1])
    assert {(v.key, v.frames_sha256, tuple(v.scores.items())) for v in made.videos} == {
        (v.key, v.frames_sha256, tuple(v.scores.items())) for v in alone.videos
    }


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
